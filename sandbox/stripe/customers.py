"""Customers."""

from __future__ import annotations

import re

from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError, Fields, Reply
from sandbox.stripe.state import new_id, random_text

COVERED = frozenset({"address", "description", "email", "expand", "invoice_settings", "metadata", "name", "phone"})

_SIMPLE = ("address", "description", "email", "name", "phone")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+\Z")


def create(call: Call) -> Reply:
    """POST /v1/customers."""
    customer: Fields = {
        "id": new_id("cus", length=14),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": call.at,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": random_text(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    if (call.parameters.get("invoice_settings") or {}).get("default_payment_method"):
        raise ApiError(
            "A customer that is being created has no payment methods yet.",
            param="invoice_settings[default_payment_method]",
        )
    _change(call, customer)
    call.state.add(customer)
    call.emit("customer.created", customer)
    return Reply(status=200, body=customer)


def retrieve(call: Call, customer_id: str) -> Reply:
    """GET /v1/customers/:id."""
    return Reply(status=200, body=call.state.get("customer", customer_id))


def update(call: Call, customer_id: str) -> Reply:
    """POST /v1/customers/:id. An event is recorded only when something changes."""
    before = call.state.get("customer", customer_id)
    customer = call.state.get("customer", customer_id)
    _change(call, customer)
    if customer != before:
        call.state.save(customer)
        previous = {name: before[name] for name in before if before[name] != customer[name]}
        call.emit("customer.updated", customer, previous=previous)
    return Reply(status=200, body=customer)


def check_email(address: str | None, *, param: str) -> None:
    """Refuse what can't be an e-mail address."""
    if address is not None and not _EMAIL.match(address):
        raise ApiError(f"Invalid email address: {address}", code="email_invalid", param=param)


def merged_metadata(present: Fields, given: Fields | None) -> Fields:
    """Metadata after a change: None clears all of it, an empty value removes its key."""
    if given is None:
        return {}
    return {key: value for key, value in (present | given).items() if value is not None}


def _change(call: Call, customer: Fields) -> None:
    given = call.parameters
    check_email(given.get("email"), param="email")
    for name in _SIMPLE:
        if name in given:
            customer[name] = given[name]
    if "metadata" in given:
        customer["metadata"] = merged_metadata(customer["metadata"], given["metadata"])
    for name, value in (given.get("invoice_settings") or {}).items():
        if name != "default_payment_method":
            raise ApiError(
                f"The stand-in does not cover the parameter 'invoice_settings[{name}]'.",
                code="stand_in_not_covered",
                param=f"invoice_settings[{name}]",
            )
        _check_default(call, customer, value)
        customer["invoice_settings"]["default_payment_method"] = value


def _check_default(call: Call, customer: Fields, payment_method_id: str | None) -> None:
    if payment_method_id is None:
        return
    method = call.state.find("payment_method", payment_method_id)
    if method is None or method["customer"] != customer["id"]:
        raise ApiError(
            f"The customer does not have a payment method with the ID {payment_method_id}. "
            "The payment method must be attached to the customer.",
            code="resource_missing",
            param="invoice_settings[default_payment_method]",
            is_stored=True,
        )
