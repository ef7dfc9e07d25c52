"""The lot whose remainder stands in the account's row: who leaves it there, who puts it back, and what readers say."""

from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from billing.credits import corrections, expiry, ledger, metering, prices, queries, statements
from billing.credits.metering import Usage
from billing.models import CreditAccount, CreditEvent, CreditLot, UsageDay
from billing.tests import staff
from billing.tests.customer import PRICED_SINCE, Customer, clock_that_ticks, publish_price

pytestmark = pytest.mark.django_db


def burning(customer: Customer) -> tuple[int | None, int | None]:
    """The lot that burns, and what the account says is left of it."""
    account = CreditAccount.objects.get(organization_id=customer.id)
    return account.burning_lot_id, account.burning_remaining_nano


def in_its_row(lot_id: int) -> int:
    """What a lot's own row says, which is old news while it burns."""
    return CreditLot.objects.get(pk=lot_id).remaining_nano


def test_the_first_charge_takes_the_first_lot_up_and_later_ones_leave_its_row_alone(customer):
    lot = customer.give(100).lot_id
    customer.give(100)
    customer.charge(1, key="first")
    assert (burning(customer), in_its_row(lot)) == ((lot, 99), 99)
    customer.charge(2, key="second")
    customer.report(3, key="third")
    metering.charge_many([customer.event(4, key="fourth"), customer.event(5, key="fifth")])
    assert (burning(customer), in_its_row(lot)) == ((lot, 85), 99)
    assert customer.remaining()[lot] == 85


def test_requests_in_progress_burn_the_accounts_row(customer):
    lot = customer.give(100).lot_id
    captured, voided = customer.hold(40, key="a"), customer.hold(20, key="b")
    assert burning(customer) == (lot, 40)
    row = in_its_row(lot)
    customer.capture(captured, 10)
    customer.void(voided)
    assert (burning(customer), in_its_row(lot)) == ((lot, 90), row)
    customer.capture(customer.hold(20, key="c"), 50, key="more than was held")
    assert (burning(customer), in_its_row(lot)) == ((lot, 40), row)


def test_a_lot_that_is_used_up_burns_no_more(customer):
    first, second = customer.give(10).lot_id, customer.give(10).lot_id
    customer.charge(4, key="a")
    customer.charge(6, key="b")
    assert (burning(customer), in_its_row(first)) == ((second, 10), 0)
    metering.charge_many([customer.event(7, key="c"), customer.event(3, key="d")])
    assert (burning(customer)[0], in_its_row(second)) == (None, 0)


def test_credit_that_comes_back_to_a_lot_that_comes_first_is_spent_first(customer):
    sooner = customer.give(10, expires_at=customer.now() + timedelta(days=1)).lot_id
    later = customer.give(100).lot_id
    hold = customer.hold(10, key="all of the sooner")
    customer.charge(1, key="burns the later")
    assert burning(customer) == (later, 99)
    customer.void(hold)
    customer.charge(4, key="from the sooner")
    assert customer.remaining() == {sooner: 6, later: 99}
    assert burning(customer) == (sooner, 6)


@pytest.fixture
def actor():
    return staff.superuser()


@pytest.mark.parametrize(
    "act",
    [
        lambda customer, actor: customer.give(5, expires_at=customer.now() + timedelta(days=1)),
        lambda customer, actor: corrections.take_credit(
            organization=customer.organization, actor=actor, amount_nano=1, key=uuid4(), label="Correction",
            reason="Wrong price, ticket 4711", may_owe=False,
        ),
        lambda customer, actor: ledger.set_reload_line(organization_id=customer.id, below_nano=10),
        lambda customer, actor: metering.charge_many([customer.event(1, key="same"), customer.event(1, key="same")]),
        lambda customer, actor: customer.lock(),
    ],
    ids=["a grant", "an adjustment", "a reload line", "a batch that repeats itself", "a look under the lock"],
)  # fmt: skip
def test_what_goes_by_lots_finds_and_leaves_the_remainder_where_it_is_true(customer, actor, act):
    lot = customer.give(100).lot_id
    customer.charge(1, key="a")
    customer.charge(2, key="b")
    before = sum(customer.remaining().values())
    act(customer, actor)
    account = CreditAccount.objects.get(organization_id=customer.id)
    assert sum(customer.remaining().values()) == account.unreserved_nano
    assert before - 2 <= account.unreserved_nano <= before + 5
    assert account.burning_lot_id is not None or in_its_row(lot) == customer.remaining()[lot]


def test_no_lot_burns_before_an_ended_one_is_booked(customer, credits_clock):
    start = customer.now()
    credits_clock.set(start)
    ended = customer.give(10, expires_at=start + timedelta(minutes=1)).lot_id
    live = customer.give(100).lot_id
    credits_clock.advance(timedelta(minutes=2))
    assert customer.charge(1, key="before").available_nano == 99
    assert burning(customer) == (None, None)
    expiry.book_due()
    assert customer.charge(1, key="after").available_nano == 98
    assert burning(customer) == (live, 98)
    assert customer.remaining() == {ended: 0, live: 98}


def test_readers_know_what_is_left_of_a_burning_lot_before_and_after_its_end(customer, credits_clock):
    start = customer.now()
    credits_clock.set(start)
    customer.give(100, expires_at=start + timedelta(minutes=1))
    customer.charge(1, key="a")
    customer.charge(29, key="b")
    [line] = customer.lots()
    assert (line.left_nano, line.percent_left, customer.summary().balance_nano) == (70, 70, 70)
    credits_clock.advance(timedelta(minutes=2))
    at = customer.now()
    [line] = queries.ended_lots(organization_id=customer.id, at=at)
    assert (line.expired_nano, customer.summary().available_nano) == (70, 0)
    assert statements.balance_at(organization_id=customer.id, at=at) == 0
    assert customer.charge(1, key="c").outcome == "insufficient"
    expiry.book_due()
    assert customer.entries()[-1][0::2] == ("expiry", -70)
    assert burning(customer) == (None, None)


def test_the_sweep_books_what_is_left_of_lots_that_burned_to_their_end(customer, credits_clock):
    start = customer.now()
    credits_clock.set(start)
    other, concerned_with_none = Customer("other"), Customer("third")
    live = concerned_with_none.give(100).lot_id
    concerned_with_none.charge(1, key="a")
    concerned_with_none.charge(2, key="b")
    for one in (customer, other):
        one.give(100, expires_at=start + timedelta(minutes=1))
        one.charge(1, key="a")
        one.charge(9, key="b")
    credits_clock.advance(timedelta(minutes=2))
    expiry.book_due()
    for one in (customer, other):
        assert one.entries()[-1][0::2] == ("expiry", -90)
        assert (burning(one), list(one.remaining().values())) == ((None, None), [0])
        assert CreditAccount.objects.get(organization_id=one.id).burning_ends_at is None
    # It holds no lock on that one.
    assert (burning(concerned_with_none), in_its_row(live)) == ((live, 97), 99)


def test_a_batch_at_the_instant_of_a_lots_end_spends_nothing_of_it(customer, credits_clock):
    start = customer.now()
    credits_clock.set(start)
    customer.give(100, expires_at=start + timedelta(minutes=1))
    credits_clock.advance(timedelta(minutes=1))
    [result] = metering.charge_many([customer.event(1, key="a")])
    assert (result.outcome, burning(customer)) == ("insufficient", (None, None))


def test_a_batch_at_the_instant_of_the_burning_lots_end_spends_nothing_of_it(customer, credits_clock):
    start = customer.now()
    credits_clock.set(start)
    ended = customer.give(100, expires_at=start + timedelta(minutes=1)).lot_id
    customer.charge(1, key="the lot burns")
    live = customer.give(100).lot_id
    customer.charge(1, key="it burns again")
    assert burning(customer) == (ended, 98)
    credits_clock.advance(timedelta(minutes=1))
    results = metering.charge_many([customer.event(1, key=key) for key in "ab"])
    assert [(result.outcome, result.available_nano) for result in results] == [("charged", 99), ("charged", 98)]
    assert customer.remaining() == {ended: 98, live: 98}


def test_a_lot_that_ends_while_a_batch_runs_pays_nothing_more_of_it(customer, credits_clock, owner_connection):
    """The clock goes on by a microsecond each time it is read. A batch reads it at its beginning, and where an event is
    charged alone: here the second, for which the first lot would not be enough."""
    start = customer.now()
    credits_clock.set(start)
    ending = customer.give(10, expires_at=start + timedelta(microseconds=2)).lot_id
    other = customer.give(100).lot_id
    with clock_that_ticks(owner_connection, credits_clock, start):
        results = metering.charge_many([customer.event(count, key=str(count)) for count in (4, 20, 1, 2)])
    assert [(result.outcome, result.available_nano) for result in results] == [
        ("charged", 106), ("charged", 80), ("charged", 79), ("charged", 77),
    ]  # fmt: skip
    assert customer.remaining() == {ending: 6, other: 77}


def test_a_price_that_changes_while_a_batch_runs_is_the_price_of_what_comes_after(
    customer, credits_clock, owner_connection
):
    start = customer.now()
    credits_clock.set(start)
    customer.give(10)
    customer.give(100)
    publish_price(effective_at=start + timedelta(microseconds=2), input_nano=2 * 10**6)
    with clock_that_ticks(owner_connection, credits_clock, start):
        results = metering.charge_many([customer.event(count, key=str(count)) for count in (4, 20, 1, 2)])
    assert [result.amount_nano for result in results] == [4, 40, 2, 4]


def test_a_batch_after_a_hold_lapsed_counts_what_comes_back(customer, credits_clock):
    credits_clock.set(customer.now())
    customer.give(100)
    customer.authorize(30, key="h", ttl_seconds=60)
    credits_clock.advance(timedelta(seconds=60))
    results = metering.charge_many([customer.event(1, key=key) for key in "ab"])
    assert [result.available_nano for result in results] == [99, 98]
    assert customer.summary().held_nano == 0


@pytest.mark.parametrize("is_armed", [True, False])
def test_a_batch_that_crosses_the_line_of_auto_reload_says_at_which_event(customer, is_armed):
    customer.give(100)
    ledger.set_reload_line(organization_id=customer.id, below_nano=50 if is_armed else None)
    results = metering.charge_many([customer.event(25, key=str(number)) for number in range(4)])
    assert [result.is_newly_low for result in results] == [False, False, is_armed, False]
    told = list(CreditEvent.objects.order_by("id").values_list("kind", flat=True))
    assert told == (["reload_due", "exhausted"] if is_armed else ["exhausted"])


def test_a_charge_at_the_instant_of_a_lots_end_is_paid_by_the_next_lot(customer, credits_clock):
    start = customer.now()
    credits_clock.set(start)
    ended = customer.give(100, expires_at=start + timedelta(minutes=1)).lot_id
    live = customer.give(100).lot_id
    credits_clock.advance(timedelta(minutes=1))
    customer.charge(1, key="a")
    assert customer.remaining() == {ended: 100, live: 99}


def test_a_charge_at_the_instant_of_a_holds_lapse_counts_what_comes_back(customer, credits_clock):
    credits_clock.set(customer.now())
    customer.give(100)
    customer.hold(40, key="h", ttl_seconds=60)
    assert customer.charge(1, key="before").available_nano == 59
    credits_clock.advance(timedelta(seconds=60))
    assert customer.charge(1, key="at it").available_nano == 98


def test_the_day_adds_up_every_usual_class_of_charges_that_burn_one_lot(customer):
    prices.publish(
        prices=prices.ModelPrices(
            slug="cached", name="cached",
            prices_nano_per_million={"input": 10**6, "output": 10**6, "cache_write": 10**6, "cache_read": 10**6},
        ),
        effective_at=PRICED_SINCE,
    )  # fmt: skip
    customer.give(10**6)
    used = Usage(model="cached", quantities={"input": 1, "output": 20, "cache_write": 300, "cache_read": 4_000})
    for key in ("a", "b", "c"):
        metering.charge(organization_id=customer.id, key=key, usage=used)
    day = UsageDay.objects.get(organization_id=customer.id)
    assert (day.requests, day.amount_nano, day.input_units, day.output_units) == (3, 12_963, 3, 60)
    assert (day.cache_write_units, day.cache_read_units) == (900, 12_000)


@pytest.mark.django_db(transaction=True)
def test_usage_of_one_organization_does_not_wait_for_another_one(customer, role_address):
    customer.give(100)
    customer.charge(1, key="a")
    other = Customer("other")
    other.give(100)
    with psycopg.connect(role_address("console_app")) as busy:
        busy.execute("select * from credits_lock(%s)", [other.id])
        with connection.cursor() as cursor:
            cursor.execute("set lock_timeout = '2s'")
        assert customer.report(1, key="b").outcome == "charged"
    connection.close()
