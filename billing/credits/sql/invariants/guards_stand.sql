-- The triggers that refuse changes of history and rows that can't be are there, switched on, fire when they were made to
-- fire, under no condition, and call what they were made to call. Those that check rows fire in sessions that replicate, too.
select null::bigint as organization_id, 'trigger ' || guard.name as subject,
  case when t.oid is null then 'is missing on ' when t.tgenabled not in ('O', 'A') then 'is switched off on '
    when p.proname <> guard.function then 'calls another function on ' else 'does not always fire on ' end
    || guard.on_table as detail
from (
  select * from unnest(%(trigger_names)s::text[], %(trigger_types)s::integer[], %(trigger_tables)s::text[],
    %(trigger_functions)s::text[])
  union all values
    ('audit_event_immutable', 27, 'accounts_auditevent', 'accounts_refuse_audit_change'),
    ('audit_event_no_truncate', 34, 'accounts_auditevent', 'accounts_refuse_audit_change')
) as guard(name, type, on_table, function)
left join pg_trigger t on t.tgname = guard.name and t.tgrelid = to_regclass('public.' || guard.on_table)
left join pg_proc p on p.oid = t.tgfoid
where t.oid is null or p.proname <> guard.function or t.tgtype <> guard.type or t.tgqual is not null
  or t.tgenabled <> 'A' and (t.tgenabled <> 'O' or guard.name = any (%(always_triggers)s::text[]))
