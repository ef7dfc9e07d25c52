"""Authorizations and captures that are written in one statement, and those that have to go the long way."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import DataError, connections, transaction

from billing.credits import invariants, ledger, metering, prices
from billing.models import Charge, CreditAccount, Hold, LedgerEntry, UsageDay
from billing.tests.customer import MODEL, Customer, clock_that_ticks, publish_price
from billing.tests.test_charge_races import wait_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)

LONG_WAYS = ("credits__authorize_any", "credits__capture_any")

Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def no_long_way(owner: Connection, *long_ways: str) -> Iterator[None]:
    """Only usual requests can be served inside."""
    for name in long_ways or LONG_WAYS:
        owner.execute(f"alter function public.{name} rename to {name}_hidden")
    try:
        yield
    finally:
        for name in long_ways or LONG_WAYS:
            owner.execute(f"alter function public.{name}_hidden rename to {name}")


def written(customer: Customer) -> list[object]:
    """What requests have left behind, without ids and hashes."""
    skipped = {"id", "organization_id", "hash", "lot_id", "lot_ids", "cause_id", "hold_id"}
    tables = (Hold, Charge, LedgerEntry, UsageDay)
    rows: list[object] = [
        (table.__name__, sorted((name, value) for name, value in row.items() if name not in skipped))
        for table in tables
        for row in table.objects.filter(organization_id=customer.id).order_by("pk").values()
    ]
    account = CreditAccount.objects.get(organization_id=customer.id)
    left = [account.unreserved_nano, account.held_nano, account.debt_nano, account.burning_remaining_nano]
    return [*rows, account.last_at, left, list(customer.remaining().values())]


def test_a_usual_request_takes_no_long_way(customer, owner_connection):
    customer.give(100)
    customer.charge(1, key="the lot burns")
    with no_long_way(owner_connection):
        hold_id = customer.hold(40, key="h")
        result = customer.capture(hold_id, 40)
    assert (result.outcome, result.hold_id, result.amount_nano, result.available_nano) == ("charged", hold_id, 40, 59)


@pytest.mark.parametrize("seed", range(3))
def test_the_usual_way_writes_what_the_long_way_writes(credits_clock, superuser_connection, customer, seed):
    chance = random.Random(seed)
    credits_clock.set(customer.now())
    other = Customer("long-way")
    for each in (customer, other):
        each.give(1_000)
        each.give(10**6)
        each.charge(1, key="the lot burns")
    holds: list[tuple[int, int]] = []
    for step in range(12):
        credits_clock.advance(timedelta(seconds=1))
        if holds and chance.random() < 0.5:
            usual, long = holds.pop(chance.randrange(len(holds)))
            count = chance.randrange(0, 60)
            customer.capture(usual, count, key=f"c{step}")
            superuser_connection.execute(
                "select credits__capture_any(%s, %s, %s, jsonb_build_object('input', %s::bigint))",
                [other.id, long, f"c{step}", count],
            )
        else:
            count = chance.randrange(1, 40)
            usual = customer.hold(count, key=f"h{step}")
            row = superuser_connection.execute(
                "select hold_id from"
                " credits__authorize_any(%s, %s, %s, 'api', '', jsonb_build_object('input', %s::bigint), 600)",
                [other.id, f"h{step}", MODEL, count],
            ).fetchone()
            assert row is not None
            holds.append((usual, row[0]))
        assert written(customer) == written(other), step


def test_what_more_than_one_lot_was_taken_from_is_captured_the_long_way(customer, owner_connection):
    first, second = customer.give(10).lot_id, customer.give(100).lot_id
    hold_id = customer.hold(30, key="both lots")
    with no_long_way(owner_connection), pytest.raises(Exception, match="credits__capture_any"):
        customer.capture(hold_id, 15)
    customer.capture(hold_id, 15)
    assert [entry for entry in customer.entries() if entry[0] == "burn"] == [("burn", first, -10), ("burn", second, -5)]
    assert customer.remaining() == {first: 0, second: 95}


def test_a_capture_at_the_instant_of_the_lapse_still_charges_and_a_moment_before_it_is_a_usual_one(
    customer, credits_clock, owner_connection
):
    credits_clock.set(customer.now())
    customer.give(100)
    customer.charge(1, key="the lot burns")
    before, at_the_end = customer.hold(10, key="a", ttl_seconds=60), customer.hold(10, key="b", ttl_seconds=60)
    credits_clock.advance(timedelta(seconds=60) - timedelta(microseconds=1))
    with no_long_way(owner_connection):
        customer.capture(before, 5)
    credits_clock.advance(timedelta(microseconds=1))
    with no_long_way(owner_connection), pytest.raises(Exception, match="credits__capture_any"):
        customer.capture(at_the_end, 5)
    result = customer.capture(at_the_end, 5)
    assert (result.outcome, result.debt_nano, result.available_nano) == ("charged", 0, 89)


def test_a_capture_that_lifts_nothing_below_the_line_tells_nobody_and_one_that_crosses_it_does(customer):
    customer.give(100)
    customer.charge(1, key="the lot burns")
    ledger.set_reload_line(organization_id=customer.id, below_nano=50)
    assert customer.capture(customer.hold(60, key="a"), 49).is_newly_low is False
    assert customer.capture(customer.hold(40, key="b"), 1).is_newly_low is True
    assert CreditAccount.objects.get(organization_id=customer.id).low_cause == "level"


def test_a_frozen_account_holds_nothing_more_and_pays_what_was_held(customer):
    customer.give(100)
    customer.charge(1, key="the lot burns")
    hold_id = customer.hold(40, key="h")
    with transaction.atomic():
        ledger.set_state(organization_id=customer.id, state=CreditAccount.State.FROZEN)
    assert customer.authorize(1, key="later").outcome == "organization_suspended"
    assert customer.capture(hold_id, 30).outcome == "charged"


@pytest.mark.parametrize("operation", ["authorize", "charge", "report"])
def test_a_price_that_ends_while_a_request_waits_is_not_used_from_its_very_end_on(
    customer, credits_clock, owner_connection, operation
):
    """The clock goes on by a microsecond each time it is read: the price ends when it is read for the second time."""
    start = customer.now()
    credits_clock.set(start)
    customer.give(1_000)
    customer.charge(1, key="the lot burns")
    publish_price(effective_at=start + timedelta(microseconds=2), input_nano=5 * 10**6)
    with clock_that_ticks(owner_connection, credits_clock, start):
        assert getattr(customer, operation)(10, key="a").amount_nano == 50


@pytest.mark.parametrize("bad", [0, 3_601])
def test_a_hold_of_no_length_is_refused_also_where_all_else_is_usual(customer, bad):
    customer.give(100)
    customer.charge(1, key="the lot burns")
    with connections["default"].cursor() as cursor, pytest.raises(DataError, match="from 1 second to 60 minutes"):
        cursor.execute("select credits_authorize(%s, 'h', %s, 'api', '', null, %s, 1)", [customer.id, MODEL, bad])


def test_a_lapsed_hold_of_a_single_nano_is_given_back(customer, credits_clock):
    credits_clock.set(customer.now())
    customer.give(10)
    customer.charge(1, key="the lot burns")
    customer.hold(1, key="h", ttl_seconds=60)
    credits_clock.advance(timedelta(seconds=60))
    result = customer.authorize(4, key="after it")
    assert (result.outcome, result.debt_nano, result.available_nano) == ("authorized", 0, 5)
    assert CreditAccount.objects.get(organization_id=customer.id).held_nano == 4
    customer.hold(1, key="i", ttl_seconds=60)
    credits_clock.advance(timedelta(seconds=600))
    assert customer.charge(9, key="all").outcome == "charged"


def test_what_usual_requests_write_beside_a_hold_keeps_every_promise(customer, owner_connection):
    """The balance in an entry and in its hash counts what is held."""
    customer.give(100)
    customer.charge(1, key="the lot burns")
    with no_long_way(owner_connection, *LONG_WAYS, "credits__charge_any"):
        customer.hold(20, key="h")
        hold_id = customer.hold(10, key="i")
        customer.charge(5, key="a")
        customer.report(6, key="b")
        customer.capture(hold_id, 7)
    assert [entry.balance_after_nano for entry in LedgerEntry.objects.order_by("seq")] == [100, 99, 94, 88, 81]
    with transaction.atomic(), connections["default"].cursor() as cursor:
        verdicts = list(invariants.examine(cursor, at=customer.now(), organization_id=customer.id))
    assert [verdict.name for verdict in verdicts if not verdict.holds] == []


def test_what_a_capture_leaves_goes_back_to_the_lot_of_its_hold_when_another_one_burns_by_now(customer):
    first, second = customer.give(30).lot_id, customer.give(100).lot_id
    customer.charge(1, key="the first lot burns")
    hold_id = customer.hold(10, key="h")
    customer.charge(19, key="its last")
    customer.charge(5, key="the second lot burns")
    assert (CreditAccount.objects.get().burning_lot_id, customer.remaining()) == (second, {first: 0, second: 95})
    customer.capture(hold_id, 4)
    assert customer.remaining() == {first: 6, second: 95}
    assert customer.entries()[-1] == ("burn", first, -4)


def test_a_capture_that_finds_another_hold_lapsed_gives_it_back(customer, credits_clock):
    credits_clock.set(customer.now())
    customer.give(100)
    customer.charge(1, key="the lot burns")
    customer.hold(10, key="lapses", ttl_seconds=60)
    hold_id = customer.hold(20, key="h")
    credits_clock.advance(timedelta(seconds=60))
    assert customer.capture(hold_id, 5).available_nano == 94
    assert CreditAccount.objects.get().held_nano == 0


def test_a_capture_by_the_long_way_does_not_tell_once_more_that_credit_is_low(customer):
    customer.give(50)
    customer.give(50)
    ledger.set_reload_line(organization_id=customer.id, below_nano=95)
    assert customer.charge(10, key="below the line").is_newly_low is True
    assert customer.capture(customer.hold(60, key="of two lots"), 55).is_newly_low is False


def test_a_usual_authorization_answers_as_the_long_way_does(customer, owner_connection):
    customer.give(100)
    customer.charge(1, key="the lot burns")
    with no_long_way(owner_connection):
        usual = customer.authorize(9, key="h")
    again = customer.authorize(9, key="h")
    assert again == usual._replace(outcome="replayed")


@pytest.mark.parametrize("operation", ["authorize", "charge"])
def test_a_burning_lot_that_ends_at_the_very_instant_of_the_answer_is_not_used(
    customer, credits_clock, owner_connection, operation
):
    """The clock goes on by a microsecond each time it is read: the lot ends when it is read for the third time."""
    start = customer.now()
    credits_clock.set(start)
    customer.give(1_000, expires_at=start + timedelta(microseconds=3))
    customer.charge(1, key="the lot burns")
    with clock_that_ticks(owner_connection, credits_clock, start):
        assert getattr(customer, operation)(10, key="a").outcome == "insufficient"


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("fee", [0, 5 * 10**6])
def test_units_of_one_usual_class_cost_exactly_their_rate_and_the_fee(owner_connection, place, fee):
    units: list[int | None] = [None] * 4
    units[place] = 7
    rates = [2 * 10**6, 3 * 10**6, 11 * 10**6, 13 * 10**6]
    assert usual_cost(owner_connection, *units, *rates, fee) == 7 * rates[place] // 10**6 + fee // 10**6
    assert usual_cost(owner_connection, *units, *[rate + 1 for rate in rates], fee) == (
        7 * rates[place] // 10**6 + fee // 10**6 + 1
    )


def usual_cost(owner_connection, *numbers):
    marks = ", ".join(["%s::bigint"] * 9)
    (cost,) = owner_connection.execute(f"select credits__usual_cost({marks})", numbers).fetchone()
    return cost


@pytest.mark.parametrize("is_same", [True, False], ids=["the same request", "another request"])
@pytest.mark.parametrize("operation", ["authorize", "charge", "report"])
def test_a_request_whose_key_another_one_uses_while_it_waits_is_told_what_that_one_did(
    customer, role_address, superuser_connection, operation, is_same
):
    """Keys are looked for before the wait: the one that waited finds its own taken, and asks again (0063)."""
    customer.give(100)
    customer.charge(1, key="the lot burns")
    statement = {
        "authorize": "select * from credits_authorize(%s, 'k', %s, 'api', '', null, 600, 5)",
        "charge": "select * from credits_charge(%s, 'charge', 'k', %s, 'api', '', null, null, 5)",
        "report": "select * from credits_charge(%s, 'usage', 'k', %s, 'api', '', null, null, 5)",
    }[operation]
    outcomes: list[str] = []

    def ask() -> None:
        try:
            outcomes.append(str(getattr(customer, operation)(5 if is_same else 6, key="k").outcome))
        finally:
            connections.close_all()

    with psycopg.connect(role_address("console_app")) as first:
        first.execute(statement, [customer.id, MODEL])
        thread = threading.Thread(target=ask)
        thread.start()
        wait_until_blocked(superuser_connection, by=first.info.backend_pid)
        first.commit()
        thread.join()
    assert outcomes == ["replayed" if is_same else "conflict"]
    assert customer.summary().available_nano == 94


def test_a_burning_lot_that_ends_while_an_authorization_waits_is_not_used(customer, role_address, superuser_connection):
    customer.give(10, expires_at=customer.now() + timedelta(seconds=2))
    customer.charge(1, key="the lot burns")
    outcomes: list[str] = []

    def authorize() -> None:
        try:
            outcomes.append(str(customer.authorize(5, key="waits").outcome))
        finally:
            connections.close_all()

    with psycopg.connect(role_address("console_app")) as first:
        first.execute("select * from credits_lock(%s)", [customer.id])
        thread = threading.Thread(target=authorize)
        thread.start()
        wait_until_blocked(superuser_connection, by=first.info.backend_pid)
        first.execute("select pg_sleep(2)")
        first.commit()
        thread.join()
    assert outcomes == ["insufficient"]


def test_case_100_a_capture_that_waits_while_staff_charge_its_usage_is_a_conflict(
    customer, role_address, superuser_connection
):
    """Staff don't line up, so a capture must look for their adjustment after its wait."""
    customer.give(100)
    customer.charge(1, key="the lot burns")
    hold_id = customer.hold(40, key="h")
    superuser_connection.execute(
        "insert into billing_unpricedusage (organization_id, operation, idempotency_key, model, token_class, surface,"
        " key_ref, quantities, started_at, attempts, first_at, last_at)"
        " values (%s, 'capture', 'c', %s, '', 'api', '', '{\"input\": 5}', now(), 1, now(), now())",
        [customer.id, MODEL],
    )
    outcomes: list[str] = []

    def capture() -> None:
        try:
            outcomes.append(str(customer.capture(hold_id, 5, key="c").outcome))
        finally:
            connections.close_all()

    with psycopg.connect(role_address("superuser")) as staff:
        staff.execute("select credits_lock(%s)", [customer.id])
        thread = threading.Thread(target=capture)
        thread.start()
        wait_until_blocked(superuser_connection, by=staff.info.backend_pid)
        staff.execute(
            "insert into billing_debitadjustment (organization_id, adjustment_key, amount_nano, debt_nano,"
            " unpriced_usage_id, label, reason, actor_id, adjusted_at)"
            " select organization_id, gen_random_uuid(), 5, 0, id, 'late', 'by hand', null, credits_clock()"
            " from billing_unpricedusage where organization_id = %s",
            [customer.id],
        )
        staff.commit()
        thread.join()
    assert outcomes == ["conflict"]
    assert customer.capture(hold_id, 5, key="another key").outcome == "charged"


def test_every_entry_of_a_charge_has_the_charges_key_in_its_hash(customer, owner_connection):
    """The invariant takes hashes without it too, because of entries from before migration 0015."""
    customer.give(50)
    customer.give(50)
    customer.charge(1, key="usual")
    customer.capture(customer.hold(10, key="h"), 9, key="usual capture")
    customer.capture(customer.hold(60, key="i"), 55, key="capture of two lots")
    metering.charge_many([customer.event(2, key="run"), customer.event(3, key="of two")])
    customer.capture(customer.hold(5, key="j"), 40, key="capture with debt")
    customer.report(7, key="debt")
    rows = owner_connection.execute(
        "select c.idempotency_key, e.kind, e.hash = sha256(p.hash || credits__entry_bytes(e.organization_id, e.seq,"
        " e.kind, e.lot_id, e.amount_nano, e.cause_kind, e.cause_id, e.reverses_seq, e.actor_id, e.value_at,"
        " e.booked_at,"
        " e.balance_after_nano, credits__charge_terms(c.idempotency_key)))"
        " from billing_ledgerentry e join billing_ledgerentry p on p.organization_id = e.organization_id"
        " and p.seq = e.seq - 1 join billing_charge c on e.cause_kind = 'charge' and c.id = e.cause_id"
    ).fetchall()
    assert [row for row in rows if not row[2]] == []
    assert len({key for key, _, _ in rows}) == 7
    assert {kind for _, kind, _ in rows} == {"burn", "overshoot"}


def test_the_day_adds_up_every_usual_class_of_usual_captures(customer, credits_clock, owner_connection):
    credits_clock.set(customer.now())
    quantities = {"input": 3, "output": 4, "cache_write": 5, "cache_read": 6}
    prices.publish(
        prices=prices.ModelPrices(
            slug="cached", name="cached", prices_nano_per_million=dict.fromkeys(quantities, 10**6)
        ),
        effective_at=customer.now() - timedelta(days=1),
    )
    customer.give(1_000)
    customer.charge(1, key="the lot burns")
    with no_long_way(owner_connection):
        for number in range(2):
            usage = metering.Usage(model="cached", quantities=quantities)
            hold = metering.authorize(organization_id=customer.id, key=f"{number}", usage=usage)
            assert hold.hold_id is not None
            metering.capture(organization_id=customer.id, hold_id=hold.hold_id, key=f"c{number}", quantities=quantities)
    day = UsageDay.objects.get(organization_id=customer.id, priced_model__slug="cached")
    assert (day.requests, day.input_units, day.output_units) == (2, 6, 8)
    assert (day.cache_write_units, day.cache_read_units) == (10, 12)
