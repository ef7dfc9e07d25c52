"""What the sweep of open payments looks at, how often, and what it leaves alone."""

from datetime import timedelta

import pytest

from billing.models import Purchase
from billing.payments import purchases, reconciliation
from billing.tests.buyer import ASKS_ALWAYS, Buyer, hours

State = Purchase.State
PAYMENTS = "/v1/payment_intents"


def calls(buyer, path=PAYMENTS):
    return [request for request in buyer.stripe.api.requests() if request["path"].startswith(path)]


def test_what_has_ended_is_not_looked_at(buyer):
    buyer.save_card()
    buyer.buy()
    before = len(calls(buyer))
    reconciliation.sweep(at=buyer.now() + hours(1))
    assert len(calls(buyer)) == before


def test_a_purchase_that_is_being_sent_is_left_alone(buyer):
    buyer.save_card(ASKS_ALWAYS)
    buyer.buy()
    assert reconciliation.due(at=buyer.now() + timedelta(seconds=29)) == []
    assert len(reconciliation.due(at=buyer.now() + timedelta(seconds=31))) == 1


def test_looks_become_rarer_with_age_and_never_end(buyer):
    pauses = [reconciliation.pause_for(timedelta(seconds=2**power)) for power in range(30)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(seconds=20), timedelta(hours=1))


def test_a_look_counts_even_when_stripe_does_not_answer(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    buyer.stripe.control.add_fault("refuse", times=1_000)
    at = buyer.now() + hours(1)
    reconciliation.sweep(at=at)
    purchase.refresh_from_db()
    assert purchase.checked_at == at
    assert reconciliation.due(at=at + timedelta(seconds=30)) == []


def test_one_purchase_that_can_not_be_looked_at_does_not_hold_up_the_others(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    for one in (buyer, other):
        one.save_card(ASKS_ALWAYS)
        one.answer_bank(one.buy())
    Purchase.objects.filter(organization=buyer.organization).update(payment_intent_id="pi_gone")
    reconciliation.sweep(at=buyer.now() + timedelta(minutes=1))
    assert (buyer.grants, other.grants) == (0, 1)


def test_a_question_nobody_answers_at_a_manual_purchase_ends_after_a_day(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    reconciliation.sweep(at=buyer.now() + hours(23))
    purchase.refresh_from_db()
    assert purchase.state == State.REQUIRES_ACTION
    reconciliation.sweep(at=buyer.now() + hours(25))
    purchase.refresh_from_db()
    assert purchase.state == State.CANCELED
    assert "canceled" in purchases.failure_text(purchase)


def test_an_answer_that_nobody_told_us_of_is_found(buyer):
    buyer.save_card(ASKS_ALWAYS)
    buyer.answer_bank(buyer.buy())
    reconciliation.sweep(at=buyer.now() + timedelta(minutes=1))
    assert (buyer.available_cents, buyer.grants) == (2_500, 1)


def test_two_sweeps_at_once_do_no_more_than_one(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path=PAYMENTS, times=3)
    buyer.buy()
    for _ in range(2):
        reconciliation.sweep(at=buyer.now() + timedelta(minutes=2))
    assert (len(buyer.journal()), buyer.grants) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_sweeps_running_at_the_same_time_charge_and_grant_once(buyer):
    from billing.tests.buyer import at_once

    buyer.save_card()
    buyer.stripe.control.add_fault("cut_before", method="POST", path=PAYMENTS, times=3)
    buyer.buy()
    at = buyer.now() + timedelta(minutes=2)
    results = at_once([lambda: reconciliation.sweep(at=at)] * 4)
    assert results == [None] * 4
    assert (len(buyer.journal("succeeded")), buyer.grants, buyer.available_cents) == (1, 1, 2_500)
