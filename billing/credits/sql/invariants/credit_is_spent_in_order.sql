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
  where e.kind in ('burn', 'debt_payment', 'adjustment') and e.value_at = e.booked_at
    and h.authorized_at is distinct from e.value_at
  union all
  select organization_id, 'hold ' || hold_id, lot_id, null, authorized_at from reserved
),
-- What was taken while a lot that comes first had something that it moved later on, or has something yet.
pair as (
  select t.organization_id, t.subject, t.seq, t.at, t.lot_id, first.id as first_id
  from taking t
  join lot l on l.id = t.lot_id and l.organization_id = t.organization_id
  join lot first on first.organization_id = t.organization_id and first.effective_at < t.at and first.expires_at > t.at
    and (first.expires_at, first.burn_rank, first.effective_at, first.id) < (l.expires_at, l.burn_rank, l.effective_at, l.id)
  join used u on u.organization_id = first.organization_id and u.lot_id = first.id
  left join open_part o on o.organization_id = first.organization_id and o.lot_id = first.id
  where first.remaining_nano > 0 or o.lot_id is not null
    or case when t.seq is null then u.last_at >= t.at else u.last_seq > t.seq end
),
asked_about as (select distinct organization_id, first_id as lot_id from pair),
-- The same in one pass for each lot: entries by number for what has one, and by time, those that took first, for a hold;
-- reservations by time, with those that begin or end in the same instant.
point as (
  select organization_id, first_id as lot_id, subject, lot_id as taken_id, seq, at, 0 as nano, 0 as reserved_nano,
    1 as turn, 1 as hold_turn
  from pair
  union all
  select e.organization_id, e.lot_id, null, null, e.seq, e.booked_at, e.amount_nano, 0,
    case when e.amount_nano < 0 then 0 else 2 end, 0
  from entry e join asked_about f on f.organization_id = e.organization_id and f.lot_id = e.lot_id
  union all
  select r.organization_id, r.lot_id, null, null, null, change.at, 0, change.nano, 0, change.turn
  from reserved r
  join asked_about f on f.organization_id = r.organization_id and f.lot_id = r.lot_id
  cross join lateral (values (r.authorized_at, r.nano, 0), (r.settled_at, -r.nano, 2)) as change(at, nano, turn)
  where change.at is not null
),
counted as (
  select *,
    sum(nano) over (partition by organization_id, lot_id order by seq nulls first) as by_number_nano,
    sum(nano) over (partition by organization_id, lot_id order by at, turn) as by_time_nano,
    sum(reserved_nano) over (partition by organization_id, lot_id order by at, hold_turn) as held_nano
  from point
)
select organization_id, subject, format('took from lot %s while lot %s had %s', taken_id, lot_id,
  case when seq is null then by_time_nano else by_number_nano end - held_nano) as detail
from counted
where subject is not null and case when seq is null then by_time_nano else by_number_nano end - held_nano > 0
