"""What closing an organization does to money: nothing is charged or spent any more, and all documents are kept.

Under the account's lock, which a purchase and a reload take before they begin: either they see a closed account, or
closing sees them. Closing ends no credit by an entry: it can't be spent on new requests, what is under way is still
charged or given back, and it expires at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest

from accounts import audit
from accounts.closing import Obstacle, Part
from accounts.models import Organization, User
from billing.credits import ledger, queries
from billing.models import AutoReload, CreditAccount, Dispute, Purchase, Refund, StripeCustomer
from billing.money import dollars_text
from billing.payments import auto_reload, payment_methods

_KINDS: Final = {Purchase.Kind.MANUAL.value: "Purchase", Purchase.Kind.AUTO_RELOAD.value: "Reload"}


def obstacles(organization: Organization) -> list[Obstacle]:
    """Payments that have not ended, each with what to do."""
    return [*_purchases(organization), *_refunds(organization), *_disputes(organization)]


def _purchases(organization: Organization) -> Sequence[Obstacle]:
    waiting = (Purchase.State.REQUIRES_ACTION, Purchase.State.NEEDS_CUSTOMER)
    return [
        Obstacle(
            f"{_KINDS[purchase.kind]} {purchase.pk} of {dollars_text(purchase.amount_cents)} has not ended.",
            "Confirm or cancel it on its page."
            if purchase.state in waiting
            else "Wait for the bank's answer, which takes minutes.",
        )
        for purchase in Purchase.objects.filter(organization=organization, state__in=Purchase.OPEN_STATES).order_by(
            "pk"
        )
    ]


def _refunds(organization: Organization) -> Sequence[Obstacle]:
    return [
        Obstacle(
            f"A refund of {dollars_text(refund.amount_cents)} is on its way.",
            "Wait until it has arrived, which takes up to ten days.",
        )
        for refund in Refund.objects.filter(organization=organization, state__in=Refund.OPEN_STATES).order_by("pk")
    ]


def _disputes(organization: Organization) -> Sequence[Obstacle]:
    return [
        Obstacle(
            f"A payment of {dollars_text(dispute.amount_cents)} is disputed at the bank.",
            "Wait for the bank's decision, or withdraw the dispute there.",
        )
        for dispute in Dispute.objects.filter(organization=organization)
        .exclude(status__in=Dispute.CLOSED)
        .order_by("pk")
    ]


def facts(organization: Organization) -> dict[str, Any]:
    """What there is that closing ends: credit with its ends, requests under way, debt, the card, auto-reload."""
    summary = queries.summary(organization_id=organization.pk)
    return {
        "summary": summary,
        "lots": queries.live_lots(organization_id=organization.pk, at=summary.counted_at, limit=20),
        "card": payment_methods.default_card(organization=organization),
        "is_reload_on": AutoReload.objects.filter(organization=organization, is_enabled=True).exists(),
    }


def lock(organization: Organization) -> None:
    """No payment begins and no credit moves until the caller's transaction ends."""
    ledger.lock(organization_id=organization.pk)


def close(organization: Organization, actor: User, at: datetime, request: HttpRequest | None) -> None:
    """Switch auto-reload off, let the card go and close the account, in the caller's transaction."""
    was_on = auto_reload.switch_off(organization=organization, actor=actor, at=at, request=request)
    card = payment_methods.default_card(organization=organization)
    if card is not None:
        payment_methods.let_go(card=card, was_reload_on=was_on, actor=actor, at=at, request=request)
    before = CreditAccount.objects.values_list("state", flat=True).get(organization=organization)
    if before != CreditAccount.State.CLOSED:
        ledger.set_state(organization_id=organization.pk, state=CreditAccount.State.CLOSED)
        audit.record(
            organization=organization,
            actor=actor,
            action="credit_account.closed",
            target=f"credit_account:{organization.pk}",
            before={"state": before},
            after={"state": str(CreditAccount.State.CLOSED)},
            request=request,
        )


def finish(organization: Organization) -> None:
    """Let the card go at the payment processor; what fails is found again by the sweep."""
    if StripeCustomer.objects.filter(organization=organization).exists():
        payment_methods.tidy(organization=organization)


PART: Final = Part(lock=lock, obstacles=obstacles, facts=facts, close=close, finish=finish)
