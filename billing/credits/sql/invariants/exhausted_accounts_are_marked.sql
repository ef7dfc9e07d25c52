-- An account whose booked credit is used up is marked as exhausted since then; none is that never had an entry, and none
-- that has been given credit since of which something was left after its debt. Whether a marked account has credit now
-- is not promised: a request that was refused marks it too.
select organization_id, 'account' as subject, format('booked credit of %s, exhausted since %s', unreserved_nano + held_nano - debt_nano,
  coalesce(exhausted_at::text, 'never')) as detail
from account
where (exhausted_at is null and last_seq > 0 and unreserved_nano + held_nano - debt_nano <= 0)
  or (exhausted_at is not null and last_seq = 0) or exhausted_at > last_at
union all
select a.organization_id, 'account', format('exhausted since %s, but %s %s left it %s', a.exhausted_at, given.cause, given.id, given.nano)
from account a
join (
  select g.organization_id, 'lot' as cause, g.lot_id as id, g.booked_at as at, g.amount_nano + coalesce(p.nano, 0) as nano
  from entry g
  left join (
    select organization_id, cause_id, sum(amount_nano) as nano from entry
    where kind = 'debt_payment' and cause_kind = 'lot' group by 1, 2
  ) p on p.organization_id = g.organization_id and p.cause_id = g.lot_id
  where g.kind = 'grant'
  union all
  select organization_id, 'reversal', cause_id, max(booked_at), sum(amount_nano)
  from entry where cause_kind = 'reversal' and lot_id is not null group by 1, 3
) given on given.organization_id = a.organization_id and given.at > a.exhausted_at and given.nano > 0
