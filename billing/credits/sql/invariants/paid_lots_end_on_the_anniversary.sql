-- Bought credit ends on the calendar anniversary of its purchase in UTC; of 29 February on 28 February.
select organization_id, 'lot ' || id as subject, format('bought %s, ends %s', effective_at, expires_at) as detail
from lot
where kind in ('purchase', 'auto_reload')
  and expires_at <> (effective_at at time zone 'UTC' + interval '1 year') at time zone 'UTC'
