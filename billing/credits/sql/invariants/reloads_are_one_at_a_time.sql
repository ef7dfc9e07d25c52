-- At most one reload of an organization is in flight.
select organization_id, 'purchase ' || max(id) as subject, count(*) || ' reloads in flight' as detail
from purchase
where kind = 'auto_reload' and state in ('created', 'processing', 'requires_action', 'needs_customer')
group by organization_id having count(*) > 1
