from django.db import migrations

from billing.credits.sql import read

# A version's prices as one value, for versions from before there was one; possible while no guard stands.
RATES = """
UPDATE public.billing_priceversion v SET rates = p.rates
FROM (SELECT version_id, jsonb_object_agg(token_class, price_nano_per_million) AS rates FROM public.billing_price GROUP BY 1) p
WHERE p.version_id = v.id AND v.rates = '{}'
"""
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
    """Take down the functions of version 1, and fill what they did not keep. Migration 0005 installs those of version 2."""

    dependencies = [("billing", "0003_corrections_and_usage_days")]

    operations = [
        migrations.RunSQL([(read("drop_functions", version="once"), None)], migrations.RunSQL.noop),
        migrations.RunSQL([(RATES, None)], migrations.RunSQL.noop),
        migrations.RunSQL([(EXHAUSTED, None)], migrations.RunSQL.noop),
    ]
