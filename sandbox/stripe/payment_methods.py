"""PaymentMethods: cards, attached to a customer or not.

Once detached, a card can never be charged or attached again.
"""

from __future__ import annotations

import datetime
from typing import Any

from sandbox.stripe import cards
from sandbox.stripe.call import Call
from sandbox.stripe.cards import Card
from sandbox.stripe.errors import ApiError, Fields, Reply, doc_url, no_such
from sandbox.stripe.semantics import Semantic
from sandbox.stripe.state import State, new_id

_EMPTY_ADDRESS: Fields = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}


def retrieve(call: Call, payment_method_id: str) -> Reply:
    """GET /v1/payment_methods/:id."""
    return Reply(status=200, body=call.state.get("payment_method", payment_method_id))


def attach(call: Call, payment_method_id: str) -> Reply:
    """POST /v1/payment_methods/:id/attach. A card that declines when it is set up declines here too."""
    customer_id = call.parameters.get("customer")
    if customer_id is None:
        raise ApiError("Missing required param: customer.", code="parameter_missing", param="customer")
    call.state.get("customer", customer_id, param="customer")
    method = usable(call, payment_method_id, customer=None, param="id")
    card = card_of(call.state, method)
    if card.setup_decline is not None:
        return Reply(status=402, body={"error": decline_error(card.setup_decline)})
    return Reply(status=200, body=attach_to(call, method, customer=customer_id))


def detach(call: Call, payment_method_id: str) -> Reply:
    """POST /v1/payment_methods/:id/detach."""
    method = call.state.get("payment_method", payment_method_id)
    customer = method["customer"]
    if customer is None:
        raise ApiError(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            param="payment_method",
            is_stored=True,
        )
    method["customer"] = None
    if call.has(Semantic.DETACHED_IS_GONE):
        call.state.save(method, hidden=call.state.hidden(method["id"]) | {"is_detached": True})
    else:
        call.state.save(method)
    call.emit("payment_method.detached", method, previous={"customer": customer})
    return Reply(status=200, body=method)


def usable(call: Call, payment_method_id: str, *, customer: str | None, param: str = "payment_method") -> Fields:
    """The PaymentMethod for a charge or a setup for this customer, or the refusal.

    A ready-made test PaymentMethod (`pm_card_…`) becomes a new PaymentMethod of its own each time it is named, as at
    Stripe.
    """
    card = cards.BY_ALIAS.get(payment_method_id)
    if card is not None:
        return create(call, card, billing_details={}, exp_month=12, exp_year=_year(call.at) + 1)
    method = call.state.find("payment_method", payment_method_id)
    if method is None:
        raise no_such("PaymentMethod", payment_method_id, param=param, status=404 if param == "id" else 400)
    if _is_used_up(call, method):
        raise ApiError(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
            "with a connected account without Customer attachment, or was detached from a Customer. It may not be used "
            "again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            code="payment_method_unexpected_state",
            param=param,
            is_stored=True,
        )
    if method["customer"] not in (None, customer) and call.has(Semantic.OWN_CARDS_ONLY):
        if customer is None:
            message = (
                f"The PaymentMethod supplied ({payment_method_id}) belongs to a Customer. "
                "Please include the Customer in the `customer` parameter."
            )
        else:
            message = (
                f"The customer does not have a payment method with the ID {payment_method_id}. "
                "The payment method must be attached to the customer."
            )
        raise ApiError(message, code="resource_missing", param=param, is_stored=True)
    return method


def _is_used_up(call: Call, method: Fields) -> bool:
    """Charged or detached once, and never to be used again."""
    hidden = call.state.hidden(method["id"])
    return bool(hidden.get("is_detached") or hidden.get("is_used_up"))


def create(
    call: Call, card: Card, *, billing_details: Fields, exp_month: int, exp_year: int, is_cvc_given: bool = True
) -> Fields:
    """Keep a new, unattached card."""
    details: Fields = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None} | billing_details
    details["address"] = _EMPTY_ADDRESS | (details["address"] or {})
    method: Fields = {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": details,
        "card": {
            "brand": card.brand,
            "checks": {
                "address_line1_check": "pass" if details["address"]["line1"] else None,
                "address_postal_code_check": "pass" if details["address"]["postal_code"] else None,
                "cvc_check": "pass" if is_cvc_given else None,
            },
            "country": "US",
            "display_brand": "american_express" if card.brand == "amex" else card.brand,
            "exp_month": exp_month,
            "exp_year": exp_year,
            "fingerprint": card.fingerprint,
            "funding": "credit",
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": call.at,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    return call.state.add(method, hidden={"card": card.alias, "is_set_up": False, "is_used_up": False})


def from_browser(call: Call, given: Fields) -> Fields:
    """Keep the card that was typed into the card element; raises what Stripe answers for impossible details."""
    entered = given.get("card")
    if entered is None:
        raise ApiError("Missing required param: payment_method_data[card].", code="parameter_missing", param="card")
    number = entered["number"].replace(" ", "")
    if not number.isascii() or not number.isdigit() or not 12 <= len(number) <= 19 or not cards.passes_luhn(number):
        raise _card_error("Your card number is incorrect.", code="incorrect_number", param="number")
    _check_expiry(call.at, month=entered["exp_month"], year=entered["exp_year"])
    card = cards.BY_NUMBER.get(number)
    if card is None:
        raise _card_error(
            cards.LIVE_CARD.message,
            code=cards.LIVE_CARD.code,
            param="number",
            extra={"decline_code": cards.LIVE_CARD.decline_code},
        )
    cvc = entered.get("cvc")
    if cvc is not None and not (cvc.isascii() and cvc.isdigit() and len(cvc) == card.cvc_length):
        raise _card_error("Your card's security code is invalid.", code="invalid_cvc", param="cvc")
    return create(
        call,
        card,
        billing_details=given.get("billing_details") or {},
        exp_month=entered["exp_month"],
        exp_year=_full_year(entered["exp_year"]),
        is_cvc_given=cvc is not None,
    )


def attach_to(call: Call, method: Fields, *, customer: str, is_set_up: bool | None = None) -> Fields:
    """Attach a card to a customer. `is_set_up` True remembers that it is prepared for off-session charges."""
    hidden = call.state.hidden(method["id"])
    if is_set_up and call.has(Semantic.SETUP_PREPARES):
        hidden["is_set_up"] = True
    is_new = method["customer"] is None
    method["customer"] = customer
    call.state.save(method, hidden=hidden)
    if is_new:
        call.emit("payment_method.attached", method)
    return method


def use_up(call: Call, method: Fields) -> None:
    """A card that was charged without being attached can't be used a second time."""
    if method["customer"] is None and call.has(Semantic.USED_ONCE):
        call.state.save(method, hidden=call.state.hidden(method["id"]) | {"is_used_up": True})


def is_expired(method: Fields, *, at: int) -> bool:
    """Whether the card's last month is over."""
    today = datetime.datetime.fromtimestamp(at, tz=datetime.UTC)
    return bool((method["card"]["exp_year"], method["card"]["exp_month"]) < (today.year, today.month))


CHANGEABLE = frozenset({"brand", "exp_month", "exp_year", "fingerprint", "funding", "last4"})


def change(call: Call, payment_method_id: str, *, changes: Fields, by_network: bool) -> Fields:
    """The bank has issued a new card, or somebody has corrected this one in the dashboard. ValueError where impossible.

    `changes` are fields of the card; `behaves_like` names the test card (number or `pm_card_…`) that it is from now on.
    """
    method = call.state.find("payment_method", payment_method_id)
    if method is None:
        raise ValueError(f"no such payment method: {payment_method_id}")
    changes = dict(changes)
    like = changes.pop("behaves_like", None)
    if unknown := set(changes) - CHANGEABLE:
        raise ValueError(f"a card has no {', '.join(sorted(unknown))} that can be changed")
    if like is not None:
        card = cards.BY_NUMBER.get(like) or cards.BY_ALIAS.get(like)
        if card is None:
            raise ValueError(f"no such test card: {like}")
        changes = {"brand": card.brand, "last4": card.last4, "fingerprint": card.fingerprint} | changes
        call.state.save(method, hidden=call.state.hidden(method["id"]) | {"card": card.alias})
    previous = {name: method["card"][name] for name in changes}
    method["card"] |= changes
    call.state.save(method)
    call.emit(
        "payment_method.automatically_updated" if by_network else "payment_method.updated",
        method,
        previous={"card": previous},
    )
    return method


def card_of(state: State, method: Fields) -> Card:
    """The test card behind a PaymentMethod."""
    return cards.BY_ALIAS[state.hidden(method["id"])["card"]]


def decline_error(decline: cards.Decline, **extra: Any) -> Fields:
    """The `error` of a declined card."""
    error: Fields = {
        "type": "card_error",
        "code": decline.code,
        "message": decline.message,
        "doc_url": doc_url(decline.code),
    }
    for name in ("decline_code", "param", "advice_code", "network_decline_code"):
        value = getattr(decline, name)
        if value is not None:
            error[name] = value
    return error | extra


def _card_error(message: str, *, code: str, param: str, extra: Fields | None = None) -> ApiError:
    return ApiError(message, status=402, type="card_error", code=code, param=param, is_stored=True, extra=extra)


def _check_expiry(at: int, *, month: int, year: int) -> None:
    if not 1 <= month <= 12:
        raise _card_error("Your card's expiration month is invalid.", code="invalid_expiry_month", param="exp_month")
    full_year = _full_year(year)
    today = datetime.datetime.fromtimestamp(at, tz=datetime.UTC)
    if not today.year <= full_year <= today.year + 50:
        raise _card_error("Your card's expiration year is invalid.", code="invalid_expiry_year", param="exp_year")
    if (full_year, month) < (today.year, today.month):
        raise _card_error("Your card's expiration month is invalid.", code="invalid_expiry_month", param="exp_month")


def _full_year(year: int) -> int:
    return year + 2000 if year < 100 else year


def _year(at: int) -> int:
    return datetime.datetime.fromtimestamp(at, tz=datetime.UTC).year
