"""Statements: pages that skip and repeat nothing, months that add up, and the balance of any past instant.

The random histories move the money clock themselves and print their seed; ``--seed`` tells one again.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.cache import cache
from django.db import connection

from billing.credits import expiry, ledger, metering, queries, statements
from billing.credits.statements import Line, UsageRun
from billing.errors import Refused
from billing.models import CreditLot, LedgerEntry
from billing.tests.customer import Customer, publish_price, units

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock(credits_clock: Any) -> Any:
    credits_clock.set(START)
    return credits_clock


@pytest.fixture
def customer(clock: Any) -> Customer:
    publish_price()
    return Customer()


def all_pages(customer: Customer, *, limit: int) -> list[Line]:
    """Every line, page by page, as the Older link goes."""
    found: list[Line] = []
    before_seq = None
    while lines := statements.page(organization_id=customer.id, before_seq=before_seq, limit=limit):
        found += lines
        before_seq = lines[-1].seq
    return found


def month_of(customer: Customer, start: datetime, end: datetime) -> statements.Month:
    return statements.month(organization_id=customer.id, start=start, end=end)


# --- Pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
def test_case_127_entries_of_one_instant_are_neither_skipped_nor_repeated(customer, limit):
    for number in range(5):
        customer.give(100 + number)
    for number in range(20):
        customer.charge(10, key=f"c{number}")
    assert LedgerEntry.objects.values("booked_at").distinct().count() == 1
    seqs = [line.seq for line in all_pages(customer, limit=limit)]
    assert seqs == sorted(seqs, reverse=True) == list(range(len(seqs), 0, -1))
    assert len(seqs) == LedgerEntry.objects.count()


def test_case_127_what_is_booked_meanwhile_moves_no_page(customer):
    customer.give(1_000)
    for number in range(9):
        customer.charge(1, key=f"c{number}")
    first = statements.page(organization_id=customer.id, limit=4)
    customer.charge(1, key="meanwhile")
    second = statements.page(organization_id=customer.id, before_seq=first[-1].seq, limit=4)
    assert [line.seq for line in first + second] == list(range(10, 2, -1))


def test_a_line_says_what_moved_and_what_caused_it(customer, clock):
    lot_id = customer.give(1_000, label="Welcome", expires_at=START + timedelta(days=1)).lot_id
    usage = metering.Usage(model="one-nano-a-unit", quantities={"input": 30}, surface="claude_code", key_ref="laptop")
    began_at = START - timedelta(hours=5)
    metering.charge(organization_id=customer.id, key="c", usage=usage, occurred_at=began_at)
    burn, grant = statements.page(organization_id=customer.id)
    assert (grant.words, grant.lot_name, grant.lot_id) == ("Promotional credit", "Welcome", lot_id)
    assert (grant.amount_nano, grant.balance_after_nano) == (1_000, 1_000)
    assert (burn.words, burn.amount_nano, burn.balance_after_nano) == ("Usage", -30, 970)
    assert (burn.model_name, burn.surface, burn.key_ref) == ("one-nano-a-unit", "claude_code", "laptop")
    assert (burn.started_at, burn.booked_at, burn.value_at) == (began_at, START, START)
    clock.advance(timedelta(days=2))
    expiry.book_due()
    (expired,) = statements.page(organization_id=customer.id, limit=1)
    assert (expired.words, expired.lot_name, expired.amount_nano) == ("Expired", "Welcome", -970)
    assert (expired.value_at, expired.booked_at) == (START + timedelta(days=1), START + timedelta(days=2))


def test_every_kind_of_entry_has_words_and_no_line_tells_what_staff_noted(customer, clock):
    everything_happens(customer, clock)
    lines = all_pages(customer, limit=50)
    assert {line.kind for line in lines} == set(LedgerEntry.Kind.values)
    assert all(line.words for line in lines)
    assert "secret" not in repr(lines)
    labels = {line.kind: line.label for line in lines if line.label}
    assert labels["adjustment"] == "Two hours of storage"
    assert labels["reversal"] == "Sorry for the outage"


def test_credit_that_comes_in_is_told_from_credit_that_only_moves_to_a_debt(customer):
    customer.report(70, key="owed")
    customer.give(100)
    lines = all_pages(customer, limit=5)
    assert {line.kind for line in lines if line.comes_in} == {"grant"}
    assert {line.kind for line in lines if line.is_usage} == {"overshoot"}
    month = month_of(customer, START - timedelta(days=1), START + timedelta(days=1))
    assert (month.debt_paid_nano, month.given_nano, month.used_nano, month.closing_nano) == (70, 100, -70, 30)
    assert (month.bought_nano, month.expired_nano, month.corrected_nano) == (0, 0, 0)


def test_a_page_that_just_holds_everything_has_no_older_one(customer):
    for number in range(3):
        customer.give(10, label=f"Gift {number}")
        customer.charge(1, key=f"c{number}")
    span = {"start": START - timedelta(days=1), "end": START + timedelta(days=1)}
    page = statements.summed(organization_id=customer.id, **span, limit=3)
    assert (len(page.lines), page.older_seq) == (6, None)
    page = statements.summed(organization_id=customer.id, **span, limit=2)
    assert [line.seq for line in page.lines if isinstance(line, Line)] == [5, 3]
    assert page.older_seq == 3


def test_fifty_lines_that_are_no_usage_are_a_page_where_nobody_says_how_many(customer):
    for _ in range(51):
        customer.give(1)
    page = statements.summed(
        organization_id=customer.id, start=START - timedelta(days=1), end=START + timedelta(days=1)
    )
    assert (len(page.lines), page.older_seq) == (50, 2)
    assert len(statements.page(organization_id=customer.id)) == 50


def test_lines_of_others_are_not_on_a_statement(customer):
    other = Customer("other")
    other.give(77)
    customer.give(5)
    assert [line.amount_nano for line in all_pages(customer, limit=5)] == [5]
    month = month_of(customer, START - timedelta(days=1), START + timedelta(days=1))
    assert month.closing_nano == 5
    assert statements.balance_at(organization_id=customer.id, at=START) == 5


def test_the_entries_of_a_stretch_come_oldest_first_and_in_chunks(customer, monkeypatch):
    monkeypatch.setattr(statements, "CHUNK", 3)
    customer.give(1_000)
    for number in range(10):
        customer.charge(1, key=f"c{number}")
    found = statements.entries(organization_id=customer.id, after_seq=2, last_seq=9)
    assert [line.seq for line in found] == list(range(3, 10))


# --- Everything that can happen --------------------------------------------------------------------------------------


def everything_happens(customer: Customer, clock: Any) -> None:
    """Every kind of entry, at least once."""

    def wait(**by: float) -> None:
        clock.advance(timedelta(**by))

    customer.give(500, label="Short", expires_at=START + timedelta(hours=1))
    charge_id = customer.charge(200, key="to-be-reversed").charge_id
    wait(hours=2)
    expiry.book_due()
    assert charge_id is not None
    customer.reverse(charge_id, label="Sorry for the outage")  # reversal, return_expired
    customer.give(100)
    wait(minutes=1)
    owed_id = customer.report(150, key="overshoot").charge_id  # overshoot
    customer.give(90)  # debt_payment, debt_settlement
    late = customer.hold(30, key="late", ttl_seconds=30)
    wait(minutes=1)
    customer.report(500, key="all-gone")
    customer.capture(late, 60)  # late_capture
    wait(minutes=1)
    customer.buy(500)
    wait(minutes=1)
    customer.reverse(owed_id)  # debt_reopened, debt_reversal
    wait(minutes=1)
    for amount, key in ((1_000, uuid4()), (10**10, uuid4())):
        ledger.adjust(
            organization_id=customer.id,
            amount_nano=amount,
            key=key,
            label="Two hours of storage",
            reason="a secret of staff",
            actor_id=None,
            may_owe=True,
        )  # adjustment, adjustment_debt
    wait(minutes=1)
    lot_id = customer.give(10**11).lot_id
    customer.take_back(lot_id, 10**11, rest_as_debt=True)  # take_back, take_back_debt
    wait(minutes=1)


# --- Months ----------------------------------------------------------------------------------------------------------


def test_a_month_opens_with_what_the_one_before_closed_with(customer, clock):
    story = Story(customer, clock, seed=7)
    story.tell(steps=80, pause=timedelta(days=2))
    edges = [START.replace(day=1, hour=0, month=1 + number) for number in range(2, 9)]
    months = [month_of(customer, start, end) for start, end in pairwise(edges)]
    assert months[0].opening_nano == 0
    assert months[-1].closing_nano == LedgerEntry.objects.latest("seq").balance_after_nano
    for earlier, later in pairwise(months):
        assert (later.opening_nano, later.after_seq) == (earlier.closing_nano, earlier.last_seq)


def test_case_077_a_months_sums_are_its_entries_to_the_last_nano(customer, clock):
    everything_happens(customer, clock)
    story = Story(customer, clock, seed=11)
    story.tell(steps=100, pause=timedelta(hours=9))
    start, end = START, clock_now() + timedelta(seconds=1)
    for low, high in (
        (start, end),
        (start + timedelta(days=3), end - timedelta(days=3)),
        (end, end + timedelta(days=9)),
    ):
        month = month_of(customer, low, high)
        rows = LedgerEntry.objects.filter(organization_id=customer.id, booked_at__gte=low, booked_at__lt=high)
        by_kind: dict[str, int] = {}
        for row in rows:
            by_kind[row.kind] = by_kind.get(row.kind, 0) + row.amount_nano
        told: dict[str, int] = {}
        for one in month.sums:
            told[one.kind] = told.get(one.kind, 0) + one.amount_nano
        assert {kind: nano for kind, nano in told.items() if nano} == {
            kind: nano for kind, nano in by_kind.items() if nano
        }
        groups = (month.bought_nano, month.given_nano, month.used_nano, month.expired_nano, month.corrected_nano)
        assert month.opening_nano + sum(groups) == month.closing_nano
        assert month.last_seq - month.after_seq == len(rows)


def test_case_077_lines_with_usage_summed_up_add_up_like_all_lines(customer, clock):
    story = Story(customer, clock, seed=3)
    story.tell(steps=120, pause=timedelta(hours=5))
    end = START.replace(month=5, day=1, hour=0)
    # A stretch may also begin in the evening of a day.
    for start, limit in ((START.replace(day=1, hour=0), 1), (START.replace(day=4, hour=20), 4), (START, 1_000)):
        month = month_of(customer, start, end)
        lines = pages_of_sums(customer, start, end, limit=limit)
        assert month.opening_nano + sum(line.amount_nano for line in lines) == month.closing_nano
        covered = [seq for line in lines for seq in seqs_of(line)]
        assert covered == list(range(month.last_seq, month.after_seq, -1))
        for line in lines:
            if isinstance(line, UsageRun):
                rows = LedgerEntry.objects.filter(seq__gte=line.first_seq, seq__lte=line.last_seq)
                assert {row.kind for row in rows} == {"burn"}
                assert {row.booked_at.astimezone(UTC).date() for row in rows} == {line.day}
                assert sum(row.amount_nano for row in rows) == line.amount_nano
                assert max(rows, key=lambda row: row.seq).balance_after_nano == line.balance_after_nano
        assert any(isinstance(line, UsageRun) and line.entries > 1 for line in lines)


def test_a_stretch_that_begins_in_the_evening_has_lines_of_its_own_for_both_days(customer, clock):
    clock.set(START.replace(hour=20))
    Customer("other").give(5)
    customer.give(100)
    for hour in (20, 21):
        clock.set(START.replace(hour=hour))
        customer.charge(1, key=f"evening {hour}")
    clock.set(START.replace(day=2, hour=1))
    customer.charge(5, key="night")
    lines = pages_of_sums(customer, START.replace(hour=20), START.replace(day=3), limit=50)
    assert [(line.day.day, line.amount_nano) for line in lines if isinstance(line, UsageRun)] == [(2, -5), (1, -2)]


def pages_of_sums(customer: Customer, start: datetime, end: datetime, *, limit: int) -> list[Line | UsageRun]:
    found: list[Line | UsageRun] = []
    before_seq = None
    for _ in range(1_000):
        page = statements.summed(organization_id=customer.id, start=start, end=end, before_seq=before_seq, limit=limit)
        found += page.lines
        before_seq = page.older_seq
        if before_seq is None:
            return found
    raise AssertionError("the pages never end")


def seqs_of(line: Line | UsageRun) -> list[int]:
    return [line.seq] if isinstance(line, Line) else list(range(line.last_seq, line.first_seq - 1, -1))


def test_case_082_neither_a_new_price_nor_a_reversal_changes_a_month_that_is_over(customer, clock):
    customer.give(10**6)
    charge_id = customer.charge(1_000, key="c").charge_id
    clock.set(START.replace(month=4))
    before = month_of(customer, START.replace(day=1), START.replace(month=4, day=1))
    publish_price(effective_at=START.replace(month=4) + timedelta(seconds=1), input_nano=5 * 10**6)
    clock.advance(timedelta(days=1))
    customer.charge(1_000, key="dearer")
    customer.reverse(charge_id)
    customer.give(5)
    assert month_of(customer, START.replace(day=1), START.replace(month=4, day=1)) == before
    assert before.used_nano == -1_000


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu"])
def test_case_065_a_session_in_another_zone_reads_the_same_months_and_days(customer, clock, zone, role_address):
    story = Story(customer, clock, seed=5)
    story.tell(steps=40, pause=timedelta(hours=9))
    start, end = START.replace(day=1, hour=0), START.replace(month=4, day=1, hour=0)

    def read(session_zone: str) -> list[Any]:
        with psycopg.connect(role_address("console_app")) as session:
            session.execute("select set_config('TimeZone', %s, false)", [session_zone])
            stretch = [customer.id, start, end]
            rows = [
                *session.execute("select * from credits_statement_span(%s, %s, %s)", stretch).fetchall(),
                *session.execute("select * from credits_statement_days(%s, %s, %s)", stretch).fetchall(),
            ]
            for at, _ in story.read:
                rows += session.execute("select credits_balance_at(%s, %s)", [customer.id, at]).fetchall()
            return rows

    assert read(zone) == read("UTC")
    assert len(read(zone)) > len(story.read) + 10


# --- The balance of the past -----------------------------------------------------------------------------------------


class Story:
    """A random history of one customer that also reads what it has, at instants of their own."""

    def __init__(self, customer: Customer, clock: Any, *, seed: int) -> None:
        print(f"seed {seed}")
        self.customer = customer
        self._clock = clock
        self._chance = random.Random(seed)
        self._keys = count(1)
        self.read: list[tuple[datetime, int]] = []
        self.holds: list[int] = []
        self.charges: list[int] = []
        self.lots: list[int] = []

    def key(self) -> str:
        return f"story-{next(self._keys)}"

    def wait(self, by: timedelta) -> None:
        self._clock.advance(by)

    def look(self) -> None:
        """Remember what the page would show now; the clock moves before and after, so the instant is nobody else's."""
        self.wait(timedelta(milliseconds=1))
        summary = self.customer.summary()
        self.read.append((summary.counted_at, summary.balance_nano - summary.debt_nano))
        self.wait(timedelta(milliseconds=1))

    def tell(self, *, steps: int, pause: timedelta = timedelta(minutes=2)) -> None:
        acts: list[Callable[[], Any]] = [
            self.give, self.give, self.charge, self.charge, self.report, self.hold, self.hold, self.settle, self.settle,
            self.settle_late, self.across_an_end, self.reverse, self.adjust, self.take_back, expiry.book_due,
        ]  # fmt: skip
        for _ in range(steps):
            self.wait(pause * self._chance.random() * self._chance.choice([0, 1, 1, 3]))
            self.look()
            self._chance.choice(acts)()
            self.look()
        self.wait(timedelta(hours=3))
        self.look()

    def give(self) -> None:
        lasts = timedelta(minutes=self._chance.choice([2, 10, 60, 3_000, 300_000]))
        granted = self.customer.give(self._chance.randint(1, 2_000), expires_at=clock_now() + lasts)
        self.lots.append(granted.lot_id)

    def charge(self) -> None:
        for _ in range(self._chance.randint(1, 3)):
            charge_id = self.customer.charge(self._chance.randint(0, 500), key=self.key()).charge_id
            self.charges += [charge_id] if charge_id else []

    def report(self) -> None:
        ago = timedelta(minutes=self._chance.randint(0, 10_000))
        result = self.customer.report(self._chance.randint(1, 900), key=self.key(), occurred_at=clock_now() - ago)
        assert result.charge_id is not None
        self.charges.append(result.charge_id)

    def hold(self) -> None:
        ttl = self._chance.choice([30, 120, 600, 3_600])
        hold_id = self.customer.authorize(self._chance.randint(0, 600), key=self.key(), ttl_seconds=ttl).hold_id
        self.holds += [hold_id] if hold_id else []

    def settle(self) -> None:
        if not self.holds:
            return
        hold_id = self.holds.pop(self._chance.randrange(len(self.holds)))
        if self._chance.random() < 0.3:
            self.customer.void(hold_id)
        else:
            self.customer.capture(hold_id, self._chance.randint(0, 700), key=self.key())

    def settle_late(self) -> None:
        self.wait(timedelta(minutes=self._chance.randint(1, 70)))
        self.look()
        self.settle()

    def across_an_end(self) -> None:
        """A lot ends and its hold lapses, and only then, without anything in between, the request is captured."""
        self.customer.give(1_000, expires_at=clock_now() + timedelta(seconds=self._chance.choice([20, 60])))
        hold_id = self.customer.authorize(self._chance.randint(1, 900), key=self.key(), ttl_seconds=40).hold_id
        for _ in range(4):
            self.wait(timedelta(seconds=17))
            self.look()
        if hold_id:
            self.customer.capture(hold_id, self._chance.randint(0, 1_000), key=self.key())

    def reverse(self) -> None:
        if self.charges:
            charge_id = self._chance.choice(self.charges)
            # Nothing may be left of it.
            with suppress(Refused):
                self.customer.reverse(charge_id, amount_nano=self._chance.choice([None, 1, 50]))

    def adjust(self) -> None:
        ledger.adjust(
            organization_id=self.customer.id,
            amount_nano=self._chance.randint(1, 300),
            key=uuid4(),
            label="Correction",
            reason="a secret of staff",
            actor_id=None,
            may_owe=True,
        )

    def take_back(self) -> None:
        if self.lots:
            self.customer.take_back(
                self._chance.choice(self.lots),
                self._chance.randint(1, 500),
                rest_as_debt=self._chance.random() < 0.5,
            )


def clock_now() -> datetime:
    return Customer.now()


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Iterator[int]:
    given = request.config.getoption("--seed", default=None)
    first = random.SystemRandom().randrange(10**6) if given is None else given
    return iter(range(first, first + 1) if given is not None else range(first, first + 6))


def test_case_125_the_balance_of_every_past_instant_is_what_was_read_then(customer, clock, seeds):
    for number, seed in enumerate(seeds):
        story = Story(Customer(f"story-{number}"), clock, seed=seed)
        story.tell(steps=60)
        for at, nano in story.read:
            told = statements.balance_at(organization_id=story.customer.id, at=at)
            assert told == nano, f"seed {seed}: at {at} it was {nano}, and {told} is told"
        # Booking what had ended, and giving back what had lapsed, changes nothing of it.
        expiry.book_due()
        story.customer.give(1)
        assert [statements.balance_at(organization_id=story.customer.id, at=at) for at, _ in story.read] == [
            nano for _, nano in story.read
        ]


def tells_another_past(story: Story) -> bool:
    """Whether a balance of the past is told that was not read then."""
    story.tell(steps=40)
    return any(statements.balance_at(organization_id=story.customer.id, at=at) != nano for at, nano in story.read)


@pytest.mark.parametrize(
    "part",
    [
        "e.value_at <= p_at\n        and e.value_at < e.booked_at",
        "l.is_open and l.expires_at <= p_at",
        "h.state = 'open' and h.expires_at <= p_at",
        "h.state = 'captured' and h.settled_at > h.expires_at",
    ],
)
def test_case_125_a_balance_that_forgets_a_part_is_found_out(customer, clock, owner_connection, part):
    row = owner_connection.execute("select pg_get_functiondef('public.credits_balance_at'::regproc)").fetchone()
    assert row is not None
    assert row[0].count(part) == 1
    owner_connection.execute(row[0].replace(part, "false"))
    try:
        assert any(tells_another_past(Story(Customer(f"story-{seed}"), clock, seed=seed)) for seed in range(20))
    finally:
        owner_connection.execute(row[0])


def test_case_125_no_cache_and_no_sum_that_is_kept_is_asked_about_the_past(customer, clock, superuser_connection):
    story = Story(customer, clock, seed=1)
    story.tell(steps=30)
    expiry.book_due()
    story.customer.give(1)
    cache.set("credit", "0")
    for change in (
        "update billing_creditaccount set unreserved_nano = 1, held_nano = 2, debt_nano = 3, reload_below_nano = 4",
        "update billing_usageday set amount_nano = amount_nano + 9",
    ):
        superuser_connection.execute(change)
    try:
        for at, nano in story.read:
            assert statements.balance_at(organization_id=customer.id, at=at) == nano
    finally:
        cache.clear()


def test_credit_is_counted_to_its_end_and_not_at_it(customer, clock):
    end = START + timedelta(hours=1)
    customer.give(100, expires_at=end)

    def balances() -> list[int]:
        instants = (START - timedelta(microseconds=1), START, end - timedelta(microseconds=1), end)
        return [statements.balance_at(organization_id=customer.id, at=at) for at in instants]

    clock.set(end + timedelta(days=3))
    assert balances() == [0, 100, 100, 0]
    assert queries.summary(organization_id=customer.id, at=START - timedelta(microseconds=1)).balance_nano == 0
    expiry.book_due()
    assert balances() == [0, 100, 100, 0]


def test_case_125_a_late_capture_of_another_organization_at_the_same_instant_is_not_counted(customer, clock):
    """Twins: the same requests at the same instants, so that their entries have the same numbers and times."""
    end = START + timedelta(minutes=30)
    twins = (customer, Customer("twin"))
    for twin in twins:
        twin.give(100, expires_at=end)
    holds = [twin.hold(40, key="h", ttl_seconds=60) for twin in twins]
    between = end + timedelta(minutes=1)
    clock.set(between)
    read = [twin.summary().balance_nano - twin.summary().debt_nano for twin in twins]
    clock.set(end + timedelta(hours=1))
    for twin, hold_id in zip(twins, holds, strict=True):
        assert twin.capture(hold_id, 30).debt_nano == 0
    assert [statements.balance_at(organization_id=twin.id, at=between) for twin in twins] == read == [0, 0]


def test_case_118_all_entries_of_credit_that_comes_in_carry_the_date_on_which_it_counts(customer, clock):
    """No grant can be dated back: a lot begins when it is booked, and the debt it pays is paid then."""
    customer.report(50, key="owed")
    clock.advance(timedelta(days=1))
    granted = customer.give(80)
    rows = LedgerEntry.objects.filter(organization_id=customer.id, seq__gt=1)
    assert {row.kind for row in rows} == {"grant", "debt_payment", "debt_settlement"}
    assert {(row.value_at, row.booked_at) for row in rows} == {(granted.effective_at, granted.effective_at)}
    assert CreditLot.objects.get(pk=granted.lot_id).effective_at == START + timedelta(days=1)
    assert [
        statements.balance_at(organization_id=customer.id, at=granted.effective_at - timedelta(microseconds=1)),
        statements.balance_at(organization_id=customer.id, at=granted.effective_at),
    ] == [-50, 30]


def test_case_122_page_gate_and_ledger_say_the_same_at_the_same_instant(customer, clock):
    story = Story(customer, clock, seed=21)
    for _ in range(40):
        story.tell(steps=1)
        at = clock_now()
        summary = queries.summary(organization_id=customer.id)
        assert summary.counted_at == at
        lots = queries.live_lots(organization_id=customer.id, at=at)
        assert sum(lot.left_nano for lot in lots) == summary.balance_nano
        assert sum(lot.held_nano for lot in lots) == summary.held_nano
        assert statements.balance_at(organization_id=customer.id, at=at) == summary.balance_nano - summary.debt_nano
        probe = metering.authorize(organization_id=customer.id, key=story.key(), usage=units(10**9))
        assert probe.outcome == "insufficient"
        assert probe.available_nano == summary.available_nano == customer.lock().available_nano


def test_case_057_with_nobody_sweeping_ended_credit_is_neither_shown_nor_spendable(customer, clock):
    customer.give(100, expires_at=START + timedelta(hours=1))
    customer.give(7)
    clock.advance(timedelta(hours=1))
    at = clock_now()
    assert customer.summary().balance_nano == customer.summary().available_nano == 7
    assert [lot.left_nano for lot in queries.live_lots(organization_id=customer.id, at=at)] == [7]
    assert [lot.expired_nano for lot in queries.ended_lots(organization_id=customer.id, at=at)] == [100]
    assert customer.charge(8, key="too-much").outcome == "insufficient"
    assert statements.balance_at(organization_id=customer.id, at=at) == 7
    assert LedgerEntry.objects.filter(kind="expiry").count() == 0


# --- What reads cost -------------------------------------------------------------------------------------------------


LARGE = {"billing_ledgerentry", "billing_charge", "billing_hold", "billing_usageday", "billing_creditlot"}


def rows_inside(read: Callable[[], Any]) -> tuple[int, int]:
    """Rows that index scans and whole scans fetched while something was read, inside functions too."""
    columns = "coalesce(sum(seq_tup_read), 0), coalesce(sum(idx_tup_fetch), 0)"
    tables = "relname = any(%s)"

    def counted() -> tuple[int, int]:
        with connection.cursor() as cursor:
            cursor.execute("select pg_stat_force_next_flush()")
            cursor.execute("select pg_stat_clear_snapshot()")
            cursor.execute(f"select {columns} from pg_stat_user_tables where {tables}", [sorted(LARGE)])
            seq, idx = cursor.fetchone()
        return int(seq), int(idx)

    seq_before, idx_before = counted()
    read()
    seq_after, idx_after = counted()
    return seq_after - seq_before, idx_after - idx_before


@pytest.mark.slow
def test_case_126_no_read_takes_more_rows_because_more_was_used(customer, clock, owner_connection):
    customer.give(10**12, expires_at=START + timedelta(days=4_000))
    usage = units(3)
    for day in range(25):
        clock.set(START + timedelta(days=day))
        metering.charge_many(
            [metering.Event(organization_id=customer.id, key=f"{day}-{n}", usage=usage) for n in range(400)]
        )
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from billing_ledgerentry")
        assert cursor.fetchone()[0] > 10_000
    # As autovacuum does when it comes by. Until then the planner may take the rows for few, and any index for the best.
    owner_connection.execute("analyze")
    start, end = START, START + timedelta(days=20)
    organization_id = customer.id
    reads: dict[str, tuple[Callable[[], Any], int]] = {
        "summary": (lambda: queries.summary(organization_id=organization_id), 10),
        "page": (lambda: statements.page(organization_id=organization_id), 250),
        "page below": (lambda: statements.page(organization_id=organization_id, before_seq=5_000), 250),
        "month": (lambda: statements.month(organization_id=organization_id, start=start, end=end), 60),
        "balance_at": (lambda: statements.balance_at(organization_id=organization_id, at=start), 60),
        "summed": (lambda: statements.summed(organization_id=organization_id, start=start, end=end), 600),
        "usage": (
            lambda: queries.usage_by_day_and_model(organization_id=organization_id, start=start, end=end),
            60,
        ),
        "cost": (lambda: queries.cost_nano(organization_id=organization_id, start=start, end=end), 60),
        "recent cost": (lambda: queries.recent_cost_nano(organization_id=organization_id, at=end, days=7), 60),
    }
    for name, (read, most) in reads.items():
        read()
        whole, rows = rows_inside(read)
        print(f"{name}: {rows} rows by index, {whole} by whole scans")
        assert rows + whole <= most, name
