"""The life of a PaymentIntent, and what stands in it."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account, cites


@cites("https://docs.stripe.com/payments/paymentintents/lifecycle")
def test_an_intent_is_created_confirmed_and_found_again(either: Account) -> None:
    customer = either.customer()
    card = either.saved_card(customer)
    created = either.v1.payment_intents.create(
        {
            "amount": 2500,
            "currency": "usd",
            "customer": customer.id,
            "payment_method": card,
            "allowed_payment_method_types": ["card"],
            "metadata": {"purchase_id": "7"},
        }
    )
    assert created.status == "requires_confirmation"
    confirmed = either.v1.payment_intents.confirm(created.id, {"off_session": True})
    assert (confirmed.status, confirmed.id) == ("succeeded", created.id)
    assert confirmed.metadata["purchase_id"] == "7"
    assert isinstance(confirmed.latest_charge, str)
    assert either.v1.charges.retrieve(confirmed.latest_charge).payment_intent == created.id
    assert either.v1.payment_intents.retrieve(created.id).status == "succeeded"


@cites("https://docs.stripe.com/api/expanding_objects")
def test_latest_charge_is_an_id_unless_expanded(either: Account) -> None:
    customer = either.customer()
    payment = either.pay(customer, either.saved_card(customer), metadata={"purchase_id": "9"})
    assert payment.latest_charge.startswith("ch_")
    expanded = either.v1.payment_intents.retrieve(payment.id, {"expand": ["latest_charge", "customer"]})
    assert isinstance(expanded.latest_charge, stripe.Charge)
    assert isinstance(expanded.customer, stripe.Customer)
    assert expanded.latest_charge.metadata["purchase_id"] == "9"
    assert str(expanded.latest_charge.receipt_url).startswith("http")
    listed = either.v1.payment_intents.list({"customer": customer.id, "expand": ["data.latest_charge"]})
    assert isinstance(listed.data[0].latest_charge, stripe.Charge)


@cites("https://docs.stripe.com/api/payment_intents/cancel")
def test_a_succeeded_intent_can_neither_be_confirmed_nor_cancelled(either: Account) -> None:
    customer = either.customer()
    payment = either.pay(customer, either.saved_card(customer))
    for call in (either.v1.payment_intents.confirm, either.v1.payment_intents.cancel):
        body = body_of(error_of(lambda call=call: call(payment.id)))  # type: ignore[misc]
        assert body["code"] == "payment_intent_unexpected_state"
        assert body["payment_intent"]["status"] == "succeeded"


@cites("https://docs.stripe.com/api/payment_intents/cancel")
def test_a_cancelled_intent_is_over(either: Account) -> None:
    customer = either.customer()
    created = either.v1.payment_intents.create(
        {"amount": 2500, "currency": "usd", "customer": customer.id, "allowed_payment_method_types": ["card"]}
    )
    cancelled = either.v1.payment_intents.cancel(created.id, {"cancellation_reason": "abandoned"})
    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "abandoned")
    assert cancelled.canceled_at is not None
    error = error_of(lambda: either.v1.payment_intents.confirm(created.id, {"payment_method": "pm_card_visa"}))
    assert body_of(error)["code"] == "payment_intent_unexpected_state"


@cites("https://docs.stripe.com/api/payment_intents/cancel")
def test_an_intent_that_waits_for_its_customer_can_be_cancelled(account: Account) -> None:
    assert account.stand_in is not None
    payment = account.pay(account.customer(), "pm_card_authenticationRequired", use_stripe_sdk=True)
    assert account.v1.payment_intents.cancel(payment.id).status == "canceled"
    with pytest.raises(ValueError, match="waits for no answer"):
        account.stand_in.control.answer_challenge(payment.id, complete=True)
    assert account.stand_in.journal.charged_cents() == 0


@cites("https://docs.stripe.com/payments/paymentintents/lifecycle")
def test_after_a_decline_another_card_finishes_the_same_intent(either: Account) -> None:
    customer = either.customer()
    error = error_of(lambda: either.pay(customer, "pm_card_chargeDeclinedProcessingError"))
    payment_id = body_of(error)["payment_intent"]["id"]
    done = either.v1.payment_intents.confirm(payment_id, {"payment_method": either.saved_card(customer)})
    assert (done.status, done.last_payment_error) == ("succeeded", None)


@cites("https://docs.stripe.com/payments/paymentintents/lifecycle")
def test_confirming_without_a_card_is_refused(either: Account) -> None:
    created = either.v1.payment_intents.create(
        {"amount": 2500, "currency": "usd", "allowed_payment_method_types": ["card"]}
    )
    body = body_of(error_of(lambda: either.v1.payment_intents.confirm(created.id)))
    assert body["code"] == "payment_intent_unexpected_state"


@cites("https://docs.stripe.com/api/payment_intents/confirm#confirm_payment_intent-return_url")
def test_automatic_methods_need_a_place_to_return_to(either: Account) -> None:
    customer = either.customer()
    parameters: dict[str, Any] = {
        "amount": 2500,
        "currency": "usd",
        "customer": customer.id,
        "payment_method": either.saved_card(customer),
        "confirm": True,
    }
    error = error_of(lambda: either.v1.payment_intents.create(parameters))
    assert (error.http_status, body_of(error).get("param")) in [(400, "return_url"), (400, None)]
    assert either.v1.payment_intents.list({"customer": customer.id}).data == []


@cites("https://docs.stripe.com/error-codes#resource-missing")
def test_only_what_exists_is_found(either: Account) -> None:
    for retrieve in (
        either.v1.payment_intents.retrieve,
        either.v1.setup_intents.retrieve,
        either.v1.customers.retrieve,
        either.v1.charges.retrieve,
        either.v1.events.retrieve,
        either.v1.payment_methods.retrieve,
    ):
        error = error_of(lambda retrieve=retrieve: retrieve("xx_nothing"))  # type: ignore[misc]
        assert isinstance(error, stripe.InvalidRequestError)
        assert (error.http_status, error.code) == (404, "resource_missing")


@cites("https://docs.stripe.com/api/errors")
def test_an_address_that_is_none_is_a_404(either: Account) -> None:
    error = error_of(lambda: either.client.raw_request("get", "/v1/no_such_things"))
    assert error.http_status == 404


@cites("https://docs.stripe.com/api/request_ids")
def test_every_answer_names_its_request_and_the_version(either: Account) -> None:
    response = either.customer().last_response
    assert response.request_id.startswith("req_")
    error = error_of(lambda: either.v1.customers.retrieve("cus_nothing"))
    assert error.request_id is not None
    assert error.request_id.startswith("req_")


@cites("https://docs.stripe.com/receipts")
def test_the_receipt_of_a_charge_can_be_read(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    payment = account.pay(customer, account.saved_card(customer), description="Credits", expand=["latest_charge"])
    charge_id = payment.latest_charge.id
    assert payment.latest_charge.receipt_url == f"{account.stand_in.base_url}/receipts/{charge_id}"
    page = account.stand_in.receipt(charge_id)
    assert page is not None
    assert "Credits: $25.00" in page
    assert account.stand_in.receipt("ch_nothing") is None
