-- Debt is paid at once from whatever is live and unreserved.
select a.organization_id, 'account' as subject,
  format('debt of %s beside %s of live credit', a.debt_nano, live.nano) as detail
from account a
cross join lateral (
  select coalesce(sum(l.remaining_nano), 0) as nano from lot l
  where l.organization_id = a.organization_id and l.remaining_nano > 0
    and l.effective_at <= %(at)s and l.expires_at > %(at)s
) live
where a.debt_nano > 0 and live.nano > 0
