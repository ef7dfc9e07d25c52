"""Auto-reload over many days: credit falls below the line again and again, four workers and two beats see it at once.

Time is virtual: the ledger's clock, Stripe's and the tasks' are moved together. What must hold is read from Stripe's
own journal and from the purchases by code that shares nothing with the product: never more than five reloads in any 24
hours, never more than the monthly limit, never two in flight. The seed is printed; `--crossings 10000 --days 40 --seed
N` is the long run.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from billing import tasks
from billing.errors import BillingError
from billing.models import CreditLot, Purchase, ReloadState
from billing.money import nano_from_cents
from billing.payments import auto_reload, purchases, reconciliation, reload_rules
from billing.tests.buyer import ASKS_ALWAYS, DECLINES_WHEN_CHARGED, MASTERCARD, VISA, Buyer, at_once

pytestmark = pytest.mark.django_db(transaction=True)

WORKERS, BEATS = 4, 2
MINIMUM_CENTS, TARGET_CENTS, CAP_CENTS = 500, 2_000, 60_000
DAY = timedelta(hours=24)
STARTS_AT = datetime(2027, 1, 9, 7, tzinfo=UTC)


# The oracle


def most_in_a_day(times: Sequence[datetime]) -> int:
    """The most instants in any half-open stretch of 24 hours."""
    ordered = sorted(times)
    return max((sum(first <= at < first + DAY for at in ordered) for first in ordered), default=0)


def most_in_a_month(charged: Sequence[tuple[datetime, int]]) -> int:
    """The largest sum of a calendar month in UTC, in cents."""
    months: Counter[tuple[int, int]] = Counter()
    for at, cents in charged:
        months[at.year, at.month] += cents
    return max(months.values(), default=0)


def most_at_once(stretches: Sequence[tuple[datetime, datetime]]) -> int:
    """How many stretches overlap at most; one that ends when another begins does not."""
    steps = sorted([(begin, 1) for begin, _ in stretches] + [(end, -1) for _, end in stretches])
    running = most = 0
    for _, step in steps:
        running += step
        most = max(most, running)
    return most


# The simulation


class Simulation:
    """One organization, its clock, its workers and beats, and a customer who now and then does something."""

    def __init__(self, buyer: Buyer, clock: Any, chance: random.Random, pool: ThreadPoolExecutor) -> None:
        self.buyer, self.clock, self.chance, self.pool = buyer, clock, chance, pool
        self.at = STARTS_AT
        self.counts: Counter[str] = Counter()
        self.set_clock()

    def set_clock(self) -> None:
        self.clock.set(self.at)
        self.buyer.stripe.control.move_clock(offset_seconds=self.at.timestamp() - datetime.now(UTC).timestamp())

    def cross(self, *, pause: timedelta) -> None:
        """Let time pass, let credit fall below the line, and let everybody see it at the same moment."""
        self.at += pause * (0.5 + self.chance.random())
        self.set_clock()
        self.lift()
        self.customer()
        level = self.level_cents()
        self.buyer.spend(level - MINIMUM_CENTS + self.chance.randrange(1, 300))
        self.counts["crossing"] += self.level_cents() < MINIMUM_CENTS
        before = Purchase.objects.count()
        self.everybody()
        self.note(before)

    def lift(self) -> None:
        """Somebody gives credit where no reload has, so that it can fall once more."""
        missing = MINIMUM_CENTS + 100 - self.level_cents()
        if missing > 0:
            self.buyer.fund(missing)

    def level_cents(self) -> int:
        return self.buyer.available_cents

    def everybody(self) -> None:
        """Four workers with a message each, and two beats whose sweeps find the same."""
        work: list[Callable[[], object]] = [partial(self.buyer.attempt, at=self.at)] * WORKERS
        work += [tasks.sweep_reloads, tasks.relay_credit_events][:BEATS]
        self.chance.shuffle(work)
        barrier = threading.Barrier(len(work))
        for error in self.pool.map(partial(_run, barrier), work):
            if error is not None:
                raise error

    def note(self, before: int) -> None:
        made = Purchase.objects.order_by("-id").first() if Purchase.objects.count() > before else None
        if made is not None:
            self.counts[f"reload {made.state}"] += 1
            return
        status = auto_reload.status(organization=self.buyer.organization, at=self.at)
        reason = str(status.state)
        if status.state == ReloadState.COOLING_DOWN:
            full = status.reloads_last_24_hours >= reload_rules.RELOADS_PER_DAY_MAX
            reason += ": five in 24 hours" if full else ": after a decline or a reload"
        self.counts[f"none, {reason}"] += 1

    def customer(self) -> None:
        """Now and then: another card, an answer to the bank, a purchase by hand, other settings, a sweep."""
        act = self.chance.choices(
            [None, self.another_card, self.answer, self.buy, self.settle, self.sweep], weights=[70, 4, 8, 3, 3, 12]
        )[0]
        if act is not None:
            with suppress(BillingError):
                act()

    def another_card(self) -> None:
        self.buyer.save_card(self.chance.choice([VISA, VISA, VISA, MASTERCARD, ASKS_ALWAYS, DECLINES_WHEN_CHARGED]))

    def answer(self) -> None:
        waiting = Purchase.objects.filter(state=Purchase.State.NEEDS_CUSTOMER).first()
        if waiting is None:
            return
        purchases.confirm(
            organization=self.buyer.organization, purchase_id=waiting.pk, actor=self.buyer.billing, at=self.at
        )
        with suppress(ValueError):  # The card in use by now asked nothing.
            self.buyer.answer_bank(waiting, complete=self.chance.random() < 0.7)
        purchases.refresh(purchase_id=waiting.pk, at=self.at)

    def buy(self) -> None:
        self.buyer.buy(500, key=uuid4(), at=self.at)

    def settle(self) -> None:
        """Save the settings once more; the monthly limit stays, so that there is one to hold."""
        self.buyer.arm(MINIMUM_CENTS, self.chance.choice([1_200, TARGET_CENTS, 3_000]), CAP_CENTS)

    def sweep(self) -> None:
        reconciliation.sweep(at=self.at)


def _run(barrier: threading.Barrier, work: Callable[[], object]) -> BaseException | None:
    try:
        barrier.wait()
        work()
    except Exception as error:
        return error
    return None


def verdict(buyer: Buyer, *, ends_at: datetime) -> dict[str, int]:
    """The three maxima, from Stripe's journal and from the rows."""
    journal = [entry for entry in buyer.journal() if entry["off_session"]]
    charged = [
        (datetime.fromtimestamp(entry["at"], UTC), entry["amount"])
        for entry in journal
        if entry["outcome"] == "succeeded"
    ]
    reloads = Purchase.objects.filter(kind=Purchase.Kind.AUTO_RELOAD)
    confirmed = buyer.journal("succeeded", kind="auto_reload")
    every_charge = [(datetime.fromtimestamp(entry["at"], UTC), entry["amount"]) for entry in confirmed]
    assert len(charged) <= len(every_charge)
    return {
        "reloads tried in 24 hours": most_in_a_day([row.created_at for row in reloads]),
        "reloads charged in 24 hours": most_in_a_day([at for at, _ in charged]),
        "charged in a month, cents": most_in_a_month(
            [(row.created_at, row.amount_cents) for row in reloads if row.state == "succeeded"]
        ),
        "in flight at once": most_at_once([(row.created_at, row.settled_at or ends_at) for row in reloads]),
        "reloads": len(every_charge),
    }


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Threads that live as long as the simulation, each with a database connection of its own."""
    with ThreadPoolExecutor(max_workers=WORKERS + BEATS) as pool:
        yield pool
        barrier = threading.Barrier(WORKERS + BEATS)
        list(pool.map(partial(_run, barrier), [connections.close_all] * (WORKERS + BEATS)))


def simulate(
    buyer: Buyer, clock: Any, monkeypatch: Any, settings: Any, *, crossings: int, days: int, seed: int
) -> Simulation:
    settings.CARD_ATTEMPTS_PER_HOUR = settings.CARD_ATTEMPTS_PER_DAY = 1_000_000
    # Usage goes up and down here as nobody's does; the brake has tests of its own.
    settings.AUTO_RELOAD_BRAKE_FACTOR = 0
    with workers() as pool:
        told = Simulation(buyer, clock, random.Random(seed), pool)
        monkeypatch.setattr("billing.tasks.timezone.now", lambda: told.at)
        buyer.save_card()
        buyer.fund(1_000)
        buyer.arm(MINIMUM_CENTS, TARGET_CENTS, CAP_CENTS)
        pause = timedelta(days=days) / crossings
        while told.counts["crossing"] < crossings:
            told.cross(pause=pause)
            assert sum(told.counts.values()) < 20 * crossings
    return told


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--seed")
    return random.SystemRandom().randrange(10**9) if given is None else int(given)


def test_over_many_days_no_limit_of_auto_reload_is_passed(
    buyer, credits_clock, monkeypatch, settings, at_once_in_this_process, request, seed
):
    crossings, days = (request.config.getoption(f"--{name}") for name in ("crossings", "days"))
    print(f"\nauto-reload: --crossings {crossings} --days {days} --seed {seed}")
    told = simulate(buyer, credits_clock, monkeypatch, settings, crossings=crossings, days=days, seed=seed)
    found = verdict(buyer, ends_at=told.at)
    for name, number in [*sorted(told.counts.items()), *found.items()]:
        print(f"  {name:50} {number:8,}")
    assert found["reloads tried in 24 hours"] <= 5
    assert found["reloads charged in 24 hours"] <= 5
    assert found["charged in a month, cents"] <= CAP_CENTS
    assert found["in flight at once"] <= 1
    assert told.counts["reload succeeded"] > 0
    assert told.counts["none, cooling_down: five in 24 hours"] > 0
    if crossings >= 5_000:
        assert {name for name in ALL_OF_A_LONG_RUN if not told.counts[name]} == set()
    granted = sum(CreditLot.objects.filter(purchase__isnull=False).values_list("granted_nano", flat=True))
    assert granted == nano_from_cents(buyer.charged_cents)


ALL_OF_A_LONG_RUN = (
    "reload succeeded",
    "reload failed",
    "reload needs_customer",
    "none, capped",
    "none, needs_you",
    "none, paused_declined",
    "none, cooling_down: five in 24 hours",
    "none, cooling_down: after a decline or a reload",
)


@pytest.mark.parametrize(
    ("where", "name", "value", "finds"),
    [
        ("billing.payments.reload_rules", "RELOADS_PER_DAY_MAX", 9, "reloads tried in 24 hours"),
        ("billing.payments.reload_line", "COUNTED_STATES", ("created",), "charged in a month, cents"),
    ],
    ids=["the count", "the monthly limit"],
)
def test_the_simulation_finds_a_limit_that_does_not_hold(
    buyer, credits_clock, monkeypatch, settings, at_once_in_this_process, where, name, value, finds
):
    monkeypatch.setattr(f"{where}.{name}", value)
    monkeypatch.setattr("billing.payments.auto_reload.RELOADS_PER_DAY_MAX", 9)
    if name == "COUNTED_STATES":
        settings.AUTO_RELOAD_GAP_SECONDS = 0
        monkeypatch.setattr("billing.payments.reload_rules.RELOADS_PER_DAY_MAX", 100)
        monkeypatch.setattr("billing.payments.auto_reload.RELOADS_PER_DAY_MAX", 100)
        monkeypatch.setattr("billing.tests.test_reload_simulation.CAP_CENTS", 10_000)
    told = simulate(buyer, credits_clock, monkeypatch, settings, crossings=40, days=2, seed=1)
    allowed = {"reloads tried in 24 hours": 5, "charged in a month, cents": 10_000}
    assert verdict(buyer, ends_at=told.at)[finds] > allowed[finds]


def test_the_oracle_itself_counts_right():
    hours = [STARTS_AT + timedelta(hours=hour) for hour in (0, 1, 23, 24, 25)]
    assert (most_in_a_day(hours), most_in_a_day(hours[:1]), most_in_a_day([])) == (3, 1, 0)
    assert most_in_a_month([(datetime(2027, 1, 31, 23, tzinfo=UTC), 5), (datetime(2027, 2, 1, tzinfo=UTC), 7)]) == 7
    first, second, third = (STARTS_AT + timedelta(minutes=minute) for minute in (0, 1, 2))
    assert most_at_once([(first, second), (second, third)]) == 1
    assert most_at_once([(first, third), (second, third)]) == 2


# At once


def test_case_036_a_hundred_crossings_in_a_second_by_sixteen_clients_are_one_reload(buyer, settings):
    settings.AUTO_RELOAD_BRAKE_FACTOR = 0
    buyer.save_card()
    buyer.fund(600)
    buyer.arm()
    buyer.spend(99)

    def client(number: int) -> None:
        for _ in range(100 // 16 + (number < 100 % 16)):
            buyer.spend(2)
            buyer.attempt()

    at_once([partial(client, number) for number in range(16)])
    assert len(buyer.journal("succeeded")) == 1
    assert Purchase.objects.filter(kind=Purchase.Kind.AUTO_RELOAD).count() == 1


def test_a_refusal_triggers_the_reload_though_credit_is_above_the_line(buyer, settings):
    """$5.50 of credit, a line of $5, and a request of $6 at worst: without this it would be refused for ever."""
    settings.AUTO_RELOAD_BRAKE_FACTOR = 0
    buyer.save_card()
    buyer.fund(550)
    buyer.arm(500, 2_000, 10_000)
    assert not buyer.is_due()
    assert buyer.spend(600).outcome == "insufficient"
    assert buyer.is_due()
    assert buyer.attempt() is not None
    assert (buyer.available_cents, buyer.charged_cents) == (2_000, 1_450)
    assert buyer.spend(600).outcome == "charged"
