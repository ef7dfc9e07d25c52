-- The amount of a charge, and of a hold, is its quantities at the prices of its version, and the fee of a request where
-- the version has one: summed, then rounded up once.
with priced as (
  select organization_id, 'charge ' || id as subject, price_version_id, quantities, amount_nano from charge
  union all
  select organization_id, 'hold ' || id, price_version_id, quantities, amount_nano from hold
),
list as (
  select version_id, jsonb_object_agg(token_class, price_nano_per_million) as prices from billing_price group by 1
),
cost as (
  select p.*, q.wrong, div(coalesce(q.sum, 0) + coalesce((l.prices ->> 'request')::numeric, 0) + 999999, 1000000) as nano
  from priced p
  left join list l on l.version_id = p.price_version_id
  cross join lateral (
    select sum(case when value ~ '^[0-9]{1,10}$' then value::numeric * (l.prices ->> key)::numeric end) as sum,
      count(*) filter (where coalesce(value, '') !~ '^[0-9]{1,10}$' or key = 'request'
        or (l.prices ->> key is null and value !~ '^0+$')) as wrong
    from jsonb_each_text(case when jsonb_typeof(p.quantities) = 'object' then p.quantities
      else '{"not an object": "-"}'::jsonb end)
  ) q
)
select organization_id, subject, format('%s, its quantities cost %s', amount_nano,
  case when wrong > 0 then 'nothing that has a price' else nano::text end) as detail
from cost
where wrong > 0 or amount_nano <> nano
