-- At any instant at most one version of a model's prices is in force, and a version has prices within bounds.
select null::bigint as organization_id, 'price version ' || b.id as subject,
  format('overlaps version %s', a.id) as detail
from billing_priceversion a
join billing_priceversion b on b.priced_model_id = a.priced_model_id and b.id > a.id
  and a.effective_at < coalesce(b.superseded_at, 'infinity') and b.effective_at < coalesce(a.superseded_at, 'infinity')
union all
select null, 'price version ' || v.id, 'ends before it starts'
from billing_priceversion v where v.superseded_at <= v.effective_at
union all
select null, 'price version ' || v.id, 'has no price'
from billing_priceversion v where not exists (select 1 from billing_price p where p.version_id = v.id)
union all
select null, 'price ' || p.id, format('%s nano a million', p.price_nano_per_million)
from billing_price p where p.price_nano_per_million < 0 or p.price_nano_per_million > 100000000000000
union all
select null, 'price ' || max(p.id), format('%s has %s prices in version %s', p.token_class, count(*), p.version_id)
from billing_price p group by p.version_id, p.token_class having count(*) > 1
