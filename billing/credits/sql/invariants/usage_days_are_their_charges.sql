-- A day of usage is what its charges add up to: requests, cost, units of each token class, and what was given back of it.
with used as (
  select c.organization_id, (c.started_at at time zone 'UTC')::date as day, c.surface, v.priced_model_id, c.key_ref,
    c.amount_nano, coalesce(r.nano, 0) as reversed_nano,
    case when jsonb_typeof(c.quantities) = 'object' then c.quantities else '{}' end as quantities
  from charge c
  join billing_priceversion v on v.id = c.price_version_id
  left join (
    select organization_id, cause_id, sum(amount_nano) as nano from reversal where cause_kind = 'charge' group by 1, 2
  ) r on r.organization_id = c.organization_id and r.cause_id = c.id
),
due as (
  select s.*, coalesce(u.units, '{}') as units
  from (
    select organization_id, day, surface, priced_model_id, key_ref, count(*) as requests, sum(amount_nano) as amount_nano,
      sum(reversed_nano) as reversed_nano
    from used group by 1, 2, 3, 4, 5
  ) s
  left join (
    select organization_id, day, surface, priced_model_id, key_ref,
      jsonb_object_agg(token_class, units) filter (where units <> 0) as units
    from (
      select organization_id, day, surface, priced_model_id, key_ref, q.key as token_class, sum(q.value::numeric) as units
      from used cross join lateral jsonb_each_text(quantities) q group by 1, 2, 3, 4, 5, 6
    ) by_class group by 1, 2, 3, 4, 5
  ) u on (u.organization_id, u.day, u.surface, u.priced_model_id, u.key_ref)
    = (s.organization_id, s.day, s.surface, s.priced_model_id, s.key_ref)
),
kept as (
  select d.*, (
    select coalesce(jsonb_object_agg(key, value) filter (where value <> '0'), '{}')
    from jsonb_each(jsonb_build_object('input', input_units, 'output', output_units, 'cache_write', cache_write_units,
      'cache_read', cache_read_units) || other_units)
  ) as units
  from usage_day d
)
select coalesce(kept.organization_id, due.organization_id) as organization_id,
  coalesce('usage day ' || kept.id, 'usage of ' || due.day) as subject,
  format('%s requests for %s with %s given back and %s, its charges make %s for %s with %s and %s', kept.requests,
    kept.amount_nano, kept.reversed_nano, kept.units, due.requests, due.amount_nano, due.reversed_nano, due.units) as detail
from kept
full join due on due.organization_id = kept.organization_id and due.day = kept.day and due.surface = kept.surface
  and due.priced_model_id = kept.priced_model_id and due.key_ref = kept.key_ref
where (kept.requests, kept.amount_nano, kept.reversed_nano, kept.units)
  is distinct from (due.requests, due.amount_nano, due.reversed_nano, due.units)
  or kept.other_units ?| array['input', 'output', 'cache_write', 'cache_read']
