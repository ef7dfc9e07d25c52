-- The functions that move money and check its rows are those of this release, to the byte.
select null::bigint as organization_id, 'function ' || coalesce(p.proname, shipped.name) as subject,
  case when p.oid is null then 'is missing' else 'is not the one of this release' end as detail
from unnest(%(function_names)s::text[], %(function_bodies)s::text[]) as shipped(name, body)
full join (
  select f.oid, f.proname::text, case when f.prokind = 'a' then format('sfunc = %s, stype = %s%s', g.aggtransfn::regproc,
    g.aggtranstype::regtype, ', initcond = ' || quote_literal(g.agginitval)) else f.prosrc end as body
  from pg_proc f left join pg_aggregate g on g.aggfnoid = f.oid
  where f.pronamespace = 'public'::regnamespace and (starts_with(f.proname, 'credits_') or f.proname like '%\_is\_sound'
      or f.proname = 'usual_rate')
) p on p.proname = shipped.name
where (p.oid is null or p.body is distinct from shipped.body) and coalesce(p.proname, shipped.name) <> 'credits_clock'
