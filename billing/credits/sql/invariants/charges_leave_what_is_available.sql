-- What a charge says is available afterwards is at most the book balance after it, and not below it less what was held
-- or had ended; a refusal follows from it, so it is never above what a reported usage can leave.
select c.organization_id, 'charge ' || c.id as subject,
  format('%s available after it, the book says %s', c.available_after_nano, e.balance_after_nano) as detail
from charge c
join lateral (
  select balance_after_nano from entry e
  where e.organization_id = c.organization_id and e.cause_kind = 'charge' and e.cause_id = c.id
  order by e.seq desc limit 1
) e on true
where c.available_after_nano > e.balance_after_nano
