from django.db import migrations

from billing.credits.sql import FILES, read


class Migration(migrations.Migration):
    """Install the functions anew: a batch is arrays from its events to its answers."""

    dependencies = [("billing", "0015_no_fingerprints")]

    operations = [
        migrations.RunSQL([(read("drop_functions", version="once"), None)], migrations.RunSQL.noop),
        migrations.RunSQL([(read(name, version="v2"), None) for name in FILES], read("drop_functions", version="once")),
    ]
