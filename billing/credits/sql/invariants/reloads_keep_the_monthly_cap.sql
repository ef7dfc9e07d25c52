-- What reloads of a calendar month (UTC) have charged or are about to stays within the cap of the consent of each.
with counted as (
  select organization_id, id, terms_accepted_at, sum(amount_cents) over (
    partition by organization_id, date_trunc('month', created_at, 'UTC') order by id) as month_cents
  from purchase
  where kind = 'auto_reload' and state in ('created', 'processing', 'requires_action', 'needs_customer', 'succeeded')
)
select p.organization_id, 'purchase ' || p.id as subject,
  format('%s cents this month, the cap is %s', p.month_cents, c.cap_cents) as detail
from counted p
cross join lateral (
  select max(monthly_cap_cents) as cap_cents from billing_autoreloadconsent c
  where c.organization_id = p.organization_id and c.is_enabled and c.consented_at = p.terms_accepted_at
) c
where p.month_cents > c.cap_cents
