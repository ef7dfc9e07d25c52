"""Whether Stripe and the purchases agree about every payment, both ways. It asks and compares, and changes neither."""

from collections.abc import Iterator

from billing.credits.invariants import Finding, Severity, Verdict
from billing.models import Purchase, StripeCustomer
from billing.payments import stripe_gateway
from billing.payments.stripe_gateway import IntentFacts

NAME = "payments_agree_with_stripe"
PROMISE = (
    "A purchase was paid exactly where its PaymentIntent has succeeded, with its amount and for its organization; "
    "and no payment of a customer is without its purchase."
)


def verdict(*, organization_id: int | None = None, rows_shown: int) -> Verdict:
    """Compare every payment of one organization or of all, with one list at Stripe for each customer.

    A payment that ended at Stripe a moment ago, and is not settled here yet, is a finding as well: look again.

    Raises:
        PaymentProcessorUnavailable: Stripe could not be asked.
    """
    count = 0
    shown: list[Finding] = []
    customers = StripeCustomer.objects.select_related("organization").exclude(stripe_customer_id=None)
    if organization_id is not None:
        customers = customers.filter(organization_id=organization_id)
    for customer in customers.order_by("organization_id").iterator():
        for finding in _disagreements(customer):
            count += 1
            if len(shown) < rows_shown:
                shown.append(finding)
    return Verdict(NAME, PROMISE, Severity.VIOLATION, count, tuple(shown))


def _disagreements(customer: StripeCustomer) -> Iterator[Finding]:
    purchases = Purchase.objects.filter(organization_id=customer.organization_id)
    by_intent = {purchase.payment_intent_id: purchase for purchase in purchases.exclude(payment_intent_id=None)}
    slug = customer.organization.slug
    for facts in stripe_gateway.payments_of(customer_id=customer.stripe_customer_id or ""):
        purchase = by_intent.pop(facts.id, None)
        if purchase is None:
            if facts.status == "succeeded":
                yield Finding(slug, f"PaymentIntent {facts.id}", f"{facts.amount_cents} cents without a purchase")
        elif difference := _difference(purchase, facts):
            yield Finding(slug, f"purchase {purchase.pk}", difference)
    for purchase in by_intent.values():
        yield Finding(slug, f"purchase {purchase.pk}", f"Stripe has no {purchase.payment_intent_id} of this customer")
    for purchase in purchases.filter(payment_intent_id=None, state=Purchase.State.SUCCEEDED):
        yield Finding(slug, f"purchase {purchase.pk}", "paid, without a PaymentIntent")


def _difference(purchase: Purchase, facts: IntentFacts) -> str:
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
