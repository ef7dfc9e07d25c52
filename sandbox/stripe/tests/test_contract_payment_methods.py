"""Cards and whose they are: never another customer's, never again once detached."""

from __future__ import annotations

import pytest

from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account, cites


@cites("https://docs.stripe.com/api/payment_methods/detach")
def test_a_detached_card_is_gone_for_good(either: Account) -> None:
    customer = either.customer()
    card = either.saved_card(customer)
    detached = either.v1.payment_methods.detach(card)
    assert (detached.id, detached.customer) == (card, None)
    assert either.v1.customers.payment_methods.list(customer.id).data == []
    assert error_of(lambda: either.pay(customer, card)).http_status == 400
    assert error_of(lambda: either.pay(customer, card, off_session=True)).http_status == 400
    assert error_of(lambda: either.v1.payment_methods.attach(card, {"customer": customer.id})).http_status == 400
    assert error_of(lambda: either.v1.payment_methods.detach(card)).http_status == 400
    assert either.v1.payment_methods.retrieve(card).id == card
    assert either.v1.payment_intents.list({"customer": customer.id}).data == []


@cites("https://docs.stripe.com/api/payment_methods/attach")
def test_a_card_of_another_customer_is_refused(either: Account) -> None:
    owner, other = either.customer(), either.customer()
    card = either.saved_card(owner)
    assert error_of(lambda: either.pay(other, card)).http_status == 400
    error = error_of(
        lambda: either.v1.customers.update(other.id, {"invoice_settings": {"default_payment_method": card}})
    )
    assert error.http_status == 400
    assert error_of(lambda: either.v1.customers.payment_methods.retrieve(other.id, card)).http_status == 404


@cites("https://docs.stripe.com/api/payment_methods/attach")
def test_a_saved_card_cannot_be_charged_without_its_customer(either: Account) -> None:
    card = either.saved_card(either.customer())
    error = error_of(
        lambda: either.v1.payment_intents.create(
            {
                "amount": 2500,
                "currency": "usd",
                "payment_method": card,
                "confirm": True,
                "allowed_payment_method_types": ["card"],
            }
        )
    )
    assert error.http_status == 400


@cites("https://docs.stripe.com/api/payment_methods/attach")
def test_a_card_that_was_charged_without_being_saved_is_used_up(either: Account) -> None:
    customer = either.customer()
    payment = either.pay(customer, "pm_card_visa")
    assert error_of(lambda: either.pay(customer, payment.payment_method)).http_status == 400


@cites("https://docs.stripe.com/api/customers/update#update_customer-invoice_settings-default_payment_method")
def test_the_default_card_is_one_of_the_customers_own(either: Account) -> None:
    customer = either.customer()
    card = either.saved_card(customer)
    either.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card}})
    shown = either.v1.customers.retrieve(customer.id, {"expand": ["invoice_settings.default_payment_method"]})
    assert shown.invoice_settings.default_payment_method.id == card


@cites("https://docs.stripe.com/api/payment_methods/customer_list")
def test_the_cards_of_a_customer_are_listed_newest_first(either: Account) -> None:
    customer = either.customer()
    first, second = either.saved_card(customer), either.saved_card(customer, card="pm_card_mastercard")
    listed = either.v1.customers.payment_methods.list(customer.id, {"type": "card", "limit": 20})
    assert [card.id for card in listed.data] == [second, first]
    same = either.v1.payment_methods.list({"customer": customer.id, "type": "card"})
    assert {card.id for card in same.data} == {first, second}


@pytest.mark.parametrize("card", ["pm_nothing", "pi_nothing", "pm_card_unheard_of"])
@cites("https://docs.stripe.com/error-codes#resource-missing")
def test_a_card_that_does_not_exist_is_refused(either: Account, card: str) -> None:
    error = error_of(lambda: either.pay(either.customer(), card))
    assert error.http_status in (400, 404)
    assert body_of(error)["code"] == "resource_missing"


@cites("https://docs.stripe.com/payments/setupintents/lifecycle")
def test_an_authenticated_setup_attaches_only_on_success(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    intent = account.v1.setup_intents.create(
        {
            "customer": customer.id,
            "allowed_payment_method_types": ["card"],
            "payment_method": "pm_card_authenticationRequired",
            "confirm": True,
        }
    )
    assert account.v1.customers.payment_methods.list(customer.id).data == []
    account.stand_in.control.answer_challenge(intent.id, complete=False)
    assert account.v1.customers.payment_methods.list(customer.id).data == []
    assert account.v1.setup_intents.retrieve(intent.id).last_setup_error.code == "setup_intent_authentication_failure"
