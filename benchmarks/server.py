"""The benchmark's own PostgreSQL: production's durability, a database for each scene, and pgbench for the floor."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import psycopg

from benchmarks.processes import DURABLE, ROOT, Measured
from console.local import environment, postgres

Superuser = psycopg.Connection[tuple[object, ...]]

# The least work that makes a charge: change a balance, add a row.
FLOOR_TABLES = """
CREATE TABLE floor_account (id bigint PRIMARY KEY, balance_nano bigint NOT NULL);
CREATE TABLE floor_charge (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id bigint NOT NULL, amount_nano bigint NOT NULL, charged_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO floor_account SELECT n, 9000000000000000000 FROM generate_series(1, {accounts}) n;
INSERT INTO floor_charge (account_id, amount_nano) SELECT 1 + n % {accounts}, n FROM generate_series(1, {charges}) n;
"""
FLOOR_SCRIPT = r"""
\set amount random(1, 100000)
\set account random(1, {accounts})
WITH paid AS (UPDATE floor_account SET balance_nano = balance_nano - :amount WHERE id = :account RETURNING id)
INSERT INTO floor_charge (account_id, amount_nano) SELECT id, :amount FROM paid;
"""
FUNCTION_SCRIPT = r"""
\set key random(1, 9000000000000000000)
\set organization random({first}, {last})
\set input random(3, 7436)
\set output random(6, 90)
SELECT * FROM credits_charge(:organization, 'charge', 'pgbench-' || :key::bigint, 'orion-medium', 'api', '',
  NULL, NULL, :input, :output);
"""

# Log files are kept for the next round and not removed at a checkpoint: making a new one stops whoever needs it for 50
# milliseconds and more, and a server that has run for some time has made its own long ago.
# And its buffers hold what is in use: the default is meant for the smallest of machines.
# https://www.postgresql.org/docs/current/runtime-config-resource.html#GUC-SHARED-BUFFERS
SETTINGS = {"min_wal_size": "1GB", "shared_buffers": "1GB"}


@dataclass(frozen=True, slots=True)
class Bench:
    """A running server with the shipped schema in the database `console`, which the scenes copy."""

    server: postgres.Server
    folder: Path

    def create(self, database: str, *, template: str) -> None:
        """A database of its own for a scene."""
        with psycopg.connect(self.server.superuser_url(), autocommit=True) as superuser:
            superuser.execute(f"CREATE DATABASE {database} OWNER {postgres.OWNER} TEMPLATE {template}")

    def drop(self, database: str) -> None:
        """Give its room back."""
        with psycopg.connect(self.server.superuser_url(), autocommit=True) as superuser:
            superuser.execute(f"DROP DATABASE {database} WITH (FORCE)")

    @contextlib.contextmanager
    def superuser(self, database: str) -> Iterator[Superuser]:
        """A session that only prepares: no triggers, no foreign keys, no waiting for the disk."""
        with psycopg.connect(self.server.superuser_url(database), autocommit=True) as superuser:
            superuser.execute("SET session_replication_role = replica")
            superuser.execute("SET synchronous_commit = off")
            superuser.execute("SET maintenance_work_mem = '256MB'")
            yield superuser

    def settle(self, database: str) -> None:
        """Leave nothing of the preparation to be done while something is measured."""
        with self.superuser(database) as superuser:
            superuser.execute("VACUUM ANALYZE")
            superuser.execute("CHECKPOINT")

    def environment(self, database: str) -> dict[str, str]:
        """What the product's processes run with: the runtime role, on this database."""
        variables = os.environ | environment.for_tests()
        variables |= {
            "DATABASE_URL": self.server.app_url(database),
            "MIGRATE_DATABASE_URL": self.server.owner_url(database),
            "DJANGO_SETTINGS_MODULE": "console.settings",
        }
        return dict(variables)

    def build_floor(self, database: str, *, accounts: int, charges: int) -> None:
        """The floor's tables, as full as the product's."""
        with psycopg.connect(self.server.owner_url(database), autocommit=True) as owner:
            owner.execute(FLOOR_TABLES.format(accounts=accounts, charges=charges))
            owner.execute(f"GRANT SELECT, INSERT, UPDATE ON floor_account, floor_charge TO {postgres.APP}")
        (self.folder / f"floor-{database}.sql").write_text(FLOOR_SCRIPT.format(accounts=accounts))

    def write_function_script(self, database: str, *, organizations: tuple[int, int]) -> None:
        """The shipped function without Python around it."""
        script = FUNCTION_SCRIPT.format(first=organizations[0], last=organizations[1])
        (self.folder / f"function-{database}.sql").write_text(script)

    def pgbench(self, script: str, database: str, *, clients: int, milliseconds: int, seed: int) -> Measured:
        """Transactions a second of a pgbench script, prepared, as the runtime role."""
        # A second is pgbench's shortest run; a trial that is to be shorter counts transactions instead.
        length = f"--time={milliseconds // 1_000}" if milliseconds >= 1_000 else f"--transactions={milliseconds}"
        command = [
            *(str(self.server.bin_folder / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--random-seed={seed}"),
            *(f"--client={clients}", f"--jobs={min(clients, 2)}", length),
            *(f"--file={self.folder / f'{script}-{database}.sql'}", self.server.app_url(database)),
        ]
        server_before, client_before = self._processor_of_ended(), _processor_of_children()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        client = _processor_of_children() - client_before
        self._wait_for_ended("pgbench")
        server_after = self._processor_of_ended()
        words = {line.partition(" = ")[0]: line.partition(" = ")[2] for line in done.stdout.splitlines()}
        made = next(line for line in done.stdout.splitlines() if line.startswith("number of transactions actually"))
        count = max(1, int(made.rpartition(": ")[2].partition("/")[0]))
        server = None if server_before is None or server_after is None else server_after - server_before
        return Measured(
            per_second=Fraction(words["tps"].partition(" ")[0]),
            microseconds=milliseconds * 1_000,
            server_nanoseconds=None if server is None else server // count,
            client_nanoseconds=client // count,
        )

    def _wait_for_ended(self, application: str) -> None:
        """A backend outlives its client by a moment, and its processor time is known when it has ended."""
        with psycopg.connect(self.server.superuser_url(), autocommit=True) as superuser:
            while superuser.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = %s", [application]
            ).fetchone():
                time.sleep(0.01)
            time.sleep(0.02)

    def _processor_of_ended(self) -> int | None:
        """Processor time of the server's processes that have ended, in steps of a hundredth of a second."""
        try:
            postmaster = (self.folder / "postgres" / "postmaster.pid").read_text().split()[0]
            fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[13]) + int(fields[14])
        except (OSError, ValueError, IndexError):
            return None
        return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _processor_of_children() -> int:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * 1_000_000_000)


@contextlib.contextmanager
def running() -> Iterator[Bench]:
    """Start a server with the shipped schema. Anything but durable settings ends the run."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="console-bench-", dir="/tmp")))
        folder.chmod(0o755)
        data, log = folder / "postgres", folder / "postgres.log"
        server = stack.enter_context(postgres.running(data, fast=False, log=log, settings=SETTINGS))
        bench = Bench(server=server, folder=folder)
        variables = bench.environment("console")
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=variables, check=True
        )
        yield bench


def durability(bench: Bench) -> Mapping[str, str]:
    """The server's settings as pgbench's sessions meet them. Each client of its own checks them again."""
    names = (*DURABLE, "wal_sync_method", "server_version")
    with psycopg.connect(bench.server.app_url()) as session:
        shown = {name: str(row[0]) for name in names if (row := session.execute(f"SHOW {name}").fetchone())}
    if {name: shown[name] for name in DURABLE} != DURABLE:
        raise SystemExit(f"The settings are not durable: {shown}")
    return shown
