"""The benchmark's own PostgreSQL: production's durability, the shipped schema, an organization in use."""

import contextlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from console.local import environment, postgres

ROOT = Path(__file__).resolve().parent.parent
LOT_NANO = 10**15
# A batch of a thousand walks long chains of row versions; a hundred is quicker for each charge.
FILL_EVENTS_PER_CALL = 100
PROGRESS_CHARGES = 10_000

# The least work that makes a charge: change a balance, add a row.
FLOOR_TABLES = """
CREATE TABLE floor_account (id integer PRIMARY KEY, balance_nano bigint NOT NULL);
CREATE TABLE floor_charge (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id integer NOT NULL, amount_nano bigint NOT NULL, charged_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO floor_account VALUES (1, 9000000000000000000);
INSERT INTO floor_charge (account_id, amount_nano) SELECT 1, n FROM generate_series(1, {charges}) n;
"""
FLOOR_SCRIPT = r"""
\set amount random(1, 100000)
WITH paid AS (UPDATE floor_account SET balance_nano = balance_nano - :amount WHERE id = 1 RETURNING id)
INSERT INTO floor_charge (account_id, amount_nano) SELECT id, :amount FROM paid;
"""
FUNCTION_SCRIPT = r"""
\set key random(1, 9000000000000000000)
\set input random(3, 7436)
\set output random(6, 90)
SELECT * FROM credits_charge({organization}, 'charge', 'pgbench-' || :key::bigint, 'orion-medium', 'api', '',
  jsonb_build_object('input', :input::bigint, 'output', :output::bigint), NULL);
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """A server that is ready to be measured."""

    server: postgres.Server
    folder: Path
    environment: Mapping[str, str]
    organization_id: int

    def pgbench(self, script: str, *, clients: int, seconds: int, seed: int) -> int:
        """Transactions a second of a pgbench script, prepared, as the runtime role."""
        file = self.folder / f"{script}.sql"
        command = [
            str(self.server.bin_folder / "pgbench"),
            "--no-vacuum",
            "--protocol=prepared",
            f"--random-seed={seed}",
        ]
        command += [f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={seconds}", f"--file={file}"]
        done = subprocess.run([*command, self.server.app_url()], check=True, capture_output=True, text=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith("tps = "))
        return int(line.split()[2].partition(".")[0])


@contextlib.contextmanager
def ready(*, charges: int, lots: int) -> Iterator[Bench]:
    """Start a server, install the schema, and fill one organization with ``lots`` lots and ``charges`` charges."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="console-bench-", dir="/tmp")))
        folder.chmod(0o755)
        server = stack.enter_context(postgres.running(folder / "postgres", fast=False, log=folder / "postgres.log"))
        variables = os.environ | environment.for_tests()
        variables |= {"DATABASE_URL": server.app_url(), "MIGRATE_DATABASE_URL": server.owner_url()}
        variables["DJANGO_SETTINGS_MODULE"] = "console.settings"
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=variables, check=True
        )
        os.environ.update(variables)
        organization_id = fill(charges=charges, lots=lots)
        with psycopg.connect(server.owner_url(), autocommit=True) as owner:
            owner.execute(FLOOR_TABLES.format(charges=charges))
            owner.execute(f"GRANT SELECT, INSERT, UPDATE ON floor_account, floor_charge TO {postgres.APP}")
        with psycopg.connect(server.superuser_url("console"), autocommit=True) as superuser:
            superuser.execute("VACUUM ANALYZE")
            superuser.execute("CHECKPOINT")
        (folder / "floor.sql").write_text(FLOOR_SCRIPT)
        (folder / "function.sql").write_text(FUNCTION_SCRIPT.format(organization=organization_id))
        yield Bench(server=server, folder=folder, environment=variables, organization_id=organization_id)


def fill(*, charges: int, lots: int) -> int:
    """Make the organization with its lots and past charges. Returns its id."""
    import django

    django.setup()
    from django.db import connection
    from django.utils import timezone

    from accounts.models import Organization
    from benchmarks.client import quantities
    from billing.credits import ledger, metering, prices
    from billing.models import CreditLot

    source = random.Random(charges)
    prices.seed(effective_at=timezone.now() - timedelta(days=36))
    organization = Organization.objects.create(name="Bench", slug="bench")
    for _ in range(lots):
        ledger.grant(
            organization_id=organization.pk,
            kind=CreditLot.Kind.PROMOTIONAL,
            amount_nano=LOT_NANO,
            reason="for the benchmark",
        )
    with connection.cursor() as cursor:
        # Only what comes before the measurements gives durability up, and time for planning.
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET plan_cache_mode = force_generic_plan")
    for first in range(0, charges, FILL_EVENTS_PER_CALL):
        events = [
            metering.Event(
                organization_id=organization.pk,
                key=f"past-{number}",
                usage=metering.Usage(model="orion-medium", quantities=quantities(source)),
            )
            for number in range(first, min(charges, first + FILL_EVENTS_PER_CALL))
        ]
        metering.charge_many(events)
        if first and first % PROGRESS_CHARGES == 0:
            print(f"{first:,} charges ...", file=sys.stderr, flush=True)
    connection.close()
    return organization.pk
