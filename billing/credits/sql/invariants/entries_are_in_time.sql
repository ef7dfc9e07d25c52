-- Entries are booked in the order of their numbers, not in the future, and valued at or before they are booked.
-- Five minutes are allowed for a server clock that was set back.
select organization_id, 'entry ' || id as subject, format('booked at %s, after one of %s', booked_at, latest) as detail
from (
  select organization_id, id, booked_at, max(booked_at) over (
    partition by organization_id order by seq, id rows between unbounded preceding and 1 preceding) as latest
  from entry
) ordered
where booked_at < latest - interval '5 minutes'
union all
select organization_id, 'entry ' || id, format('booked at %s, valued at %s', booked_at, value_at)
from entry
where booked_at > %(at)s + interval '5 minutes' or value_at > booked_at + interval '5 minutes'
