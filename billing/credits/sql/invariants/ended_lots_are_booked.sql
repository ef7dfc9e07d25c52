-- The sweep books a lot within ten minutes of its end.
select organization_id, 'lot ' || id as subject, format('ended %s with %s left', expires_at, remaining_nano) as detail
from lot where remaining_nano > 0 and expires_at < %(at)s - interval '10 minutes'
