"""A client of the product: the shipped calls, from a process of its own.

python -m benchmarks.client SEED
"""

import random
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import django
import psycopg

from benchmarks import worker
from benchmarks.worker import Answer, Call, Order

if TYPE_CHECKING:
    from billing.credits.metering import Quantities, Usage

BATCH_EVENTS = 100
LOT_NANO = 10**14
MODEL = "orion-medium"
# What a request asks to hold is its worst case; what it uses is less.
WORST_CASE = {"input": 7_437, "output": 90}


def main(seed: str) -> None:
    """Do what the lines on standard input say."""
    django.setup()
    from django.db import connection

    connection.ensure_connection()
    source = random.Random(seed)

    def show(setting: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW {setting}")
            return str(cursor.fetchone()[0])

    worker.serve(
        show=show,
        backend=connection.connection.info.backend_pid,
        repeated={name: _with(source, operation) for name, operation in OPERATIONS.items()},
        once={"establish": establish, "sweep": sweep},
    )


def _with(source: random.Random, operation: Callable[[random.Random, Order], Call]) -> Callable[[Order], Call]:
    return lambda order: operation(source, order)


def charge(source: random.Random, order: Order) -> Call:
    """The shipped charge, once."""
    from billing.credits import metering

    def call() -> int:
        result = metering.charge(organization_id=one_of(source, order), key=key(source), usage=usage(source))
        assert result.outcome is metering.Outcome.CHARGED, result
        return 1

    return call


def batch(source: random.Random, order: Order) -> Call:
    """The shipped charge_many, with 100 events."""
    from billing.credits import metering

    def call() -> int:
        results = metering.charge_many(
            [
                metering.Event(organization_id=one_of(source, order), key=key(source), usage=usage(source))
                for _ in range(BATCH_EVENTS)
            ]
        )
        assert all(result.outcome is metering.Outcome.CHARGED for result in results)
        return BATCH_EVENTS

    return call


def authorize_capture(source: random.Random, order: Order) -> Call:
    """The two shipped calls of a request: its worst case held, what it used captured."""
    from billing.credits import metering

    def call() -> int:
        organization_id = one_of(source, order)
        hold = metering.authorize(
            organization_id=organization_id, key=key(source), usage=metering.Usage(model=MODEL, quantities=WORST_CASE)
        )
        assert hold.hold_id is not None, hold
        result = metering.capture(
            organization_id=organization_id, hold_id=hold.hold_id, key=key(source), quantities=quantities(source)
        )
        assert result.outcome is metering.Outcome.CHARGED, result
        return 1

    return call


def page(source: random.Random, order: Order) -> Call:
    """The newest page of the statement."""
    from billing.credits import statements

    def call() -> int:
        entries = statements.page(organization_id=one_of(source, order), before_seq=None, limit=50)
        assert len(entries) == 50
        return 1

    return call


def balance(source: random.Random, order: Order) -> Call:
    """What an organization has now."""
    from billing.credits import queries

    def call() -> int:
        assert queries.summary(organization_id=one_of(source, order)).balance_nano > 0
        return 1

    return call


def usage_30_days(source: random.Random, order: Order) -> Call:
    """Thirty days of usage, by day and model."""
    from django.utils import timezone

    from billing.credits import queries

    def call() -> int:
        end = timezone.now()
        lines = queries.usage_by_day_and_model(
            organization_id=one_of(source, order), start=end - timedelta(days=30), end=end
        )
        assert len(lines) >= 30
        return 1

    return call


OPERATIONS: dict[str, Callable[[random.Random, Order], Call]] = {
    "charge": charge,
    "batch": batch,
    "authorize_capture": authorize_capture,
    "page": page,
    "balance": balance,
    "usage_30_days": usage_30_days,
}


def one_of(source: random.Random, order: Order) -> int:
    """An organization of those that the order names as a range of ids."""
    first, last = order["organizations"]
    return first if first == last else source.randint(first, last)


def key(source: random.Random) -> str:
    """An idempotency key that nobody has used."""
    return f"{source.getrandbits(96):024x}"


def usage(source: random.Random) -> "Usage":
    """What a request uses."""
    from billing.credits import metering

    return metering.Usage(model=MODEL, quantities=quantities(source))


def quantities(source: random.Random) -> "Quantities":
    """What a request of the code trace uses, roughly."""
    return {"input": source.randrange(3, 7_437), "output": source.randrange(6, 90)}


def establish(order: Order) -> Answer:
    """An organization with ``lots`` open lots and ``charges`` charges or a few more, all made by the shipped calls."""
    from django.db import connection
    from django.utils import timezone

    from accounts.models import Organization
    from billing.credits import ledger, metering, prices
    from billing.models import CreditLot

    source = random.Random(order["slug"])
    prices.seed(effective_at=timezone.now() - timedelta(days=36))
    organization = Organization.objects.create(name=order["slug"], slug=order["slug"])
    for _ in range(order["lots"]):
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
    for first in range(0, order["charges"], BATCH_EVENTS):
        events = [
            metering.Event(organization_id=organization.pk, key=f"past-{number}", usage=usage(source))
            for number in range(first, min(order["charges"], first + BATCH_EVENTS))
        ]
        metering.charge_many(events)
    # One request in a hundred was held: plans are made for the tables of a service that runs, not for empty ones.
    held = authorize_capture(source, {"organizations": (organization.pk, organization.pk)})
    for _ in range(order["charges"] // 100):
        held()
    connection.close()
    return {"organization_id": organization.pk}


def sweep(order: Order) -> Answer:
    """Book every lot that is past its end. The longest transaction is taken from this side, its commit included."""
    from django.db import connection

    from billing.credits import expiry

    with connection.cursor() as cursor:
        cursor.execute("SELECT public.credits_clock()")
        at = cursor.fetchone()[0]
    with Transactions() as transactions:
        started_at = time.perf_counter_ns()
        expiry.book_due()
        microseconds = (time.perf_counter_ns() - started_at) // 1_000
    assert not _is_anything_due(at), "the sweep left something"
    return {
        "count": order["lots"],
        "microseconds": microseconds,
        "longest_microseconds": transactions.longest_nanoseconds // 1_000,
        "transactions": transactions.count,
    }


def _is_anything_due(at: datetime) -> bool:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM billing_creditlot WHERE is_open AND expires_at <= %s)", [at])
        return bool(cursor.fetchone()[0])


class Transactions:
    """Times every transaction of this process from its first message to the answer to its commit."""

    def __init__(self) -> None:
        self.count = 0
        self.longest_nanoseconds = 0
        self._began_at = 0

    def __enter__(self) -> "Transactions":
        self._wait = wait = psycopg.Connection.wait
        idle = psycopg.pq.TransactionStatus.IDLE

        def timed(connection: psycopg.Connection[object], *arguments: object, **options: object) -> object:
            if connection.pgconn.transaction_status == idle:
                self._began_at = time.perf_counter_ns()
            try:
                return wait(connection, *arguments, **options)  # type: ignore[arg-type]
            finally:
                if connection.pgconn.transaction_status == idle:
                    self.count += 1
                    self.longest_nanoseconds = max(self.longest_nanoseconds, time.perf_counter_ns() - self._began_at)

        psycopg.Connection.wait = timed  # type: ignore[assignment, method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        psycopg.Connection.wait = self._wait  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1])
