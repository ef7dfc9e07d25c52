"""What pages and the gate read: lots with what is held of them, ended lots, days of usage, keys that are known."""

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.credits import ledger, metering, prices, queries
from billing.credits.metering import Usage
from billing.credits.queries import KeyLine, UsageLine
from billing.models import Charge, CreditLot
from billing.tests.customer import MODEL, PRICED_SINCE, Customer, publish_price

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY, MICROSECOND = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)


@pytest.fixture
def clock(credits_clock, db):
    """The ledger's clock, standing at START."""
    credits_clock.set(START)
    return credits_clock


@pytest.fixture
def other(customer):
    """Another organization, which has and does what the customer doesn't."""
    return Customer("other")


def live(customer: Customer, at: datetime, **options: int) -> list[tuple[int, int, int]]:
    """Of each live lot what is left and what is held."""
    lots = queries.live_lots(organization_id=customer.id, at=at, **options)
    return [(lot.id, lot.left_nano, lot.held_nano) for lot in lots]


def ended(customer: Customer, at: datetime) -> list[tuple[int, int, int, int]]:
    """Of each ended lot what expired, what of it came back after its end, and what was taken back."""
    lots = queries.ended_lots(organization_id=customer.id, at=at)
    return [(lot.id, lot.expired_nano, lot.returned_nano, lot.taken_back_nano) for lot in lots]


# Lots


def test_all_holds_of_a_lot_are_held_of_it_and_all_that_lapsed_are_left_again(customer, clock):
    lot = customer.give(100, expires_at=START + DAY).lot_id
    later = customer.give(50, expires_at=START + 2 * DAY).lot_id
    for key, amount_nano, seconds in (("a", 10, 600), ("b", 20, 600), ("c", 30, 3_600), ("d", 15, 3_600)):
        customer.hold(amount_nano, key=key, ttl_seconds=seconds)
    assert live(customer, START) == [(lot, 100, 75), (later, 50, 0)]
    at = START + timedelta(seconds=600)
    assert live(customer, at - MICROSECOND) == [(lot, 100, 75), (later, 50, 0)]
    assert live(customer, at) == [(lot, 100, 45), (later, 50, 0)]
    assert live(customer, START + HOUR) == [(lot, 100, 0), (later, 50, 0)]
    assert live(customer, at, limit=1) == [(lot, 100, 45)]


def test_a_lot_past_its_end_shows_what_is_still_held_of_it_and_then_what_expired(customer, other, clock):
    end = START + timedelta(minutes=20)
    lot = customer.give(100, expires_at=end).lot_id
    for key, amount_nano, seconds in (("a", 10, 600), ("b", 20, 600), ("c", 30, 1_800), ("d", 5, 3_600)):
        customer.hold(amount_nano, key=key, ttl_seconds=seconds)
    other.give(7, expires_at=end)
    clock.set(end)
    assert (live(customer, end), ended(customer, end)) == ([(lot, 35, 35)], [])
    clock.set(START + timedelta(minutes=30))
    at = START + timedelta(minutes=30)
    assert (live(customer, at), ended(customer, at)) == ([(lot, 5, 5)], [])
    at = START + HOUR
    clock.set(at)
    assert (live(customer, at), ended(customer, at)) == ([], [(lot, 100, 65, 0)])
    ledger.expire_due(limit=10)
    assert ended(customer, at)[0][:2] == (lot, 100)


def test_an_ended_lot_tells_what_came_back_after_its_end_and_what_was_taken_back(customer, other, clock):
    """Each of its own organization's entries alone, undone take-backs left out."""
    purchase = customer.buy(1)
    other.buy(1)
    lot = CreditLot.objects.get(purchase=purchase)
    customer.charge(4_000_000, key="used")
    charge = Charge.objects.get()
    mistake, _ = (customer.take_back(lot.pk, amount_nano) for amount_nano in (1_000_000, 2_000_000))
    assert mistake.take_back_id is not None
    customer.reverse(mistake.take_back_id, kind="take_back", amount_nano=1_000_000)
    at = lot.expires_at + HOUR
    clock.set(at)
    expired_nano = 10_000_000 - 4_000_000 - 2_000_000
    assert ended(customer, at) == [(lot.pk, expired_nano, 0, 2_000_000)]
    ledger.expire_due(limit=10)
    assert ended(customer, at) == [(lot.pk, expired_nano, 0, 2_000_000)]
    customer.reverse(charge.pk, amount_nano=1_500_000)
    assert ended(customer, at) == [(lot.pk, expired_nano + 1_500_000, 1_500_000, 2_000_000)]


def test_ended_lots_come_newest_first_and_page_below_an_id(customer, clock):
    lots = [customer.give(1, expires_at=START + HOUR).lot_id for _ in range(25)]
    at = START + HOUR
    clock.set(at)
    newest = queries.ended_lots(organization_id=customer.id, at=at)
    assert [lot.id for lot in newest] == lots[:4:-1]
    older = queries.ended_lots(organization_id=customer.id, at=at, before_id=newest[-1].id)
    assert [lot.id for lot in older] == lots[4::-1]
    assert len(queries.live_lots(organization_id=customer.id, at=START)) == 25


def test_the_share_that_is_left_of_a_lot_is_rounded_down(customer, clock):
    customer.give(300, expires_at=START + DAY)
    customer.charge(100, key="c")
    [lot] = customer.lots()
    assert lot.percent_left == 66
    customer.charge(198, key="d")
    assert customer.lots()[0].percent_left == 0


def test_summaries_of_many_are_the_summary_of_each(customer, other):
    customer.give(100)
    customer.hold(30, key="h")
    other.report(7, key="owed")
    other.give(12)
    new = Customer("new")
    found = queries.summaries(organization_ids=[customer.id, other.id, new.id])
    assert {each.id for each in (customer, other, new)} == set(found)
    for each in (customer, other, new):
        one = each.summary()
        assert (found[each.id].balance_nano, found[each.id].available_nano, found[each.id].held_nano) == (
            one.balance_nano,
            one.available_nano,
            one.held_nano,
        )
    assert (found[customer.id].held_nano, found[other.id].balance_nano) == (30, 5)


# Keys that are known


def test_what_was_done_before_is_told_by_organization_and_key_and_holds_apart_from_charges(customer, other):
    customer.give(100)
    other.give(100)
    customer.hold(1, key="held")
    customer.charge(1, key="charged")
    other.charge(1, key="elsewhere")
    asked = [(each.id, key) for each in (customer, other) for key in ("held", "charged", "elsewhere", "new")]
    assert queries.done_before(asked, is_hold=True) == {(customer.id, "held")}
    assert queries.done_before(asked, is_hold=False) == {(customer.id, "charged"), (other.id, "elsewhere")}
    # Neither another one's key nor another key is an answer.
    assert queries.done_before([(customer.id, "elsewhere"), (other.id, "charged")], is_hold=False) == set()
    assert queries.done_before([(other.id, "held"), (customer.id, "new")], is_hold=True) == set()
    assert queries.done_before([], is_hold=False) == set()


# Usage


@pytest.fixture
def used(customer, other, credits_clock):
    """Reports usage of a day of March."""
    credits_clock.set(datetime(2026, 3, 4, 18, tzinfo=UTC))
    publish_price("fine")
    for each in (customer, other):
        each.give(10**6)
    count = 0

    def use(who: Customer, day: int, model: str, surface: str, key_ref: str, **quantities: int) -> None:
        nonlocal count
        count += 1
        result = metering.report_usage(
            organization_id=who.id,
            key=f"use-{count}",
            usage=Usage(model=model, quantities=quantities, surface=surface, key_ref=key_ref),
            occurred_at=datetime(2026, 3, day, tzinfo=UTC) + timedelta(minutes=count),
        )
        assert result.outcome == "charged", result

    return use


@pytest.fixture
def month(customer, other, used):
    """Four days of usage, of two models, three keys and three surfaces, one of it given back in part."""
    used(customer, 1, MODEL, "api", "one", input=10, output=1)
    used(customer, 1, MODEL, "api", "one", input=5, output=2)
    used(customer, 1, MODEL, "workbench", "", input=7)
    used(customer, 1, "fine", "api", "two", output=3)
    used(customer, 2, "fine", "claude_code", "two", input=40)
    used(customer, 4, MODEL, "api", "three", input=2)
    used(other, 1, MODEL, "api", "one", input=900)
    customer.reverse(Charge.objects.get(idempotency_key="use-3").pk, amount_nano=6)
    return customer


def days(first: int, last: int) -> dict[str, datetime]:
    """From the first day's beginning to the last one's end."""
    return {"start": datetime(2026, 3, first, tzinfo=UTC), "end": datetime(2026, 3, last + 1, tzinfo=UTC)}


def test_usage_is_added_up_by_day_and_model_less_what_was_given_back(month):
    lines = queries.usage_by_day_and_model(organization_id=month.id, **days(1, 4))
    assert lines == [
        UsageLine(date(2026, 3, 1), "fine", "fine", 1, {"output": 3}, 3),
        UsageLine(date(2026, 3, 1), MODEL, MODEL, 3, {"input": 22, "output": 3}, 19),
        UsageLine(date(2026, 3, 2), "fine", "fine", 1, {"input": 40}, 40),
        UsageLine(date(2026, 3, 4), MODEL, MODEL, 1, {"input": 2}, 2),
    ]


def test_usage_of_one_surface_and_of_the_days_that_a_stretch_touches_is_shown_alone(month):
    api = queries.usage_by_day_and_model(organization_id=month.id, **days(1, 4), surface="api")
    assert [(line.day.day, line.model_slug, line.requests, line.cost_nano) for line in api] == [
        (1, "fine", 1, 3),
        (1, MODEL, 2, 18),
        (4, MODEL, 1, 2),
    ]
    second = {"start": datetime(2026, 3, 2, 23, 59, tzinfo=UTC), "end": datetime(2026, 3, 3, tzinfo=UTC)}
    assert [line.day.day for line in queries.usage_by_day_and_model(organization_id=month.id, **second)] == [2]
    third = {"start": datetime(2026, 3, 3, tzinfo=UTC), "end": datetime(2026, 3, 4, tzinfo=UTC) + MICROSECOND}
    assert [line.day.day for line in queries.usage_by_day_and_model(organization_id=month.id, **third)] == [4]


def test_every_class_of_a_day_is_added_up_over_keys_and_surfaces(customer, used):
    classes = ("input", "output", "cache_write", "cache_read", "input_batch", "audio")
    prices.publish(prices=prices.ModelPrices("rich", "Rich", dict.fromkeys(classes, 10**6)), effective_at=PRICED_SINCE)
    used(customer, 1, "rich", "api", "one", input=1, output=10, cache_write=20, cache_read=30, input_batch=2, audio=3)
    used(customer, 1, "rich", "api", "two", output=11, cache_write=22, cache_read=33, input_batch=4)
    used(customer, 1, "rich", "workbench", "", audio=5)
    [line] = queries.usage_by_day_and_model(organization_id=customer.id, **days(1, 1))
    assert line.quantities == {
        "input": 1, "output": 21, "cache_write": 42, "cache_read": 63, "input_batch": 6, "audio": 8
    }  # fmt: skip
    assert (line.requests, line.cost_nano) == (3, sum(line.quantities.values()))


def test_usage_by_key_comes_by_cost_and_then_by_name(month, used):
    used(month, 2, MODEL, "api", "also", input=2)
    lines = queries.usage_by_key(organization_id=month.id, **days(1, 4))
    assert lines == [
        KeyLine("two", 2, 43),
        KeyLine("one", 2, 18),
        KeyLine("also", 1, 2),
        KeyLine("three", 1, 2),
        KeyLine("", 1, 1),
    ]
    assert queries.usage_by_key(organization_id=month.id, **days(1, 4), limit=2) == lines[:2]
    assert queries.usage_by_key(organization_id=month.id, **days(1, 1), surface="workbench") == [KeyLine("", 1, 1)]


def test_twenty_keys_are_shown_where_nobody_says_how_many(customer, used):
    for number in range(21):
        used(customer, 1, MODEL, "api", f"key-{number:02}", input=1)
    lines = queries.usage_by_key(organization_id=customer.id, **days(1, 1))
    assert [line.key_ref for line in lines] == [f"key-{number:02}" for number in range(20)]


def test_the_cost_of_days_is_the_sum_of_each_less_what_was_given_back(month):
    assert queries.cost_nano(organization_id=month.id, **days(1, 4)) == 64
    assert queries.cost_nano(organization_id=month.id, **days(1, 1)) == 22
    assert queries.cost_nano(organization_id=month.id, **days(3, 3)) == 0
    assert queries.cost_by_day(organization_id=month.id, **days(1, 4)) == [22, 40, 2]
    assert queries.cost_by_day(
        organization_id=month.id, start=datetime(2026, 3, 2, 5, tzinfo=UTC), end=datetime(2026, 3, 4, 18, tzinfo=UTC)
    ) == [40]


def test_of_the_oldest_day_the_part_counts_that_is_within_the_days(month):
    """At 18:00 a day of 24 hours reaches back to 18:00 of the day before, of whose usage a quarter is within it."""
    at = datetime(2026, 3, 4, 18, tzinfo=UTC)
    cost = {days: queries.recent_cost_nano(organization_id=month.id, at=at, days=days) for days in (1, 2, 3, 4)}
    assert cost == {1: 2, 2: 2 + 10, 3: 2 + 40 + 22 // 4, 4: 64}
    midnight = datetime(2026, 3, 4, tzinfo=UTC)
    assert queries.recent_cost_nano(organization_id=month.id, at=midnight, days=2) == 42
    night = datetime(2026, 3, 2, 23, 59, 59, 999_999, tzinfo=UTC)
    assert queries.recent_cost_nano(organization_id=month.id, at=night, days=1) == 42
    assert queries.recent_cost_nano(organization_id=Customer("new").id, at=at, days=30) == 0


def test_what_a_lot_paid_of_debt_in_the_moment_of_its_grant_is_told_of_that_lot_alone(customer, other):
    for each in (customer, other):
        each.report(70, key="owed")
    lots = [customer.give(30).lot_id, customer.give(100).lot_id, other.give(500).lot_id]
    paid = [queries.debt_paid_by_grant_nano(organization_id=customer.id, lot_id=lot) for lot in lots]
    assert paid == [30, 40, 0]
    assert queries.debt_paid_by_grant_nano(organization_id=other.id, lot_id=lots[2]) == 70
