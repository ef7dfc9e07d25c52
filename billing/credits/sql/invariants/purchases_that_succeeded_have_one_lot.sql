-- A purchase that was paid has exactly one lot, any other has none.
select p.organization_id, 'purchase ' || p.id as subject,
  format('%s with %s lots', p.state, coalesce(l.lots, 0)) as detail
from purchase p
left join (select purchase_id, count(*) as lots from lot where purchase_id is not null group by 1) l on l.purchase_id = p.id
where coalesce(l.lots, 0) <> case when p.state = 'succeeded' then 1 else 0 end
