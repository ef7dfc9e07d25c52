-- The one clock of money. VOLATILE, so that a statement which waited for a lock sees the time after the wait.
-- Tests and rehearsals replace the function as its owner; no session setting is read.
create function public.credits_clock() returns timestamptz
language sql volatile as $$ select clock_timestamp() $$;
