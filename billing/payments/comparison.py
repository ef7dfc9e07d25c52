"""In what a row differs from what Stripe says of it, in words for staff. It asks nobody and changes nothing."""

from billing.models import Dispute, Purchase, Refund
from billing.payments import returns
from billing.payments.stripe_gateway import DisputeFacts, IntentFacts, RefundFacts


def payment_difference(purchase: Purchase, facts: IntentFacts) -> str:
    """The first thing in which a purchase is not its PaymentIntent, or ""."""
    is_paid_here, is_paid_there = purchase.state == Purchase.State.SUCCEEDED, facts.status == "succeeded"
    if is_paid_here != is_paid_there:
        return f"{purchase.state} here, {facts.status} at Stripe"
    if facts.amount_cents != purchase.amount_cents or (
        is_paid_there and facts.amount_received_cents != purchase.amount_cents
    ):
        return f"{purchase.amount_cents} cents here, {facts.amount_received_cents} of {facts.amount_cents} at Stripe"
    if facts.currency != "usd":
        return f"paid in {facts.currency}"
    if facts.metadata.get("purchase_id") != str(purchase.pk):
        return f"the payment is for purchase {facts.metadata.get('purchase_id')}"
    return ""


def refund_difference(refund: Refund | None, facts: RefundFacts) -> str:
    """The first thing in which a refund's row is not the refund, or ""."""
    if refund is None:
        return f"{facts.amount_cents} cents {facts.status} at Stripe, not known here"
    if refund.amount_cents != facts.amount_cents:
        return f"{refund.amount_cents} cents here, {facts.amount_cents} at Stripe"
    if refund.state != returns.state_of(facts):
        return f"{refund.state} here, {facts.status} at Stripe"
    return _foreign(refund.purchase, facts.payment_intent_id, facts.currency)


def dispute_difference(dispute: Dispute | None, facts: DisputeFacts) -> str:
    """The first thing in which a dispute's row is not the dispute, or ""."""
    if dispute is None:
        return f"{facts.amount_cents} cents {facts.status} at Stripe, not known here"
    if dispute.amount_cents != facts.amount_cents:
        return f"{dispute.amount_cents} cents here, {facts.amount_cents} at Stripe"
    if dispute.status != facts.status:
        return f"{dispute.status} here, {facts.status} at Stripe"
    return _foreign(dispute.purchase, facts.payment_intent_id, facts.currency)


def _foreign(purchase: Purchase, payment_intent_id: str | None, currency: str) -> str:
    if purchase.payment_intent_id != payment_intent_id:
        return f"of purchase {purchase.pk} here, of payment {payment_intent_id} at Stripe"
    return f"in {currency}" if currency != "usd" else ""
