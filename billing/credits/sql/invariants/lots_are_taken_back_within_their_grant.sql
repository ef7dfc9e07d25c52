-- What was taken back of a lot, less what was given back of that, has never exceeded what the lot granted.
with change as (
  select organization_id, lot_id, id, taken_back_at as at, taken_nano + debt_nano as nano from take_back
  union all
  select t.organization_id, t.lot_id, t.id, r.reversed_at, -r.amount_nano
  from take_back t
  join reversal r on r.organization_id = t.organization_id and r.cause_kind = 'take_back' and r.cause_id = t.id
)
select c.organization_id, 'take-back ' || c.id as subject,
  format('%s taken back of lot %s, which granted %s', c.so_far_nano, c.lot_id, l.granted_nano) as detail
from (
  -- Where the clock can't tell which came first, what was given back did.
  select *, sum(nano) over (partition by organization_id, lot_id order by at, nano > 0, id) as so_far_nano from change
) c
join lot l on l.id = c.lot_id and l.organization_id = c.organization_id
where c.nano > 0 and c.so_far_nano > l.granted_nano
