"""Refunds: giving back a charge or a part of it (https://docs.stripe.com/refunds).

A refund takes the money from the account's balance when it is made, whether its status is `succeeded` or `pending`.
If it fails, even days after it succeeded, the money is back and the charge can be refunded again.
"""

from __future__ import annotations

from typing import Any

from sandbox.stripe import balance, fraud_warnings, intents, outside, payment_methods, rules
from sandbox.stripe.call import Call
from sandbox.stripe.customers import merged_metadata
from sandbox.stripe.errors import ApiError, Fields, Reply
from sandbox.stripe.semantics import Semantic
from sandbox.stripe.state import new_id

COVERED_BY_CREATE = frozenset({"amount", "charge", "expand", "metadata", "payment_intent", "reason"})

HELD_SETTING = "refunds_to_hold"
"""How many of the next refunds wait for money in the account's balance: set by the control port."""


def create(call: Call) -> Reply:
    """POST /v1/refunds. Without `amount`, all that is left of the charge."""
    given = call.parameters
    intents.check_exclusive(call, rules.REFUND_TARGET)
    charge = _charge_of(call, given)
    check_refundable(call, charge)
    left = charge["amount"] - charge["amount_refunded"]
    amount = given.get("amount", left)
    _check_amount(call, charge, amount, left=left)
    refund = _make(call, charge, amount=amount, reason=given.get("reason"), metadata=intents.metadata_of(given))
    return Reply(status=200, body=refund)


def retrieve(call: Call, refund_id: str) -> Reply:
    """GET /v1/refunds/:id."""
    return Reply(status=200, body=call.state.get("refund", refund_id))


def update(call: Call, refund_id: str) -> Reply:
    """POST /v1/refunds/:id: the metadata, and nothing else."""
    refund = call.state.get("refund", refund_id)
    if "metadata" in call.parameters:
        before = refund["metadata"]
        refund["metadata"] = merged_metadata(before, call.parameters["metadata"])
        if refund["metadata"] != before:
            call.state.save(refund)
            _tell_updated(call, refund, previous={"metadata": before})
    return Reply(status=200, body=refund)


def check_refundable(call: Call, charge: Fields) -> None:
    """Refuse a charge that a dispute has taken back already, or that was given back in full."""
    disputes = [each for each in call.state.newest_first("dispute") if each["charge"] == charge["id"]]
    if any(not each["is_charge_refundable"] for each in disputes) and call.has(Semantic.DISPUTED_IS_NOT_REFUNDABLE):
        raise ApiError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            is_stored=True,
        )
    if charge["amount_refunded"] >= charge["amount"] and call.has(Semantic.REFUND_BOUNDS):
        raise ApiError(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded", is_stored=True
        )


def change_status(call: Call, refund_id: str, status: str, *, failure_reason: str = "lost_or_stolen_card") -> Fields:
    """What the bank says later. Raises ValueError where no refund goes from its status to that one."""
    refund = call.state.find("refund", refund_id)
    if refund is None:
        raise ValueError(f"no such refund: {refund_id}")
    before = refund["status"]
    if status not in rules.REFUND_AFTER.get(before, frozenset()):
        raise ValueError(f"a refund doesn't go from {before} to {status}")
    refund["status"] = status
    refund.pop("pending_reason", None)
    if status in rules.REFUND_MONEY_IS_BACK:
        _take_back(call, refund, failure_reason=failure_reason)
    call.state.save(refund)
    if status == "failed":
        call.emit("refund.failed", refund)
    _tell_updated(call, refund, previous={"status": before})
    return refund


def _charge_of(call: Call, given: Fields) -> Fields:
    charge_id = given.get("charge")
    if charge_id is None:
        intent = call.state.get("payment_intent", given["payment_intent"], param="payment_intent")
        charge_id = intent["latest_charge"]
        if intent["status"] != "succeeded" or charge_id is None:
            raise ApiError(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                param="payment_intent",
                is_stored=True,
            )
    charge = call.state.get("charge", charge_id, param="charge")
    if not charge["paid"]:
        raise ApiError(f"Charge {charge_id} has not succeeded; cannot issue a refund.", param="charge", is_stored=True)
    return charge


def _check_amount(call: Call, charge: Fields, amount: int, *, left: int) -> None:
    if amount < 1:
        raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if not call.has(Semantic.REFUND_BOUNDS):
        return
    if amount > charge["amount"]:
        raise ApiError(
            f"Refund amount ({_dollars(amount)}) is greater than charge amount ({_dollars(charge['amount'])})",
            param="amount",
            is_stored=True,
        )
    if amount > left:
        raise ApiError(
            f"Refund amount ({_dollars(amount)}) is greater than unrefunded amount on charge ({_dollars(left)})",
            param="amount",
            is_stored=True,
        )


def _make(call: Call, charge: Fields, *, amount: int, reason: str | None, metadata: Fields) -> Fields:
    card = payment_methods.card_of(call.state, call.state.get("payment_method", charge["payment_method"]))
    is_held = call.state.count_down(HELD_SETTING)
    status = "pending" if is_held or card.refund == "pending" else "succeeded"
    refund_id = new_id("re")
    refund: Fields = {
        "id": refund_id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": balance.record(
            call,
            "refund",
            source=refund_id,
            amount_cents=-amount,
            currency=charge["currency"],
            description=f"REFUND FOR CHARGE ({charge['description']})" if charge["description"] else None,
        )["id"],
        "charge": charge["id"],
        "created": call.at,
        "currency": charge["currency"],
        "destination_details": {
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
            "type": "card",
        },
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    if status == "pending":
        refund["pending_reason"] = "insufficient_funds" if is_held else "processing"
    call.state.add(refund)
    _count(call, charge, change=amount)
    call.journal.record_movement(call, charge, kind="refund", subject=refund_id, amount=amount, outcome="refunded")
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge, previous={"amount_refunded": charge["amount_refunded"] - amount})
    fraud_warnings.no_longer_actionable(call, charge)
    if card.refund is not None and not is_held and call.has(Semantic.REFUNDS_FAIL_LATER):
        outside.plan(
            call,
            "fail_refund" if card.refund == "failing" else "succeed_refund",
            refund_id,
            after_seconds=rules.CARD_OUTCOME_AFTER_SECONDS,
        )
    return refund


def _take_back(call: Call, refund: Fields, *, failure_reason: str) -> None:
    charge = call.state.get("charge", refund["charge"])
    refund["failure_balance_transaction"] = balance.record(
        call,
        "refund_failure",
        source=refund["id"],
        amount_cents=refund["amount"],
        currency=refund["currency"],
        description="REFUND FAILURE",
    )["id"]
    if refund["status"] == "failed":
        refund["failure_reason"] = failure_reason
    if call.has(Semantic.FAILED_REFUND_FREES):
        _count(call, charge, change=-refund["amount"])
    call.journal.record_movement(
        call, charge, kind="refund", subject=refund["id"], amount=refund["amount"], outcome="refund_failed"
    )


def _count(call: Call, charge: Fields, *, change: int) -> None:
    charge["amount_refunded"] += change
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    call.state.save(charge)


def _tell_updated(call: Call, refund: Fields, *, previous: dict[str, Any]) -> None:
    call.emit("refund.updated", refund, previous=previous)
    call.emit("charge.refund.updated", refund, previous=previous)


def _dollars(cents: int) -> str:
    return f"${cents // 100}.{cents % 100:02d}"
