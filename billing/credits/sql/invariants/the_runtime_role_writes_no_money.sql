-- The role that serves may read money and call the functions that move it, and nothing else; of an event of the ledger it
-- may say that it was handled.
with money as (
  select c.oid, c.relname::text as name
  from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relname = any (array['billing_creditaccount', 'billing_creditlot',
    'billing_hold', 'billing_charge', 'billing_ledgerentry', 'billing_usageday', 'billing_unpricedusage', 'billing_reversal',
    'billing_debitadjustment', 'billing_takeback', 'billing_creditevent'])
)
select null::bigint as organization_id, 'table ' || t.name as subject, r.rolname || ' may ' || right_.name as detail
from pg_roles r
cross join money t
cross join unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) as right_(name)
where r.rolname = 'console_app' and has_table_privilege(r.oid, t.oid, right_.name)
union all
select null, 'column ' || t.name || '.' || c.attname, r.rolname || ' may ' || right_.name
from pg_roles r
cross join money t
join pg_attribute c on c.attrelid = t.oid and c.attnum > 0 and not c.attisdropped
cross join unnest(array['INSERT', 'UPDATE']) as right_(name)
where r.rolname = 'console_app' and has_column_privilege(r.oid, t.oid, c.attnum, right_.name)
  and (t.name, c.attname::text, right_.name) <> ('billing_creditevent', 'handled_at', 'UPDATE')
union all
select null, 'function ' || p.proname, r.rolname || ' may call it'
from pg_roles r join pg_proc p on has_function_privilege(r.oid, p.oid, 'EXECUTE')
where r.rolname = 'console_app' and p.pronamespace = 'public'::regnamespace and starts_with(p.proname, 'credits__')
union all
select null, 'role ' || r.rolname, 'is powerful, or owns what it serves'
from pg_roles r
where r.rolname = 'console_app' and (r.rolsuper or r.rolreplication or r.rolbypassrls or r.rolcreaterole
  or exists (select 1 from pg_class c where c.relowner = r.oid)
  or has_schema_privilege(r.oid, 'public'::regnamespace, 'CREATE')
  or has_database_privilege(r.oid, current_database(), 'TEMPORARY'))
union all
select null, 'role console_app', 'does not exist' where not exists (select 1 from pg_roles where rolname = 'console_app')
