"""Holds: they pin lots, lapse by predicate, are settled once, and never strand or duplicate credit."""

import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.db import connections

from billing.credits import ledger, metering
from billing.errors import InvalidUsage
from billing.models import Charge, CreditAccount, CreditEvent, Hold, LedgerEntry
from billing.tests.customer import Customer, units

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def clock(credits_clock):
    """The ledger's clock, standing at START."""
    credits_clock.set(START)
    return credits_clock


def test_a_hold_puts_credit_aside_and_a_capture_charges_what_was_used(customer):
    lot = customer.give(100).lot_id
    hold_id = customer.hold(60, key="h")
    summary = customer.summary()
    assert (summary.balance_nano, summary.held_nano, summary.open_holds, summary.available_nano) == (100, 60, 1, 40)
    result = customer.capture(hold_id, 25)
    assert (result.outcome, result.amount_nano, result.debt_nano, result.available_nano) == ("charged", 25, 0, 75)
    assert customer.entries() == [("grant", lot, 100), ("burn", lot, -25)]
    summary = customer.summary()
    assert (summary.balance_nano, summary.held_nano, summary.open_holds, summary.available_nano) == (75, 0, 0, 75)


def test_case_089_a_void_gives_the_hold_back_whole_and_charges_nothing(customer):
    customer.give(100)
    before = customer.entries()
    hold_id = customer.hold(60, key="h")
    result = customer.void(hold_id)
    assert (result.outcome, result.hold_id, result.available_nano) == ("voided", hold_id, 100)
    assert customer.entries() == before
    assert not Charge.objects.exists()


def test_case_091_a_stream_cancelled_before_its_first_token_costs_nothing_and_settles_the_hold(customer):
    customer.give(100)
    hold_id = customer.hold(60, key="h")
    result = customer.capture(hold_id, 0)
    assert (result.outcome, result.amount_nano, result.available_nano) == ("charged", 0, 100)
    assert [kind for kind, _, _ in customer.entries()] == ["grant"]
    assert customer.capture(hold_id, 60, key="other").outcome == "already_captured"


def test_case_090_a_stream_that_broke_off_is_charged_for_what_was_delivered(customer):
    customer.give(1_000)
    hold_id = customer.hold(500, key="h")
    assert customer.capture(hold_id, 123).amount_nano == 123
    assert customer.summary().available_nano == 877


def test_case_003_a_rich_organization_takes_the_same_guarded_path(customer):
    customer.give(10**18)
    hold_id = customer.hold(10**9, key="h")
    assert customer.summary().held_nano == 10**9
    assert Hold.objects.get(pk=hold_id).lot_amounts_nano == [10**9]


def test_case_006_open_holds_count_against_new_ones(customer):
    customer.give(5_000)
    for number in range(5):
        customer.hold(1_000, key=f"{number}")
    assert customer.authorize(1_000, key="5").outcome == "insufficient"
    assert customer.charge(1, key="c").outcome == "insufficient"


def test_case_097_without_any_lot_nothing_is_held(customer):
    assert customer.authorize(1, key="h").outcome == "insufficient"
    assert not Hold.objects.exists()


def test_a_hold_over_several_lots_is_spent_and_given_back_in_burn_order(customer):
    now = customer.now()
    first, second, third = (customer.give(10, expires_at=now + timedelta(days=day)).lot_id for day in (1, 2, 3))
    hold_id = customer.hold(25, key="h")
    hold = Hold.objects.get(pk=hold_id)
    assert (hold.lot_ids, hold.lot_amounts_nano) == ([first, second, third], [10, 10, 5])
    assert customer.remaining() == {first: 0, second: 0, third: 5}
    customer.capture(hold_id, 13)
    assert customer.entries()[3:] == [("burn", first, -10), ("burn", second, -3)]
    assert customer.remaining() == {first: 0, second: 7, third: 10}


def test_two_holds_share_a_lot(customer):
    lot = customer.give(10).lot_id
    first, second = customer.hold(6, key="1"), customer.hold(4, key="2")
    customer.void(first)
    assert customer.remaining() == {lot: 6}
    customer.capture(second, 4)
    assert customer.summary().available_nano == 6


def test_case_096_usage_above_the_hold_is_paid_from_other_credit_and_then_owed(customer):
    lot = customer.give(100).lot_id
    hold_id = customer.hold(60, key="h")
    result = customer.capture(hold_id, 150)
    assert (result.amount_nano, result.debt_nano, result.available_nano) == (150, 50, -50)
    assert customer.entries()[1:] == [("burn", lot, -60), ("burn", lot, -40), ("overshoot", None, -50)]
    assert customer.authorize(1, key="next").outcome == "insufficient"
    customer.give(70)
    assert customer.summary().available_nano == 20


def test_credit_that_a_void_gives_back_pays_debt_at_once(customer):
    lot = customer.give(100).lot_id
    hold_id = customer.hold(80, key="h")
    customer.report(50, key="u")
    assert customer.summary().debt_nano == 30
    result = customer.void(hold_id)
    assert result.available_nano == 50
    assert customer.entries()[-2:] == [("debt_payment", lot, -30), ("debt_settlement", None, 30)]
    assert (customer.summary().debt_nano, customer.summary().available_nano) == (0, 50)


def test_credit_that_a_capture_gives_back_pays_debt_at_once(customer):
    customer.give(100)
    hold_id = customer.hold(80, key="h")
    customer.report(50, key="u")
    result = customer.capture(hold_id, 10)
    assert (result.debt_nano, result.available_nano) == (0, 40)
    assert (customer.summary().debt_nano, customer.summary().available_nano) == (0, 40)


# Keys and single settlement


def test_an_authorize_key_answers_with_the_first_hold_whatever_became_of_it(customer):
    customer.give(100)
    first = customer.authorize(60, key="h")
    assert first.hold_id is not None
    for settle in (lambda: None, lambda: customer.capture(first.hold_id or 0, 10)):
        settle()
        before = customer.footprint()
        again = customer.authorize(60, key="h")
        assert again == first._replace(outcome="replayed")
        assert (first.amount_nano, first.available_nano, first.is_newly_low) == (60, 40, False)
        assert customer.authorize(61, key="h").outcome == "conflict"
        assert customer.authorize(60, key="h", ttl_seconds=601).outcome == "conflict"
        assert customer.footprint() == before


@pytest.mark.parametrize(
    "other",
    [{"model": "two-nano-a-unit"}, {"surface": "workbench"}, {"key_ref": "sk-1"}],
    ids=["model", "surface", "API key"],
)
def test_case_020_a_key_of_a_hold_with_other_content_is_a_conflict_and_changes_nothing(customer, other):
    customer.give(1_000)
    customer.hold(7, key="h")
    before = customer.footprint()
    usage = replace(units(7), **other)
    assert metering.authorize(organization_id=customer.id, key="h", usage=usage).outcome == "conflict"
    assert customer.footprint() == before


def test_case_020_a_key_of_a_capture_is_that_of_one_hold(customer):
    customer.give(1_000)
    first, second = customer.hold(7, key="1"), customer.hold(7, key="2")
    customer.capture(first, 5, key="c")
    before = customer.footprint()
    assert customer.capture(second, 5, key="c").outcome == "conflict"
    assert customer.charge(5, key="c").outcome == "conflict"
    assert customer.footprint() == before


def test_a_settled_hold_is_settled_once(customer):
    customer.give(100)
    captured, voided = customer.hold(10, key="1"), customer.hold(10, key="2")
    first = customer.capture(captured, 5, key="c")
    assert customer.void(voided).outcome == "voided"
    before = customer.footprint()
    assert customer.capture(captured, 5, key="c") == first._replace(outcome="replayed")
    assert customer.capture(captured, 6, key="c").outcome == "conflict"
    assert customer.capture(captured, 5, key="d").outcome == "already_captured"
    assert customer.void(captured).outcome == "already_captured"
    again = customer.void(voided)
    assert (again.outcome, again.debt_nano) == ("replayed", 0)
    assert customer.capture(voided, 5, key="e").outcome == "already_voided"
    assert customer.footprint() == before


def test_a_hold_of_another_organization_is_unknown(customer):
    other = Customer("other")
    customer.give(100)
    hold_id = customer.hold(10, key="h")
    assert other.capture(hold_id, 1).outcome == "hold_unknown"
    assert other.void(hold_id).outcome == "hold_unknown"
    assert customer.summary().held_nano == 10


@pytest.mark.parametrize("seconds", [0, -1, 3_601])
def test_a_hold_lasts_from_a_second_to_an_hour(customer, seconds):
    with pytest.raises(InvalidUsage):
        customer.authorize(1, key="h", ttl_seconds=seconds)


# Lapse


@pytest.mark.django_db(transaction=True)
def test_case_093_a_stranded_hold_is_spendable_again_at_its_end_with_no_job_running(customer, clock):
    customer.give(100)
    customer.hold(100, key="h", ttl_seconds=60)
    clock.set(START + timedelta(seconds=60) - MICROSECOND)
    assert customer.summary().available_nano == 0
    assert customer.authorize(1, key="a").outcome == "insufficient"
    clock.set(START + timedelta(seconds=60))
    summary = customer.summary()
    assert (summary.available_nano, summary.held_nano, summary.open_holds) == (100, 0, 0)
    assert [(lot.left_nano, lot.held_nano) for lot in customer.lots()] == [(100, 0)]
    assert customer.authorize(100, key="b").outcome == "authorized"
    assert Hold.objects.get(idempotency_key="h").state == "lapsed"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_given_back", [False, True], ids=["still reserved", "given back"])
def test_case_094_a_capture_after_the_lapse_charges_once(customer, clock, is_given_back):
    lot = customer.give(100).lot_id
    hold_id = customer.hold(60, key="h", ttl_seconds=60)
    clock.advance(timedelta(seconds=61))
    if is_given_back:
        customer.charge(1, key="x")
    left = customer.summary().available_nano
    result = customer.capture(hold_id, 50)
    assert (result.outcome, result.amount_nano, result.debt_nano, result.available_nano) == (
        "charged",
        50,
        0,
        left - 50,
    )
    assert customer.entries()[-1] == ("burn", lot, -50)
    assert customer.capture(hold_id, 50).outcome == "replayed"
    assert customer.void(hold_id).outcome == "already_captured"
    assert customer.summary().available_nano == left - 50
    assert CreditAccount.objects.get().held_nano == 0


@pytest.mark.django_db(transaction=True)
def test_a_capture_after_the_lapse_with_nothing_left_is_owed(customer, clock):
    customer.give(100)
    hold_id = customer.hold(60, key="h", ttl_seconds=60)
    clock.advance(timedelta(seconds=61))
    customer.charge(90, key="x")
    result = customer.capture(hold_id, 50)
    assert (result.amount_nano, result.debt_nano, result.available_nano) == (50, 40, -40)
    assert customer.entries()[-1] == ("late_capture", None, -40)


@pytest.mark.django_db(transaction=True)
def test_a_void_after_the_lapse_gives_nothing_back_twice(customer, clock):
    customer.give(100)
    first, second = (customer.hold(30, key=key, ttl_seconds=60) for key in "ab")
    clock.advance(timedelta(seconds=61))
    assert customer.void(first).available_nano == 100
    assert customer.void(second).available_nano == 100
    assert customer.void(first).outcome == "replayed"
    assert customer.capture(second, 1).outcome == "already_voided"
    assert customer.summary().available_nano == 100


@pytest.mark.django_db(transaction=True)
def test_a_repeated_void_counts_other_lapsed_holds_as_given_back(customer, clock):
    customer.give(100)
    voided, _forgotten = customer.hold(30, key="a"), customer.hold(30, key="b", ttl_seconds=60)
    customer.void(voided)
    clock.advance(timedelta(seconds=61))
    assert customer.void(voided).available_nano == customer.summary().available_nano == 100


@pytest.mark.django_db(transaction=True)
def test_a_void_that_finds_other_credit_gone_tells_once_that_a_reload_is_due(customer, clock):
    """A hold lapses into a lot that has ended: whoever comes by next tells of it, also by repeating a void."""
    customer.give(60, expires_at=START + timedelta(seconds=90))
    customer.give(100)
    customer.hold(60, key="forgotten", ttl_seconds=60)
    voided, open_ = customer.hold(10, key="a"), customer.hold(10, key="b")
    assert not customer.void(voided).is_newly_low
    ledger.set_reload_line(organization_id=customer.id, below_nano=120)
    clock.advance(timedelta(seconds=120))
    repeated = customer.void(voided)
    assert (repeated.outcome, repeated.is_newly_low) == ("replayed", True)
    assert customer.void(voided).is_newly_low is False
    assert customer.void(open_).is_newly_low is False


@pytest.mark.django_db(transaction=True)
def test_a_lapse_pays_debt_with_what_comes_back(customer, clock):
    customer.give(100)
    customer.hold(80, key="h", ttl_seconds=60)
    customer.report(50, key="u")
    clock.advance(timedelta(seconds=61))
    # Reads count the lapsed hold as given back and as paid against the debt, before anybody has booked it.
    assert customer.summary().available_nano == 50
    assert customer.authorize(50, key="a").outcome == "authorized"
    assert customer.summary().debt_nano == 0


@pytest.mark.django_db(transaction=True)
def test_the_lock_of_use_cases_keeps_what_it_gave_back(customer, clock):
    customer.give(100)
    customer.hold(80, key="h", ttl_seconds=60)
    clock.advance(timedelta(seconds=61))
    assert customer.lock().available_nano == 100
    account = CreditAccount.objects.get()
    assert (account.unreserved_nano, account.held_nano) == (100, 0)
    assert Hold.objects.get().state == "lapsed"


@pytest.mark.django_db(transaction=True)
def test_the_lock_of_use_cases_tells_all_that_they_decide_by(customer, clock):
    customer.give(100)
    customer.hold(30, key="h")
    ledger.set_reload_line(organization_id=customer.id, below_nano=50)
    assert customer.lock() == ledger.LockedAccount(START, 70, 100, 50, None, "")
    clock.advance(timedelta(seconds=1))
    assert customer.authorize(71, key="too much").is_newly_low
    assert customer.lock() == ledger.LockedAccount(
        START + timedelta(seconds=1), 70, 100, 50, START + timedelta(seconds=1), "refusal"
    )


@pytest.mark.django_db(transaction=True)
def test_a_lapse_into_an_ended_lot_moves_the_line_of_auto_reload(customer, clock):
    """Credit that came back too late is an expiry: an authorization that books it tells that the account is low."""
    customer.give(60, expires_at=START + timedelta(seconds=90))
    customer.give(100)
    customer.hold(60, key="h", ttl_seconds=60)
    ledger.set_reload_line(organization_id=customer.id, below_nano=120)
    clock.advance(timedelta(seconds=120))
    result = customer.authorize(1, key="a")
    assert (result.outcome, result.is_newly_low) == ("authorized", True)


# Reads take ten times as long as what they look at: they look at each of the first steps, later at one in so many.
LOOKED_AT_FIRST, LOOKED_AT_EVERY = 100, 50


@pytest.mark.django_db(transaction=True)
def test_case_095_random_holds_never_leave_anything_held(customer, clock, request):
    """Holds, settlements, crashes and lapses at random: held is always the sum of open holds, and reads agree."""
    holds = request.config.getoption("--holds")
    seed = request.config.getoption("--seed") or random.randrange(10**9)
    print(f"--holds {holds} --seed {seed}")
    chance = random.Random(seed)
    # A wait moves the clock, after which every statement is planned anew: it takes as long as twenty others.
    acts = {"give": 1, "authorize": 12, "capture": 5, "void": 4, "crash": 3, "report": 2, "wait": 1}
    open_holds: list[int] = []
    authorized = 0
    for number in count():
        (act,) = chance.choices([*acts], weights=[*acts.values()])
        if act == "give":
            ends_at = customer.now() + timedelta(minutes=chance.randint(1, 90))
            customer.give(chance.randint(1, 2_000), expires_at=ends_at)
        elif act == "authorize":
            result = customer.authorize(chance.randint(0, 90), key=f"{number}", ttl_seconds=chance.randint(1, 3_600))
            authorized += result.hold_id is not None
            open_holds += [result.hold_id] if result.hold_id else []
        elif act == "report":
            customer.report(chance.randint(0, 60), key=f"{number}")
        elif act == "wait":
            clock.advance(timedelta(seconds=chance.randint(1, 900)))
        elif open_holds:
            hold_id = open_holds.pop(chance.randrange(len(open_holds)))
            if act == "capture":
                assert customer.capture(hold_id, chance.randint(0, 120)).outcome == "charged"
            elif act == "void":
                assert customer.void(hold_id).outcome == "voided"
        if number < LOOKED_AT_FIRST or number % LOOKED_AT_EVERY == 0:
            assert_what_is_held_is_what_holds_hold(customer)
        if authorized == holds:
            break
    assert_what_is_held_is_what_holds_hold(customer)
    clock.advance(timedelta(hours=1))
    customer.lock()
    assert CreditAccount.objects.get().held_nano == 0


def assert_what_is_held_is_what_holds_hold(customer: Customer) -> None:
    summary = customer.summary()
    lots = customer.lots()
    assert summary.balance_nano == sum(lot.left_nano for lot in lots)
    assert summary.held_nano == sum(lot.held_nano for lot in lots)
    unexpired = Hold.objects.filter(state="open", expires_at__gt=summary.counted_at)
    assert summary.held_nano <= sum(unexpired.values_list("amount_nano", flat=True))
    assert customer.lock().available_nano == summary.available_nano
    account = CreditAccount.objects.get()
    held = sum(Hold.objects.filter(state="open").values_list("amount_nano", flat=True))
    assert (account.held_nano, account.unreserved_nano) == (held, sum(customer.remaining().values()))
    book = LedgerEntry.objects.order_by("seq").last()
    assert (book.balance_after_nano if book else 0) == account.unreserved_nano + held - account.debt_nano


# Across a lot's end


@pytest.mark.django_db(transaction=True)
def test_case_069_a_request_authorized_before_a_lots_end_is_paid_by_that_lot(customer, clock):
    end = START + timedelta(minutes=5)
    lot = customer.give(100, expires_at=end).lot_id
    spare = customer.give(100).lot_id
    hold_id = customer.hold(60, key="h")
    clock.set(end)
    ledger.expire(organization_id=customer.id)
    clock.set(end + timedelta(minutes=1))
    result = customer.capture(hold_id, 50)
    assert (result.amount_nano, result.debt_nano, result.available_nano) == (50, 0, 100)
    assert customer.entries()[2:] == [("expiry", lot, -40), ("burn", lot, -50), ("return_expired", lot, -10)]
    burn, returned = LedgerEntry.objects.filter(kind__in=["burn", "return_expired"]).order_by("seq")
    assert burn.value_at == START
    assert returned.value_at == end + timedelta(minutes=1)
    assert customer.remaining() == {lot: 0, spare: 100}


@pytest.mark.django_db(transaction=True)
def test_a_void_after_the_lots_end_returns_nothing(customer, clock):
    end = START + timedelta(minutes=5)
    lot = customer.give(100, expires_at=end).lot_id
    hold_id = customer.hold(60, key="h")
    clock.set(end)
    assert customer.summary().balance_nano == 60
    assert customer.void(hold_id).available_nano == 0
    assert customer.entries()[1:] == [("return_expired", lot, -60)]
    ledger.expire(organization_id=customer.id)
    assert customer.entries()[2:] == [("expiry", lot, -40)]


@pytest.mark.django_db(transaction=True)
def test_a_line_that_is_set_counts_no_credit_that_a_lapsed_hold_gives_back_too_late(customer, clock):
    customer.give(60, expires_at=START + timedelta(seconds=90))
    customer.give(100)
    customer.hold(60, key="h", ttl_seconds=60)
    clock.advance(timedelta(seconds=120))
    assert ledger.set_reload_line(organization_id=customer.id, below_nano=100) is False
    assert Hold.objects.get().state == "lapsed"
    assert ledger.set_reload_line(organization_id=customer.id, below_nano=101) is True


@pytest.mark.django_db(transaction=True)
def test_a_void_after_the_lots_end_moves_the_line_of_auto_reload(customer, clock):
    """Held credit counts as there; what comes back to a lot past its end is gone."""
    customer.give(60, expires_at=START + timedelta(seconds=90))
    customer.give(100)
    hold_id = customer.hold(60, key="h")
    ledger.set_reload_line(organization_id=customer.id, below_nano=120)
    clock.advance(timedelta(seconds=120))
    result = customer.void(hold_id)
    assert (result.outcome, result.is_newly_low) == ("voided", True)
    assert CreditEvent.objects.get().kind == "reload_due"


@pytest.mark.django_db(transaction=True)
def test_credit_of_a_lapsed_hold_is_valued_out_at_the_lots_end(customer, clock):
    """Between lapse and end it was spendable, after the end it was not, whenever somebody came by to book that."""
    end = START + timedelta(minutes=5)
    customer.give(100, expires_at=end)
    customer.hold(60, key="h", ttl_seconds=60)
    clock.set(end - MICROSECOND)
    assert customer.summary().available_nano == 100
    clock.set(end + timedelta(hours=1))
    assert customer.summary().available_nano == 0
    customer.lock()
    returned = LedgerEntry.objects.get(kind="return_expired")
    assert (returned.value_at, returned.booked_at) == (end, end + timedelta(hours=1))


@pytest.mark.django_db(transaction=True)
def test_a_lot_whose_end_is_booked_stays_ended_when_the_clock_steps_back(customer, clock):
    end = START + timedelta(minutes=5)
    lot = customer.give(100, expires_at=end).lot_id
    hold_id = customer.hold(60, key="h")
    clock.set(end)
    ledger.expire(organization_id=customer.id)
    clock.set(end - timedelta(seconds=2))
    customer.void(hold_id)
    assert customer.remaining() == {lot: 0}
    clock.set(end + timedelta(seconds=2))
    assert ledger.expire(organization_id=customer.id).booked == 0
    assert [kind for kind, _, _ in customer.entries()] == ["grant", "expiry", "return_expired"]


def test_the_price_of_a_capture_is_the_one_of_its_authorization(customer):
    """Case 81. The class without a price is refused at the authorization already."""
    customer.give(100)
    missing = metering.authorize(organization_id=customer.id, key="h", usage=units(1, audio=1))
    assert (missing.outcome, missing.detail) == ("price_missing", "audio")
    hold_id = customer.hold(10, key="h")
    refused = metering.capture(organization_id=customer.id, hold_id=hold_id, key="c", quantities={"audio": 1})
    assert (refused.outcome, refused.detail) == ("price_missing", "audio")
    assert customer.capture(hold_id, 4, key="c").outcome == "charged"


def test_case_017_a_hold_that_lapsed_can_take_nothing_from_the_one_that_came_after(customer, clock):
    """The late holder is told so, or pays as anybody does; the next holder's allocation is its own."""
    customer.give(100)
    late = customer.hold(100, key="late", ttl_seconds=60)
    clock.advance(timedelta(seconds=60))
    holder = customer.hold(100, key="next", ttl_seconds=600)
    clock.advance(timedelta(seconds=1))
    assert customer.void(late).available_nano == 0
    assert (customer.summary().held_nano, customer.summary().available_nano) == (100, 0)
    other = customer.authorize(1, key="none left")
    assert other.outcome == "insufficient"
    assert customer.capture(late, 30).outcome == "already_voided"
    result = customer.capture(holder, 100)
    assert (result.amount_nano, result.debt_nano) == (100, 0)


def test_case_102_a_loop_of_failures_never_moves_the_balance_up(customer, clock):
    customer.give(1_000)
    charge = customer.charge(100, key="served")
    most = customer.summary().balance_nano
    for number in range(200):
        hold_id = customer.hold(number % 7 * 100, key=f"h{number}", ttl_seconds=60)
        if number % 3 == 0:
            clock.advance(timedelta(seconds=61))
        customer.void(hold_id)
        customer.void(hold_id)
        customer.charge(0, key="served")
        assert customer.charge(100, key="served").charge_id == charge.charge_id
        summary = customer.summary()
        assert (summary.balance_nano, summary.available_nano, summary.held_nano) == (most, most, 0)
    assert [kind for kind, _, _ in customer.entries()] == ["grant", "burn"]


@pytest.mark.django_db(transaction=True)
def test_case_123_credit_that_comes_in_unblocks_at_once_while_clients_keep_retrying(customer):
    """Nothing remembers that the organization was blocked: the first call after the grant goes through."""
    is_over, refusals = threading.Event(), []

    def retry(client: int) -> None:
        number = 0
        try:
            while not is_over.is_set():
                refusals.append(customer.authorize(10**6, key=f"{client}-{number}").outcome)
                number += 1
        finally:
            connections.close_all()

    clients = [threading.Thread(target=retry, args=[client]) for client in range(4)]
    for client in clients:
        client.start()
    while len(refusals) < 40:
        assert customer.authorize(1, key="before").outcome == "insufficient"
    customer.give(1_000)
    first = customer.authorize(1, key="after")
    is_over.set()
    for client in clients:
        client.join()
    assert first.outcome == "authorized"
    assert set(refusals) == {"insufficient"}
