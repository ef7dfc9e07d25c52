-- A lot has from nothing to all of what was granted, ends after it starts, and is of a known kind.
select organization_id, 'lot ' || id as subject,
  format('%s of %s left, %s to %s, %s', remaining_nano, granted_nano, effective_at,
  expires_at, kind) as detail
from lot
where granted_nano <= 0 or remaining_nano < 0 or remaining_nano > granted_nano or expires_at <= effective_at
  or kind not in ('promotional', 'purchase', 'auto_reload', 'adjustment')
