"""Balance transactions: what every movement of money did to the account's balance at Stripe.

https://docs.stripe.com/api/balance_transactions. The fees are those that Stripe publishes for cards in the United
States; a product may add them up, but must not compute with them.
"""

from __future__ import annotations

from typing import Literal

from sandbox.stripe.call import Call
from sandbox.stripe.errors import Fields, Reply
from sandbox.stripe.rules import DISPUTE_FEE_CENTS, charge_fee_cents
from sandbox.stripe.state import new_id

Movement = Literal["charge", "refund", "refund_failure", "dispute", "dispute_reversal"]

_TYPES: dict[Movement, str] = {
    "charge": "charge",
    "refund": "refund",
    "refund_failure": "refund_failure",
    "dispute": "adjustment",
    "dispute_reversal": "adjustment",
}
_AVAILABLE_AFTER_SECONDS = 2 * 24 * 60 * 60


def retrieve(call: Call, transaction_id: str) -> Reply:
    """GET /v1/balance_transactions/:id."""
    return Reply(status=200, body=call.state.get("balance_transaction", transaction_id))


def record(
    call: Call, movement: Movement, *, source: str, amount_cents: int, currency: str, description: str | None
) -> Fields:
    """Keep one movement. `amount_cents` is positive for money that comes in and negative for money that goes out."""
    fee = 0
    if movement == "charge":
        fee = charge_fee_cents(amount_cents)
    elif movement == "dispute":
        fee = DISPUTE_FEE_CENTS
    transaction: Fields = {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount_cents,
        "available_on": call.at + _AVAILABLE_AFTER_SECONDS,
        "balance_type": "payments",
        "created": call.at,
        "currency": currency,
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": currency,
                "description": "Dispute fee" if movement == "dispute" else "Stripe processing fees",
                "type": "stripe_fee",
            }
        ]
        if fee
        else [],
        "net": amount_cents - fee,
        "reporting_category": movement,
        "source": source,
        "status": "pending",
        "type": _TYPES[movement],
    }
    return call.state.add(transaction)
