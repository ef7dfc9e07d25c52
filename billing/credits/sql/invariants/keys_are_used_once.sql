-- A key of an organization stands for one charge, and for one hold.
select organization_id, kind || ' ' || max(id) as subject,
  format('key %L is used %s times', idempotency_key, count(*)) as detail
from (
  select organization_id, id, idempotency_key, 'charge' as kind from charge
  union all select organization_id, id, idempotency_key, 'hold' from hold
) keyed
group by organization_id, kind, idempotency_key
having count(*) > 1
