-- A purchase that has ended says when, no other does; one that was paid names its PaymentIntent, which no other names.
select organization_id, 'purchase ' || id as subject,
  format('%s, settled %s, intent %s', state, coalesce(settled_at::text, 'never'),
  coalesce(payment_intent_id, 'none')) as detail
from purchase
where state not in ('created', 'processing', 'requires_action', 'needs_customer', 'succeeded', 'failed', 'canceled')
  or (state in ('succeeded', 'failed', 'canceled')) <> (settled_at is not null)
  or (state = 'succeeded' and payment_intent_id is null) or kind not in ('manual', 'auto_reload')
  or (kind = 'manual') <> (actor_id is not null) or (sent_at is null) <> (sent_by = '')
  or (state = 'succeeded' and (decline_code <> '' or (failure_code <> '' and not starts_with(failure_code, 'mismatch_'))))
union all
select min(organization_id), 'purchase ' || max(id), format('PaymentIntent %s is named %s times', payment_intent_id, count(*))
from purchase where payment_intent_id is not null group by payment_intent_id having count(*) > 1
union all
select organization_id, 'purchase ' || max(id), format('attempt %s was made %s times', attempt_key, count(*))
from purchase group by organization_id, attempt_key having count(*) > 1
