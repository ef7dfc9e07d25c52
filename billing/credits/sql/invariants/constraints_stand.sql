-- Every constraint and unique index of billing's models is in the database, and valid; a check of a row calls its function.
select null::bigint as organization_id, 'constraint ' || expected.name as subject,
  case when found.is_valid is null then 'is missing' when not found.is_valid then 'is not valid'
    else 'checks something else' end as detail
from unnest(%(constraint_names)s::text[]) as expected(name)
left join (
  select conname::text as name, convalidated as is_valid,
    contype <> 'c' or conname !~ '_sound$' or pg_get_constraintdef(oid)
      ~ format('^CHECK \(%s_is_sound\(', regexp_replace(conrelid::regclass::text, '^billing_', '')) as is_shipped
  from pg_constraint where connamespace = 'public'::regnamespace
  union all
  select c.relname::text, i.indisvalid and i.indisunique, true from pg_index i join pg_class c on c.oid = i.indexrelid
  where c.relnamespace = 'public'::regnamespace and not exists (select 1 from pg_constraint k where k.conindid = c.oid)
) found on found.name = expected.name
where (found.is_valid and found.is_shipped) is not true
