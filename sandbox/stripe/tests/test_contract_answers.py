"""What the stand-in answers is what the pinned SDK's objects declare, read from its own classes at run time."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, ForwardRef, Union, get_args, get_origin

import pytest
import stripe

from sandbox.stripe.tests.contract import Account, cites
from sandbox.stripe.tests.test_contract_refunds import paid

CLASSES: dict[str, type[stripe.StripeObject]] = {
    "balance_transaction": stripe.BalanceTransaction,
    "charge": stripe.Charge,
    "customer": stripe.Customer,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "radar.early_fraud_warning": stripe.radar.EarlyFraudWarning,
    "refund": stripe.Refund,
    "setup_intent": stripe.SetupIntent,
}


def lacking(kind: type[stripe.StripeObject], body: dict[str, Any], *, at: str) -> Iterator[str]:
    """The attributes that the SDK's class requires and the body lacks, at any depth."""
    for name, hint in kind.__annotations__.items():
        if "ClassVar" in str(hint):
            continue
        options = list(_alternatives(hint))
        if name not in body:
            if type(None) not in options:
                yield f"{at}.{name}"
            continue
        for option in options:
            yield from _lacking_inside(option, body[name], at=f"{at}.{name}")


def _lacking_inside(option: Any, value: Any, *, at: str) -> Iterator[str]:
    if get_origin(option) is list and isinstance(value, list):
        for item in value:
            for inner in _alternatives(get_args(option)[0]):
                yield from _lacking_inside(inner, item, at=f"{at}[]")
    elif isinstance(option, ForwardRef) and isinstance(value, dict) and value.get("object") in CLASSES:
        yield from lacking(CLASSES[value["object"]], value, at=at)
    elif isinstance(option, type) and issubclass(option, stripe.StripeObject) and isinstance(value, dict):
        yield from lacking(option, value, at=at)


def _alternatives(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        for option in get_args(hint):
            yield from _alternatives(option)
    else:
        yield hint


def everything(account: Account) -> dict[str, list[Any]]:
    """Objects of every kind, in the states that a payment, a decline, a refund and a dispute bring them to."""
    customer = account.customer()
    payment = paid(account, expand=["latest_charge", "latest_charge.balance_transaction", "payment_method"])
    refund = account.v1.refunds.create({"payment_intent": payment.id, "amount": 100})
    disputed = paid(account, card="pm_card_createDispute")
    disputes = account.eventually(lambda: account.v1.disputes.list({"payment_intent": disputed.id}).data)
    warned = paid(account, card="pm_card_createIssuerFraudRecord")
    warnings = account.v1.radar.early_fraud_warnings
    setup = account.v1.setup_intents.create({"customer": customer.id, "allowed_payment_method_types": ["card"]})
    waiting = account.pay(customer, "pm_card_authenticationRequired", use_stripe_sdk=True)
    with pytest.raises(stripe.CardError):
        account.pay(customer, "pm_card_chargeCustomerFail")
    return {
        "balance_transaction": account.v1.balance_transactions.list().data,
        "charge": [payment.latest_charge, *account.v1.charges.list({"customer": customer.id}).data],
        "customer": [customer],
        "dispute": disputes,
        "event": account.v1.events.list({"limit": 20}).data,
        "payment_intent": [payment, waiting, *account.v1.payment_intents.list({"customer": customer.id}).data],
        "payment_method": [payment.payment_method],
        "radar.early_fraud_warning": account.eventually(lambda: warnings.list({"payment_intent": warned.id}).data),
        "refund": [refund],
        "setup_intent": [setup],
    }


@cites("https://github.com/stripe/stripe-python (the annotations of its objects)")
def test_answers_carry_what_the_sdks_objects_declare(either: Account) -> None:
    found = everything(either)
    assert set(found) == set(CLASSES)
    missing = set()
    for kind, things in found.items():
        assert things, kind
        for thing in things:
            assert isinstance(thing, CLASSES[kind])
            missing |= set(lacking(CLASSES[kind], thing.to_dict(), at=kind))
    assert missing == set()


@cites("https://github.com/stripe/stripe-python (the annotations of its objects)")
def test_a_lacking_attribute_is_noticed(either: Account) -> None:
    body = either.customer().to_dict()
    del body["livemode"], body["email"]
    assert list(lacking(stripe.Customer, body, at="customer")) == ["customer.livemode"]
