-- The functions that move money are those of this release, to the byte.
select null::bigint as organization_id, 'function ' || coalesce(p.proname, shipped.name) as subject,
  case when p.oid is null then 'is missing' else 'is not the one of this release' end as detail
from unnest(%(function_names)s::text[], %(function_bodies)s::text[]) as shipped(name, body)
full join (
  select oid, proname::text, prosrc from pg_proc where pronamespace = 'public'::regnamespace and starts_with(proname, 'credits_')
) p on p.proname = shipped.name
where (p.oid is null or p.prosrc is distinct from shipped.body) and coalesce(p.proname, shipped.name) <> 'credits_clock'
