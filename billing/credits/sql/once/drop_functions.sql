-- Takes down all functions and triggers of the ledger, of whatever version.
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT tgname, tgrelid::regclass AS on_table FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE p.proname LIKE 'credits\_\_%' AND NOT t.tgisinternal AND t.tgparentid = 0
  LOOP EXECUTE format('DROP TRIGGER %I ON %s', f.tgname, f.on_table); END LOOP;
  FOR f IN SELECT oid::regprocedure AS name FROM pg_proc WHERE proname LIKE 'credits\_%' AND pronamespace = 'public'::regnamespace
    ORDER BY prokind  -- aggregates before the functions they are made of
  LOOP EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', f.name); END LOOP;
  DROP TYPE IF EXISTS public.credits_results, public.credits_result, public.credits__event;
END $$;
