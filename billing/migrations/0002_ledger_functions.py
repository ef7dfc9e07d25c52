from django.db import migrations

from billing.credits.sql import V1, read

DROP = """
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT tgname, tgrelid::regclass AS on_table FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE p.proname LIKE 'credits\\_\\_%' AND NOT t.tgisinternal
  LOOP EXECUTE format('DROP TRIGGER %I ON %s', f.tgname, f.on_table); END LOOP;
  FOR f IN SELECT oid::regprocedure AS name FROM pg_proc WHERE proname LIKE 'credits\\_%' AND pronamespace = 'public'::regnamespace
  LOOP EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', f.name); END LOOP;
  DROP TYPE IF EXISTS public.credits_result;
END $$;
"""


class Migration(migrations.Migration):
    """Install the functions of the ledger, version 1."""

    dependencies = [("billing", "0001_initial")]

    operations = [migrations.RunSQL([(read("v1", name), None) for name in V1], DROP)]
