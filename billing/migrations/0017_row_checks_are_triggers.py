from django.db import migrations

from billing.credits.sql import FILES, read

DROP_CHECKS = """
DROP FUNCTION public.creditaccount_is_sound, public.hold_is_sound, public.charge_is_sound, public.ledgerentry_is_sound,
  public.usageday_is_sound;
"""


class Migration(migrations.Migration):
    """Rows that usage writes are checked by triggers: a constraint is planned anew in each statement."""

    dependencies = [("billing", "0016_batches_of_arrays")]

    operations = [
        migrations.RunSQL([(read("drop_functions", version="once"), None)], migrations.RunSQL.noop),
        migrations.RemoveConstraint("creditaccount", "account_sound"),
        migrations.RemoveConstraint("hold", "hold_sound"),
        migrations.RemoveConstraint("charge", "charge_sound"),
        migrations.RemoveConstraint("ledgerentry", "entry_sound"),
        migrations.RemoveConstraint("usageday", "usage_day_sound"),
        migrations.RunSQL([(DROP_CHECKS, None)], [(read("row_checks", version="once"), None)]),
        migrations.RunSQL([(read(name, version="v2"), None) for name in FILES], read("drop_functions", version="once")),
    ]
