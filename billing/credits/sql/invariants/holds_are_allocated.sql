-- A hold's allocation is parallel lists of different lots of its own, all live when it was authorized, that sum to it.
select h.organization_id, 'hold ' || h.id as subject,
  format('%s from lots %s by %s', h.amount_nano, h.lot_ids, h.lot_amounts_nano) as detail
from hold h
cross join lateral (
  select coalesce(sum(part.nano), 0) as nano, count(*) as parts, count(distinct part.lot_id) as lots, count(l.id) as live,
    coalesce(min(part.nano), 1) as least_nano
  from unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano)
  left join lot l on l.id = part.lot_id and l.organization_id = h.organization_id
    and l.effective_at <= h.authorized_at and l.expires_at > h.authorized_at
) a
where cardinality(h.lot_ids) <> cardinality(h.lot_amounts_nano) or a.nano <> h.amount_nano or a.parts <> a.lots
  or a.parts <> a.live or a.least_nano <= 0 or h.amount_nano < 0
