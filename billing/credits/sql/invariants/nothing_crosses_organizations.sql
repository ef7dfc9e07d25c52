-- Lots, holds, charges, entries, corrections, purchases and cards that name one another are of one organization.
select e.organization_id, 'entry ' || e.id as subject, format('lot %s is not of its organization', e.lot_id) as detail
from entry e where e.lot_id is not null
  and not exists (select 1 from lot l where l.id = e.lot_id and l.organization_id = e.organization_id)
union all
select c.organization_id, 'charge ' || c.id, format('hold %s is not of its organization', c.hold_id)
from charge c where c.hold_id is not null
  and not exists (select 1 from hold h where h.id = c.hold_id and h.organization_id = c.organization_id)
union all
select h.organization_id, 'hold ' || h.id, format('lot %s is not of its organization', part.lot_id)
from hold h, unnest(h.lot_ids) as part(lot_id)
where not exists (select 1 from lot l where l.id = part.lot_id and l.organization_id = h.organization_id)
union all
select t.organization_id, 'take-back ' || t.id, format('lot %s is not of its organization', t.lot_id)
from take_back t
where not exists (select 1 from lot l where l.id = t.lot_id and l.organization_id = t.organization_id)
union all
select d.organization_id, 'adjustment ' || d.id, format('unpriced usage %s is not of its organization', d.unpriced_usage_id)
from adjustment d where d.unpriced_usage_id is not null
  and not exists (select 1 from unpriced u where u.id = d.unpriced_usage_id and u.organization_id = d.organization_id)
union all
select l.organization_id, 'lot ' || l.id, format('purchase %s is not of its organization', l.purchase_id)
from lot l where l.purchase_id is not null
  and not exists (select 1 from purchase p where p.id = l.purchase_id and p.organization_id = l.organization_id)
union all
select p.organization_id, 'purchase ' || p.id, format('card %s is not of its organization', p.payment_method_id)
from purchase p
where not exists (
  select 1 from billing_paymentmethod m where m.id = p.payment_method_id and m.organization_id = p.organization_id)
union all
select owned.organization_id, owned.subject, 'its organization does not exist'
from (
  select organization_id, 'account' as subject from account
  union all select organization_id, 'purchase ' || id from purchase
) owned
where not exists (select 1 from accounts_organization o where o.id = owned.organization_id)
