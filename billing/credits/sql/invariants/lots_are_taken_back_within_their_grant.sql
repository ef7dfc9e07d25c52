-- What was taken back of a lot, less what was given back of that, has never exceeded what the lot granted; where the rest
-- is owed, it is all that was asked for up to that.
with first_entry as (
  select organization_id, cause_kind, cause_id, min(seq) as seq from entry
  where cause_kind in ('take_back', 'reversal') group by 1, 2, 3
),
change as (
  select t.organization_id, t.lot_id, t.id, f.seq, t.taken_nano + t.debt_nano as nano,
    case when t.is_rest_owed then t.asked_nano end as owed_nano
  from take_back t
  left join first_entry f on f.organization_id = t.organization_id and f.cause_kind = 'take_back' and f.cause_id = t.id
  union all
  select t.organization_id, t.lot_id, t.id, f.seq, -r.amount_nano, null
  from take_back t
  join reversal r on r.organization_id = t.organization_id and r.cause_kind = 'take_back' and r.cause_id = t.id
  left join first_entry f on f.organization_id = r.organization_id and f.cause_kind = 'reversal' and f.cause_id = r.id
)
select c.organization_id, 'take-back ' || c.id as subject,
  format('%s taken back of lot %s by then, which granted %s', c.so_far_nano, c.lot_id, l.granted_nano) as detail
from (
  select *, sum(nano) over (partition by organization_id, lot_id order by seq, id) as so_far_nano from change
) c
join lot l on l.id = c.lot_id and l.organization_id = c.organization_id
where c.nano > 0 and (c.so_far_nano > l.granted_nano
  or (c.owed_nano is not null and c.nano <> least(c.owed_nano, l.granted_nano - c.so_far_nano + c.nano)))
