-- The clock of money is the database's own. Rehearsals replace it; a production database never does.
select null::bigint as organization_id, 'function credits_clock' as subject, 'is replaced: ' || trim(prosrc) as detail
from pg_proc
where pronamespace = 'public'::regnamespace and proname = 'credits_clock'
  and trim(both E' \n' from prosrc) <> 'select clock_timestamp()'
