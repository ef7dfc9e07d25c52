from django.db import migrations

from billing.credits.sql import CHECKS, FILES, read


class Migration(migrations.Migration):
    """A repeated request is compared with its row: charges and holds need no fingerprint of it."""

    dependencies = [("billing", "0014_usual_rates")]

    operations = [
        migrations.RunSQL([(read("drop_functions", version="once"), None)], migrations.RunSQL.noop),
        migrations.RemoveField("charge", "fingerprint"),
        migrations.RemoveField("hold", "fingerprint"),
        migrations.RunSQL([(read(CHECKS, version="v2"), None)], migrations.RunSQL.noop),
        migrations.RunSQL([(read(name, version="v2"), None) for name in FILES], read("drop_functions", version="once")),
    ]
