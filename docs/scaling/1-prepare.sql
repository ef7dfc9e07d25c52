-- Step 1 of 2, beside the running service: makes the partitioned tables and fills those whose rows never change.
-- Run as the role that migrates: psql -v ON_ERROR_STOP=1 -f docs/scaling/1-prepare.sql "$MIGRATE_DATABASE_URL"
-- Every table keeps its columns, checks, indexes and their names; they stand in a schema of their own until step 2.

create schema ledger_new;
-- The runtime role has no right to this schema, so that it reaches rows through the tables in public alone.
create schema ledger_partitions;

create function ledger_new.columns(p_table text) returns text
language sql stable as $$
  select string_agg(quote_ident(attname), ', ' order by attnum)
  from pg_attribute
  where attrelid = format('public.%I', p_table)::regclass and attnum > 0 and not attisdropped and attgenerated = ''
$$;

do $$
declare
  v_partitions constant integer := 16;
  v_table text;
  v_options text;
  v_constraint record;
  v_index record;
begin
  foreach v_table in array array[
    'billing_creditlot', 'billing_hold', 'billing_charge', 'billing_ledgerentry', 'billing_usageday'
  ] loop
    execute format(
      'create table ledger_new.%1$I (like public.%1$I including defaults including constraints including generated'
      ' including identity including storage) partition by hash (organization_id)', v_table);
    select coalesce('with (' || array_to_string(reloptions, ', ') || ')', '') into v_options
    from pg_class where oid = format('public.%I', v_table)::regclass;
    for i in 0 .. v_partitions - 1 loop
      execute format('create table ledger_partitions.%I partition of ledger_new.%I for values with (modulus %s, remainder %s) %s',
        v_table || '_' || i, v_table, v_partitions, i, v_options);
    end loop;
    -- The id stays first, because statements look lots and holds up by it; the organization has to be part of the key.
    execute format('alter table ledger_new.%I add constraint %I primary key (id, organization_id)', v_table, v_table || '_pkey');
    for v_constraint in
      select conname, contype, pg_get_constraintdef(oid) as definition from pg_constraint
      where conrelid = format('public.%I', v_table)::regclass and contype in ('u', 'f')
    loop
      execute format('alter table ledger_new.%I add constraint %I %s', v_table, v_constraint.conname, v_constraint.definition);
    end loop;
    for v_index in
      select pg_get_indexdef(i.indexrelid) as definition from pg_index i
      where i.indrelid = format('public.%I', v_table)::regclass
        and not exists (select 1 from pg_constraint c where c.conindid = i.indexrelid and c.contype in ('p', 'u'))
    loop
      execute replace(v_index.definition, ' ON public.', ' ON ledger_new.');
    end loop;
  end loop;
end $$;

-- Rows up to here are all there: the lock waits for every transaction that has taken a number, and holds new ones up for
-- the blink of an eye.
create table ledger_new.copied (table_name text primary key, last_id bigint not null);
begin;
lock table public.billing_charge, public.billing_ledgerentry in share mode;
insert into ledger_new.copied
select 'billing_charge', coalesce(max(id), 0) from public.billing_charge
union all
select 'billing_ledgerentry', coalesce(max(id), 0) from public.billing_ledgerentry;
commit;

do $$
declare
  v_rows constant bigint := 100000;
  v_copied record;
begin
  for v_copied in select * from ledger_new.copied loop
    for v_step in 0 .. v_copied.last_id / v_rows loop
      execute format(
        'insert into ledger_new.%1$I (%2$s) select %2$s from public.%1$I where id > %3$s and id <= least(%4$s, %5$s)',
        v_copied.table_name, ledger_new.columns(v_copied.table_name), v_step * v_rows, (v_step + 1) * v_rows,
        v_copied.last_id);
      commit;
    end loop;
  end loop;
end $$;
analyze ledger_new.billing_charge, ledger_new.billing_ledgerentry;
