-- What a charge or an authorization said is available afterwards follows from the rows: the book balance, less what
-- holds had reserved, less what had ended and was not booked yet. Where several operations share an instant, their
-- order is not known and they are left out.
with told as (
  select organization_id, 'charge ' || id as subject, charged_at as at, available_after_nano as nano from charge
  union all
  select organization_id, 'hold ' || id, authorized_at, available_after_nano from hold
),
operation as (
  select organization_id, at from told
  union all select organization_id, settled_at from hold where state = 'voided'
  union all select organization_id, effective_at from lot
  union all select distinct organization_id, booked_at from entry where kind = 'expiry'
  union all select organization_id, reversed_at from reversal
  union all select organization_id, adjusted_at from adjustment
  union all select organization_id, taken_back_at from take_back
),
alone as (select organization_id, at from operation group by 1, 2 having count(*) = 1),
ended as (
  select l.organization_id, l.expires_at, coalesce(-e.amount_nano, l.remaining_nano) as nano, e.booked_at
  from lot l
  left join entry e on e.organization_id = l.organization_id and e.lot_id = l.id and e.kind = 'expiry'
),
event as (
  select organization_id, booked_at as at, seq, 0 as held_nano, 0 as ended_nano from entry
  union all select organization_id, authorized_at, null, amount_nano, 0 from hold
  union all select organization_id, least(settled_at, expires_at), null, -amount_nano, 0 from hold
  union all select organization_id, expires_at, null, 0, nano from ended
  union all select organization_id, booked_at, null, 0, -nano from ended where booked_at is not null
),
state as (
  select organization_id, at, subject, nano, max(seq) over past as seq,
    sum(held_nano) over past as held_nano, sum(ended_nano) over past as ended_nano
  from (
    select organization_id, at, null as subject, null::bigint as nano, seq, held_nano, ended_nano from event
    union all
    select organization_id, at, subject, nano, null, 0, 0 from told
  ) everything
  window past as (partition by organization_id order by at)
)
select s.organization_id, s.subject,
  format('%s available after it, the rows say %s', s.nano,
    coalesce(e.balance_after_nano, 0) - s.held_nano - s.ended_nano) as detail
from state s
join alone a on a.organization_id = s.organization_id and a.at = s.at
left join entry e on e.organization_id = s.organization_id and e.seq = s.seq
where s.subject is not null and s.nano <> coalesce(e.balance_after_nano, 0) - s.held_nano - s.ended_nano
