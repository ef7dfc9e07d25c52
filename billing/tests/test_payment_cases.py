"""Failures of other systems around payments that have no other home, and those that can't occur here: why not."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from accounts.models import OutboxMessage
from billing.credits import metering, prices
from billing.models import CreditEvent, CreditLot, Purchase, StripeEvent
from billing.payments import auto_reload, credit_events, purchases, stripe_events
from billing.tests.buyer import MODEL, Buyer, at_once

pytestmark = pytest.mark.django_db

State = Purchase.State


def told(buyer: Buyer) -> int:
    """How many mails say that credit has run out; each goes to two people."""
    credit_events.relay(at=buyer.now())
    return OutboxMessage.objects.filter(key__startswith="credit-exhausted-").count() // 2


def test_case_030_a_checkout_session_grants_nothing_whatever_it_says(buyer):
    """No checkout session is ever made here, and no event about one is acted on: only a PaymentIntent that was read."""
    buyer.save_card()
    for number, status in enumerate(("unpaid", "paid", "no_payment_required")):
        session_id = f"cs_{number}"
        session = {"id": session_id, "payment_status": status, "metadata": {"purchase_id": "1"}}
        for kind in ("completed", "async_payment_succeeded", "async_payment_failed"):
            event = StripeEvent.objects.create(
                stripe_event_id=f"evt_{number}_{kind}",
                type=f"checkout.session.{kind}",
                object_id=session_id,
                payload={"livemode": False, "data": {"object": session}},
            )
            stripe_events.process(event_id=event.pk, at=buyer.now())
            event.refresh_from_db()
            assert event.outcome == "ignored: no handler"
    assert buyer.available_cents == 0
    assert not [kind for kind in stripe_events.HANDLED_TYPES if kind.startswith("checkout.")]


@pytest.mark.parametrize("succeeds", [True, False])
def test_case_046_a_payment_that_is_processing_is_neither_paid_nor_failed(buyer, succeeds):
    buyer.save_card()
    buyer.stripe.control.hold_payments()
    purchase = buyer.buy()
    assert (purchase.state, purchase.is_open, purchases.failure_text(purchase)) == (State.PROCESSING, True, "")
    assert (buyer.available_cents, buyer.grants, OutboxMessage.objects.filter(subject__contains="bought").count()) == (
        0,
        0,
        0,
    )
    assert purchase.payment_intent_id is not None
    buyer.stripe.control.settle_processing(purchase.payment_intent_id, succeeds=succeeds)
    buyer.hear(times=2)
    purchase.refresh_from_db()
    assert purchase.state == (State.SUCCEEDED if succeeds else State.FAILED)
    assert (buyer.available_cents, buyer.grants) == ((2_500, 1) if succeeds else (0, 0))


def test_case_046_a_reload_that_is_processing_is_in_flight(buyer):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(600)
    buyer.stripe.control.hold_payments()
    purchase = buyer.attempt()
    assert purchase is not None
    assert purchase.state == State.PROCESSING
    for hours in (0, 1, 23):
        assert buyer.attempt(at=buyer.now() + timedelta(hours=hours)) is None
    assert auto_reload.status(organization=buyer.organization, at=buyer.now()).state == "charging"


def test_case_054_money_charged_and_credit_granted_are_separate_numbers(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    purchase = buyer.buy(2_500)
    Purchase.objects.filter(pk=purchase.pk).update(credit_nano=30 * 10**9)
    buyer.hear("payment_intent.succeeded")
    assert CreditLot.objects.get().granted_nano == 30 * 10**9
    assert (buyer.charged_cents, buyer.available_cents) == (2_500, 3_000)


def test_case_055_a_price_of_the_same_day_of_a_later_month_is_not_in_force_yet(buyer, credits_clock):
    credits_clock.set(datetime(2027, 3, 15, 12, tzinfo=UTC))
    prices.publish(
        prices=prices.ModelPrices(slug=MODEL, name=MODEL, prices_nano_per_million={"input": 5 * 10**13}),
        effective_at=datetime(2027, 5, 15, tzinfo=UTC),
    )
    buyer.fund(1_000)
    assert buyer.spend(100).amount_nano == 10**9
    credits_clock.set(datetime(2027, 5, 14, 23, 59, 59, tzinfo=UTC))
    assert buyer.spend(100).amount_nano == 10**9
    credits_clock.set(datetime(2027, 5, 15, tzinfo=UTC))
    assert buyer.spend(100).amount_nano == 5 * 10**9


def test_case_119_credit_that_hovers_at_nothing_is_told_of_once(buyer):
    buyer.fund(100)
    buyer.spend(100)
    for _ in range(5):
        buyer.spend(1)
        assert told(buyer) == 1
    buyer.fund(50)
    assert told(buyer) == 1
    buyer.spend(50)
    assert told(buyer) == 2


@pytest.mark.django_db(transaction=True)
def test_case_120_eight_relays_at_once_tell_of_one_event_once(buyer):
    buyer.fund(100)
    buyer.spend(100)
    results = at_once([partial(credit_events.relay, at=buyer.now())] * 8)
    assert not [result for result in results if isinstance(result, BaseException)]
    assert OutboxMessage.objects.filter(key__startswith="credit-exhausted-").count() == 2
    assert CreditEvent.objects.filter(kind="exhausted").count() == 1


def test_case_121_an_organization_that_never_had_credit_has_not_run_out_of_it(buyer):
    """There are no percentages of grants here: what is told is that nothing is left, and of nothing nothing is left."""
    assert buyer.spend(1).outcome == metering.Outcome.INSUFFICIENT
    assert told(buyer) == 0
    buyer.overspend(1)
    assert told(buyer) == 1


def test_case_130_moving_the_dates_by_which_days_are_told_charges_nothing(buyer):
    """No charge has an anchor: each is asked for by a person, or by credit that is below the line."""
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"):
        buyer.organization.time_zone = zone
        buyer.organization.save(update_fields=["time_zone"])
        for days in (0, 31, 62):
            assert not buyer.is_due(at=buyer.now() + timedelta(days=days))
            assert buyer.attempt(at=buyer.now() + timedelta(days=days)) is None
    assert buyer.journal() == []
