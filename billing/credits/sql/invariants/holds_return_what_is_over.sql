-- What a hold gives back to an ended lot is what its charge left of the allocation, once for each lot, while it settles.
select r.organization_id, 'hold ' || h.id as subject,
  format('returned %s to lot %s in %s entries, %s were over', r.nano, r.lot_id, r.entries, part.nano - coalesce(b.nano, 0)) as detail
from (
  select organization_id, cause_id, lot_id, -sum(amount_nano) as nano, count(*) as entries, max(booked_at) as booked_at
  from entry where kind = 'return_expired' and cause_kind = 'hold' group by 1, 2, 3
) r
join hold h on h.id = r.cause_id and h.organization_id = r.organization_id
left join unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano) on part.lot_id = r.lot_id
left join charge c on c.hold_id = h.id and c.organization_id = h.organization_id
left join (
  select organization_id, cause_id, lot_id, value_at, -sum(amount_nano) as nano from entry
  where kind = 'burn' and cause_kind = 'charge' group by 1, 2, 3, 4
) b on b.organization_id = r.organization_id and b.cause_id = c.id and b.lot_id = r.lot_id and b.value_at = h.authorized_at
where r.entries <> 1 or part.nano is null or r.nano <> part.nano - coalesce(b.nano, 0)
  or h.state = 'open' or r.booked_at > h.settled_at
