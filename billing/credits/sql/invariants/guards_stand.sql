-- The triggers that refuse changes of history are there and switched on.
select null::bigint as organization_id, 'trigger ' || guard.name as subject,
  case when t.oid is null then 'is missing on ' else 'is switched off on ' end || guard.on_table as detail
from (values
  ('billing_ledgerentry', 'ledgerentry_immutable'), ('billing_ledgerentry', 'ledgerentry_not_truncated'),
  ('billing_charge', 'charge_immutable'), ('billing_charge', 'charge_not_truncated'),
  ('billing_price', 'price_immutable'), ('billing_price', 'price_not_truncated'),
  ('billing_priceversion', 'priceversion_guarded'),
  ('billing_creditlot', 'lot_delete_guarded'), ('billing_creditlot', 'lot_update_guarded'),
  ('billing_autoreloadconsent', 'reload_consent_immutable'), ('billing_autoreloadconsent', 'reload_consent_not_truncated'),
  ('accounts_auditevent', 'audit_event_immutable'), ('accounts_auditevent', 'audit_event_no_truncate')
) as guard(on_table, name)
left join pg_trigger t on t.tgname = guard.name and t.tgrelid = to_regclass('public.' || guard.on_table)
where t.oid is null or t.tgenabled not in ('O', 'A')
