"""Auto-reload: when it charges, how much, how often, and what stops it."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from accounts.models import AuditEvent, Membership, OutboxMessage
from accounts.permissions import Role
from billing.credits import metering
from billing.errors import Refused
from billing.models import AutoReload, AutoReloadConsent, Purchase, StripeCustomer
from billing.money import nano_from_cents
from billing.payments import auto_reload, declines, purchases, reconciliation, reload_rules, stripe_gateway
from billing.payments.payment_methods import CardForm
from billing.terms import RELOAD_CONSENT
from billing.tests.buyer import (
    ASKS_ALWAYS,
    DECLINES_WHEN_CHARGED,
    MASTERCARD,
    MODEL,
    VISA,
    Buyer,
    at_once,
    hours,
)

State = Purchase.State
PAYMENTS = "/v1/payment_intents"


@pytest.fixture
def low(buyer):
    """An organization with a card and auto-reload $5 -> $20 that has just fallen to $4."""
    return make_low(buyer)


@pytest.fixture
def no_gap(settings):
    """Reloads may follow each other at once, and usage is never too much: for tests of other limits."""
    settings.AUTO_RELOAD_GAP_SECONDS = 0
    settings.AUTO_RELOAD_BRAKE_FACTOR = 0


def make_low(buyer, card=VISA, **numbers):
    buyer.save_card(card)
    buyer.fund(1_000)
    buyer.arm(**numbers)
    assert not buyer.is_due()
    assert buyer.spend(600).is_newly_low
    return buyer


def status_of(buyer):
    return auto_reload.status(organization=buyer.organization, at=buyer.now())


# When, and how much


def test_credit_below_the_line_is_brought_back_to_the_target_by_one_off_session_charge(low):
    assert low.is_due()
    purchase = low.attempt()
    assert (purchase.state, purchase.kind, purchase.amount_cents) == (State.SUCCEEDED, "auto_reload", 1_600)
    assert low.available_cents == 2_000
    (entry,) = low.journal("succeeded")
    assert (entry["off_session"], entry["amount"], entry["metadata"]["kind"]) == (True, 1_600, "auto_reload")
    assert not low.is_due()
    assert low.attempt() is None
    low.assert_stripe_agrees()
    (mail,) = low.mails("Auto-reload")
    assert "$16.00" in mail.body


def test_the_line_itself_is_not_below_the_line(buyer):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm(500, 2_000, 10_000)
    assert not buyer.spend(500).is_newly_low
    assert not buyer.is_due()
    assert buyer.spend(1).is_newly_low


def test_a_fraction_of_a_cent_is_rounded_up(buyer):
    reload = AutoReload(minimum_cents=500, target_cents=2_000, monthly_cap_cents=10_000)
    level_nano = nano_from_cents(499) + 1
    cents = reload_rules.reload_cents(reload=reload, level_nano=level_nano, spent_cents=0, maximum_cents=10**6)
    assert level_nano + nano_from_cents(cents) >= nano_from_cents(2_000)
    assert cents == 1_501


def test_case_038_and_039_a_fall_far_below_the_line_is_one_charge_to_the_target(buyer):
    buyer.save_card()
    buyer.fund(600)
    buyer.arm()
    buyer.overspend(5_000)
    purchase = buyer.attempt()
    assert purchase.amount_cents == 2_000 + 4_400
    assert buyer.available_cents == 2_000
    assert len(buyer.journal()) == 1


def test_case_040_a_reload_above_the_largest_charge_comes_in_parts(buyer, settings, no_gap):
    settings.PURCHASE_MAXIMUM_CENTS = 2_000
    buyer.save_card()
    buyer.fund(600)
    buyer.arm()
    buyer.overspend(3_000)
    assert buyer.attempt().amount_cents == 2_000
    assert buyer.is_due(), "what is missing is still missing"
    assert buyer.attempt().amount_cents == 2_000
    assert buyer.available_cents == 600 - 3_000 + 4_000
    assert not buyer.is_due()
    buyer.assert_stripe_agrees()


def test_case_041_without_a_fall_there_is_nothing_to_do(buyer):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    for _ in range(3):
        assert not buyer.is_due()
        assert buyer.attempt() is None
    assert not buyer.journal()


def test_switching_on_below_the_line_reloads(buyer):
    buyer.save_card()
    buyer.arm()
    assert buyer.is_due()
    assert buyer.attempt().amount_cents == 2_000


def test_held_credit_counts_as_credit(buyer):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    metering.authorize(
        organization_id=buyer.organization.pk,
        key="held",
        usage=metering.Usage(model=MODEL, quantities={"input": 900}),
    )
    assert buyer.available_cents == 100
    assert not buyer.is_due()


def test_a_refused_request_counts_as_below_the_line(buyer):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    assert buyer.spend(1_500).outcome == "insufficient"
    assert buyer.account.low_cause == "refusal"
    assert buyer.attempt().amount_cents == 1_000
    assert buyer.account.low_at is None
    assert buyer.spend(1_500).outcome == "charged"


def test_a_refusal_that_no_reload_can_help_charges_nothing_and_is_not_tried_for_ever(buyer):
    buyer.save_card()
    buyer.fund(2_000)
    buyer.arm()
    assert buyer.spend(5_000).outcome == "insufficient"
    assert buyer.is_due()
    assert buyer.attempt() is None
    assert not buyer.is_due()
    assert not buyer.journal()


def test_case_051_without_consent_a_refused_request_charges_nothing(buyer):
    buyer.save_card()
    assert buyer.spend(100).outcome == "insufficient"
    assert not buyer.is_due()
    assert buyer.attempt() is None
    assert status_of(buyer).state == "off"
    assert not buyer.purchases


def test_the_charge_says_which_process_made_it(low, monkeypatch):
    monkeypatch.setenv("PROCESS_NAME", "worker")
    low.attempt()
    (entry,) = low.journal("succeeded")
    assert entry["metadata"]["process"].startswith("worker:")


# One at a time


@pytest.mark.django_db(transaction=True)
def test_eight_attempts_at_once_are_one_charge(buyer):
    make_low(buyer)
    results = at_once([buyer.attempt] * 8)
    assert not [result for result in results if isinstance(result, BaseException)], results
    assert len([result for result in results if result is not None]) == 1
    assert (len(buyer.journal()), buyer.grants, buyer.available_cents) == (1, 1, 2_000)


@pytest.mark.django_db(transaction=True)
def test_case_036_sixteen_charges_across_the_line_at_once_are_one_reload(buyer):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()

    def use():
        buyer.spend(50)
        return buyer.attempt()

    results = at_once([use] * 16)
    assert not [result for result in results if isinstance(result, BaseException)], results
    assert len(buyer.journal("succeeded")) == 1
    assert buyer.available_cents == 1_000 - 800 + buyer.charged_cents
    assert not buyer.is_due()


def test_case_037_while_the_outcome_is_unknown_there_is_no_second_attempt(low):
    low.stripe.control.add_fault("cut_after", method="POST", path=PAYMENTS, times=3)
    purchase = low.attempt()
    assert purchase.state == State.PROCESSING
    low.spend(100)
    assert not low.is_due()
    assert low.attempt() is None
    assert status_of(low).state == "charging"
    reconciliation.sweep(at=low.now() + timedelta(seconds=31))
    assert (len(low.journal()), low.grants) == (1, 1)
    assert low.available_cents == 1_900


def test_case_047_a_lost_request_is_sent_again_with_its_own_key(low):
    low.stripe.control.add_fault("cut_before", method="POST", path=PAYMENTS, times=3)
    purchase = low.attempt()
    reconciliation.sweep(at=low.now() + timedelta(seconds=120))
    (entry,) = low.journal("succeeded")
    assert entry["idempotency_key"] == purchase.stripe_key
    assert low.available_cents == 2_000


def test_case_050_an_attempt_that_never_arrived_ends_and_makes_way(low):
    low.stripe.control.add_fault("cut_before", method="POST", path=PAYMENTS, times=3)
    purchase = low.attempt()
    reconciliation.sweep(at=low.now() + hours(26))
    purchase.refresh_from_db()
    assert (purchase.state, purchase.failure_code) == (State.FAILED, purchases.NEVER_RECEIVED)
    assert low.reload.declines == 0
    assert not low.is_due()
    assert low.is_due(at=low.now() + hours(28))


# Limits


def test_at_most_five_attempts_in_any_24_hours(buyer, no_gap):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm(500, 1_000, 100_000)
    for _ in range(5):
        buyer.spend(buyer.available_cents - 400)
        assert buyer.attempt().state == State.SUCCEEDED
    buyer.spend(buyer.available_cents - 400)
    assert buyer.account.low_at is not None
    assert not buyer.is_due()
    assert buyer.attempt() is None
    status = status_of(buyer)
    first = Purchase.objects.filter(kind="auto_reload").earliest("id")
    assert (status.state, status.reloads_last_24_hours) == ("cooling_down", 5)
    assert status.until == first.created_at + hours(24)
    assert buyer.is_due(at=first.created_at + hours(24))


@pytest.mark.django_db(transaction=True)
def test_case_049_cap_and_count_hold_when_many_try_at_once(buyer, no_gap):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm(500, 1_000, 1_300)
    for _ in range(4):
        if buyer.available_cents > 400:
            buyer.spend(buyer.available_cents - 400)
        at_once([buyer.attempt] * 6)
    assert buyer.charged_cents <= 1_300
    assert [entry["amount"] for entry in buyer.journal("succeeded")] == [600, 600, 100]
    buyer.assert_stripe_agrees()


def test_the_last_reload_of_a_month_shrinks_to_what_the_cap_has_left(buyer, no_gap):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm(500, 2_000, 2_000)
    buyer.spend(600)
    assert buyer.attempt().amount_cents == 1_600
    buyer.spend(1_600)
    assert buyer.available_cents == 400
    assert buyer.attempt().amount_cents == 400
    assert buyer.available_cents == 800
    buyer.spend(400)
    assert buyer.attempt() is None
    assert not buyer.is_due()
    assert status_of(buyer).state == "capped"
    assert buyer.charged_cents == 2_000


def test_a_rest_of_the_cap_that_does_not_lift_credit_to_the_line_is_not_charged(buyer, no_gap):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm(500, 2_000, 2_000)
    buyer.spend(600)
    buyer.attempt()
    buyer.spend(1_950)
    assert buyer.available_cents == 50
    assert buyer.attempt() is None
    assert status_of(buyer).state == "capped"
    assert buyer.charged_cents == 1_600


@pytest.mark.parametrize(
    ("level_cents", "spent_cents", "is_refusal", "expected_cents"),
    [
        (499, 0, False, 1_501),
        (500, 0, False, 0),
        (-1_000, 0, False, 3_000),
        (499, 9_949, False, 51),
        (499, 9_950, False, 50),
        (499, 9_951, False, 0),
        (499, 10_000, False, 0),
        (499, 12_000, False, 0),
        (1_949, 0, True, 51),
        (1_950, 0, True, 50),
        (1_951, 0, True, 0),
        (2_500, 0, True, 0),
    ],
)
def test_how_much_is_charged(level_cents, spent_cents, is_refusal, expected_cents):
    reload = AutoReload(minimum_cents=500, target_cents=2_000, monthly_cap_cents=10_000)
    assert (
        reload_rules.reload_cents(
            reload=reload,
            level_nano=nano_from_cents(level_cents),
            spent_cents=spent_cents,
            maximum_cents=1_000_000,
            is_refusal=is_refusal,
        )
        == expected_cents
    )


def test_case_065_the_cap_is_of_the_calendar_month_in_utc(buyer, credits_clock):
    credits_clock.set(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC))
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm(500, 2_000, 1_600)
    buyer.spend(600)
    assert buyer.attempt().amount_cents == 1_600
    buyer.spend(1_600)
    assert buyer.attempt() is None
    assert not buyer.is_due()
    credits_clock.set(datetime(2026, 12, 1, tzinfo=UTC))
    assert not buyer.is_due(), "the gap is not over"
    credits_clock.set(datetime(2026, 12, 1, 0, 1, tzinfo=UTC))
    assert buyer.is_due()
    assert buyer.attempt().amount_cents == 1_600
    assert status_of(buyer).spent_this_month_cents == 1_600


def test_a_declined_reload_does_not_count_against_the_cap(buyer):
    make_low(buyer, DECLINES_WHEN_CHARGED)
    assert buyer.attempt().state == State.FAILED
    status = status_of(buyer)
    assert (status.spent_this_month_cents, status.reloads_this_month, status.reloads_last_24_hours) == (0, 0, 1)


def test_between_two_reloads_there_is_a_gap_and_a_level_below_the_line_fires_after_it(buyer, credits_clock, settings):
    settings.AUTO_RELOAD_GAP_SECONDS = 60
    credits_clock.set(datetime(2026, 11, 2, 12, tzinfo=UTC))
    make_low(buyer)
    assert buyer.attempt().state == State.SUCCEEDED
    buyer.spend(1_600)
    assert buyer.account.low_at is not None
    for seconds in (0, 30, 29):
        credits_clock.advance(timedelta(seconds=seconds))
        assert not buyer.is_due()
        assert buyer.attempt() is None
    assert status_of(buyer).until == buyer.now() + timedelta(seconds=1)
    credits_clock.advance(timedelta(seconds=1))
    assert buyer.is_due(), "the sweep finds it, without any more use"
    assert buyer.attempt().state == State.SUCCEEDED
    assert len(buyer.journal("succeeded")) == 2


@pytest.mark.django_db(transaction=True)
def test_the_gap_holds_when_many_try_at_once(buyer):
    make_low(buyer)
    buyer.attempt()
    buyer.spend(1_600)
    at_once([buyer.attempt] * 8)
    assert len(buyer.journal()) == 1


def test_a_skipped_reload_is_said_once_a_month(buyer, credits_clock, no_gap):
    credits_clock.set(datetime(2026, 11, 2, 12, tzinfo=UTC))
    make_low(buyer, cap_cents=2_000)
    buyer.attempt()
    buyer.spend(1_950)
    for _ in range(3):
        assert buyer.attempt() is None
        credits_clock.advance(hours(1))
    assert not buyer.is_due(at=buyer.reload.capped_at + timedelta(minutes=59)), "waiting is no busy loop"
    assert buyer.is_due(at=buyer.reload.capped_at + timedelta(minutes=60))
    (mail,) = buyer.mails("Auto-reload has reached its limit for November")
    assert "your limit of $20.00 a month" in mail.body
    assert "1 Dec 2026" in mail.body
    assert AuditEvent.objects.filter(action="auto_reload.capped").count() == 1
    credits_clock.set(datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC))
    assert buyer.is_due()
    assert buyer.attempt().amount_cents == 1_950
    buyer.spend(2_000)
    assert buyer.attempt() is None
    assert len(buyer.mails("Auto-reload has reached its limit for December")) == 1


def test_a_limit_that_is_used_up_is_said_once_to_everybody_concerned(buyer, no_gap):
    make_low(buyer, cap_cents=1_600)
    buyer.attempt()
    buyer.spend(1_600)
    assert buyer.is_due()
    assert buyer.attempt() is None
    assert not buyer.is_due()
    rows = OutboxMessage.objects.filter(subject__contains="has reached its limit")
    assert sorted(mail.recipients[0] for mail in rows) == sorted([buyer.admin.email, buyer.billing.email])


def test_a_little_credit_that_makes_the_rest_enough_is_noticed_within_the_hour(buyer, no_gap):
    make_low(buyer, cap_cents=2_000)
    buyer.attempt()
    buyer.spend(1_950)
    assert buyer.attempt() is None
    buyer.fund(100)
    assert buyer.is_due(at=buyer.now() + hours(1))
    assert buyer.attempt().amount_cents == 400


def test_the_last_reload_of_a_month_says_that_it_is_the_last(buyer, no_gap):
    make_low(buyer, cap_cents=2_000)
    buyer.attempt()
    buyer.spend(1_600)
    buyer.attempt()
    first, last = buyer.mails("Auto-reload:")
    assert "used up your limit" not in first.body
    assert "used up your limit of $20.00 a month" in last.body


def test_a_raised_limit_lets_what_is_due_pass_at_once(buyer, no_gap):
    make_low(buyer, cap_cents=1_600)
    buyer.attempt()
    buyer.spend(1_600)
    assert buyer.attempt() is None
    buyer.arm(cap_cents=10_000)
    assert buyer.is_due()
    assert buyer.attempt().amount_cents == 1_600


# What is being paid by hand


def being_paid(buyer, amount_cents):
    """A purchase by hand whose reply was lost: Stripe has charged, and we don't know yet."""
    buyer.stripe.control.add_fault("cut_after", method="POST", path=PAYMENTS, times=3)
    purchase = buyer.buy(amount_cents)
    assert purchase.state == State.PROCESSING
    return purchase


def test_credit_that_is_being_bought_by_hand_is_not_bought_twice(low):
    purchase = being_paid(low, 2_500)
    assert low.is_due()
    assert low.attempt() is None
    assert low.account.low_at is not None, "it is due until the purchase is known to have succeeded"
    assert status_of(low).awaits_purchase
    purchases.settle(
        purchase_id=purchase.pk, at=low.now(), payment_intent_id=low.journal("succeeded")[0]["payment_intent"]
    )
    assert low.attempt() is None
    assert low.account.low_at is None
    assert len(low.journal()) == 1


def test_what_is_being_bought_counts_towards_the_target(buyer):
    buyer.save_card()
    buyer.fund(2_000)
    buyer.arm(1_000, 5_000, 100_000)
    buyer.spend(1_800)
    being_paid(buyer, 500)
    assert buyer.attempt().amount_cents == 5_000 - 200 - 500


def test_a_purchase_by_hand_that_fails_makes_way_for_the_reload(low):
    low.stripe.control.add_fault("cut_before", method="POST", path=PAYMENTS, times=3)
    low.buy(2_500)
    assert low.attempt() is None
    reconciliation.sweep(at=low.now() + hours(26))
    assert low.is_due()
    assert low.attempt().state == State.SUCCEEDED


def test_a_purchase_that_the_bank_asks_about_counts_for_as_long_as_people_take_to_answer(buyer, credits_clock):
    credits_clock.set(datetime(2026, 11, 2, 12, tzinfo=UTC))
    make_low(buyer, ASKS_ALWAYS)
    assert buyer.buy(2_500).state == State.REQUIRES_ACTION
    assert buyer.attempt() is None
    credits_clock.advance(timedelta(minutes=15))
    assert buyer.attempt().state == State.NEEDS_CUSTOMER


# Declines


def test_case_042_a_decline_is_one_attempt_then_a_day_of_waiting(buyer, credits_clock):
    make_low(buyer, DECLINES_WHEN_CHARGED)
    purchase = buyer.attempt()
    assert (purchase.state, purchase.decline_code) == (State.FAILED, "generic_decline")
    for _ in range(20):
        buyer.spend(1)
        assert not buyer.is_due()
        assert buyer.attempt() is None
    assert len(buyer.journal()) == 1
    (mail,) = buyer.mails("Auto-reload was declined")
    assert "Nothing was charged" in mail.body
    assert "We try again on" in mail.body
    assert buyer.reload.next_attempt_at == purchase.settled_at + hours(24)
    credits_clock.advance(hours(24))
    assert buyer.is_due()


def test_case_043_and_053_three_declines_suspend_and_only_another_card_resumes(buyer, credits_clock):
    credits_clock.set(datetime(2026, 11, 2, 12, tzinfo=UTC))
    make_low(buyer, DECLINES_WHEN_CHARGED)
    buyer.attempt()
    credits_clock.advance(hours(24))
    buyer.attempt()
    assert not buyer.is_due(at=buyer.now() + hours(71))
    credits_clock.advance(hours(72))
    assert buyer.attempt().state == State.FAILED
    assert status_of(buyer).state == "paused_declined"
    assert buyer.account.reload_below_nano is None
    credits_clock.advance(hours(24 * 60))
    buyer.spend(1)
    assert not buyer.is_due()
    assert buyer.attempt() is None
    assert len(buyer.journal()) == 3
    assert len(buyer.mails("Auto-reload was declined")) == 2
    assert len(buyer.mails("Auto-reload is paused")) == 1
    assert AuditEvent.objects.filter(action="auto_reload.suspended").count() == 1

    buyer.save_card(DECLINES_WHEN_CHARGED)
    assert status_of(buyer).state == "paused_declined"
    assert not buyer.is_due()
    buyer.arm()
    assert status_of(buyer).state == "paused_declined", "saving the form again is no new card"

    buyer.save_card(MASTERCARD)
    assert status_of(buyer).state == "armed"
    assert buyer.is_due()
    assert buyer.attempt().state == State.SUCCEEDED


def test_another_card_ends_the_back_off_at_once_and_the_same_card_does_not(buyer):
    make_low(buyer, DECLINES_WHEN_CHARGED)
    buyer.attempt()
    buyer.save_card(DECLINES_WHEN_CHARGED)
    assert not buyer.is_due()
    buyer.save_card(VISA)
    assert buyer.is_due()
    assert buyer.attempt().state == State.SUCCEEDED


def test_case_044_a_purchase_ends_the_back_off_and_a_free_grant_does_not(buyer):
    make_low(buyer, DECLINES_WHEN_CHARGED, minimum_cents=500)
    buyer.attempt()
    buyer.fund(50)
    assert buyer.reload.next_attempt_at is not None
    buyer.organization.payment_methods.update(stripe_payment_method_id=card_at_stripe(buyer))
    assert buyer.buy(600).state == State.SUCCEEDED
    reload = buyer.reload
    assert (reload.declines, reload.next_attempt_at, reload.suspension) == (0, None, "")


def card_at_stripe(buyer, number=VISA):
    """Another card of the same customer at Stripe, to stand behind our row: as if the bank had changed its mind."""
    customer = StripeCustomer.objects.get(organization=buyer.organization)
    setup = stripe_gateway.create_setup(customer_id=customer.stripe_customer_id, metadata={}, key="by-hand")
    buyer.type_card(CardForm(setup_intent_id=setup.id, client_secret=setup.client_secret), number)
    return stripe_gateway.read_setup(setup_intent_id=setup.id).card.payment_method_id


def test_a_purchase_that_succeeds_ends_a_suspension(buyer):
    make_low(buyer, DECLINES_WHEN_CHARGED)
    AutoReload.objects.update(declines=3, suspension="declined", suspended_fingerprint="x", suspended_at=buyer.now())
    buyer.arm()
    assert buyer.account.reload_below_nano is None
    buyer.organization.payment_methods.update(stripe_payment_method_id=card_at_stripe(buyer))
    buyer.buy(500)
    assert status_of(buyer).state == "armed"
    assert buyer.account.reload_below_nano == 5 * 10**9


@pytest.mark.parametrize("decline_code", ["lost_card", "stolen_card", "expired_card", "fraudulent"])
def test_some_answers_forbid_a_machine_to_try_again(decline_code):
    assert declines.is_hard(decline_code=decline_code, failure_code="card_declined")
    assert not declines.is_hard(decline_code="insufficient_funds", failure_code="card_declined")
    assert declines.is_hard(decline_code="generic_decline", failure_code="", advice_code="do_not_try_again")


def test_a_card_that_stripe_has_lost_suspends_and_says_so(low):
    card = low.organization.payment_methods.get()
    stripe_gateway.detach_card(payment_method_id=card.stripe_payment_method_id)
    assert low.attempt().state == State.FAILED
    assert status_of(low).state == "paused_declined"
    assert len(low.mails("Auto-reload is paused")) == 1


# Off


def test_case_048_switched_off_stops_an_attempt_that_was_planned_and_not_sent(low):
    purchase_id = auto_reload.plan(organization_id=low.organization.pk)
    low.disarm()
    purchase = purchases.send(purchase_id=purchase_id, at=low.now())
    assert (purchase.state, purchase.failure_code) == (State.CANCELED, purchases.SWITCHED_OFF)
    assert not low.journal()
    assert not low.is_due()


def test_case_048_another_card_stops_an_attempt_that_was_planned_with_the_former(low):
    purchase_id = auto_reload.plan(organization_id=low.organization.pk)
    low.save_card(MASTERCARD)
    assert purchases.send(purchase_id=purchase_id, at=low.now()).state == State.CANCELED
    assert low.is_due()
    assert low.attempt().payment_method.brand == "mastercard"


def test_a_lost_request_is_not_sent_again_after_switching_off(low):
    low.stripe.control.add_fault("cut_before", method="POST", path=PAYMENTS, times=3)
    purchase = low.attempt()
    low.disarm()
    reconciliation.sweep(at=low.now() + timedelta(seconds=120))
    purchase.refresh_from_db()
    assert purchase.state == State.FAILED
    assert not low.journal()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round_number", range(4))
def test_case_048_switching_off_and_sending_at_once_is_one_or_the_other(buyer, round_number):
    make_low(buyer)
    purchase_id = auto_reload.plan(organization_id=buyer.organization.pk)
    results = at_once([buyer.disarm, partial(purchases.send, purchase_id=purchase_id, at=buyer.now())])
    assert not [result for result in results if isinstance(result, BaseException)], results
    (purchase,) = buyer.purchases
    assert purchase.state in (State.SUCCEEDED, State.CANCELED)
    assert len(buyer.journal("succeeded")) == (purchase.state == State.SUCCEEDED)
    assert purchase.failure_code == ("" if purchase.state == State.SUCCEEDED else purchases.SWITCHED_OFF)
    assert not buyer.is_due()
    assert buyer.attempt() is None
    buyer.assert_stripe_agrees()


def test_after_switching_off_nothing_is_charged(low):
    low.disarm()
    low.spend(300)
    low.spend(300)
    assert not low.is_due()
    assert low.attempt() is None
    assert status_of(low).state == "off"
    assert not low.journal()


def test_switching_off_always_works(buyer, settings):
    buyer.save_card()
    buyer.arm(500, 2_000, 10_000)
    settings.PURCHASE_MAXIMUM_CENTS = 400
    saved = buyer.save_reload(False, 0, 0, 0)
    assert (saved.is_enabled, saved.minimum_cents, saved.target_cents, saved.monthly_cap_cents) == (
        False,
        500,
        2_000,
        10_000,
    )


# Settings


@pytest.mark.parametrize(
    ("minimum", "target", "cap", "field"),
    [
        (-1, 2_000, 10_000, "minimum"),
        (1_000_001, 2_000_000, 10_000_000, "minimum"),
        (500, 500, 10_000, "target"),
        (500, 999, 10_000, "target"),
        (500, 1_000_501, 10_000_000, "target"),
        (500, 2_000, 1_499, "monthly_cap"),
        (500, 2_000, 0, "monthly_cap"),
        (500, 2_000, 10**12, "monthly_cap"),
    ],
)
def test_a_number_that_will_not_do_is_refused_at_its_field(buyer, minimum, target, cap, field):
    buyer.save_card()
    with pytest.raises(Refused) as refusal:
        buyer.save_reload(True, minimum, target, cap)
    assert refusal.value.field == field
    assert not AutoReload.objects.exists()


def test_case_052_switching_on_without_a_card_is_refused(buyer):
    with pytest.raises(Refused) as refusal:
        buyer.arm()
    assert refusal.value.field == "is_enabled"
    assert not AutoReload.objects.exists()


def test_case_052_switching_on_with_an_expired_card_is_refused(buyer):
    buyer.save_card()
    buyer.organization.payment_methods.update(exp_year=2020)
    with pytest.raises(Refused) as refusal:
        buyer.arm()
    assert refusal.value.code == "card_expired"


def test_every_saving_keeps_the_sentence_that_was_agreed_to(buyer):
    buyer.save_card()
    buyer.arm(500, 2_000, 10_000)
    buyer.disarm()
    first, second = AutoReloadConsent.objects.order_by("id")
    assert (first.is_enabled, second.is_enabled) == (True, False)
    assert (first.actor, first.consent_version) == (buyer.billing, RELOAD_CONSENT.version)
    for part in ("$5.00", "$20.00", "$100.00", "Visa ending in 4242", "refused for lack of credits"):
        assert part in first.consent_text
    assert AuditEvent.objects.filter(action="auto_reload.saved").count() == 2


def test_a_reload_names_the_consent_that_it_rests_on(low):
    purchase = low.attempt()
    consent = AutoReloadConsent.objects.get()
    assert (purchase.terms_version, purchase.terms_accepted_at) == (consent.consent_version, consent.consented_at)
    assert purchase.actor is None


def test_who_lost_the_right_saves_nothing(buyer):
    buyer.save_card()
    Membership.objects.filter(user=buyer.billing).update(role=Role.DEVELOPER)
    with pytest.raises(Refused) as refusal:
        buyer.arm()
    assert refusal.value.code == "permission"


def test_without_a_card_a_low_account_is_left_alone(low):
    low.organization.payment_methods.update(is_default=False)
    assert not low.is_due()
    assert low.attempt() is None
    assert status_of(low).state == "no_card"


# The customer is needed


@pytest.fixture
def asked(buyer):
    """A reload whose bank wants to ask the customer."""
    make_low(buyer, ASKS_ALWAYS)
    buyer.attempt()
    return buyer


def test_case_045_a_bank_that_wants_the_customer_is_neither_paid_nor_declined(asked):
    (purchase,) = asked.purchases
    assert purchase.state == State.NEEDS_CUSTOMER
    assert status_of(asked).state == "needs_you"
    assert asked.reload.declines == 0
    asked.spend(10)
    assert not asked.is_due()
    assert asked.attempt() is None
    assert asked.charged_cents == 0
    (mail,) = asked.mails("Your bank wants you to confirm")
    assert f"/settings/billing/purchases/{purchase.pk}/" in mail.body


def test_case_045_the_customer_confirms_on_the_page_and_the_reload_is_paid(asked):
    (purchase,) = asked.purchases
    assert purchases.client_secret(purchase=purchase) == ""
    confirm(asked, purchase)
    purchase.refresh_from_db()
    assert purchase.state == State.NEEDS_CUSTOMER
    assert "_secret_" in purchases.client_secret(purchase=purchase)
    asked.answer_bank(purchase)
    assert purchases.refresh(purchase_id=purchase.pk, at=asked.now()).state == State.SUCCEEDED
    assert asked.available_cents == 2_000
    assert len(asked.journal("succeeded")) == 1
    assert status_of(asked).state == "cooling_down"
    asked.assert_stripe_agrees()


def confirm(buyer, purchase):
    return purchases.confirm(
        organization=buyer.organization, purchase_id=purchase.pk, actor=buyer.billing, at=buyer.now()
    )


def test_confirming_twice_asks_once(asked):
    (purchase,) = asked.purchases
    confirm(asked, purchase)
    confirm(asked, purchase)
    asked.answer_bank(purchase)
    assert confirm(asked, purchase).state == State.SUCCEEDED
    assert len(asked.journal("succeeded")) == 1


def test_a_wrong_answer_to_the_bank_can_be_given_again(asked):
    (purchase,) = asked.purchases
    confirm(asked, purchase)
    asked.answer_bank(purchase, complete=False)
    assert purchases.refresh(purchase_id=purchase.pk, at=asked.now()).state == State.NEEDS_CUSTOMER
    confirm(asked, purchase)
    asked.answer_bank(purchase)
    assert purchases.refresh(purchase_id=purchase.pk, at=asked.now()).state == State.SUCCEEDED


def test_a_decline_while_the_customer_is_present_is_a_decline(asked):
    (purchase,) = asked.purchases
    asked.organization.payment_methods.update(stripe_payment_method_id=card_at_stripe(asked, DECLINES_WHEN_CHARGED))
    ended = confirm(asked, purchase)
    assert (ended.state, ended.decline_code) == (State.FAILED, "generic_decline")
    assert asked.reload.declines == 1
    assert len(asked.mails("Auto-reload was declined")) == 1
    assert stripe_gateway.read_payment(payment_intent_id=ended.payment_intent_id).status == "canceled"


def test_case_050_a_question_that_nobody_answers_ends_after_three_days(asked):
    (purchase,) = asked.purchases
    reconciliation.sweep(at=asked.now() + hours(71))
    purchase.refresh_from_db()
    assert purchase.state == State.NEEDS_CUSTOMER
    reconciliation.sweep(at=asked.now() + hours(73))
    purchase.refresh_from_db()
    assert purchase.state == State.CANCELED
    assert asked.reload.declines == 1
    assert not asked.is_due(), "or the next attempt would ask again at once"
    assert len(asked.mails("Auto-reload was not made")) == 1


def test_giving_up_a_question_waits_a_day_before_the_next_attempt(asked):
    (purchase,) = asked.purchases
    purchases.cancel(organization=asked.organization, purchase_id=purchase.pk, actor=asked.billing, at=asked.now())
    assert not asked.is_due()
    assert asked.is_due(at=asked.now() + hours(25))


@pytest.mark.parametrize("change", ["card", "off", "bought"])
def test_a_question_that_was_overtaken_is_withdrawn_and_counts_as_no_decline(asked, change):
    (purchase, *_) = asked.purchases
    if change == "card":
        asked.save_card(VISA)
    elif change == "off":
        asked.disarm()
    else:
        asked.organization.payment_methods.update(stripe_payment_method_id=card_at_stripe(asked))
        asked.buy(500)
    reconciliation.sweep(at=asked.now() + timedelta(minutes=5))
    purchase.refresh_from_db()
    assert purchase.state == State.CANCELED
    assert asked.reload.declines == 0
    assert stripe_gateway.read_payment(payment_intent_id=purchase.payment_intent_id).status == "canceled"
    if change == "card":
        assert asked.is_due()
        assert asked.attempt().state == State.SUCCEEDED


# Organizations don't meet


def test_one_organization_that_is_low_is_no_reason_for_another(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    other.save_card()
    other.fund(1_000)
    other.arm()
    make_low(buyer)
    assert auto_reload.due(at=buyer.now()) == [buyer.organization.pk]
    assert other.attempt() is None
    buyer.attempt()
    assert not other.journal()


def test_a_bought_credit_above_the_line_makes_an_attempt_needless(low):
    low.buy(2_500)
    assert not low.is_due()
    assert low.attempt() is None
    assert len(low.journal()) == 1


def test_a_free_grant_above_the_line_makes_an_attempt_needless(low):
    low.fund(1_000)
    assert low.attempt() is None
    assert low.account.low_at is None
    assert not low.journal()


@pytest.mark.django_db(transaction=True)
def test_a_purchase_and_a_reload_at_once_leave_every_cent_granted_once(buyer):
    make_low(buyer)
    results = at_once([partial(buyer.buy, 2_500), buyer.attempt, partial(buyer.buy, 2_500), buyer.attempt])
    assert not [result for result in results if isinstance(result, BaseException)], results
    assert len(buyer.journal("succeeded", kind="auto_reload")) <= 1
    assert buyer.available_cents == 400 + buyer.charged_cents
    buyer.assert_stripe_agrees()
