"""Disputes: a card holder asks the bank for the money back (https://docs.stripe.com/disputes/how-disputes-work).

An inquiry (`warning_…`) moves no money. A dispute takes its amount and a fee from the balance when it is opened, and
gives the amount back when it is won. What happens is decided outside: `open_dispute` and `change_status` are for test
cards and the control port.
"""

from __future__ import annotations

from typing import Any

from sandbox.stripe import balance, fraud_warnings, rules
from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError, Fields, Reply
from sandbox.stripe.semantics import Semantic
from sandbox.stripe.state import new_id

_EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)
_NETWORK_REASONS = {"fraudulent": "10.4", "product_not_received": "13.1", "duplicate": "12.6.1"}


def retrieve(call: Call, dispute_id: str) -> Reply:
    """GET /v1/disputes/:id."""
    return Reply(status=200, body=call.state.get("dispute", dispute_id))


def close(call: Call, dispute_id: str) -> Reply:
    """POST /v1/disputes/:id/close: give in. A dispute is lost by it, for good."""
    dispute = call.state.get("dispute", dispute_id)
    if dispute["status"] in rules.DISPUTE_CLOSED:
        raise ApiError("This dispute is already closed.", is_stored=True)
    return Reply(status=200, body=change_status(call, dispute_id, "lost"))


def open_dispute(
    call: Call, charge: Fields, *, status: str = "needs_response", reason: str = "fraudulent", amount: int | None = None
) -> Fields:
    """Keep a new dispute. `amount` None means what is left of the charge after refunds. ValueError where impossible."""
    if status not in rules.DISPUTE_OPENING:
        raise ValueError(f"a dispute begins as one of {', '.join(sorted(rules.DISPUTE_OPENING))}, not {status}")
    if not charge["paid"]:
        raise ValueError("only a charge that succeeded can be disputed")
    is_open = [
        each["id"]
        for each in call.state.newest_first("dispute")
        if each["charge"] == charge["id"] and each["status"] not in rules.DISPUTE_CLOSED
    ]
    if is_open:
        raise ValueError(f"the charge has an open dispute already: {is_open[0]}")
    amount = charge["amount"] - charge["amount_refunded"] if amount is None else amount
    if not 1 <= amount <= charge["amount"]:
        raise ValueError(f"a dispute is about 1 to {charge['amount']} cents of this charge, not {amount}")
    dispute = call.state.add(_new(call, charge, status=status, reason=reason, amount=amount))
    charge |= {"disputed": True, "dispute": dispute["id"]}
    call.state.save(charge)
    is_withdrawn = _move_funds(call, dispute)
    call.state.save(dispute)
    call.emit("charge.dispute.created", dispute)
    _tell_funds(call, dispute, is_withdrawn)
    if status in rules.DISPUTE_CLOSED:
        call.emit("charge.dispute.closed", dispute)
    fraud_warnings.no_longer_actionable(call, charge)
    return dispute


def change_status(call: Call, dispute_id: str, status: str) -> Fields:
    """What the bank decides. Raises ValueError where no dispute goes from its status to that one."""
    dispute = call.state.find("dispute", dispute_id)
    if dispute is None:
        raise ValueError(f"no such dispute: {dispute_id}")
    before = dispute["status"]
    if status not in rules.DISPUTE_AFTER[before]:
        raise ValueError(f"a dispute doesn't go from {before} to {status}")
    previous = {name: dispute[name] for name in ("status", "is_charge_refundable")}
    dispute["status"] = status
    dispute["is_charge_refundable"] = status in rules.DISPUTE_CHARGE_REFUNDABLE
    if not status.startswith("warning"):
        details = dispute["payment_method_details"]["card"]
        details["case_type"] = "resolution" if status == "prevented" else "chargeback"
    if before.startswith("warning") and call.state.get("charge", dispute["charge"])["refunded"]:
        call.state.save(dispute, hidden={"is_spared": True})
    is_withdrawn = _move_funds(call, dispute)
    call.state.save(dispute)
    call.emit(
        "charge.dispute.closed" if status in rules.DISPUTE_CLOSED else "charge.dispute.updated",
        dispute,
        previous=_changed(previous, dispute),
    )
    _tell_funds(call, dispute, is_withdrawn)
    return dispute


def _new(call: Call, charge: Fields, *, status: str, reason: str, amount: int) -> Fields:
    is_inquiry = status.startswith("warning")
    case_type = "inquiry" if is_inquiry else "resolution" if status == "prevented" else "chargeback"
    network_reason = _NETWORK_REASONS.get(reason, "13.7")
    if is_inquiry:
        network_reason = network_reason.partition(".")[0]
    card = charge["payment_method_details"]["card"]
    return {
        "id": new_id("du"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": call.at,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(_EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": call.at + rules.EVIDENCE_DUE_AFTER_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": status in rules.DISPUTE_CHARGE_REFUNDABLE,
        "livemode": False,
        "metadata": {},
        "network_reason_code": network_reason,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card["brand"],
                "case_type": case_type,
                "network": card["network"],
                "network_reason_code": network_reason,
            },
            "type": "card",
        },
        "reason": reason,
        "status": status,
    }


def _move_funds(call: Call, dispute: Fields) -> bool | None:
    """Take or give back the amount where the status asks for it. True: taken; False: given back; None: neither.

    A payment that was refunded in full during an inquiry is spared: "once the payment has been fully refunded, no
    further funds will be withdrawn" (the SDK's words for `is_charge_refundable`).
    """
    is_gone = sum(each["amount"] for each in dispute["balance_transactions"]) < 0
    shall_be_gone = dispute["status"] in rules.DISPUTE_FUNDS_ARE_GONE
    if is_gone == shall_be_gone or not call.has(Semantic.DISPUTE_FUNDS):
        return None
    if call.state.hidden(dispute["id"]).get("is_spared"):
        return None
    charge = call.state.get("charge", dispute["charge"])
    amount = dispute["amount"]
    dispute["balance_transactions"].append(
        balance.record(
            call,
            "dispute" if shall_be_gone else "dispute_reversal",
            source=dispute["id"],
            amount_cents=-amount if shall_be_gone else amount,
            currency=dispute["currency"],
            description=f"Chargeback {'withdrawal' if shall_be_gone else 'reversal'} for {charge['id']}",
        )
    )
    call.journal.record_movement(
        call,
        charge,
        kind="dispute",
        subject=dispute["id"],
        amount=amount,
        outcome="dispute_withdrawn" if shall_be_gone else "dispute_reinstated",
    )
    return shall_be_gone


def _tell_funds(call: Call, dispute: Fields, is_withdrawn: bool | None) -> None:
    if is_withdrawn is not None:
        call.emit(
            "charge.dispute.funds_withdrawn" if is_withdrawn else "charge.dispute.funds_reinstated",
            dispute,
        )


def _changed(previous: dict[str, Any], now: Fields) -> dict[str, Any]:
    return {name: value for name, value in previous.items() if now[name] != value}
