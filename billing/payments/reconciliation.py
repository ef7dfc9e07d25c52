"""Ends what no reply and no webhook has ended. It settles and cancels; it never charges what was not asked for.

An open purchase is read again at growing intervals. One whose reply was lost is looked for at Stripe, then sent again
with its own key while Stripe remembers it; after that it is only looked for.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet

from billing.errors import BillingError, PaymentProcessorUnavailable
from billing.models import CreditLot, Dispute, Purchase, Refund, StripeCustomer
from billing.payments import (
    clawbacks,
    comparison,
    disputes,
    payment_methods,
    purchases,
    refunds,
    returns,
    stripe_events,
    stripe_gateway,
)
from billing.payments.stripe_gateway import IntentFacts

BATCH_SIZE = 50
FIRST_LOOK_AFTER = timedelta(seconds=30)
CUSTOMER_MAY_TAKE = timedelta(days=3)
PRESENT_CUSTOMER_MAY_TAKE = timedelta(hours=24)
EVENTS_LOOK_BACK = timedelta(hours=24)
# A payment is made at Stripe by then after it was first asked for.
CALLS_MAY_TAKE = timedelta(minutes=5)

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


# By hand and by night: everything since a day


@dataclass
class Report:
    """What a reconciliation looked at, by kind, what it repaired, and what is left for people, in words."""

    looked_at: dict[str, int] = field(default_factory=dict)
    repaired: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def count(self, kind: str) -> None:
        """Count one more that was looked at."""
        self.looked_at[kind] = self.looked_at.get(kind, 0) + 1


def reconcile(*, since: datetime, at: datetime) -> Report:
    """Compare every payment, refund, dispute and warning since then with Stripe; repair what one of our use cases can.

    Repaired is what was paid and not granted, and what came back of which no event was heard: the same functions do it
    that an event would have called, so a second run repairs nothing. Whatever is a question of who is wrong is left.

    Raises:
        PaymentProcessorUnavailable: Stripe could not be asked. What was repaired until then stays so.
    """
    report = Report(looked_at=dict.fromkeys(("payments", "refunds", "disputes", "warnings"), 0))
    for customer in StripeCustomer.objects.exclude(stripe_customer_id=None).order_by("organization_id").iterator():
        _reconcile_payments(customer, report, since=since, at=at)
    _reconcile_returns(report, since=since, at=at)
    for facts in stripe_gateway.warnings_since(created_after=since):
        report.count("warnings")
        purchase = Purchase.objects.filter(payment_intent_id=facts.payment_intent_id).first()
        if purchase is not None and not purchase.fraud_warnings.filter(stripe_warning_id=facts.id).exists():
            disputes.note_warning(purchase=purchase, facts=facts, at=at)
            report.repaired.append(f"early fraud warning {facts.id}: kept for purchase {purchase.pk}")
    return report


def _reconcile_payments(customer: StripeCustomer, report: Report, *, since: datetime, at: datetime) -> None:
    own = Purchase.objects.filter(organization_id=customer.organization_id)
    seen = set()
    for facts in stripe_gateway.payments_of(customer_id=customer.stripe_customer_id or "", created_after=since):
        report.count("payments")
        seen.add(facts.id)
        purchase = own.filter(payment_intent_id=facts.id).first() or _named(own, facts)
        if purchase is None:
            if facts.status == "succeeded":
                report.left.append(f"PaymentIntent {facts.id}: {facts.amount_cents} cents without a purchase")
            continue
        before = _payment_trouble(purchase, facts)
        if before and (facts.status == "succeeded" or purchase.is_open):
            purchase = purchases.settle(purchase_id=purchase.pk, at=at, payment_intent_id=facts.id)
        after = _payment_trouble(purchase, facts)
        if after:
            report.left.append(f"purchase {purchase.pk}: {after}")
        elif before:
            report.repaired.append(f"purchase {purchase.pk}: {before}")
    for purchase in own.filter(state=Purchase.State.SUCCEEDED, sent_at__gte=since + CALLS_MAY_TAKE):
        if purchase.payment_intent_id not in seen:
            report.left.append(f"purchase {purchase.pk}: Stripe has no {purchase.payment_intent_id} of this customer")


def _named(own: QuerySet[Purchase], facts: IntentFacts) -> Purchase | None:
    """The purchase that a payment's metadata names, while it knows no payment."""
    named = facts.metadata.get("purchase_id", "")
    if not (named.isascii() and named.isdecimal() and len(named) <= 18):
        return None
    return own.filter(pk=int(named), payment_intent_id=None).first()


def _payment_trouble(purchase: Purchase, facts: IntentFacts) -> str:
    """What is wrong between a purchase, its payment and its lot, or "". An open payment of an open purchase is not."""
    if purchase.is_open and facts.status not in ("succeeded", "canceled"):
        return ""
    if purchase.state == Purchase.State.CANCELED and facts.status == "canceled":
        return ""
    difference = comparison.payment_difference(purchase, facts)
    if difference:
        return difference
    lots = CreditLot.objects.filter(organization_id=purchase.organization_id, purchase=purchase).count()
    if (purchase.state == Purchase.State.SUCCEEDED) != (lots == 1):
        return f"{purchase.state} with {lots} lots"
    return ""


def _reconcile_returns(report: Report, *, since: datetime, at: datetime) -> None:
    """Refunds and disputes by Stripe's lists, and whatever is still open here, however old it is."""
    refunded = {facts.id: facts for facts in stripe_gateway.refunds_since(created_after=since)}
    disputed = {facts.id: facts for facts in stripe_gateway.disputes_since(created_after=since)}
    report.looked_at["refunds"] += len(refunded)
    report.looked_at["disputes"] += len(disputed)
    intents = {facts.payment_intent_id for facts in refunded.values()}
    intents |= {facts.payment_intent_id for facts in disputed.values()}
    rows = Q(created_at__gte=since) | Q(state__in=Refund.OPEN_STATES)
    refund_purchases = Refund.objects.filter(rows).values("purchase")
    dispute_purchases = Dispute.objects.filter(Q(opened_at__gte=since) | Q(closed_at=None)).values("purchase")
    touched = Purchase.objects.filter(state=Purchase.State.SUCCEEDED).filter(
        Q(payment_intent_id__in=intents) | Q(pk__in=refund_purchases) | Q(pk__in=dispute_purchases)
    )
    for purchase in touched.order_by("id").iterator():
        before = _returns_trouble(purchase)
        if not before:
            continue
        returns.settle(purchase_id=purchase.pk, at=at)
        after = _returns_trouble(purchase)
        report.left += [f"purchase {purchase.pk}: {trouble}" for trouble in after]
        report.repaired += [f"purchase {purchase.pk}: {trouble}" for trouble in before if trouble not in after]


def _returns_trouble(purchase: Purchase) -> list[str]:
    """What is wrong between a purchase's refunds and disputes at Stripe, their rows, and what was taken back."""
    intent_id = purchase.payment_intent_id or ""
    troubles = []
    refund_rows = {row.stripe_refund_id: row for row in purchase.refunds.exclude(stripe_refund_id=None)}
    for refunded in stripe_gateway.refunds_of(payment_intent_id=intent_id):
        difference = comparison.refund_difference(refund_rows.pop(refunded.id, None), refunded)
        if difference:
            troubles.append(f"refund {refunded.id}: {difference}")
    dispute_rows = {row.stripe_dispute_id: row for row in purchase.disputes.all()}
    for disputed in stripe_gateway.disputes_of(payment_intent_id=intent_id):
        difference = comparison.dispute_difference(dispute_rows.pop(disputed.id, None), disputed)
        if difference:
            troubles.append(f"dispute {disputed.id}: {difference}")
    troubles += [f"{str(gone).lower()}: Stripe has none" for gone in (*refund_rows.values(), *dispute_rows.values())]
    if not clawbacks.is_balanced(purchase):
        troubles.append("what was taken back is not what is asked for")
    return troubles
