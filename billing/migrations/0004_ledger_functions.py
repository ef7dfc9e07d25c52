from django.db import migrations

from billing.credits.sql import FILES, read

DROP = """
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
# A version's prices as one value, for versions from before there was one; possible while no guard stands.
RATES = """
UPDATE public.billing_priceversion v SET rates = p.rates
FROM (SELECT version_id, jsonb_object_agg(token_class, price_nano_per_million) AS rates FROM public.billing_price GROUP BY 1) p
WHERE p.version_id = v.id AND v.rates = '{}'
"""
# What was used before there were days to add it to.
FILL = "SELECT public.credits_rebuild_usage_days(id) FROM public.accounts_organization"
# Accounts that were low, or had run out, before there were events: nobody has to be told of them again.
EXHAUSTED = """
UPDATE public.billing_creditaccount SET exhausted_at = coalesce(last_at, created_at)
WHERE last_seq > 0 AND exhausted_at IS NULL AND unreserved_nano + held_nano - debt_nano <= 0;
INSERT INTO public.billing_creditevent (organization_id, kind, occurred_at, handled_at)
SELECT organization_id, 'exhausted', exhausted_at, exhausted_at FROM public.billing_creditaccount WHERE exhausted_at IS NOT NULL
UNION ALL
SELECT organization_id, 'reload_due', low_at, low_at FROM public.billing_creditaccount WHERE low_at IS NOT NULL;
"""


class Migration(migrations.Migration):
    """Install the functions of the ledger, version 2, in place of whatever version stands."""

    dependencies = [("billing", "0003_corrections_and_usage_days")]

    operations = [
        migrations.RunSQL([(DROP, None)], migrations.RunSQL.noop),
        migrations.RunSQL([(RATES, None)], migrations.RunSQL.noop),
        migrations.RunSQL([(read(name, version="v2"), None) for name in FILES], DROP),
        migrations.RunSQL([(EXHAUSTED, None)], migrations.RunSQL.noop),
        migrations.RunSQL([(FILL, None)], migrations.RunSQL.noop),
    ]
