-- A take-back is what was taken from its lot and what of it became debt, at its instant and by its actor; no more than was
-- asked for, and debt only where the rest is owed.
select t.organization_id, 'take-back ' || t.id as subject,
  format('%s and a debt of %s of the %s asked for at %s; its entries take %s and owe %s', t.taken_nano, t.debt_nano,
    t.asked_nano, t.taken_back_at, coalesce(e.taken_nano, 0), coalesce(e.owed_nano, 0)) as detail
from take_back t
left join (
  select organization_id, cause_id, -sum(amount_nano) filter (where kind = 'take_back') as taken_nano,
    -sum(amount_nano) filter (where kind = 'take_back_debt') as owed_nano,
    min(least(booked_at, value_at)) as first_at, max(greatest(booked_at, value_at)) as last_at,
    array_agg(distinct actor_id) filter (where kind in ('take_back', 'take_back_debt')) as actors
  from entry where cause_kind = 'take_back' group by 1, 2
) e on e.organization_id = t.organization_id and e.cause_id = t.id
where least(t.taken_nano, t.debt_nano) < 0 or t.taken_nano + t.debt_nano not between 1 and t.asked_nano
  or (t.debt_nano > 0 and not t.is_rest_owed)
  or t.taken_nano <> coalesce(e.taken_nano, 0) or t.debt_nano <> coalesce(e.owed_nano, 0)
  or e.first_at <> t.taken_back_at or e.last_at <> t.taken_back_at or e.actors is distinct from array[t.actor_id]
