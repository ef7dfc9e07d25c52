-- At no entry of its history has a lot given more than it had.
select organization_id, 'entry ' || id as subject, format('lot %s is down to %s after it', lot_id, nano) as detail
from (
  select organization_id, id, lot_id,
    sum(amount_nano) over (partition by organization_id, lot_id order by seq, id rows unbounded preceding) as nano
  from entry where lot_id is not null
) running
where nano < 0
