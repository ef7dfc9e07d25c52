-- Credit is spent from the start of its lot and before its end, at the time that the spending is valued at.
select e.organization_id, 'entry ' || e.id as subject,
  format('lot %s, live from %s to %s, spent at %s', l.id, l.effective_at, l.expires_at, e.value_at) as detail
from entry e join lot l on l.id = e.lot_id and l.organization_id = e.organization_id
where e.kind in ('burn', 'debt_payment', 'adjustment', 'take_back') and (e.value_at < l.effective_at or e.value_at >= l.expires_at)
