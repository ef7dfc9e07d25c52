"""Ends what no reply and no webhook has ended. It settles and cancels; it never charges what was not asked for.

An open purchase is read again at growing intervals. One whose reply was lost is looked for at Stripe, then sent again
with its own key while Stripe remembers it; after that it is only looked for.
"""

import logging
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet

from billing.errors import BillingError, PaymentProcessorUnavailable
from billing.models import Purchase, StripeCustomer
from billing.payments import payment_methods, purchases, refunds, stripe_events, stripe_gateway

BATCH_SIZE = 50
FIRST_LOOK_AFTER = timedelta(seconds=30)
CUSTOMER_MAY_TAKE = timedelta(days=3)
PRESENT_CUSTOMER_MAY_TAKE = timedelta(hours=24)
EVENTS_LOOK_BACK = timedelta(hours=24)

logger = logging.getLogger(__name__)


def sweep(*, at: datetime) -> None:
    """Look once at everything that is due. What fails is logged and due again later."""
    for purchase_id in due(at=at):
        try:
            look(purchase_id=purchase_id, at=at)
        except BillingError as error:
            logger.warning("Purchase %s could not be looked at: %s", purchase_id, error)
    for refund_id in refunds.due(at=at, first_look_after=FIRST_LOOK_AFTER, limit=BATCH_SIZE):
        try:
            refunds.look(refund_id=refund_id, at=at)
        except BillingError as error:
            logger.warning("Refund %s could not be looked at: %s", refund_id, error)
    for organization in payment_methods.untidy_organizations():
        payment_methods.tidy(organization=organization)
    try:
        fetch_events(at=at)
    except PaymentProcessorUnavailable as error:
        logger.warning("Undelivered events could not be fetched: %s", error)


def due(*, at: datetime, limit: int = BATCH_SIZE) -> list[int]:
    """Open purchases to look at, the longest unseen first: each again after a twentieth of its age, an hour at most."""
    rows = (
        Purchase.objects.filter(state__in=Purchase.OPEN_STATES, created_at__lte=at - FIRST_LOOK_AFTER)
        .order_by(F("checked_at").asc(nulls_first=True), "created_at")
        .values_list("pk", "created_at", "checked_at")
    )
    return [
        purchase_id
        for purchase_id, created_at, checked_at in rows[: 20 * limit]
        if checked_at is None or at - checked_at >= pause_for(at - created_at)
    ][:limit]


def pause_for(age: timedelta) -> timedelta:
    """How long a purchase of that age is left alone between two looks."""
    return max(timedelta(seconds=20), min(age / 20, timedelta(hours=1)))


def look(*, purchase_id: int, at: datetime) -> Purchase:
    """Bring one open purchase as far as is known now.

    Raises:
        PaymentProcessorUnavailable: Stripe could not be asked.
    """
    Purchase.objects.filter(pk=purchase_id).update(checked_at=at)
    purchase = Purchase.objects.select_related("organization").get(pk=purchase_id)
    if not purchase.is_open:
        return purchase
    if purchase.state == Purchase.State.CREATED:
        return purchases.send(purchase_id=purchase_id, at=at)
    if purchase.payment_intent_id is None:
        return _look_for(purchase, at=at)
    purchase = purchases.settle(purchase_id=purchase_id, at=at)
    reason = _why_withdraw(purchase, at=at)
    return purchases.withdraw(purchase_id=purchase_id, reason=reason, at=at) if reason else purchase


def fetch_events(*, at: datetime) -> int:
    """Put events into the inbox that Stripe could not deliver. Returns how many it has seen."""
    count = 0
    for facts in stripe_gateway.undelivered_events(
        types=stripe_events.HANDLED_TYPES, created_after=at - EVENTS_LOOK_BACK
    ):
        stripe_events.store(facts, at=at)
        count += 1
    return count


def _look_for(purchase: Purchase, *, at: datetime) -> Purchase:
    """A purchase whose reply was lost: find it by its metadata, or send it again with the same key."""
    customer = StripeCustomer.objects.get(organization_id=purchase.organization_id)
    sent_at = purchase.sent_at or purchase.created_at
    facts = stripe_gateway.find_payment(
        customer_id=customer.stripe_customer_id or "",
        purchase_id=purchase.pk,
        created_after=sent_at - purchases.LOOK_BACK,
    )
    if facts is not None:
        return purchases.settle(purchase_id=purchase.pk, at=at, facts=facts)
    if at - sent_at < purchases.CALL_IS_OVER_AFTER:
        return purchase
    resent = purchases.send(purchase_id=purchase.pk, at=at, is_resend=True)
    may_end = resent.payment_intent_id is None and not _may_still_arrive(resent, at=at)
    if resent.is_open and may_end:
        return purchases.end_without_payment(purchase_id=purchase.pk, failure_code=purchases.NEVER_RECEIVED)
    return resent


def _may_still_arrive(purchase: Purchase, *, at: datetime) -> bool:
    """Whether a request under the purchase's key may be on its way or will be sent again.

    Not once its key is older than Stripe remembers, nor for a reload that was called off: it was looked for, and is
    not there (case 50).
    """
    if purchases.is_called_off(purchase):
        return False
    return at - (purchase.sent_at or purchase.created_at) < purchases.FORGOTTEN_AFTER


def _why_withdraw(purchase: Purchase, *, at: datetime) -> stripe_gateway.CancellationReason | None:
    """Why a payment that waits for the customer should wait no longer, if so."""
    age = at - purchase.created_at
    if purchase.state == Purchase.State.REQUIRES_ACTION:
        return "abandoned" if age >= PRESENT_CUSTOMER_MAY_TAKE else None
    if purchase.state != Purchase.State.NEEDS_CUSTOMER:
        return None
    if purchases.is_called_off(purchase) or _bought_since(purchase).exists():
        return "duplicate"
    return "abandoned" if age >= CUSTOMER_MAY_TAKE else None


def _bought_since(purchase: Purchase) -> QuerySet[Purchase]:
    return Purchase.objects.filter(
        Q(kind=Purchase.Kind.MANUAL, state=Purchase.State.SUCCEEDED, settled_at__gt=purchase.created_at),
        organization_id=purchase.organization_id,
    )
