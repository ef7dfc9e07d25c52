-- At no entry of its history has a lot given more than it had, or got back more than it was granted.
select running.organization_id, 'entry ' || running.id as subject,
  format('lot %s stands at %s after it, of %s', running.lot_id, nano, l.granted_nano) as detail
from (
  select organization_id, id, lot_id,
    sum(amount_nano) over (partition by organization_id, lot_id order by seq, id rows unbounded preceding) as nano
  from entry where lot_id is not null
) running
left join lot l on l.id = running.lot_id and l.organization_id = running.organization_id
where nano < 0 or nano > l.granted_nano
