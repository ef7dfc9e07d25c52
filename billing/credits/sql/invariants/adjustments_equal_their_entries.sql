-- An adjustment is what was taken from lots for it and what of it became debt, at its instant and by its actor.
select d.organization_id, 'adjustment ' || d.id as subject,
  format('%s with a debt of %s at %s; its entries take %s and owe %s', d.amount_nano, d.debt_nano, d.adjusted_at,
    coalesce(e.taken_nano, 0), coalesce(e.owed_nano, 0)) as detail
from adjustment d
left join (
  select organization_id, cause_id, -sum(amount_nano) filter (where kind = 'adjustment') as taken_nano,
    -sum(amount_nano) filter (where kind = 'adjustment_debt') as owed_nano,
    min(least(booked_at, value_at)) as first_at, max(greatest(booked_at, value_at)) as last_at,
    array_agg(distinct actor_id) as actors
  from entry where cause_kind = 'adjustment' group by 1, 2
) e on e.organization_id = d.organization_id and e.cause_id = d.id
where d.amount_nano <= 0 or d.debt_nano < 0 or d.amount_nano - d.debt_nano <> coalesce(e.taken_nano, 0)
  or d.debt_nano <> coalesce(e.owed_nano, 0) or e.first_at <> d.adjusted_at or e.last_at <> d.adjusted_at
  or e.actors is distinct from array[d.actor_id]
