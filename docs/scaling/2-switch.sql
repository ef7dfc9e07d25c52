-- Step 2 of 2, while nothing else is connected (stop web, gate, worker and beat): copies what is left, puts the partitioned
-- tables in the place of the old ones and installs the same functions for them. One transaction: it happens or it doesn't.
-- Run as the role that migrates: psql -v ON_ERROR_STOP=1 -f docs/scaling/2-switch.sql "$MIGRATE_DATABASE_URL"

begin;
set local lock_timeout = '10s';
lock table public.billing_creditaccount, public.billing_creditlot, public.billing_hold, public.billing_charge,
  public.billing_ledgerentry, public.billing_usageday in access exclusive mode;
create schema ledger_old;

-- Functions and their triggers go, because they know the old tables by their types; they come back below, unchanged.
do $$
declare
  v_found record;
begin
  for v_found in
    select t.tgname, t.tgrelid::regclass as on_table from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where p.proname like 'credits\_\_%' and not t.tgisinternal and t.tgparentid = 0
  loop
    execute format('drop trigger %I on %s', v_found.tgname, v_found.on_table);
  end loop;
  for v_found in
    select oid::regprocedure as name from pg_proc
    where proname like 'credits\_%' and pronamespace = 'public'::regnamespace
    order by prokind  -- aggregates before the functions they are made of
  loop
    execute format('drop routine %s cascade', v_found.name);
  end loop;
end $$;
drop type public.credits_results, public.credits_result;

do $$
declare
  v_table text;
  v_foreign record;
begin
  -- What points to a lot by its id alone points to it by id and organization from now on. Charges, holds and entries are
  -- pointed to by no foreign key.
  for v_foreign in
    select conname, conrelid::regclass as on_table, a.attname as column_name
    from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
    where c.contype = 'f' and c.confrelid = 'public.billing_creditlot'::regclass
  loop
    execute format('alter table %s drop constraint %I', v_foreign.on_table, v_foreign.conname);
    execute format('alter table %s add constraint %I foreign key (%I, organization_id) references'
      ' ledger_new.billing_creditlot (id, organization_id) not valid', v_foreign.on_table, v_foreign.conname, v_foreign.column_name);
  end loop;
  foreach v_table in array array[
    'billing_creditlot', 'billing_hold', 'billing_charge', 'billing_ledgerentry', 'billing_usageday'
  ] loop
    execute format(
      'insert into ledger_new.%1$I (%2$s) select %2$s from public.%1$I'
      ' where id > coalesce((select last_id from ledger_new.copied where table_name = %1$L), 0)',
      v_table, ledger_new.columns(v_table));
    perform setval(pg_get_serial_sequence('ledger_new.' || v_table, 'id'), nextval(pg_get_serial_sequence('public.' || v_table, 'id')));
    execute format('alter table public.%I set schema ledger_old', v_table);
    execute format('alter table ledger_new.%I set schema public', v_table);
  end loop;
  for v_foreign in
    select conname, conrelid::regclass as on_table from pg_constraint
    where contype = 'f' and confrelid = 'public.billing_creditlot'::regclass and not convalidated and conparentid = 0
  loop
    execute format('alter table %s validate constraint %I', v_foreign.on_table, v_foreign.conname);
  end loop;
end $$;
drop schema ledger_new cascade;

\ir ../../billing/credits/sql/v2/clock.sql
\ir ../../billing/credits/sql/v2/burn_order.sql
\ir ../../billing/credits/sql/v2/entries.sql
\ir ../../billing/credits/sql/v2/results.sql
\ir ../../billing/credits/sql/v2/events.sql
\ir ../../billing/credits/sql/v2/lock.sql
\ir ../../billing/credits/sql/v2/lots.sql
\ir ../../billing/credits/sql/v2/debt.sql
\ir ../../billing/credits/sql/v2/holds.sql
\ir ../../billing/credits/sql/v2/prices.sql
\ir ../../billing/credits/sql/v2/authorize.sql
\ir ../../billing/credits/sql/v2/charge.sql
\ir ../../billing/credits/sql/v2/charge_many.sql
\ir ../../billing/credits/sql/v2/usage_days.sql
\ir ../../billing/credits/sql/v2/capture.sql
\ir ../../billing/credits/sql/v2/void.sql
\ir ../../billing/credits/sql/v2/grant.sql
\ir ../../billing/credits/sql/v2/expiry.sql
\ir ../../billing/credits/sql/v2/corrections.sql
\ir ../../billing/credits/sql/v2/reload_line.sql
\ir ../../billing/credits/sql/v2/reads.sql
\ir ../../billing/credits/sql/v2/row_checks.sql
\ir ../../billing/credits/sql/v2/guards.sql

-- A trigger for rows is inherited by partitions, one against TRUNCATE is not.
do $$
declare
  v_guard record;
begin
  for v_guard in
    select t.tgname, i.inhrelid::regclass as partition
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_inherits i on i.inhparent = t.tgrelid
    join pg_class c on c.oid = i.inhrelid
    where p.proname = 'credits__refuse_change' and t.tgname like '%\_not\_truncated' and c.relkind = 'r'
  loop
    execute format('create trigger %I before truncate on %s for each statement'
      ' execute function public.credits__refuse_change()', v_guard.tgname, v_guard.partition);
  end loop;
end $$;
\ir ../../console/grants.sql
commit;

analyze public.billing_creditlot, public.billing_hold, public.billing_charge, public.billing_ledgerentry,
  public.billing_usageday;
-- When check_ledger is green and a backup is made: drop schema ledger_old cascade;
