-- A capture spends its hold's allocation in order, as far as the charge goes: all of it or, after the lapse, none.
with burned as (
  select organization_id, cause_id, lot_id, value_at, -sum(amount_nano) as nano from entry
  where kind = 'burn' and cause_kind = 'charge' group by 1, 2, 3, 4
),
paid as (
  select organization_id, cause_id, value_at, sum(nano) as nano from burned group by 1, 2, 3
),
captured as (
  select h.organization_id, h.id, h.lot_ids, h.lot_amounts_nano, h.amount_nano, h.authorized_at, h.expires_at,
    c.id as charge_id, c.amount_nano as charged_nano, c.charged_at, coalesce(p.nano, 0) as paid_nano
  from hold h
  join charge c on c.hold_id = h.id and c.organization_id = h.organization_id
  left join paid p on p.organization_id = h.organization_id and p.cause_id = c.id and p.value_at = h.authorized_at
  where c.charged_at <> h.authorized_at
)
select organization_id, 'hold ' || id as subject,
  format('its charge of %s took %s of it', charged_nano, paid_nano) as detail
from captured
where paid_nano <> least(charged_nano, amount_nano) and (paid_nano <> 0 or charged_at < expires_at)
union all
select k.organization_id, 'hold ' || k.id, format('its charge took %s from lot %s, the allocation says %s', coalesce(b.nano, 0),
  part.lot_id, least(part.nano, greatest(0, k.paid_nano - part.before)))
from captured k
cross join lateral (
  select p.lot_id, p.nano, sum(p.nano) over (order by p.number) - p.nano as before
  from unnest(k.lot_ids, k.lot_amounts_nano) with ordinality as p(lot_id, nano, number)
) part
left join burned b on b.organization_id = k.organization_id and b.cause_id = k.charge_id and b.lot_id = part.lot_id
  and b.value_at = k.authorized_at
where coalesce(b.nano, 0) <> least(part.nano, greatest(0, k.paid_nano - part.before))
