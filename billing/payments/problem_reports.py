"""A customer reports a problem with a charge; staff answer. The facts of that moment are kept with the report."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import Organization, User
from accounts.permissions import Permission
from billing import emails
from billing.credits import queries
from billing.errors import Refused
from billing.models import CreditLot, LedgerEntry, ProblemReport, Purchase
from billing.payments import payment_methods

OPEN_MAX = 10
ENTRIES_KEPT = 20


def report(
    *,
    organization: Organization,
    actor: User,
    purchase_id: int,
    report_key: UUID,
    category: str,
    text: str,
    at: datetime,
    request: HttpRequest | None = None,
) -> ProblemReport:
    """Keep a problem with a purchase and what is known of it now, and tell staff. One key is one report.

    Raises:
        Refused: the purchase isn't the organization's (``unknown_purchase``), too many reports are open (``too_many``),
            or the actor lost the permission.
    """
    payment_methods.require(organization=organization, actor=actor, permission=Permission.BILLING_VIEW)
    purchase = (
        Purchase.objects.select_related("payment_method").filter(organization=organization, pk=purchase_id).first()
    )
    if purchase is None:
        raise Refused("This purchase is not known.", code="unknown_purchase")
    try:
        with transaction.atomic():
            # The row serializes the count, and no money moves: the account's lock isn't needed.
            Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
            reports = ProblemReport.objects.filter(organization=organization)
            known = reports.filter(report_key=report_key).first()
            if known is not None:
                return known
            if reports.filter(state=ProblemReport.State.OPEN).count() >= OPEN_MAX:
                raise Refused(
                    f"{OPEN_MAX} of your reports are open. We answer them first; add to one of them by mail.",
                    code="too_many",
                )
            kept = ProblemReport.objects.create(
                organization=organization,
                purchase=purchase,
                report_key=report_key,
                actor=actor,
                category=category,
                text=text,
                facts=_facts(organization, purchase, at=at),
                reported_at=at,
            )
            audit.record(
                organization=organization,
                actor=actor,
                action="problem.reported",
                target=f"problem_report:{kept.pk}",
                after={"purchase_id": purchase.pk, "category": category},
                request=request,
            )
            emails.problem_reported(report=kept)
            return kept
    except IntegrityError:
        return ProblemReport.objects.get(organization=organization, report_key=report_key)


def answer(
    *, report_id: int, actor: User, state: str, text: str, at: datetime, request: HttpRequest | None = None
) -> ProblemReport:
    """Answer a report, or close it with an answer; whoever reported gets it by mail. The caller lets only staff in.

    Raises:
        Refused: it is closed already (``closed``).
    """
    with transaction.atomic():
        report = (
            ProblemReport.objects.select_for_update(of=("self",))
            .select_related("organization", "purchase", "actor")
            .get(pk=report_id)
        )
        if report.state == ProblemReport.State.CLOSED:
            raise Refused("This report is closed already.", code="closed")
        before = report.state
        report.state, report.answer, report.handled_by, report.handled_at = state, text, actor, at
        report.save(update_fields=["state", "answer", "handled_by", "handled_at"])
        audit.record(
            organization=report.organization,
            actor=actor,
            action=f"problem.{state}",
            target=f"problem_report:{report.pk}",
            before={"state": before},
            after={"state": state},
            request=request,
        )
        emails.problem_answered(report=report)
        return report


def of_purchase(purchase: Purchase) -> list[ProblemReport]:
    """The reports about a purchase, newest first."""
    return list(ProblemReport.objects.select_related("actor").filter(purchase=purchase).order_by("-reported_at")[:10])


def _facts(organization: Organization, purchase: Purchase, *, at: datetime) -> dict[str, Any]:
    """What this console knows at this moment: ids, amounts and instants, no name and no address."""
    summary = queries.summary(organization_id=organization.pk)
    card = purchase.payment_method
    lot = CreditLot.objects.select_related("organization__creditaccount").filter(purchase=purchase).first()
    entries = LedgerEntry.objects.filter(organization=organization, lot=lot, lot__isnull=False).exclude(kind="burn")
    return {
        "reported_at": at.isoformat(),
        "purchase": {
            "id": purchase.pk,
            "kind": purchase.kind,
            "state": purchase.state,
            "amount_cents": purchase.amount_cents,
            "credit_nano": purchase.credit_nano,
            "payment_intent": purchase.payment_intent_id,
            "failure_code": purchase.failure_code,
            "decline_code": purchase.decline_code,
            **{
                name: value.isoformat() if (value := getattr(purchase, name)) is not None else None
                for name in ("created_at", "sent_at", "checked_at", "settled_at")
            },
        },
        "card": {"id": card.pk, "brand": card.brand, "last4": card.last4, "is_default": card.is_default},
        "lot": None
        if lot is None
        else {
            "id": lot.pk,
            "granted_nano": lot.granted_nano,
            "left_nano": lot.left_nano,
            "expires_at": lot.expires_at.isoformat(),
        },
        "entries": [
            {
                "seq": entry.seq,
                "kind": entry.kind,
                "amount_nano": entry.amount_nano,
                "booked_at": entry.booked_at.isoformat(),
            }
            for entry in entries.order_by("-seq")[:ENTRIES_KEPT]
        ],
        "account": {
            "balance_nano": summary.balance_nano,
            "available_nano": summary.available_nano,
            "held_nano": summary.held_nano,
            "debt_nano": summary.debt_nano,
        },
    }
