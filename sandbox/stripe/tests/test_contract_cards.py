"""Saving and charging every test card, on-session and off-session."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from sandbox.stripe import cards
from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account, cites

REFUSED_WHEN_SAVED = [card for card in cards.CARDS if card.setup_decline and card.authentication == "never"]
CHALLENGED = [card for card in cards.CARDS if card.authentication != "never"]


def save(account: Account, customer: Any, alias: str) -> Any:
    """A confirmed SetupIntent."""
    return account.v1.setup_intents.create(
        {
            "customer": customer.id,
            "usage": "off_session",
            "allowed_payment_method_types": ["card"],
            "payment_method": alias,
            "confirm": True,
            "use_stripe_sdk": True,
        }
    )


def authenticated_card(account: Account, customer: Any, alias: str) -> str:
    """A card that its holder has authenticated while it was saved."""
    assert account.stand_in is not None
    intent = save(account, customer, alias)
    assert intent.status == "requires_action"
    account.stand_in.control.answer_challenge(intent.id, complete=True)
    saved = account.v1.setup_intents.retrieve(intent.id)
    assert saved.status == "succeeded"
    return str(saved.payment_method)


@pytest.mark.parametrize(
    ("alias", "brand", "last4"),
    [("pm_card_visa", "visa", "4242"), ("pm_card_mastercard", "mastercard", "4444"), ("pm_card_amex", "amex", "8431")],
)
@cites("https://docs.stripe.com/testing")
def test_good_cards_are_saved_and_charged_off_session(either: Account, alias: str, brand: str, last4: str) -> None:
    customer = either.customer()
    card = either.saved_card(customer, card=alias)
    payment = either.pay(customer, card, off_session=True, expand=["latest_charge", "payment_method"])
    assert (payment.status, payment.amount_received) == ("succeeded", 2500)
    if either.stand_in is not None:
        last4 = cards.BY_ALIAS[alias].last4
    assert (payment.payment_method.card.brand, payment.payment_method.card.last4) == (brand, last4)
    assert payment.latest_charge.paid is True
    assert payment.latest_charge.payment_intent == payment.id
    assert payment.latest_charge.outcome.type == "authorized"


@pytest.mark.parametrize("card", REFUSED_WHEN_SAVED, ids=lambda card: card.number)
@cites("https://docs.stripe.com/testing#declined-payments")
def test_cards_that_decline_are_not_saved(account: Account, card: cards.Card) -> None:
    customer = account.customer()
    error = error_of(lambda: save(account, customer, card.alias))
    assert isinstance(error, stripe.CardError)
    assert card.setup_decline is not None
    body = body_of(error)
    assert (error.http_status, error.code) == (402, card.setup_decline.code)
    assert body.get("decline_code") == card.setup_decline.decline_code
    assert body["setup_intent"]["status"] == "requires_payment_method"
    assert body["setup_intent"]["last_setup_error"]["code"] == card.setup_decline.code
    assert account.v1.customers.payment_methods.list(customer.id).data == []


@pytest.mark.parametrize(
    ("number", "code", "decline_code", "advice_code"),
    [
        ("4000000000000002", "card_declined", "generic_decline", "try_again_later"),
        ("4000000000009995", "card_declined", "insufficient_funds", "try_again_later"),
        ("4000000000009987", "card_declined", "lost_card", "do_not_try_again"),
        ("4000000000009979", "card_declined", "stolen_card", "do_not_try_again"),
        ("4000000000000069", "expired_card", None, "confirm_card_data"),
        ("4000000000000127", "incorrect_cvc", None, "confirm_card_data"),
        ("4000000000000119", "processing_error", None, "try_again_later"),
        ("4000000000006975", "card_declined", "card_velocity_exceeded", "try_again_later"),
        ("4100000000000019", "card_declined", "fraudulent", None),
    ],
)
@cites("https://docs.stripe.com/declines/codes")
def test_a_declined_charge_tells_why_and_leaves_the_intent_open(
    account: Account, number: str, code: str, decline_code: str | None, advice_code: str | None
) -> None:
    customer = account.customer()
    error = error_of(lambda: account.pay(customer, cards.BY_NUMBER[number].alias))
    body = body_of(error)
    assert isinstance(error, stripe.CardError)
    assert (error.http_status, body["code"], body.get("decline_code")) == (402, code, decline_code)
    assert body.get("advice_code") == advice_code
    assert error.error is not None
    assert error.error.payment_intent is not None
    intent = account.v1.payment_intents.retrieve(error.error.payment_intent.id, {"expand": ["latest_charge"]})
    assert (intent.status, intent.payment_method, intent.amount_received) == ("requires_payment_method", None, 0)
    assert intent.last_payment_error.code == code
    assert intent.last_payment_error.payment_method.card.last4 == number[-4:]
    assert (intent.latest_charge.id, intent.latest_charge.status) == (body["charge"], "failed")
    assert intent.latest_charge.outcome.type == ("blocked" if number.endswith("0019") else "issuer_declined")


@cites("https://docs.stripe.com/testing#declined-payments")
def test_a_card_may_be_saved_and_decline_when_charged(either: Account) -> None:
    customer = either.customer()
    either.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    (card,) = either.v1.customers.payment_methods.list(customer.id, {"type": "card"}).data
    error = error_of(lambda: either.pay(customer, card.id, off_session=True))
    assert (error.http_status, body_of(error)["code"]) == (402, "card_declined")
    assert body_of(error)["payment_intent"]["status"] == "requires_payment_method"


@cites("https://docs.stripe.com/testing#disputes")
def test_the_card_that_is_disputed_later_is_charged_now(account: Account) -> None:
    customer = account.customer()
    payment = account.pay(customer, account.saved_card(customer, card="pm_card_createDispute"), off_session=True)
    assert payment.status == "succeeded"


@pytest.mark.parametrize("card", CHALLENGED, ids=lambda card: card.number)
@cites("https://docs.stripe.com/testing#regulatory-cards")
def test_cards_that_ask_for_authentication_ask_when_they_are_saved(account: Account, card: cards.Card) -> None:
    intent = save(account, account.customer(), card.alias)
    assert intent.status == "requires_action"
    assert intent.next_action.type == "use_stripe_sdk"


@cites("https://docs.stripe.com/testing#regulatory-cards")
def test_a_card_set_up_off_session_asks_no_more(account: Account) -> None:
    customer = account.customer()
    card = authenticated_card(account, customer, "pm_card_authenticationRequiredOnSetup")
    assert account.pay(customer, card, off_session=True).status == "succeeded"
    assert account.pay(customer, card).status == "succeeded"


@cites("https://docs.stripe.com/testing#regulatory-cards")
def test_the_same_card_not_set_up_asks_each_time(account: Account) -> None:
    customer = account.customer()
    account.v1.payment_methods.attach("pm_card_authenticationRequiredOnSetup", {"customer": customer.id})
    (card,) = account.v1.customers.payment_methods.list(customer.id).data
    assert error_of(lambda: account.pay(customer, card.id, off_session=True)).http_status == 402
    assert account.pay(customer, card.id, use_stripe_sdk=True).status == "requires_action"


@cites("https://docs.stripe.com/payments/save-and-reuse#charge-saved-payment-method")
def test_off_session_authentication_is_a_402_with_the_intent_in_it(either: Account) -> None:
    customer = either.customer()
    either.v1.payment_methods.attach("pm_card_authenticationRequired", {"customer": customer.id})
    (card,) = either.v1.customers.payment_methods.list(customer.id).data
    error = error_of(lambda: either.pay(customer, card.id, off_session=True))
    assert isinstance(error, stripe.CardError)
    assert (error.http_status, error.code) == (402, "authentication_required")
    assert error.error is not None
    assert error.error.payment_intent is not None
    intent = either.v1.payment_intents.retrieve(error.error.payment_intent.id)
    assert (intent.status, intent.amount_received) == ("requires_payment_method", 0)
    assert intent.last_payment_error.code == "authentication_required"
    assert intent.last_payment_error.payment_method.id == card.id


@cites("https://docs.stripe.com/payments/save-and-reuse#charge-saved-payment-method")
def test_the_customer_recovers_an_off_session_payment_on_session(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    card = authenticated_card(account, customer, "pm_card_authenticationRequired")
    error = error_of(lambda: account.pay(customer, card, off_session=True))
    payment_id = body_of(error)["payment_intent"]["id"]
    again = account.v1.payment_intents.confirm(payment_id, {"payment_method": card, "use_stripe_sdk": True})
    assert again.status == "requires_action"
    account.stand_in.control.answer_challenge(payment_id, complete=True)
    assert account.v1.payment_intents.retrieve(payment_id).status == "succeeded"
    assert account.stand_in.journal.charged_cents(customer=customer.id) == 2500


@pytest.mark.parametrize(
    ("alias", "decline_code"),
    [
        ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_threeDSecureRequiredChargeDeclined", "generic_decline"),
    ],
)
@cites("https://docs.stripe.com/testing#regulatory-cards")
def test_some_cards_decline_after_authentication(account: Account, alias: str, decline_code: str) -> None:
    assert account.stand_in is not None
    payment = account.pay(account.customer(), alias, use_stripe_sdk=True)
    assert payment.status == "requires_action"
    account.stand_in.control.answer_challenge(payment.id, complete=True)
    after = account.v1.payment_intents.retrieve(payment.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.decline_code == decline_code
    assert account.stand_in.journal.charged_cents() == 0


@cites("https://docs.stripe.com/payments/paymentintents/lifecycle")
def test_a_failed_authentication_charges_nothing(account: Account) -> None:
    assert account.stand_in is not None
    payment = account.pay(account.customer(), "pm_card_authenticationRequired", use_stripe_sdk=True)
    account.stand_in.control.answer_challenge(payment.id, complete=False)
    after = account.v1.payment_intents.retrieve(payment.id)
    assert (after.status, after.payment_method) == ("requires_payment_method", None)
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    assert [entry["outcome"] for entry in account.stand_in.journal.entries()] == [
        "requires_action",
        "authentication_failed",
    ]


@cites("https://docs.stripe.com/api/payment_methods/object#payment_method_object-card-fingerprint")
def test_the_same_number_has_the_same_fingerprint_whoever_saves_it(either: Account) -> None:
    found = []
    for _ in range(2):
        customer = either.customer()
        either.saved_card(customer)
        (card,) = either.v1.customers.payment_methods.list(customer.id).data
        found.append(card)
    assert found[0].id != found[1].id
    assert found[0].card.fingerprint == found[1].card.fingerprint


@pytest.mark.parametrize("card", cards.CARDS, ids=lambda card: card.number)
@cites("https://docs.stripe.com/testing")
def test_every_test_card_has_a_valid_number(card: cards.Card) -> None:
    assert cards.passes_luhn(card.number)


@cites("https://docs.stripe.com/error-codes#expired-card")
def test_an_expired_card_is_declined(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    card = account.saved_card(customer)
    account.stand_in.control.expire_card(card)
    assert error_of(lambda: account.pay(customer, card, off_session=True)).code == "expired_card"
