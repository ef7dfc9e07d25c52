"""Refunds by staff: the row and the take-back first, then Stripe, then what Stripe says.

Purchases are non-refundable; a refund is a decision of staff, with a reason. Its row is committed, with the credit
taken back, before Stripe is called, and nothing is locked or open during the call. An unknown outcome stays open: it is
looked for, then sent again with its own key while Stripe remembers it, and only looked for after that.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from billing.credits import reasons
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import EarlyFraudWarning, Purchase, Refund
from billing.money import dollars_text
from billing.payments import clawbacks, purchases, returns, stripe_gateway

logger = logging.getLogger(__name__)


def refund(
    *,
    purchase_id: int,
    amount_cents: int,
    may_owe: bool,
    reason: str,
    actor: User,
    key: UUID,
    at: datetime,
    request: HttpRequest | None = None,
) -> Refund:
    """Refund a purchase, wholly or in part. One key is one refund, however often its form is sent (case 116).

    Its credit is taken back from its own lot before Stripe is asked. Credit that was spent already becomes debt where
    it ``may_owe``; else the refund is refused. An unknown outcome is a refund that is still being sent.

    Raises:
        Refused: as :func:`plan`.
    """
    planned = plan(
        purchase_id=purchase_id,
        amount_cents=amount_cents,
        may_owe=may_owe,
        reason=reason,
        actor=actor,
        key=key,
        at=at,
        request=request,
    )
    return send(refund_id=planned.pk, at=at) if planned.state == Refund.State.CREATED else planned


def plan(
    *,
    purchase_id: int,
    amount_cents: int,
    may_owe: bool,
    reason: str,
    actor: User,
    key: UUID,
    at: datetime,
    request: HttpRequest | None = None,
) -> Refund:
    """Write the refund's row and take its credit back, without asking Stripe yet. Joins a transaction that is open.

    Raises:
        Refused: the purchase was not paid (``not_paid``), the amount won't do (``amount``) or exceeds what is neither
            refunded nor disputed (``too_much``), credit was spent and may not be owed (``spent``, field
            ``may_owe``), there is no good reason (``reason``), or the key has refunded something else (``conflict``).
    """
    reasons.check_reason(reason)
    with transaction.atomic():
        purchase, locked_at = clawbacks.lock(purchase_id=purchase_id)
        known = Refund.objects.filter(organization_id=purchase.organization_id, refund_key=key).first()
        if known is not None:
            if (known.purchase_id, known.amount_cents) != (purchase.pk, amount_cents):
                raise Refused("This form was sent before with other content. Please open it again.", code="conflict")
            return known
        _check(purchase, amount_cents)
        is_warned = EarlyFraudWarning.objects.filter(purchase=purchase, is_actionable=True).exists()
        planned = Refund.objects.create(
            organization_id=purchase.organization_id,
            purchase=purchase,
            origin=Refund.Origin.FRAUD_WARNING if is_warned else Refund.Origin.STAFF,
            amount_cents=amount_cents,
            refund_key=key,
            may_owe=may_owe,
            reason=reason.strip(),
            actor=actor,
            created_at=at,
        )
        debt_nano = clawbacks.balance(purchase=purchase, at=locked_at)
        if debt_nano and not may_owe:
            raise Refused(
                "Some of these credits were spent already. Refund less, or say that what was spent becomes debt.",
                code="spent",
                field="may_owe",
            )
        returns.count_read(purchase)
        audit.record(
            organization=purchase.organization,
            actor=actor,
            action="refund.created",
            target=f"refund:{planned.pk}",
            after={"purchase": purchase.pk, "amount_cents": amount_cents, "debt_nano": debt_nano},
            request=request,
        )
    return planned


def send(*, refund_id: int, at: datetime, is_resend: bool = False) -> Refund:
    """Ask Stripe for a refund, once; and again, only for the reconciler, under the same key within its life.

    Returns the refund as it stands afterwards: booked, or open where the outcome is unknown.
    """
    order = _claim(refund_id, at=at, is_resend=is_resend)
    if order is None:
        return Refund.objects.get(pk=refund_id)
    try:
        stripe_gateway.create_refund(order)
    except stripe_gateway.ProcessorRefused as refusal:
        # Refunded or disputed at Stripe meanwhile: an answer, and news that is booked at once (case 110).
        logger.warning("Refund %s was refused by the payment processor (%s).", refund_id, refusal.code)
        returns.end_refund(refund_id=refund_id, failure_code=refusal.code)
    except stripe_gateway.KeyReused:
        logger.exception("The key of refund %s was used for another request.", refund_id)
        return Refund.objects.get(pk=refund_id)
    except PaymentProcessorUnavailable as error:
        logger.warning("The outcome of refund %s is unknown: %s", refund_id, error)
        return Refund.objects.get(pk=refund_id)
    return _settled(refund_id, at=at)


def look(*, refund_id: int, at: datetime) -> Refund:
    """Bring one open refund as far as is known now: read it again; one whose reply was lost is looked for or sent.

    Raises:
        PaymentProcessorUnavailable: Stripe could not be asked.
    """
    Refund.objects.filter(pk=refund_id).update(checked_at=at)
    found = Refund.objects.get(pk=refund_id)
    if not found.is_open:
        return found
    returns.settle(purchase_id=found.purchase_id, at=at)
    found.refresh_from_db()
    if found.state != Refund.State.CREATED or found.stripe_refund_id is not None:
        return found
    if found.sent_at is None:
        return send(refund_id=refund_id, at=at)
    age = at - found.sent_at
    if age < purchases.CALL_IS_OVER_AFTER:
        return found
    if age < purchases.RESEND_WITHIN:
        return send(refund_id=refund_id, at=at, is_resend=True)
    if age < purchases.FORGOTTEN_AFTER:
        return found
    # The whole list was read and doesn't have it, and its key is never sent again.
    return returns.end_refund(refund_id=refund_id, failure_code=purchases.NEVER_RECEIVED)


def due(*, at: datetime, first_look_after: timedelta, limit: int) -> list[int]:
    """Refunds whose outcome is open, the longest unseen first."""
    rows = Refund.objects.filter(state__in=Refund.OPEN_STATES, created_at__lte=at - first_look_after)
    unseen_first = F("checked_at").asc(nulls_first=True)
    return list(rows.order_by(unseen_first, "created_at").values_list("pk", flat=True)[:limit])


def _check(purchase: Purchase, amount_cents: int) -> None:
    if purchase.state != Purchase.State.SUCCEEDED:
        raise Refused("Only a purchase that was paid can be refunded.", code="not_paid")
    left = clawbacks.left_cents(purchase)
    if left == 0:
        raise Refused("All of this purchase is refunded or disputed already.", code="too_much", field="amount_cents")
    if amount_cents <= 0:
        raise Refused("Refund more than nothing.", code="amount", field="amount_cents")
    if amount_cents > left:
        raise Refused(
            f"Of this purchase {dollars_text(left)} can still be refunded.", code="too_much", field="amount_cents"
        )


def _claim(refund_id: int, *, at: datetime, is_resend: bool) -> stripe_gateway.RefundOrder | None:
    """Mark the row as sent, if it may be, and say what to send. Two callers at once: one gets it."""
    purchase_id = Refund.objects.values_list("purchase_id", flat=True).get(pk=refund_id)
    with transaction.atomic(durable=True):
        purchase, _ = clawbacks.lock(purchase_id=purchase_id)
        found = Refund.objects.get(pk=refund_id)
        if found.state != Refund.State.CREATED or found.stripe_refund_id is not None:
            return None
        if (found.sent_at is None) == is_resend:
            return None
        if found.sent_at is None:
            found.sent_at = at
            found.save(update_fields=["sent_at"])
    return _order(found, payment_intent_id=purchase.payment_intent_id or "")


def _order(found: Refund, *, payment_intent_id: str) -> stripe_gateway.RefundOrder:
    """The request for a row. Made of its columns only, because a resend must be the same to the byte."""
    is_warned = found.origin == Refund.Origin.FRAUD_WARNING
    return stripe_gateway.RefundOrder(
        key=found.stripe_key,
        payment_intent_id=payment_intent_id,
        amount_cents=found.amount_cents,
        reason="fraudulent" if is_warned else "requested_by_customer",
        metadata={
            "refund_id": str(found.pk),
            "purchase_id": str(found.purchase_id),
            "organization_id": str(found.organization_id),
        },
    )


def _settled(refund_id: int, *, at: datetime) -> Refund:
    purchase_id = Refund.objects.values_list("purchase_id", flat=True).get(pk=refund_id)
    try:
        returns.settle(purchase_id=purchase_id, at=at)
    except PaymentProcessorUnavailable as error:
        logger.warning("Refund %s could not be read again: %s", refund_id, error)
    return Refund.objects.get(pk=refund_id)
