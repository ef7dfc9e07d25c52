-- Expiry is booked at or after a lot's end, valued at the end, once. What returns to an ended lot is valued from its end on.
select e.organization_id, 'entry ' || e.id as subject,
  format('%s of lot %s that ends %s: valued %s, booked %s', e.kind, e.lot_id, l.expires_at, e.value_at, e.booked_at) as detail
from entry e join lot l on l.id = e.lot_id and l.organization_id = e.organization_id
where (e.kind = 'expiry' and (e.value_at <> l.expires_at or e.booked_at < l.expires_at))
  or (e.kind = 'return_expired' and e.value_at < l.expires_at)
union all
select organization_id, 'lot ' || lot_id, count(*) || ' expiry entries'
from entry where kind = 'expiry' group by organization_id, lot_id having count(*) > 1
