"""The recipe of docs/scaling.md, run on a ledger with a history: nothing else notices that tables are partitioned now.

It runs in a database of its own, a copy of the test database, so that no other test sees anything of it.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import psycopg
import pytest
from django.db import connection, connections
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from billing.credits import invariants, sql
from billing.credits.invariants import Severity
from billing.tests.history import History, moving_clock
from billing.tests.proof import real_ledger
from billing.tests.proof.machine import LedgerMachine
from billing.tests.proof.side_by_side import Counts, SideBySide
from console.local import postgres

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "scaling"
DATABASE = "test_partitioned"
TABLES = ("billing_creditlot", "billing_hold", "billing_charge", "billing_ledgerentry", "billing_usageday")
PARTITIONS = 16

Address = Callable[[str], str]


# Of each table, before and after the switch.
ROWS: dict[str, tuple[Any, Any]] = {}
BROKEN: list[tuple[str, Any]] = []


@pytest.fixture(scope="module")
def partitioned(django_db_setup: None, django_db_blocker: Any, role_address: Address) -> Iterator[Address]:
    """Addresses, by role, of a database whose history began before it was partitioned and went on between the steps."""

    def address(role: str) -> str:
        return urlsplit(role_address(role))._replace(path=f"/{DATABASE}").geturl()

    with django_db_blocker.unblock():
        original = str(connection.settings_dict["NAME"])
        connections.close_all()
        with psycopg.connect(
            urlsplit(role_address("superuser"))._replace(path="/postgres").geturl(), autocommit=True
        ) as server:
            server.execute(f"drop database if exists {DATABASE} with (force)")
            server.execute(f"create database {DATABASE} template {original} owner console_owner")
            connection.settings_dict["NAME"] = DATABASE
            try:
                with moving_clock(address("console_owner")) as set_clock:
                    story = History(set_clock=set_clock, seed=7)
                    story.tell(steps=26)
                    run(RECIPE / "1-prepare.sql", address("console_owner"))
                    # The service goes on after the first step.
                    story.busy.give(10**9)
                    for number in range(20):
                        story.busy.charge(number, key=f"between-{number}")
                        story.first.report(number, key=f"between-{number}")
                    connections.close_all()
                run(RECIPE / "2-switch.sql", address("console_owner"))
                with psycopg.connect(address("superuser"), autocommit=True) as superuser:
                    # Before the model's machine runs here, which deletes the open lots of whoever was there before it.
                    ROWS.update(
                        {
                            table: (rows(superuser, "ledger_old", table), rows(superuser, "public", table))
                            for table in TABLES
                        }
                    )
                with psycopg.connect(address("superuser"), autocommit=True) as superuser:
                    BROKEN.extend(broken(superuser))
                yield address
            finally:
                connections.close_all()
                connection.settings_dict["NAME"] = original
                server.execute(f"drop database if exists {DATABASE} with (force)")


def run(script: Path, address: str) -> None:
    """Run a script as its head says."""
    psql = postgres.reachable_bin_folder(None, spare_folder=Path()) / "psql"
    done = subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script, address], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def superuser(partitioned: Address) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(partitioned("superuser"), autocommit=True) as connected:
        yield connected


def test_the_recipe_installs_every_function_file_in_the_order_of_the_migration():
    included = re.findall(r"^\\ir .*/sql/(\w+)/(\w+)\.sql$", (RECIPE / "2-switch.sql").read_text(), flags=re.MULTILINE)
    assert included == [(sql.VERSION, name) for name in sql.FILES]


def broken(superuser: psycopg.Connection[tuple[Any, ...]]) -> list[tuple[str, Any]]:
    """The invariants that do not hold, with their rows."""
    chosen = tuple(one for one in invariants.INVARIANTS if one.severity is Severity.VIOLATION)
    row = superuser.execute("select max(last_at) from billing_creditaccount").fetchone()
    assert row is not None
    (at,) = row
    with superuser.transaction(), superuser.cursor() as cursor:
        verdicts = list(invariants.examine(cursor, at=at, invariants=chosen))
    return [(verdict.name, verdict.findings) for verdict in verdicts if not verdict.holds]


def rows(superuser: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> tuple[Any, ...] | None:
    """How many rows there are, and the sum of their ids."""
    return superuser.execute(f"select count(*), sum(id) from {schema}.{table}").fetchone()


def test_no_row_is_lost_and_rows_are_spread(superuser):
    for table in TABLES:
        before, after = ROWS[table]
        assert before == after, table
        assert before[0] > 0
        (filled,) = superuser.execute(f"select count(distinct tableoid) from public.{table}").fetchone()
        assert filled > 1
        (partitions,) = superuser.execute(
            "select count(*) from pg_inherits where inhparent = %s::regclass", [f"public.{table}"]
        ).fetchone()
        assert partitions == PARTITIONS


def test_every_invariant_holds_also_those_of_the_database_itself(partitioned):
    assert BROKEN == []


def test_what_asks_for_an_organization_reads_one_partition(superuser):
    for table, column in [
        ("billing_creditlot", "expires_at"),
        ("billing_hold", "idempotency_key"),
        ("billing_charge", "idempotency_key"),
        ("billing_ledgerentry", "seq"),
        ("billing_usageday", "day"),
    ]:
        plan = "\n".join(
            line
            for (line,) in superuser.execute(
                f"explain (costs off) select * from public.{table} where organization_id = 1 order by {column} limit 1"
            )
        )
        assert len(set(re.findall(rf"{table}_\d+\b", plan))) == 1, plan


def test_history_is_as_immutable_as_before(partitioned, superuser):
    (name,) = superuser.execute("select tableoid::regclass::text from public.billing_charge limit 1").fetchone()
    for role in ("console_owner", "superuser"):
        with psycopg.connect(partitioned(role), autocommit=True) as connected:
            for table in ("public.billing_charge", name):
                for change in (f"update {table} set amount_nano = 0", f"delete from {table}", f"truncate {table}"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="its rows are history"):
                        connected.execute(change)
    with psycopg.connect(partitioned("console_app"), autocommit=True) as app:
        for change in (f"select * from {name}", f"insert into {name} default values", "truncate public.billing_charge"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
                app.execute(change)


def test_rows_of_each_partition_are_checked_whoever_writes_them(superuser):
    with superuser.transaction(force_rollback=True):
        superuser.execute("set local session_replication_role = replica")
        for table, change in {
            "billing_hold": "amount_nano = -1",
            "billing_charge": "amount_nano = -1",
            "billing_ledgerentry": "amount_nano = 0",
        }.items():
            partitions = superuser.execute(f"select distinct tableoid::regclass::text from public.{table}").fetchall()
            assert len(partitions) > 1
            for (name,) in partitions:
                with pytest.raises(psycopg.errors.CheckViolation, match="violates check"), superuser.transaction():
                    superuser.execute(f"update {name} set {change}")


def test_every_operation_answers_as_the_model_predicts(partitioned, superuser, django_db_blocker):
    with (
        django_db_blocker.unblock(),
        psycopg.connect(partitioned("console_owner"), autocommit=True) as owner,
        real_ledger.clock_in_a_row(owner) as clock,
    ):
        counts = Counts()
        observer = real_ledger.Observer(superuser)
        LedgerMachine.begin = lambda at: SideBySide(observer, clock, counts, starts_at=at)
        run_state_machine_as_test(
            hypothesis.seed(5)(LedgerMachine),
            settings=settings(
                max_examples=4,
                stateful_step_count=25,
                phases=[Phase.generate],
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        connections.close_all()
    assert {operation for operation, _ in counts} >= {
        "authorize",
        "capture",
        "charge",
        "charge_many",
        "grant",
        "reverse",
    }
