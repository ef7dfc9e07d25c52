"""Payments that need a look by staff, and the one thing that they can do about them here: read Stripe again.

Everything in these lists also has a sweep behind it. What stands here for long is what no sweep could end.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from billing.models import Dispute, EarlyFraudWarning, Purchase, Refund, StripeEvent
from billing.payments import clawbacks, purchases, reconciliation, returns, stripe_events

OPEN_AT_MOST: Final = timedelta(minutes=30)
CUSTOMER_MAY_TAKE: Final = timedelta(days=1)
REFUND_MAY_TAKE: Final = timedelta(days=10)
EVENT_WAITS_AT_MOST: Final = timedelta(minutes=30)
EVENT_FAILED_AFTER: Final = 3
SHOWN_FOR: Final = timedelta(days=30)

_WAITING = (Purchase.State.REQUIRES_ACTION, Purchase.State.NEEDS_CUSTOMER)
_MISMATCHED = Q(failure_code__startswith="mismatch_")


def mismatched() -> QuerySet[Purchase]:
    """Purchases that are something else at Stripe than in their row: nothing was granted for what differs."""
    return _purchases().filter(_MISMATCHED)


def open_too_long(*, at: datetime) -> QuerySet[Purchase]:
    """Purchases whose outcome should be known by now."""
    return _purchases().filter(_is_open_too_long(at))


def waiting_for_customer(*, at: datetime) -> QuerySet[Purchase]:
    """Purchases that their customer has not confirmed for a day."""
    return _purchases().filter(_waits_for_customer(at))


def any_of_these(*, at: datetime) -> Q:
    """The condition for all of the above, to filter a list by."""
    return _MISMATCHED | _is_open_too_long(at) | _waits_for_customer(at)


def waiting_events(*, at: datetime) -> QuerySet[StripeEvent]:
    """Stripe events whose effect doesn't stand: for long, or after several tries."""
    waits_long = Q(received_at__lt=at - EVENT_WAITS_AT_MOST)
    return (
        StripeEvent.objects.filter(processed_at__isnull=True)
        .filter(waits_long | Q(attempts__gte=EVENT_FAILED_AFTER))
        .defer("payload")
        .order_by("received_at")
    )


def refused_events(*, at: datetime) -> QuerySet[StripeEvent]:
    """Events of another account or of the other mode, of the last 30 days: somebody's endpoint is set up wrongly."""
    lately = StripeEvent.objects.filter(outcome__startswith="refused: other", received_at__gte=at - SHOWN_FOR)
    return lately.defer("payload").order_by("-received_at")


def troubled_refunds(*, at: datetime) -> QuerySet[Refund]:
    """Refunds that failed in the last 30 days, and those whose outcome should be known by now."""
    failed = Q(state=Refund.State.FAILED, settled_at__gte=at - SHOWN_FOR)
    sent_long_ago = Q(state=Refund.State.CREATED, created_at__lt=at - OPEN_AT_MOST)
    pending_long = Q(state=Refund.State.PENDING, created_at__lt=at - REFUND_MAY_TAKE)
    return Refund.objects.select_related("organization").filter(failed | sent_long_ago | pending_long).order_by("-id")


def open_disputes() -> QuerySet[Dispute]:
    """Disputes and inquiries without a decision, the one whose answer is due first before others."""
    return Dispute.objects.select_related("organization").filter(closed_at=None).order_by("evidence_due_at", "id")


def fraud_warnings(*, limit: int) -> list[tuple[EarlyFraudWarning, int]]:
    """Warnings about payments of which something can still be refunded, with how much that is in cents."""
    rows = EarlyFraudWarning.objects.select_related("organization", "purchase").filter(is_actionable=True)
    found = list(rows.order_by("-id")[:limit])
    back = clawbacks.paid_back(warning.purchase for warning in found)
    left = {warning.pk: warning.purchase.amount_cents - back[warning.purchase_id].all_cents for warning in found}
    return [(warning, left[warning.pk]) for warning in found if left[warning.pk] > 0]


def read_again(*, purchase_id: int, actor: User, at: datetime, request: HttpRequest | None = None) -> Purchase:
    """Bring a purchase in line with Stripe now, whatever its state; one whose reply was lost is looked for.

    Raises:
        PaymentProcessorUnavailable: Stripe did not answer.
    """
    before = Purchase.objects.get(pk=purchase_id)
    if before.payment_intent_id is not None:
        purchase = purchases.settle(purchase_id=purchase_id, at=at)
        returns.settle(purchase_id=purchase_id, at=at)
    else:
        purchase = reconciliation.look(purchase_id=purchase_id, at=at)
    audit.record(
        organization=purchase.organization,
        actor=actor,
        action="purchase.read_again",
        target=f"purchase:{purchase.pk}",
        before={"state": before.state, "failure_code": before.failure_code},
        after={"state": purchase.state, "failure_code": purchase.failure_code},
        request=request,
    )
    return purchase


def work_again(*, event_id: int, actor: User, at: datetime, request: HttpRequest | None = None) -> StripeEvent:
    """Work on a waiting event now. Its row tells what became of it; an error is no exception here, but its outcome."""
    try:
        stripe_events.process(event_id=event_id, at=at)
    except Exception:
        stripe_events.logger.exception("Event %s failed when staff tried it again.", event_id)
    event = StripeEvent.objects.defer("payload").get(pk=event_id)
    audit.record(
        organization=None,
        actor=actor,
        action="stripe_event.worked_again",
        target=f"stripe_event:{event_id}",
        after={"outcome": event.outcome, "is_processed": event.processed_at is not None},
        request=request,
    )
    return event


def _is_open_too_long(at: datetime) -> Q:
    states = [state for state in Purchase.OPEN_STATES if state not in _WAITING]
    return Q(state__in=states, created_at__lt=at - OPEN_AT_MOST)


def _waits_for_customer(at: datetime) -> Q:
    return Q(state__in=_WAITING, created_at__lt=at - CUSTOMER_MAY_TAKE)


def _purchases() -> QuerySet[Purchase]:
    return Purchase.objects.select_related("organization").order_by("-id")
