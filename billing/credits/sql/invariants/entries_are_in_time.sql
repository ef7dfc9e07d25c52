-- Entries are booked in the order of their numbers, after the account was made, not in the future, and valued at or
-- before they are booked. The account knows the latest time, and no operation is stamped before it.
select organization_id, 'entry ' || id as subject, format('booked at %s, after one of %s', booked_at, before) as detail
from (
  select organization_id, id, booked_at, lag(booked_at) over (partition by organization_id order by seq, id) as before
  from entry
) ordered
where booked_at < before
union all
select organization_id, 'entry ' || id, format('booked at %s, valued at %s', booked_at, value_at)
from entry
where booked_at > %(at)s + interval '5 minutes' or value_at > booked_at
union all
select a.organization_id, 'account', format('made %s, its first entry is of %s', a.created_at, e.booked_at)
from account a join entry e on e.organization_id = a.organization_id and e.seq = 1
where a.created_at > e.booked_at
union all
select a.organization_id, 'account', format('last operation at %s, one is of %s', a.last_at, stamped.at)
from account a
join (
  select organization_id, max(at) as at from (
    select organization_id, booked_at as at from entry
    union all select organization_id, charged_at from charge
    union all select organization_id, authorized_at from hold
    union all select organization_id, settled_at from hold
    union all select organization_id, reversed_at from reversal
    union all select organization_id, adjusted_at from adjustment
    union all select organization_id, taken_back_at from take_back
  ) everything group by organization_id
) stamped on stamped.organization_id = a.organization_id
where a.last_at is null or a.last_at < stamped.at or a.last_at > %(at)s + interval '5 minutes'
