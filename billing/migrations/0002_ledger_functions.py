from django.db import migrations


class Migration(migrations.Migration):
    """Installed the first version of the ledger's functions, which 0004 replaces. Nothing is left to do here."""

    dependencies = [("billing", "0001_initial")]

    operations = []
