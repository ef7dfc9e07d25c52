-- What was granted is still there, reserved by open holds, spent, expired or returned too late.
select l.organization_id, 'lot ' || l.id as subject,
  format('%s left; its entries less open holds leave %s', l.remaining_nano, coalesce(e.nano, 0) - coalesce(h.nano, 0)) as detail
from lot l
left join (select organization_id, lot_id, sum(amount_nano) as nano from entry where lot_id is not null group by 1, 2) e
  on e.organization_id = l.organization_id and e.lot_id = l.id
left join (
  select h.organization_id, part.lot_id, sum(part.nano) as nano
  from hold h, unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano)
  where h.state = 'open' group by 1, 2
) h on h.organization_id = l.organization_id and h.lot_id = l.id
where l.remaining_nano <> coalesce(e.nano, 0) - coalesce(h.nano, 0)
