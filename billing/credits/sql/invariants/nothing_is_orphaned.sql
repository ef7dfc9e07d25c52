-- What the hot rows name is there: charges, holds, entries and usage days have no foreign keys to organizations, prices,
-- holds and lots.
select orphan.organization_id, orphan.subject, 'its ' || orphan.parent || ' does not exist' as detail
from (
  select c.organization_id, 'charge ' || c.id as subject, parent.name as parent
  from charge c
  left join accounts_organization o on o.id = c.organization_id
  left join billing_priceversion v on v.id = c.price_version_id
  left join billing_hold h on h.id = c.hold_id
  cross join lateral (values ('organization', o.id is null), ('price version', v.id is null),
    ('hold', h.id is null and c.hold_id is not null)) as parent(name, is_missing)
  where parent.is_missing
  union all
  select h.organization_id, 'hold ' || h.id, parent.name
  from hold h
  left join accounts_organization o on o.id = h.organization_id
  left join billing_priceversion v on v.id = h.price_version_id
  cross join lateral (values ('organization', o.id is null), ('price version', v.id is null)) as parent(name, is_missing)
  where parent.is_missing
  union all
  select h.organization_id, 'hold ' || h.id, 'lot'
  from hold h cross join lateral unnest(h.lot_ids) as part(lot_id) left join billing_creditlot l on l.id = part.lot_id
  where l.id is null
  union all
  select e.organization_id, 'entry ' || e.id, parent.name
  from entry e
  left join accounts_organization o on o.id = e.organization_id
  left join billing_creditlot l on l.id = e.lot_id
  cross join lateral (values ('organization', o.id is null), ('lot', l.id is null and e.lot_id is not null))
    as parent(name, is_missing)
  where parent.is_missing
  union all
  select d.organization_id, 'usage day ' || d.id, parent.name
  from usage_day d
  left join accounts_organization o on o.id = d.organization_id
  left join billing_pricedmodel m on m.id = d.priced_model_id
  cross join lateral (values ('organization', o.id is null), ('model', m.id is null)) as parent(name, is_missing)
  where parent.is_missing
) orphan
