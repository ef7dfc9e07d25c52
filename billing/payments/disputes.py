"""Disputes and early fraud warnings: their rows, and what they mean for auto-reload, receipts and the customer.

What a row says is what Stripe said when it was last read. An inquiry and a dispute that was prevented move no money and
no credit; every other dispute takes its credit from its opening on. Events about its funds add nothing to that.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from accounts import audit
from billing import emails
from billing.models import Dispute, EarlyFraudWarning, Purchase
from billing.payments import clawbacks, receipts, reload_line
from billing.payments.stripe_gateway import DisputeFacts, WarningFacts

logger = logging.getLogger(__name__)

Status = Dispute.Status


@dataclass(frozen=True, slots=True)
class Booked:
    """A dispute's row and how it stood before it was read. ``was_status`` is empty for one that was not known."""

    dispute: Dispute
    was_status: str
    was_taking: bool


def book(*, purchase: Purchase, found: Sequence[DisputeFacts], at: datetime) -> list[Booked]:
    """Write down what Stripe says about a purchase's disputes, and return those that changed.

    For a transaction that holds the account's lock. :func:`conclude` comes after the credit was balanced.
    """
    known = {dispute.stripe_dispute_id: dispute for dispute in Dispute.objects.filter(purchase=purchase)}
    changed = []
    for facts in found:
        before = known.get(facts.id)
        if before is None:
            changed.append(Booked(_create(purchase, facts, at=at), was_status="", was_taking=False))
        elif (before.status, before.amount_cents, before.evidence_due_at) != _shown(facts):
            booked = Booked(before, was_status=before.status, was_taking=before.is_taking)
            _update(before, facts, at=at)
            if booked.was_status != before.status:
                changed.append(booked)
    return changed


def conclude(*, purchase: Purchase, changed: Sequence[Booked], at: datetime) -> None:
    """Do what follows from disputes that were opened or decided. Credit notes come last: their numbers are locked."""
    for booked in changed:
        dispute = booked.dispute
        _record(purchase, booked)
        if dispute.is_taking and not booked.was_taking:
            fingerprint = purchase.payment_method.fingerprint
            reload_line.note_disputed(organization_id=purchase.organization_id, fingerprint=fingerprint, at=at)
            taken_nano, debt_nano = clawbacks.taken_nano(dispute)
            emails.dispute_opened(dispute=dispute, purchase=purchase, taken_nano=taken_nano + debt_nano, at=at)
        elif booked.was_taking and not dispute.is_taking:
            if not _is_another_taking(dispute):
                reload_line.note_dispute_won(organization_id=purchase.organization_id)
            emails.dispute_closed(dispute=dispute, purchase=purchase, at=at)
        elif dispute.status == Status.LOST:
            emails.dispute_closed(dispute=dispute, purchase=purchase, at=at)
    for booked in changed:
        _note(purchase, booked, at=at)


def note_warning(*, purchase: Purchase, facts: WarningFacts, at: datetime) -> EarlyFraudWarning:
    """Keep an early fraud warning for staff. It moves nothing: whether to refund is theirs to decide (record 0087)."""
    with transaction.atomic():
        warning, is_new = EarlyFraudWarning.objects.update_or_create(
            stripe_warning_id=facts.id,
            defaults={"fraud_type": facts.fraud_type[:64], "is_actionable": facts.is_actionable},
            create_defaults={
                "organization_id": purchase.organization_id,
                "purchase": purchase,
                "fraud_type": facts.fraud_type[:64],
                "is_actionable": facts.is_actionable,
                "warned_at": facts.created_at,
                "seen_at": at,
            },
        )
        if is_new:
            audit.record(
                organization=purchase.organization,
                actor=None,
                action="payment.warned_of",
                target=f"purchase:{purchase.pk}",
                after={"warning": facts.id, "fraud_type": facts.fraud_type},
            )
    return warning


def _create(purchase: Purchase, facts: DisputeFacts, *, at: datetime) -> Dispute:
    return Dispute.objects.create(
        organization_id=purchase.organization_id,
        purchase=purchase,
        stripe_dispute_id=facts.id,
        amount_cents=facts.amount_cents,
        status=facts.status[:32],
        reason=facts.reason[:64],
        evidence_due_at=facts.evidence_due_at,
        opened_at=facts.created_at,
        seen_at=at,
        closed_at=at if facts.status in Dispute.CLOSED else None,
    )


def _update(dispute: Dispute, facts: DisputeFacts, *, at: datetime) -> None:
    dispute.status, dispute.amount_cents, dispute.evidence_due_at = _shown(facts)
    if dispute.status not in Status.values:
        logger.error("Dispute %s has a status that is not known here: %s", dispute.stripe_dispute_id, dispute.status)
    if dispute.status not in Dispute.CLOSED:
        dispute.closed_at = None
    elif dispute.closed_at is None:
        dispute.closed_at = at
    dispute.save(update_fields=["status", "amount_cents", "evidence_due_at", "closed_at"])


def _shown(facts: DisputeFacts) -> tuple[str, int, datetime | None]:
    return facts.status[:32], facts.amount_cents, facts.evidence_due_at


def _is_another_taking(dispute: Dispute) -> bool:
    others = Dispute.objects.filter(organization_id=dispute.organization_id).exclude(pk=dispute.pk)
    return any(other.is_taking for other in others.only("status"))


def _note(purchase: Purchase, booked: Booked, *, at: datetime) -> None:
    dispute = booked.dispute
    if dispute.status == Status.LOST:
        receipts.issue_credit_note(
            purchase=purchase, amount_cents=dispute.amount_cents, cause_kind="dispute", cause_id=dispute.pk, at=at
        )
    elif booked.was_status == Status.LOST:
        receipts.cancel_credit_note(cause_kind="dispute", cause_id=dispute.pk, at=at)


def _record(purchase: Purchase, booked: Booked) -> None:
    taken_nano, debt_nano = clawbacks.taken_nano(booked.dispute)
    audit.record(
        organization=purchase.organization,
        actor=None,
        action="dispute.changed" if booked.was_status else "dispute.opened",
        target=f"dispute:{booked.dispute.pk}",
        before={"status": booked.was_status} if booked.was_status else None,
        after={
            "purchase": purchase.pk,
            "status": booked.dispute.status,
            "amount_cents": booked.dispute.amount_cents,
            "taken_nano": taken_nano,
            "debt_nano": debt_nano,
        },
    )
