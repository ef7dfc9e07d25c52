-- The rates that a version of prices is charged by are its prices, row by row.
select null::bigint as organization_id, 'price version ' || v.id as subject, format('charges by %s, its prices are %s', v.rates,
  p.prices) as detail
from billing_priceversion v
left join (
  select version_id, jsonb_object_agg(token_class, price_nano_per_million) as prices from billing_price group by 1
) p on p.version_id = v.id
where v.rates is distinct from p.prices
