"""Whether Stripe and our rows agree about every payment, refund and dispute, both ways. It asks and changes nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from billing.credits.invariants import Finding, Severity, Verdict
from billing.models import Dispute, Purchase, Refund, StripeCustomer
from billing.payments import clawbacks, stripe_gateway
from billing.payments.comparison import dispute_difference, payment_difference, refund_difference

PAYMENTS: Final = "payments_agree_with_stripe"
RETURNS: Final = "refunds_and_disputes_agree_with_stripe"
NAMES: Final = (PAYMENTS, RETURNS)
PROMISES: Final = {
    PAYMENTS: (
        "A purchase was paid exactly where its PaymentIntent has succeeded, with its amount and for its organization; "
        "and no payment of a customer is without its purchase."
    ),
    RETURNS: (
        "Every refund and dispute of a purchase at Stripe has its row, in its state and with its amount, and every row "
        "is at Stripe; and what was taken back for them is what they ask for, never more than was paid."
    ),
}
# Before there was any payment.
_EVER: Final = datetime(2010, 1, 1, tzinfo=UTC)


def verdicts(*, organization_id: int | None = None, rows_shown: int) -> Iterator[Verdict]:
    """Compare every payment of one organization or of all, and every refund and dispute.

    What ended at Stripe a moment ago, and is not settled here yet, is a finding as well: look again.

    Raises:
        PaymentProcessorUnavailable: Stripe could not be asked.
    """
    yield _verdict(PAYMENTS, _payments(organization_id), rows_shown=rows_shown)
    yield _verdict(RETURNS, _returns(organization_id), rows_shown=rows_shown)


def _verdict(name: str, findings: Iterator[Finding], *, rows_shown: int) -> Verdict:
    count = 0
    shown: list[Finding] = []
    for finding in findings:
        count += 1
        if len(shown) < rows_shown:
            shown.append(finding)
    return Verdict(name, PROMISES[name], Severity.VIOLATION, count, tuple(shown))


def _payments(organization_id: int | None) -> Iterator[Finding]:
    customers = StripeCustomer.objects.select_related("organization").exclude(stripe_customer_id=None)
    if organization_id is not None:
        customers = customers.filter(organization_id=organization_id)
    for customer in customers.order_by("organization_id").iterator():
        yield from _disagreements(customer)


def _disagreements(customer: StripeCustomer) -> Iterator[Finding]:
    purchases = Purchase.objects.filter(organization_id=customer.organization_id)
    by_intent = {purchase.payment_intent_id: purchase for purchase in purchases.exclude(payment_intent_id=None)}
    slug = customer.organization.slug
    for facts in stripe_gateway.payments_of(customer_id=customer.stripe_customer_id or ""):
        purchase = by_intent.pop(facts.id, None)
        if purchase is None:
            if facts.status == "succeeded":
                yield Finding(slug, f"PaymentIntent {facts.id}", f"{facts.amount_cents} cents without a purchase")
        elif difference := payment_difference(purchase, facts):
            yield Finding(slug, f"purchase {purchase.pk}", difference)
    for purchase in by_intent.values():
        yield Finding(slug, f"purchase {purchase.pk}", f"Stripe has no {purchase.payment_intent_id} of this customer")
    for purchase in purchases.filter(payment_intent_id=None, state=Purchase.State.SUCCEEDED):
        yield Finding(slug, f"purchase {purchase.pk}", "paid, without a PaymentIntent")


def _returns(organization_id: int | None) -> Iterator[Finding]:
    paid = Purchase.objects.select_related("organization").filter(state=Purchase.State.SUCCEEDED)
    refunds = Refund.objects.select_related("purchase", "organization").exclude(stripe_refund_id=None)
    disputes = Dispute.objects.select_related("purchase", "organization")
    if organization_id is not None:
        paid, refunds, disputes = (
            paid.filter(organization_id=organization_id),
            refunds.filter(organization_id=organization_id),
            disputes.filter(organization_id=organization_id),
        )
    refund_rows = {refund.stripe_refund_id: refund for refund in refunds}
    for refunded in stripe_gateway.refunds_since(created_after=_EVER):
        refund = refund_rows.pop(refunded.id, None)
        purchase = refund.purchase if refund else paid.filter(payment_intent_id=refunded.payment_intent_id).first()
        if purchase is not None and (difference := refund_difference(refund, refunded)):
            yield Finding(purchase.organization.slug, f"refund {refunded.id}", difference)
    dispute_rows = {dispute.stripe_dispute_id: dispute for dispute in disputes}
    for disputed in stripe_gateway.disputes_since(created_after=_EVER):
        dispute = dispute_rows.pop(disputed.id, None)
        purchase = dispute.purchase if dispute else paid.filter(payment_intent_id=disputed.payment_intent_id).first()
        if purchase is not None and (difference := dispute_difference(dispute, disputed)):
            yield Finding(purchase.organization.slug, f"dispute {disputed.id}", difference)
    rest: list[Refund | Dispute] = [*refund_rows.values(), *dispute_rows.values()]
    for gone in rest:
        yield Finding(gone.organization.slug, str(gone).lower(), "Stripe has no such object")
    touched = paid.filter(pk__in=refunds.values("purchase")) | paid.filter(pk__in=disputes.values("purchase"))
    for purchase in touched.distinct().iterator():
        if not clawbacks.is_balanced(purchase):
            yield Finding(
                purchase.organization.slug, f"purchase {purchase.pk}", "what was taken back is not what is asked for"
            )
