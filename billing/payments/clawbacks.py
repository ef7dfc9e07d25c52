"""Credit of a purchase that goes back because its money does, for whichever refund or dispute, in whichever order.

One function brings a purchase's credit in line with its refunds and disputes as their rows stand. What is taken back
for all of them together never exceeds what was paid: where they overlap, later ones take what the others leave. Each
take-back is undone once at most, whole, by unwinding its own entries in reverse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from billing.credits import ledger
from billing.errors import Refused
from billing.models import Clawback, CreditLot, Dispute, Purchase, Refund, Reversal
from billing.money import dollars_text

# The keys of the ledger's operations are made from the rows that they are for.
_KEYS = UUID("a2a5f3a4-6b3d-4f0e-9c55-5d0c9a3f7d11")

Cause = Refund | Dispute


@dataclass(frozen=True, slots=True)
class PaidBack:
    """What of a purchase's money has gone back, or may. Amounts in cents."""

    refunded_cents: int = 0
    refunding_cents: int = 0
    disputed_cents: int = 0
    lost_cents: int = 0
    inquiries: int = 0

    @property
    def all_cents(self) -> int:
        """All of it together, which may exceed what was paid where a refund and a dispute are about the same money."""
        return self.refunded_cents + self.refunding_cents + self.disputed_cents + self.lost_cents


def lock(*, purchase_id: int) -> tuple[Purchase, datetime]:
    """The purchase under its locks, the account's first, and the time at which they were had."""
    organization_id = Purchase.objects.values_list("organization_id", flat=True).get(pk=purchase_id)
    account = ledger.lock(organization_id=organization_id)
    rows = Purchase.objects.select_for_update(of=("self",)).select_related("organization", "payment_method", "actor")
    return rows.get(pk=purchase_id), account.locked_at


def balance(*, purchase: Purchase, at: datetime) -> int:
    """Take back and give back credit until it agrees with the purchase's refunds and disputes; new debt in nano-USD.

    For a transaction that holds the account's lock. Calling it again changes nothing. A dispute that was won before it
    was ever seen open is taken and given back all the same, so that the history doesn't depend on who spoke first.
    """
    for clawback in _standing(purchase):
        if not _cause_of(clawback).is_taking:
            _undo(clawback, at=at)
    debt_nano = 0
    disputes = list(Dispute.objects.filter(purchase=purchase).order_by("id"))
    refunds = Refund.objects.filter(purchase=purchase, state__in=Refund.TAKING_STATES).order_by("id")
    causes: list[Cause] = [*refunds, *(dispute for dispute in disputes if dispute.is_taking)]
    for cause in causes:
        debt_nano += _take(purchase, cause, at=at)
    for dispute in disputes:
        if dispute.status == Dispute.Status.WON and not dispute.clawbacks.exists():
            debt_nano += _take(purchase, dispute, at=at)
            for clawback in dispute.clawbacks.filter(undone_at=None):
                _undo(clawback, at=at)
    return debt_nano


def is_balanced(purchase: Purchase) -> bool:
    """Whether what was taken back is what the rows ask for. Reads without a lock, so "no" may be over in a moment."""
    standing = _standing(purchase)
    if any(not _cause_of(clawback).is_taking for clawback in standing):
        return False
    if sum(clawback.amount_cents for clawback in standing) == purchase.amount_cents:
        return True
    refunds = Refund.objects.filter(purchase=purchase, state__in=Refund.TAKING_STATES)
    disputes = Dispute.objects.filter(purchase=purchase)
    causes: list[Cause] = [*refunds, *(dispute for dispute in disputes if dispute.is_taking)]
    return all(
        sum(clawback.amount_cents for clawback in standing if _cause_of(clawback) == cause) == cause.amount_cents
        for cause in causes
    )


def left_cents(purchase: Purchase) -> int:
    """What of a purchase is neither refunded nor disputed, and so may still be refunded."""
    refunds = Refund.objects.filter(purchase=purchase, state__in=Refund.TAKING_STATES)
    taken: int = refunds.aggregate(cents=Coalesce(Sum("amount_cents"), 0))["cents"]
    disputed = sum(dispute.amount_cents for dispute in Dispute.objects.filter(purchase=purchase) if dispute.is_taking)
    return max(purchase.amount_cents - taken - disputed, 0)


def paid_back(purchases: Iterable[Purchase]) -> dict[int, PaidBack]:
    """What has gone back of each of these purchases, by its id, in two statements."""
    ids = [purchase.pk for purchase in purchases]
    refunds = _sums(
        Refund.objects.filter(purchase__in=ids).values("purchase_id"),
        refunded=Q(state=Refund.State.SUCCEEDED),
        refunding=Q(state__in=Refund.OPEN_STATES),
    )
    not_taking = Q(status__startswith="warning_") | Q(status__in=[Dispute.Status.WON, Dispute.Status.PREVENTED])
    disputes = _sums(
        Dispute.objects.filter(purchase__in=ids).values("purchase_id"),
        disputed=~not_taking & ~Q(status=Dispute.Status.LOST),
        lost=Q(status=Dispute.Status.LOST),
        inquiries=Q(status__startswith="warning_", closed_at=None),
    )
    return {
        pk: PaidBack(
            refunded_cents=refunds.get(pk, {}).get("refunded_cents", 0),
            refunding_cents=refunds.get(pk, {}).get("refunding_cents", 0),
            disputed_cents=disputes.get(pk, {}).get("disputed_cents", 0),
            lost_cents=disputes.get(pk, {}).get("lost_cents", 0),
            inquiries=disputes.get(pk, {}).get("inquiries_count", 0),
        )
        for pk in ids
    }


def words(back: PaidBack, purchase: Purchase) -> list[str]:
    """What has gone back of a purchase, in words for everybody; the gravest first, nothing where nothing has."""
    told = []
    if back.lost_cents:
        told.append(f"Dispute lost, {dollars_text(back.lost_cents)}")
    if back.disputed_cents:
        told.append(f"Disputed, {dollars_text(back.disputed_cents)}")
    if back.refunded_cents >= purchase.amount_cents:
        told.append("Refunded")
    elif back.refunded_cents:
        told.append(f"Partly refunded, {dollars_text(back.refunded_cents)}")
    if back.refunding_cents:
        told.append(f"Refund on its way, {dollars_text(back.refunding_cents)}")
    return told


def taken_nano(cause: Cause) -> tuple[int, int]:
    """What the take-backs of a refund or dispute took from the lot, and what of them became debt. Undone ones too."""
    sums = cause.clawbacks.aggregate(
        taken=Coalesce(Sum("take_back__taken_nano"), 0), debt=Coalesce(Sum("take_back__debt_nano"), 0)
    )
    return int(sums["taken"]), int(sums["debt"])


def _sums(rows: QuerySet[Any, Any], **conditions: Q) -> dict[int, dict[str, int]]:
    found = rows.annotate(
        **{
            f"{name}_cents": Coalesce(Sum("amount_cents", filter=condition), 0)
            for name, condition in conditions.items()
        },
        **{f"{name}_count": Count("pk", filter=condition) for name, condition in conditions.items()},
    )
    return {row["purchase_id"]: row for row in found}


def _standing(purchase: Purchase) -> Sequence[Clawback]:
    """The clawbacks that nothing has undone, the newest first."""
    rows = Clawback.objects.filter(purchase=purchase, undone_at=None)
    return list(rows.select_related("refund", "dispute", "take_back").order_by("-id"))


def _cause_of(clawback: Clawback) -> Cause:
    cause = clawback.refund or clawback.dispute
    assert cause is not None
    return cause


def _take(purchase: Purchase, cause: Cause, *, at: datetime) -> int:
    """Take back what a refund or dispute has not taken yet and the others leave. Returns what of it became debt."""
    standing = _standing(purchase)
    covered_cents = sum(clawback.amount_cents for clawback in standing)
    own_cents = sum(clawback.amount_cents for clawback in standing if _cause_of(clawback) == cause)
    cents = min(cause.amount_cents - own_cents, purchase.amount_cents - covered_cents)
    if cents <= 0:
        return 0
    taken_back = [clawback.take_back for clawback in standing if clawback.take_back is not None]
    standing_nano = sum(each.taken_nano + each.debt_nano for each in taken_back)
    # Rounded on the sum, so that the parts of a purchase whose credit is no round multiple of its price add up to all.
    amount_nano = purchase.credit_nano * (covered_cents + cents) // purchase.amount_cents - standing_nano
    name = _name(cause)
    taken = ledger.take_back(
        organization_id=purchase.organization_id,
        lot_id=CreditLot.objects.values_list("pk", flat=True).get(
            organization_id=purchase.organization_id, purchase=purchase
        ),
        amount_nano=amount_nano,
        key=uuid5(_KEYS, f"{name}:{cause.clawbacks.count()}"),
        label="Refund" if isinstance(cause, Refund) else "Disputed payment",
        reason=f"{name[0].upper()}{name[1:]} of purchase {purchase.pk}",
        actor_id=cause.actor_id if isinstance(cause, Refund) else None,
        rest_as_debt=True,
    )
    Clawback.objects.create(
        organization_id=purchase.organization_id,
        purchase=purchase,
        refund=cause if isinstance(cause, Refund) else None,
        dispute=cause if isinstance(cause, Dispute) else None,
        amount_cents=cents,
        take_back_id=taken.take_back_id,
        created_at=at,
    )
    return taken.debt_nano


def _undo(clawback: Clawback, *, at: datetime) -> None:
    """Give back exactly what a clawback took. One that staff have reversed by hand is undone already."""
    reversal_id = None
    if clawback.take_back_id is not None:
        is_refund = clawback.refund_id is not None
        try:
            with transaction.atomic():
                reversal_id = ledger.reverse(
                    organization_id=clawback.organization_id,
                    cause_kind=Reversal.Cause.TAKE_BACK,
                    cause_id=clawback.take_back_id,
                    key=uuid5(_KEYS, f"undo:{clawback.pk}"),
                    label="Refund that failed" if is_refund else "Dispute that was won",
                    reason=f"Undoes clawback {clawback.pk} of purchase {clawback.purchase_id}",
                    actor_id=None,
                ).reversal_id
        except Refused as refusal:
            if refusal.code != "nothing_left":
                raise
    clawback.reversal_id = reversal_id
    clawback.undone_at = at
    clawback.save(update_fields=["reversal", "undone_at"])


def _name(cause: Cause) -> str:
    return f"refund {cause.pk}" if isinstance(cause, Refund) else f"dispute {cause.pk}"
