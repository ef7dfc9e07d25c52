-- A key of an organization stands for one charge, for one hold, and for one correction of each kind.
select organization_id, kind || ' ' || max(id) as subject,
  format('key %L is used %s times', idempotency_key, count(*)) as detail
from (
  select organization_id, id, idempotency_key, 'charge' as kind from charge
  union all select organization_id, id, idempotency_key, 'hold' from hold
  union all select organization_id, id, reversal_key::text, 'reversal' from reversal
  union all select organization_id, id, adjustment_key::text, 'adjustment' from adjustment
  union all select organization_id, id, take_back_key::text, 'take-back' from take_back
) keyed
group by organization_id, kind, idempotency_key
having count(*) > 1
