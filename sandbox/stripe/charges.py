"""Charges: one attempt at taking money, succeeded or failed."""

from __future__ import annotations

from sandbox.stripe import balance
from sandbox.stripe.call import Call
from sandbox.stripe.cards import Card, Decline
from sandbox.stripe.errors import Fields, Reply
from sandbox.stripe.state import new_id


def retrieve(call: Call, charge_id: str) -> Reply:
    """GET /v1/charges/:id."""
    return Reply(status=200, body=call.state.get("charge", charge_id))


def record(
    call: Call,
    intent: Fields,
    method: Fields,
    card: Card,
    *,
    decline: Decline | None,
    is_authenticated: bool,
    is_pending: bool = False,
) -> Fields:
    """Keep a charge. `decline` None means that the money has moved or, with `is_pending`, that it may yet."""
    charge_id = new_id("ch")
    is_paid = decline is None and not is_pending
    charge: Fields = {
        "id": charge_id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if is_paid else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "STAND-IN",
        "captured": is_paid,
        "created": call.at,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "destination": None,
        "dispute": None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None if decline is None else decline.code,
        "failure_message": None if decline is None else decline.message,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": None if is_pending else _outcome(decline),
        "paid": is_paid,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {
            "card": _card_details(intent, method, card, decline=decline, is_authenticated=is_authenticated),
            "type": "card",
        },
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "pending" if is_pending else "succeeded" if is_paid else "failed",
        "transfer_data": None,
        "transfer_group": None,
    }
    if is_paid:
        _pay(call, charge)
    call.state.add(charge)
    call.emit(f"charge.{charge['status']}", charge)
    return charge


def settle(call: Call, charge: Fields, *, decline: Decline | None) -> Fields:
    """The bank has made up its mind about a pending charge."""
    charge |= {
        "captured": decline is None,
        "failure_code": None if decline is None else decline.code,
        "failure_message": None if decline is None else decline.message,
        "outcome": _outcome(decline),
        "paid": decline is None,
        "status": "succeeded" if decline is None else "failed",
    }
    if decline is None:
        charge["amount_captured"] = charge["amount"]
        _pay(call, charge)
    call.state.save(charge)
    call.emit(f"charge.{charge['status']}", charge)
    return charge


def _pay(call: Call, charge: Fields) -> None:
    charge["receipt_url"] = f"{call.base_url}/receipts/{charge['id']}"
    charge["balance_transaction"] = balance.record(
        call,
        "charge",
        source=charge["id"],
        amount_cents=charge["amount"],
        currency=charge["currency"],
        description=charge["description"],
    )["id"]


def _outcome(decline: Decline | None) -> Fields:
    if decline is None:
        return {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 20,
            "seller_message": "Payment complete.",
            "type": "authorized",
        }
    if decline.is_blocked:
        return {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "not_sent_to_network",
            "reason": "highest_risk_level",
            "risk_level": "highest",
            "risk_score": 90,
            "seller_message": "Stripe blocked this payment as too risky.",
            "type": "blocked",
        }
    return {
        "advice_code": decline.advice_code,
        "network_advice_code": None,
        "network_decline_code": decline.network_decline_code,
        "network_status": "declined_by_network",
        "reason": decline.outcome,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }


def _card_details(
    intent: Fields, method: Fields, card: Card, *, decline: Decline | None, is_authenticated: bool
) -> Fields:
    shown = method["card"]
    return {
        "amount_authorized": intent["amount"] if decline is None else None,
        "authorization_code": "123456" if decline is None else None,
        "brand": shown["brand"],
        "checks": shown["checks"],
        "country": shown["country"],
        "exp_month": shown["exp_month"],
        "exp_year": shown["exp_year"],
        "extended_authorization": {"status": "disabled"},
        "fingerprint": shown["fingerprint"],
        "funding": shown["funding"],
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": shown["last4"],
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": shown["brand"],
        "network_token": {"used": False},
        "network_transaction_id": new_id("ntx", length=12),
        "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": {
            "authentication_flow": "challenge",
            "electronic_commerce_indicator": "05",
            "exemption_indicator": None,
            "result": "authenticated",
            "result_reason": None,
            "version": "2.2.0",
        }
        if is_authenticated
        else None,
        "wallet": None,
    }
