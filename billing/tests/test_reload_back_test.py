"""The back-test: what settings would have charged, by the rules that the attempt itself asks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing.credits import statements
from billing.credits.statements import Movement
from billing.models import LedgerEntry
from billing.money import cents_up_from_nano, nano_from_cents
from billing.payments import reload_back_test
from billing.payments.reload_back_test import BackTest, Settings, back_test, replay
from billing.tests.buyer import Buyer, hours
from billing.tests.pages import Pages, text_of

START = datetime(2026, 11, 29, tzinfo=UTC)
MINUTES = 4 * 24 * 60
MAXIMUM_CENTS = 3_000
USUAL = Settings(minimum_cents=500, target_cents=2_000, monthly_cap_cents=10_000)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def naive(
    numbers: Settings, opening_cents: int, moves: Sequence[tuple[int, int]], gap_minutes: int
) -> list[tuple[int, int]]:
    """The same minute by minute, as one would do it on paper: (minute, cents) of each charge."""
    charges: list[tuple[int, int]] = []
    level = opening_cents
    waiting = list(moves)

    def attempt(now: int) -> None:
        nonlocal level
        while level < numbers.minimum_cents:
            if charges and now - charges[-1][0] < gap_minutes:
                return
            if len([at for at, _ in charges if at > now - 24 * 60]) >= 5:
                return
            month = minute(now).month
            left = numbers.monthly_cap_cents - sum(cents for at, cents in charges if minute(at).month == month)
            cents = min(numbers.target_cents - level, MAXIMUM_CENTS)
            if cents > left:
                if level + left < numbers.minimum_cents:
                    return
                cents = left
            if cents < 50:
                return
            charges.append((now, cents))
            level += cents

    for now in range(MINUTES):
        if not (waiting and waiting[0][0] == now):
            attempt(now)
        while waiting and waiting[0][0] == now:
            level += waiting.pop(0)[1]
            attempt(now)
    return charges


@st.composite
def histories(draw: st.DrawFn) -> tuple[Settings, int, list[tuple[int, int]], int]:
    minimum = draw(st.integers(0, 2_000))
    target = minimum + draw(st.integers(500, 3_000))
    numbers = Settings(minimum, target, draw(st.integers(target - minimum, 20_000)))
    burns = st.tuples(st.integers(0, MINUTES - 1), st.integers(-2_500, 400))
    moves = sorted(draw(st.lists(burns, max_size=40)), key=lambda move: move[0])
    return numbers, draw(st.integers(-500, 4_000)), moves, draw(st.sampled_from([0, 1, 7, 600]))


@given(histories())
@hypothesis_settings(max_examples=120, deadline=None, database=None)
def test_it_charges_what_a_simulation_minute_by_minute_charges(
    history: tuple[Settings, int, list[tuple[int, int]], int],
) -> None:
    numbers, opening_cents, moves, gap_minutes = history
    result = replay(
        numbers=numbers,
        opening_nano=nano_from_cents(opening_cents),
        movements=[Movement(minute(at), nano_from_cents(cents)) for at, cents in moves],
        start=START,
        end=minute(MINUTES),
        gap=timedelta(minutes=gap_minutes),
        maximum_cents=MAXIMUM_CENTS,
    )
    found = [((charge.at - START) // timedelta(minutes=1), charge.amount_cents) for charge in result.charges]
    assert found == naive(numbers, opening_cents, moves, gap_minutes)
    assert result.total_cents == sum(cents for _, cents in found)


def tried(moves: Sequence[tuple[int, int]], *, opening_cents: int = 1_000, numbers: Settings = USUAL) -> BackTest:
    return replay(
        numbers=numbers,
        opening_nano=nano_from_cents(opening_cents),
        movements=[Movement(minute(at), nano_from_cents(cents)) for at, cents in moves],
        start=START,
        end=minute(MINUTES),
        gap=timedelta(minutes=1),
        maximum_cents=MAXIMUM_CENTS,
    )


def test_what_held_it_up_is_said() -> None:
    result = tried([(number * 10, -600) for number in range(12)], numbers=Settings(500, 1_000, 100_000))
    assert [charge.amount_cents for charge in result.charges[:5]] == [600] * 5
    assert result.day_limited_at == minute(50)
    assert result.most_in_a_day == 5
    assert result.runs_dry
    capped = tried([(number * 10, -600) for number in range(12)], numbers=Settings(500, 1_000, 1_200))
    assert (len(capped.charges), capped.capped_at) == (2, minute(20))


def test_without_use_there_is_nothing_to_say() -> None:
    result = tried([(5, 500)])
    assert (result.has_use, result.charges, result.lowest_nano) == (False, [], nano_from_cents(1_500))


# From the books


@pytest.mark.django_db(transaction=True)
def test_settings_that_were_in_force_would_have_charged_what_they_did(buyer: Buyer, credits_clock: Any) -> None:
    credits_clock.set(datetime(2026, 11, 2, 12, tzinfo=UTC))
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm(500, 2_000, 20_000)
    for spent in (300, 400, 900, 700, 1_100, 50, 400, 3):
        credits_clock.advance(hours(7))
        buyer.spend(spent)
        buyer.attempt()
    credits_clock.advance(hours(1))
    charged = [purchase.amount_cents for purchase in buyer.purchases]
    assert len(charged) == 3
    result = tried_now(buyer, Settings(500, 2_000, 20_000))
    assert [charge.amount_cents for charge in result.charges] == charged
    assert [charge.at for charge in result.charges] == [purchase.created_at for purchase in buyer.purchases]


def tried_now(buyer: Buyer, numbers: Settings = USUAL) -> BackTest:
    return back_test(organization_id=buyer.organization.pk, numbers=numbers, at=buyer.now())


@pytest.mark.django_db(transaction=True)
def test_an_organization_that_is_younger_is_tried_from_its_first_credit(buyer: Buyer, credits_clock: Any) -> None:
    credits_clock.set(datetime(2026, 11, 2, 12, tzinfo=UTC))
    buyer.fund(1_000)
    credits_clock.advance(hours(9 * 24 - 1))
    buyer.spend(100)
    credits_clock.advance(hours(1))
    result = tried_now(buyer)
    assert (result.days, result.charges, result.has_use) == (9, [], True)
    assert result.lowest_nano == nano_from_cents(900)


@pytest.mark.django_db(transaction=True)
def test_what_is_older_than_thirty_days_counts_as_what_was_left_of_it(buyer: Buyer, credits_clock: Any) -> None:
    credits_clock.set(datetime(2026, 10, 1, tzinfo=UTC))
    buyer.fund(10_000)
    buyer.spend(9_000)
    credits_clock.advance(hours(31 * 24))
    buyer.spend(600)
    credits_clock.advance(hours(1))
    result = tried_now(buyer)
    assert [charge.amount_cents for charge in result.charges] == [1_600]
    assert result.days == 30


@pytest.mark.django_db
def test_many_entries_are_read_in_few_steps_and_add_up_to_the_same(buyer: Buyer, monkeypatch: Any) -> None:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    for _ in range(60):
        buyer.spend(20)
        buyer.attempt()
    at = buyer.now() + timedelta(seconds=1)
    span = {"organization_id": buyer.organization.pk, "start": at - timedelta(days=30), "end": at}
    every = statements.movements_without_reloads(**span, most=10_000)
    assert len(every.movements) == every.entries == LedgerEntry.objects.filter(organization=buyer.organization).count()
    few = statements.movements_without_reloads(**span, most=10)
    assert len(few.movements) <= 10
    assert sum(one.amount_nano for one in few.movements) == sum(one.amount_nano for one in every.movements)
    reloaded_nano = sum(purchase.credit_nano for purchase in buyer.purchases)
    assert sum(one.amount_nano for one in every.movements) == nano_from_cents(buyer.available_cents) - reloaded_nano
    assert cents_up_from_nano(every.movements[0].amount_nano) == 1_000

    with CaptureQueriesContext(
        connection,
    ) as exact:
        tried_now(buyer)
    monkeypatch.setattr(reload_back_test, "STEPS_MAX", 10)
    with CaptureQueriesContext(connection) as coarse:
        tried_now(buyer)
    assert len(exact) == len(coarse) == 4  # One of them asks the clock.


# On the page


@pytest.mark.django_db(transaction=True)
def test_the_dialog_shows_it_before_saving_and_saves_nothing(buyer: Buyer, credits_clock: Any) -> None:
    credits_clock.set(datetime(2026, 11, 2, 12, tzinfo=UTC))
    buyer.save_card()
    buyer.fund(5_000)
    for _ in range(4):
        credits_clock.advance(hours(24))
        buyer.spend(1_200)
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    form = pages.form("auto_reload") | {"minimum": "5", "target": "20", "monthly_cap": "100"}
    response = pages.post("auto_reload", form | {"step": "check"})
    assert response.status_code == 200
    assert "these settings would have charged once, $18.00." in text_of(response)
    assert not buyer.organization.auto_reload_consents.exists()
    fragment = pages.get("auto_reload_back_test", "?minimum=5&target=20&monthly_cap=100")
    assert "would have charged once, $18.00." in text_of(fragment)
    assert "<html" not in fragment.content.decode()


@pytest.mark.django_db
def test_without_history_it_says_so(buyer: Buyer) -> None:
    buyer.save_card()
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    assert "Nothing was used in the last 30 days" in text_of(pages.get("auto_reload"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query", ["", "?minimum=x&target=20&monthly_cap=100", "?minimum=50&target=20&monthly_cap=100", "?minimum=%00"]
)
def test_amounts_that_will_not_do_are_no_error_of_ours(buyer: Buyer, query: str) -> None:
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    response = pages.get("auto_reload_back_test", query)
    assert response.status_code == 422
    assert "These amounts" in text_of(response)
