-- A charge is what was burned for it and what of it became debt, all booked in its instant.
select c.organization_id, 'charge ' || c.id as subject,
  format('%s with a debt of %s; its entries burn %s and owe %s', c.amount_nano, c.debt_nano, coalesce(e.burned, 0),
    coalesce(e.owed, 0)) as detail
from charge c
left join hold h on h.id = c.hold_id and h.organization_id = c.organization_id
left join (
  select organization_id, cause_id, -sum(amount_nano) filter (where kind = 'burn') as burned,
    -sum(amount_nano) filter (where kind in ('overshoot', 'late_capture')) as owed,
    min(booked_at) as first_booked_at, max(booked_at) as last_booked_at,
    min(value_at) as first_value_at, max(value_at) as last_value_at
  from entry where cause_kind = 'charge' group by 1, 2
) e on e.organization_id = c.organization_id and e.cause_id = c.id
where c.amount_nano <> coalesce(e.burned, 0) + coalesce(e.owed, 0) or c.debt_nano <> coalesce(e.owed, 0)
  or e.first_booked_at <> c.charged_at or e.last_booked_at <> c.charged_at or e.last_value_at > c.charged_at
  or e.first_value_at < coalesce(h.authorized_at, c.charged_at)
