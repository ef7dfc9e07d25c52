"""The one door to Stripe: what goes out, what comes back, and what every kind of trouble becomes."""

import dataclasses
from datetime import timedelta

import pytest
import stripe

from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import StripeCustomer
from billing.payments import stripe_gateway
from billing.payments.stripe_gateway import KeyReused, Payment, ProcessorRefused
from billing.tests.buyer import ASKS_ALWAYS, DECLINES_WHEN_CHARGED

PAYMENTS = "/v1/payment_intents"


@pytest.fixture
def payment(buyer):
    """A charge of $25 that will succeed."""
    return payment_with(buyer)


def payment_with(buyer, **card):
    saved = buyer.save_card(**card)
    customer = StripeCustomer.objects.get(organization=buyer.organization)
    return Payment(
        key="purchase-key",
        amount_cents=2_500,
        customer_id=customer.stripe_customer_id or "",
        payment_method_id=saved.stripe_payment_method_id,
        description="Credits",
        metadata={"purchase_id": "7", "organization_id": str(buyer.organization.pk)},
        is_off_session=False,
    )


def test_a_payment_comes_back_as_facts(payment):
    facts = stripe_gateway.create_payment(payment)
    assert (facts.status, facts.amount_cents, facts.amount_received_cents, facts.currency) == (
        "succeeded",
        2_500,
        2_500,
        "usd",
    )
    assert (facts.customer_id, facts.payment_method_id) == (payment.customer_id, payment.payment_method_id)
    assert facts.metadata == payment.metadata
    assert facts.latest_charge_id.startswith("ch_")
    assert stripe_gateway.read_payment(payment_intent_id=facts.id) == facts


def test_the_same_key_and_content_is_the_same_payment(buyer, payment):
    first, second = stripe_gateway.create_payment(payment), stripe_gateway.create_payment(payment)
    assert first.id == second.id
    assert buyer.charged_cents == 2_500


def test_the_same_key_with_other_content_is_no_answer_about_the_first(buyer, payment):
    stripe_gateway.create_payment(payment)
    with pytest.raises(KeyReused):
        stripe_gateway.create_payment(dataclasses.replace(payment, amount_cents=100))
    assert issubclass(KeyReused, PaymentProcessorUnavailable)
    assert buyer.charged_cents == 2_500


def test_a_decline_is_an_answer(buyer):
    facts = stripe_gateway.create_payment(payment_with(buyer, number=DECLINES_WHEN_CHARGED))
    assert facts.status == "requires_payment_method"
    assert (facts.failure_code, facts.decline_code) == ("card_declined", "generic_decline")
    assert (facts.amount_received_cents, facts.metadata["purchase_id"]) == (0, "7")


def test_a_question_of_the_bank_off_session_is_an_answer(buyer):
    payment = payment_with(buyer, number=ASKS_ALWAYS)
    facts = stripe_gateway.create_payment(dataclasses.replace(payment, is_off_session=True))
    assert (facts.status, facts.failure_code) == ("requires_payment_method", "authentication_required")


@pytest.mark.parametrize(
    "change",
    [
        {"amount_cents": 49},
        {"payment_method_id": "pm_unknown"},
        {"customer_id": "cus_unknown"},
        {"amount_cents": 10**9},
    ],
)
def test_a_request_that_is_refused_is_definite(payment, change):
    with pytest.raises(ProcessorRefused) as refusal:
        stripe_gateway.create_payment(dataclasses.replace(payment, **change))
    assert refusal.value.code


@pytest.mark.parametrize(
    "kind",
    ["refuse", "cut_before", "cut_after", "half_body", "rate_limited", "lock_timeout", "error_500_after_effect"],
)
def test_trouble_on_the_way_says_nothing_about_the_outcome(buyer, payment, kind):
    fault = buyer.stripe.control.add_fault(kind, method="POST", path=PAYMENTS, times=3)
    with pytest.raises(PaymentProcessorUnavailable):
        stripe_gateway.create_payment(payment)
    assert fault.hit >= 1


def test_two_requests_with_one_key_at_the_same_time_are_a_conflict_of_unknown_outcome(buyer, payment, monkeypatch):
    from billing.tests.buyer import at_once

    buyer.stripe.control.add_fault("delay", method="POST", path=PAYMENTS, delay_seconds=4)
    results = at_once([lambda: stripe_gateway.create_payment(payment)] * 2)
    unknown = [result for result in results if isinstance(result, PaymentProcessorUnavailable)]
    paid = [result for result in results if isinstance(result, stripe_gateway.IntentFacts)]
    assert len(unknown) + len(paid) == 2, results
    assert len({facts.id for facts in paid}) == 1
    assert buyer.charged_cents == 2_500


def test_a_key_without_rights_leaves_the_outcome_open(payment, settings):
    settings.STRIPE_SECRET_KEY = "sk_live_" + "0" * 24
    with pytest.raises(PaymentProcessorUnavailable):
        stripe_gateway.create_payment(payment)


def test_a_payment_is_canceled_or_too_late(buyer, payment):
    paid = stripe_gateway.create_payment(payment)
    assert stripe_gateway.cancel_payment(payment_intent_id=paid.id, reason="abandoned").status == "succeeded"
    waiting = stripe_gateway.create_payment(dataclasses.replace(payment_with(buyer, number=ASKS_ALWAYS), key="another"))
    canceled = stripe_gateway.cancel_payment(payment_intent_id=waiting.id, reason="duplicate")
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "duplicate")


def test_a_payment_is_found_by_its_metadata_on_any_page(buyer, payment):
    wanted = stripe_gateway.create_payment(payment)
    for number in range(105):
        stripe_gateway.create_payment(
            dataclasses.replace(payment, key=f"other-{number}", metadata={"purchase_id": f"77{number}"})
        )
    found = {"customer_id": payment.customer_id, "created_after": buyer.now() - timedelta(minutes=5)}
    assert stripe_gateway.find_payment(purchase_id=7, **found) == wanted
    assert stripe_gateway.find_payment(purchase_id=8, **found) is None


def test_a_search_that_is_cut_off_is_no_proof_of_absence(buyer, payment):
    stripe_gateway.create_payment(payment)
    buyer.stripe.control.add_fault("cut_before", method="GET", path=PAYMENTS, times=3)
    with pytest.raises(PaymentProcessorUnavailable):
        stripe_gateway.find_payment(
            customer_id=payment.customer_id, purchase_id=8, created_after=buyer.now() - timedelta(minutes=5)
        )


def test_the_card_at_stripe_is_set_up_for_charges_without_the_customer(buyer):
    buyer.save_card()
    client = stripe.StripeClient("sk_test_reader", base_addresses={"api": buyer.stripe.base_url})
    (setup,) = client.v1.setup_intents.list({"limit": 10}).data if hasattr(client.v1, "setup_intents") else [None]
    assert (setup.usage, setup.status) == ("off_session", "succeeded")


def test_stripe_knows_the_organization_and_its_default_card(buyer):
    card = buyer.save_card()
    customer_id = StripeCustomer.objects.get(organization=buyer.organization).stripe_customer_id
    client = stripe.StripeClient("sk_test_reader", base_addresses={"api": buyer.stripe.base_url})
    customer = client.v1.customers.retrieve(customer_id)
    assert (customer.name, customer.email) == (buyer.organization.name, buyer.billing.email)
    assert customer.invoice_settings.default_payment_method == card.stripe_payment_method_id
    assert customer.metadata["organization_id"] == str(buyer.organization.pk)


def test_no_retired_parameter_is_sent(buyer):
    """The stand-in refuses what this API version refuses; this says which names were really used."""
    buyer.save_card()
    buyer.buy()
    sent = {
        (request["method"], request["path"]) for request in buyer.stripe.api.requests() if request["method"] == "POST"
    }
    assert ("POST", PAYMENTS) in sent
    for request in buyer.stripe.api.requests():
        assert "payment_method_types" not in str(request.get("parameters", ""))


@pytest.mark.parametrize(
    "signature", ["", "t=1,v1=é", "v1=abc", "t=x,v1=abc", "t=1", ",,,", "t=99999999999999999999,v1=a"]
)
def test_a_signature_of_any_shape_is_refused_and_never_an_error(settings, signature):
    with pytest.raises(Refused) as refusal:
        stripe_gateway.verified_event(body=b'{"id": "evt"}', signature=signature)
    assert refusal.value.code == "bad_signature"


def test_a_body_that_is_no_text_is_refused(settings):
    with pytest.raises(Refused):
        stripe_gateway.verified_event(body=b"\xff\xfe", signature="t=1,v1=abc")
