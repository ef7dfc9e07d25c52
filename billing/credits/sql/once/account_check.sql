-- The check of an account without a burning lot: migration 0003 makes it, 0005 replaces it.
CREATE FUNCTION public.creditaccount_is_sound(
  p_state text, p_unreserved bigint, p_held bigint, p_debt bigint, p_reload_below bigint
) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN p_unreserved >= 0 AND p_held >= 0 AND p_debt >= 0 AND (p_reload_below IS NULL OR p_reload_below >= 0)
    AND coalesce(p_state IN ('open', 'frozen', 'closed'), false);
END $$;
