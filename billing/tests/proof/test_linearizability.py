"""What eight clients at once are told could have been told one after the other, for each organization.

The clients are threads with connections of their own, as the product has them, and call the product's own functions.
The money clock runs a thousand times as fast as others do, so that lots end and holds lapse while clients are at it.
The control runs the shipped functions, copied by text, without the line that locks: the checker must find that no order
explains what its clients are told, or it would prove nothing.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, connections

from billing.credits import sql
from billing.tests.customer import MODEL, Customer, publish_price
from billing.tests.proof import real_ledger
from billing.tests.proof.ledger_model import Account, PriceVersion, Usage
from billing.tests.proof.linearizability import Final, Linearization, Observed

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS = 8
OPERATIONS_OF_A_CLIENT = 8
ORGANIZATIONS = 2
SPEED = 1_000
STARTS_AT = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
PRICED_SINCE = datetime(2020, 1, 1, tzinfo=UTC)
PRICES = PriceVersion(MODEL, PRICED_SINCE, {"input": 10**6, "output": 10**6})
LOCK_LINE = "for no key update"
CONTROLS = 10

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class FastClock:
    """A clock that both sides can read: the database by a function, a client by arithmetic on the same machine."""

    origin_us: int

    @property
    def sql(self) -> str:
        origin = f"timestamptz 'epoch' + interval '{self.origin_us} microseconds'"
        return f"select timestamptz '{STARTS_AT.isoformat()}' + (clock_timestamp() - ({origin})) * {SPEED}"

    def now(self, *, ahead_us: int = 0) -> datetime:
        passed_us = time.time_ns() // 1_000 - self.origin_us + ahead_us
        return STARTS_AT + timedelta(microseconds=passed_us * SPEED)


@contextmanager
def fast_clock(owner: Connection, schema: str = "public") -> Iterator[FastClock]:
    """Replace the money clock of a schema by its owner; it runs as before afterwards."""
    row = owner.execute(f"select pg_get_functiondef('{schema}.credits_clock()'::regprocedure)").fetchone()
    assert row is not None
    clock = FastClock(time.time_ns() // 1_000)
    owner.execute(
        f"create or replace function {schema}.credits_clock() returns timestamptz language sql volatile"
        f" as $$ {clock.sql} $$"
    )
    try:
        yield clock
    finally:
        owner.execute(row[0])


@dataclass
class Concurrent:
    """One history of some organizations by several clients. ``schema`` is where the functions are that they call."""

    clock: FastClock
    seed: int
    organization_ids: list[int]
    schema: str = "public"
    observed: list[Observed] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def run(self) -> None:
        begin = threading.Barrier(CLIENTS)
        threads = [threading.Thread(target=self._client, args=[number, begin]) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, begin: threading.Barrier) -> None:
        chance = random.Random(self.seed * CLIENTS + number)
        try:
            connection.ensure_connection()
            with connection.cursor() as cursor:
                cursor.execute(f"set search_path = {self.schema}")
            begin.wait()
            for _ in range(OPERATIONS_OF_A_CLIENT):
                self._call(*self._choose(chance))
        except Exception as error:
            self.failures.append(error)
        finally:
            connections.close_all()

    def _choose(self, chance: random.Random) -> tuple[str, dict[str, Any]]:
        """An operation, with keys that other clients use too and holds that they may be about to settle."""
        organization_id = chance.choice(self.organization_ids)
        holds = sorted(self._holds(organization_id))
        operation = chance.choices(
            ["authorize", "capture", "void", "charge", "usage", "grant", "expire"], [5, 5, 3, 4, 1, 3, 1]
        )[0]
        if operation in ("capture", "void") and not holds:
            operation = "authorize"
        key = f"{operation}-{chance.randrange(16)}"
        usage = Usage(MODEL, {"input": chance.choice([1, 5, 10, 25])})
        arguments: dict[str, Any] = {"organization_id": organization_id}
        match operation:
            case "authorize":
                arguments |= {"key": key, "usage": usage, "ttl_seconds": chance.choice([1, 5, 60])}
            case "capture":
                arguments |= {"hold_id": chance.choice(holds), "key": key, "quantities": usage.quantities}
            case "void":
                arguments |= {"hold_id": chance.choice(holds)}
            case "charge" | "usage":
                arguments |= {"key": key, "usage": usage, "operation": operation}
                operation = "charge"
            case "grant":
                arguments |= {
                    "kind": "promotional",
                    "amount_nano": chance.choice([10, 40]),
                    "expires_at": self.clock.now() + timedelta(seconds=chance.choice([20, 3_600])),
                    "reason": "for a proof",
                }
            case "expire":
                arguments |= {"limit": 1_000}
        return operation, arguments

    def _holds(self, organization_id: int) -> set[int]:
        return {
            one.answer.hold_id
            for one in list(self.observed)
            if one.arguments["organization_id"] == organization_id
            and one.operation == "authorize"
            and one.answer.hold_id
        }

    def _call(self, operation: str, arguments: dict[str, Any]) -> None:
        called_at = self.clock.now()
        try:
            answer = real_ledger.OPERATIONS[operation](**arguments)
        except DatabaseError:
            # What fails is undone as a whole. Only the control's copy, whose sums contradict its lots, fails.
            if self.schema == "public":
                raise
            return
        self.observed.append(Observed(operation, arguments, called_at, self.clock.now(ahead_us=1), answer))

    def of(self, organization_id: int) -> list[Observed]:
        return [one for one in self.observed if one.arguments["organization_id"] == organization_id]


def final_state(superuser: Connection, organization_id: int) -> Final:
    """What is there when all clients are done."""

    def rows(statement: str) -> list[tuple[Any, ...]]:
        return superuser.execute(statement, [organization_id]).fetchall()

    return Final(
        tuple(
            rows(
                "select kind, lot_id, amount_nano, cause_kind, cause_id, balance_after_nano"
                " from billing_ledgerentry where organization_id = %s order by seq"
            )
        ),
        tuple(rows("select id, remaining_nano from credits_lots(%s) order by id")),
        tuple(
            (hold_id, state, tuple(zip(lots, amounts, strict=True)))
            for hold_id, state, lots, amounts in rows(
                "select id, state, lot_ids, lot_amounts_nano from billing_hold where organization_id = %s order by id"
            )
        ),
    )


def test_answers_of_concurrent_clients_have_an_order_that_explains_them(
    owner_connection, superuser_connection, pytestconfig, tell
):
    histories = pytestconfig.getoption("concurrent_histories")
    seed = pytestconfig.getoption("seed") or random.SystemRandom().randrange(10**9)
    publish_price(effective_at=PRICED_SINCE)
    counts: Counter[tuple[str, str]] = Counter()
    overlaps = 0
    with fast_clock(owner_connection) as clock:
        tell(f"\nlinearizability: --concurrent-histories {histories} --seed {seed}")
        for number in range(histories):
            ids = [Customer(f"linear-{number}-{which}").id for which in range(ORGANIZATIONS)]
            history = Concurrent(clock, seed + number, ids)
            history.run()
            assert not history.failures, history.failures
            for organization_id in ids:
                observed = history.of(organization_id)
                final = final_state(superuser_connection, organization_id)
                search = Linearization([PRICES], observed, final)
                assert search.find(Account(organization_id)) is not None, (
                    f"no order explains what was answered (seed {seed + number}, tried {search.tried}):\n"
                    + "\n".join(map(str, sorted(observed, key=lambda one: one.called_at)))
                )
                counts.update((one.operation, getattr(one.answer, "outcome", "done")) for one in observed)
                overlaps += sum(
                    one.called_at < other.called_at < one.answered_at for one in observed for other in observed
                )
        for (operation, outcome), times in sorted(counts.items()):
            tell(f"  {operation:12} {outcome:24} {times:7,}")
        tell(f"  calls within another one's {overlaps:7,}")
    assert overlaps, "nothing was concurrent"


@pytest.fixture
def copied_ledger(superuser_connection) -> Iterator[Callable[[str], None]]:
    """A copy of tables without what guards sums, and of the functions by text, in a schema of its own.

    Keys are guarded there too: who brings the same one at the same moment is told by unique rows, not by the lock.
    """

    def build(lock_line: str) -> None:
        superuser_connection.execute("drop schema if exists control cascade; create schema control")
        tables = superuser_connection.execute(
            "select tablename from pg_tables where schemaname = 'public'"
            " and (starts_with(tablename, 'billing_') or tablename = 'accounts_organization')"
        ).fetchall()
        for (table,) in tables:
            superuser_connection.execute(
                f"create table control.{table} (like public.{table} including identity including generated"
                " including defaults)"
            )
        for table in ("accounts_organization", "billing_pricedmodel", "billing_priceversion", "billing_price"):
            columns = superuser_connection.execute(
                "select string_agg(quote_ident(attname), ', ') from pg_attribute where attrelid = %s::regclass"
                " and attnum > 0 and attgenerated = '' and not attisdropped",
                [f"public.{table}"],
            ).fetchone()[0]
            superuser_connection.execute(
                f"insert into control.{table} ({columns}) overriding system value select {columns} from public.{table}"
            )
        superuser_connection.execute(
            "alter table control.billing_creditlot add check (expires_at > effective_at);"
            "create unique index on control.billing_creditaccount (organization_id);"
            "create unique index on control.billing_charge (organization_id, idempotency_key);"
            "create unique index on control.billing_hold (organization_id, idempotency_key);"
            "create unique index on control.billing_usageday (organization_id, day, surface, priced_model_id, key_ref);"
            "create unique index on control.billing_unpricedusage"
            " (organization_id, operation, idempotency_key, model, token_class)"
        )
        for name in sql.FILES:
            if name not in ("row_checks", "guards"):
                text = sql.read(name).replace("public.", "control.").replace("= public,", "= control,")
                superuser_connection.execute(text.replace(LOCK_LINE, lock_line))
        superuser_connection.execute("grant usage on schema control to console_app")

    yield build
    superuser_connection.execute("drop schema if exists control cascade")


@pytest.mark.parametrize("lock_line", [LOCK_LINE, ""], ids=["with the lock", "without the lock"])
def test_control_the_checker_finds_that_answers_without_the_lock_have_no_order(
    superuser_connection, copied_ledger, lock_line
):
    publish_price(effective_at=PRICED_SINCE)
    is_found = False
    for number in range(CONTROLS if not lock_line else 1):
        ids = [Customer(f"control-{number}-{which}").id for which in range(ORGANIZATIONS)]
        copied_ledger(lock_line)
        with fast_clock(superuser_connection, "control") as clock:
            history = Concurrent(clock, number, ids, schema="control")
            history.run()
            assert not history.failures, history.failures
        is_found = any(Linearization([PRICES], history.of(one)).find(Account(one)) is None for one in ids)
        if is_found:
            break
    assert is_found == (not lock_line)
