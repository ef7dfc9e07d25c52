"""Money that goes back: the one place where refunds and disputes of a payment become rows, credit and documents.

Webhook, staff and sweep all end in :func:`settle`. It reads every refund and every dispute of the payment, believes
nothing else, and books what is new. So order, repetition and loss of events don't matter, and nor does who made a
refund.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from django.db import transaction
from django.db.models import F

from accounts import audit
from billing import emails
from billing.errors import PaymentProcessorUnavailable
from billing.models import Purchase, Refund
from billing.payments import clawbacks, disputes, receipts, stripe_gateway
from billing.payments.stripe_gateway import RefundFacts

READS_MAX: Final = 5
# The key of a refund that was made elsewhere follows from its id.
_KEYS = UUID("5f1a0c0e-2a43-4f0b-8a3c-0c54b5f2b9e7")
_STATES: Final = {
    "pending": Refund.State.PENDING,
    "requires_action": Refund.State.PENDING,
    "succeeded": Refund.State.SUCCEEDED,
    "failed": Refund.State.FAILED,
    "canceled": Refund.State.FAILED,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Changed:
    """A refund's row and the state that it had before; empty for one that was not known."""

    refund: Refund
    was_state: str


def settle(*, purchase_id: int, at: datetime) -> Purchase:
    """Bring a purchase that was paid in line with its refunds and disputes at Stripe, once, whoever calls.

    What was read is dropped and read again where somebody else has booked meanwhile: it may be older than theirs.
    A purchase that was not paid here is left alone; :func:`billing.payments.purchases.settle` comes first.

    Raises:
        PaymentProcessorUnavailable: Stripe could not be asked.
    """
    for _ in range(READS_MAX):
        seen = Purchase.objects.get(pk=purchase_id)
        if seen.state != Purchase.State.SUCCEEDED or seen.payment_intent_id is None:
            return seen
        refunded = stripe_gateway.refunds_of(payment_intent_id=seen.payment_intent_id)
        disputed = stripe_gateway.disputes_of(payment_intent_id=seen.payment_intent_id)
        with transaction.atomic(durable=True):
            purchase, locked_at = clawbacks.lock(purchase_id=purchase_id)
            if purchase.returns_read != seen.returns_read:
                continue
            changed = _book_refunds(purchase, refunded, at=locked_at)
            changed_disputes = disputes.book(purchase=purchase, found=disputed, at=locked_at)
            clawbacks.balance(purchase=purchase, at=locked_at)
            count_read(purchase)
            _tell(purchase, changed)
            disputes.conclude(purchase=purchase, changed=changed_disputes, at=locked_at)
            _note(purchase, changed, at=locked_at)
        return purchase
    raise PaymentProcessorUnavailable(f"Purchase {purchase_id} was booked by others all the time.")


def end_refund(*, refund_id: int, failure_code: str) -> Refund:
    """End a refund of which it is certain that Stripe has refunded nothing under its key, and give its credit back."""
    purchase_id = Refund.objects.values_list("purchase_id", flat=True).get(pk=refund_id)
    with transaction.atomic(durable=True):
        purchase, locked_at = clawbacks.lock(purchase_id=purchase_id)
        refund = Refund.objects.select_related("actor").get(pk=refund_id)
        if refund.state != Refund.State.CREATED or refund.stripe_refund_id is not None:
            return refund
        changed = _Changed(refund, was_state=refund.state)
        refund.state = Refund.State.FAILED
        refund.failure_code = failure_code[:64]
        refund.settled_at = locked_at
        refund.save(update_fields=["state", "failure_code", "settled_at"])
        clawbacks.balance(purchase=purchase, at=locked_at)
        count_read(purchase)
        _record(purchase, changed)
    return refund


def count_read(purchase: Purchase) -> None:
    """Make whoever has read before this transaction read again."""
    Purchase.objects.filter(pk=purchase.pk).update(returns_read=F("returns_read") + 1)


def state_of(facts: RefundFacts) -> Refund.State:
    """The state of a row whose refund is so at Stripe; a status that is not known here is on its way."""
    return _STATES.get(facts.status, Refund.State.PENDING)


def _book_refunds(purchase: Purchase, found: Sequence[RefundFacts], *, at: datetime) -> list[_Changed]:
    changed = []
    for facts in found:
        refund = _row_of(purchase, facts)
        was_state = refund.state if refund is not None else ""
        if refund is None:
            refund = _create(purchase, facts, at=at)
        state = state_of(facts)
        if (refund.stripe_refund_id, refund.state) != (facts.id, state) or not was_state:
            refund.stripe_refund_id = facts.id
            refund.state = state
            refund.failure_code = (facts.failure_code or facts.status)[:64] if state == Refund.State.FAILED else ""
            refund.settled_at = None if refund.is_open else at
            refund.save(update_fields=["stripe_refund_id", "state", "failure_code", "settled_at"])
            if was_state != state:
                changed.append(_Changed(refund, was_state))
    return changed


def _row_of(purchase: Purchase, facts: RefundFacts) -> Refund | None:
    """The refund's row by Stripe's id or, when its reply was lost, by the metadata that we sent."""
    rows = Refund.objects.filter(purchase=purchase)
    known = rows.filter(stripe_refund_id=facts.id).first()
    named = facts.metadata.get("refund_id", "")
    if known is not None or not (named.isascii() and named.isdecimal() and len(named) < 18):
        return known
    return rows.filter(pk=int(named), stripe_refund_id=None, amount_cents=facts.amount_cents).first()


def _create(purchase: Purchase, facts: RefundFacts, *, at: datetime) -> Refund:
    """A refund that nobody asked for here: it was made in Stripe's dashboard, or by Stripe itself (case 109)."""
    return Refund.objects.create(
        organization_id=purchase.organization_id,
        purchase=purchase,
        state=Refund.State.PENDING,
        origin=Refund.Origin.DASHBOARD,
        amount_cents=facts.amount_cents,
        refund_key=uuid5(_KEYS, facts.id),
        may_owe=True,
        stripe_refund_id=facts.id,
        created_at=at,
    )


def _tell(purchase: Purchase, changed: Sequence[_Changed]) -> None:
    for change in changed:
        _record(purchase, change)
        if change.refund.state == Refund.State.SUCCEEDED:
            taken_nano, debt_nano = clawbacks.taken_nano(change.refund)
            emails.refund_made(refund=change.refund, purchase=purchase, taken_nano=taken_nano + debt_nano)
        elif change.was_state == Refund.State.SUCCEEDED:
            emails.refund_failed(refund=change.refund, purchase=purchase)


def _note(purchase: Purchase, changed: Sequence[_Changed], *, at: datetime) -> None:
    """Credit notes, last of all: their numbers stay locked until the transaction ends."""
    for change in changed:
        refund = change.refund
        if refund.state == Refund.State.SUCCEEDED:
            receipts.issue_credit_note(
                purchase=purchase, amount_cents=refund.amount_cents, cause_kind="refund", cause_id=refund.pk, at=at
            )
        elif change.was_state == Refund.State.SUCCEEDED:
            receipts.cancel_credit_note(cause_kind="refund", cause_id=refund.pk, at=at)


def _record(purchase: Purchase, change: _Changed) -> None:
    refund = change.refund
    audit.record(
        organization=purchase.organization,
        actor=refund.actor,
        action=f"refund.{refund.state}",
        target=f"refund:{refund.pk}",
        before={"state": change.was_state} if change.was_state else None,
        after={
            "purchase": purchase.pk,
            "amount_cents": refund.amount_cents,
            "origin": refund.origin,
            "stripe_refund": refund.stripe_refund_id,
            "failure_code": refund.failure_code,
        },
    )
