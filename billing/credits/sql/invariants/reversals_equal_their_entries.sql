-- A reversal is what its entries gave back of its cause, at its instant and by its actor. All reversals of a cause
-- together give back no more than it moved.
with cause as (
  select organization_id, 'charge' as kind, id, amount_nano as nano, charged_at as at from charge
  union all select organization_id, 'adjustment', id, amount_nano, adjusted_at from adjustment
  union all select organization_id, 'take_back', id, taken_nano + debt_nano, taken_back_at from take_back
),
given_back as (
  select u.organization_id, u.cause_id,
    sum(u.amount_nano) filter (where u.kind = 'debt_reversal' or (u.kind = 'reversal' and e.kind <> 'debt_payment')) as nano,
    min(least(u.booked_at, u.value_at)) as first_at, max(greatest(u.booked_at, u.value_at)) as last_at,
    array_agg(distinct u.actor_id) filter (where u.kind not in ('debt_payment', 'debt_settlement')) as actors
  from entry u
  left join entry e on e.organization_id = u.organization_id and e.seq = u.reverses_seq
  where u.cause_kind = 'reversal' group by 1, 2
)
select r.organization_id, 'reversal ' || r.id as subject,
  format('%s of the %s asked for at %s, its entries give back %s', r.amount_nano, coalesce(r.asked_nano::text, 'rest'),
    r.reversed_at, coalesce(g.nano, 0)) as detail
from reversal r
left join given_back g on g.organization_id = r.organization_id and g.cause_id = r.id
where r.amount_nano <= 0 or r.asked_nano <> r.amount_nano or r.amount_nano <> coalesce(g.nano, 0)
  or g.first_at <> r.reversed_at or g.last_at <> r.reversed_at or g.actors is distinct from array[r.actor_id]
union all
select r.organization_id, 'reversal ' || r.id, format('%s of %s %s, which moved %s', r.so_far_nano, r.cause_kind, r.cause_id,
  coalesce(c.nano::text, 'nothing, for there is none'))
from (
  select *, sum(amount_nano) over (partition by organization_id, cause_kind, cause_id order by id) as so_far_nano from reversal
) r
left join cause c on c.organization_id = r.organization_id and c.kind = r.cause_kind and c.id = r.cause_id
where c.id is null or r.so_far_nano > c.nano or r.reversed_at < c.at
