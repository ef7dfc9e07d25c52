-- The amount of a charge, and of a hold, is its quantities at the prices of its version: summed, then rounded up once.
select priced.organization_id, priced.subject, format('%s, its quantities cost %s', priced.amount_nano,
  case when cost.wrong > 0 then 'nothing that has a price' else div(coalesce(cost.sum, 0) + 999999, 1000000)::text end) as detail
from (
  select organization_id, 'charge ' || id as subject, price_version_id, quantities, amount_nano from charge
  union all
  select organization_id, 'hold ' || id, price_version_id, quantities, amount_nano from hold
) priced
cross join lateral (
  select sum(case when q.value ~ '^[0-9]{1,10}$' then q.value::numeric * p.price_nano_per_million end) as sum,
    count(*) filter (where coalesce(q.value, '') !~ '^[0-9]{1,10}$' or (p.id is null and q.value !~ '^0+$')) as wrong
  from jsonb_each_text(case when jsonb_typeof(priced.quantities) = 'object' then priced.quantities
    else '{"not an object": "-"}'::jsonb end) q
  left join billing_price p on p.version_id = priced.price_version_id and p.token_class = q.key
) cost
where cost.wrong > 0 or priced.amount_nano <> div(coalesce(cost.sum, 0) + 999999, 1000000)
