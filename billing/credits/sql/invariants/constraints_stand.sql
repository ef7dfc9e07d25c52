-- Every constraint and unique index of billing's models is in the database, and valid.
select null::bigint as organization_id, 'constraint ' || expected.name as subject,
  case when found.is_valid is null then 'is missing' else 'is not valid' end as detail
from unnest(%(constraint_names)s::text[]) as expected(name)
left join (
  select conname::text as name, convalidated as is_valid from pg_constraint where connamespace = 'public'::regnamespace
  union all
  select c.relname::text, i.indisvalid and i.indisunique from pg_index i join pg_class c on c.oid = i.indexrelid
  where c.relnamespace = 'public'::regnamespace and not exists (select 1 from pg_constraint k where k.conindid = c.oid)
) found on found.name = expected.name
where found.is_valid is not true
