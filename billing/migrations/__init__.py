"""Texts that several migrations share. Each stays as it is once released."""

# The check of an account as it was then; migration 0003 made it, 0005 replaces it.
ACCOUNT_CHECK = """
CREATE FUNCTION public.creditaccount_is_sound(
  p_state text, p_unreserved bigint, p_held bigint, p_debt bigint, p_reload_below bigint
) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN p_unreserved >= 0 AND p_held >= 0 AND p_debt >= 0 AND (p_reload_below IS NULL OR p_reload_below >= 0)
    AND coalesce(p_state IN ('open', 'frozen', 'closed'), false);
END $$;
"""
# All functions and triggers of the ledger, of whatever version.
DROP_FUNCTIONS = """
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT tgname, tgrelid::regclass AS on_table FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE p.proname LIKE 'credits\\_\\_%' AND NOT t.tgisinternal AND t.tgparentid = 0
  LOOP EXECUTE format('DROP TRIGGER %I ON %s', f.tgname, f.on_table); END LOOP;
  FOR f IN SELECT oid::regprocedure AS name FROM pg_proc WHERE proname LIKE 'credits\\_%' AND pronamespace = 'public'::regnamespace
    ORDER BY prokind  -- aggregates before the functions they are made of
  LOOP EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', f.name); END LOOP;
  DROP TYPE IF EXISTS public.credits_result, public.credits__event;
END $$;
"""
