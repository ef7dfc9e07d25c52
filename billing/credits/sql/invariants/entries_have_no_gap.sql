-- Entries are numbered from 1 without a gap, their ids ascend with their numbers, and the account knows the last one.
select organization_id, 'entry ' || id as subject, format('number %s follows %s', seq, previous) as detail
from (
  select organization_id, id, seq, lag(seq, 1, 0) over (partition by organization_id order by seq, id) as previous
  from entry
) numbered
where seq <> previous + 1
union all
select organization_id, 'entry ' || id, format('its id is not above %s, the id before it', previous_id)
from (
  select organization_id, id, lag(id) over (partition by organization_id order by seq, id) as previous_id from entry
) ordered
where id <= previous_id
union all
select a.organization_id, 'account', format('last_seq is %s, the last entry has %s', a.last_seq, coalesce(last.seq, 0))
from account a
left join (select organization_id, max(seq) as seq from entry group by organization_id) last
  on last.organization_id = a.organization_id
where a.last_seq <> coalesce(last.seq, 0)
