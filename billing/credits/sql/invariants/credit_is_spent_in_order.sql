-- When credit is taken from a lot, no lot that comes first in burn order has any left: sooner end, then promotional,
-- then older, then id. What holds had reserved at that instant is left out, and where the clock can't tell which of two
-- came first, the benefit of the doubt is given.
with used as (
  select organization_id, lot_id, max(seq) as last_seq, max(booked_at) as last_at from entry where lot_id is not null group by 1, 2
),
reserved as (
  select h.organization_id, h.id as hold_id, h.authorized_at, h.settled_at, part.lot_id, part.nano
  from hold h, unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano)
),
open_part as (select distinct organization_id, lot_id from reserved where settled_at is null),
taking as (
  select e.organization_id, 'entry ' || e.id as subject, e.lot_id, e.seq, e.booked_at as at
  from entry e
  left join charge c on e.cause_kind = 'charge' and c.id = e.cause_id and c.organization_id = e.organization_id
  left join hold h on h.id = c.hold_id and h.organization_id = c.organization_id
  where e.kind in ('burn', 'debt_payment', 'adjustment') and e.value_at = e.booked_at and h.authorized_at is distinct from e.value_at
  union all
  select organization_id, 'hold ' || hold_id, lot_id, null, authorized_at from reserved
)
select t.organization_id, t.subject, format('took from lot %s while lot %s had %s', t.lot_id, first.id, entered.nano - held.nano) as detail
from taking t
join lot l on l.id = t.lot_id and l.organization_id = t.organization_id
join lot first on first.organization_id = t.organization_id and first.effective_at < t.at and first.expires_at > t.at
  and (first.expires_at, first.burn_rank, first.effective_at, first.id) < (l.expires_at, l.burn_rank, l.effective_at, l.id)
join used u on u.organization_id = first.organization_id and u.lot_id = first.id
left join open_part o on o.organization_id = first.organization_id and o.lot_id = first.id
cross join lateral (
  select coalesce(sum(e.amount_nano), 0) as nano from entry e
  where e.organization_id = t.organization_id and e.lot_id = first.id
    and case when t.seq is null then e.booked_at < t.at or (e.booked_at = t.at and e.amount_nano < 0) else e.seq <= t.seq end
) entered
cross join lateral (
  select coalesce(sum(r.nano), 0) as nano from reserved r
  where r.organization_id = t.organization_id and r.lot_id = first.id
    and r.authorized_at <= t.at and (r.settled_at is null or r.settled_at >= t.at)
) held
where (first.remaining_nano > 0 or o.lot_id is not null
    or case when t.seq is null then u.last_at >= t.at else u.last_seq > t.seq end)
  and entered.nano - held.nano > 0
