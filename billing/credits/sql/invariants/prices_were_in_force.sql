-- A request is charged by the version of prices that was in force when it began, or when it was charged, where the
-- gateway's clock was ahead.
select priced.organization_id, priced.subject, format('began %s, version %s is in force from %s to %s', priced.started_at,
  coalesce(v.id::text, 'missing'), v.effective_at, v.superseded_at) as detail
from (
  select organization_id, 'charge ' || id as subject, price_version_id, least(started_at, charged_at) as started_at
  from charge
  union all
  select organization_id, 'hold ' || id, price_version_id, started_at from hold
) priced
left join billing_priceversion v on v.id = priced.price_version_id
where v.id is null or v.effective_at > priced.started_at or v.superseded_at <= priced.started_at
