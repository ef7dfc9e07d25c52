"""What staff put right: credit given or taken, charges undone, lots taken back, accounts frozen or closed.

Each correction has a reason, somebody who made it and a key of its own, made when its form was rendered: a form that is
sent twice corrects once. The audit event stands in the correction's own transaction. History is never edited: a
correction is entries of its own, and can be undone by another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import Organization, User
from billing.credits import ledger, promotions, queries, reasons, usage_blocks
from billing.credits.queries import Summary
from billing.errors import Refused
from billing.models import (
    Charge,
    CreditAccount,
    CreditLot,
    DebitAdjustment,
    LedgerEntry,
    PriceVersion,
    Reversal,
    TakeBack,
    UnpricedUsage,
    UsageBlock,
)
from billing.money import credit_text, dollars_text, nano_from_cents

# One correction takes at most a million dollars; a larger one is a typing error.
DEBIT_MAXIMUM_NANO: Final = 10**15

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rehearsal(Generic[T]):
    """What a correction would do now: its result, the credit before and after it, and the entries it would write."""

    result: T
    before: Summary
    after: Summary
    entries: tuple[LedgerEntry, ...]


def rehearse(*, organization: Organization, correct: Callable[[], T]) -> Rehearsal[T]:
    """Make a correction and take it back in one transaction, so that staff confirm the very numbers.

    Whatever ``correct`` refuses is refused here too. Nothing is left of it, and nobody else sees it.
    """
    with transaction.atomic():
        ledger.lock(organization_id=organization.pk)
        before = queries.summary(organization_id=organization.pk)
        account = CreditAccount.objects.get(organization=organization)
        result = correct()
        after = queries.summary(organization_id=organization.pk)
        entries = LedgerEntry.objects.filter(organization=organization, seq__gt=account.last_seq).order_by("seq")
        rehearsal = Rehearsal(result, before, after, tuple(entries))
        transaction.set_rollback(True)
    return rehearsal


def give_credit(
    *,
    organization: Organization,
    amount_nano: int,
    expires_at: datetime,
    label: str,
    reason: str,
    actor: User,
    key: UUID,
    request: HttpRequest | None = None,
) -> ledger.Granted:
    """Give credit to put something right, spendable at once; debt is paid from it first.

    Raises:
        Refused: ``field`` is the argument that won't do, or the key has given something else (``conflict``).
    """
    most_cents = settings.PROMOTIONAL_CREDIT_MAXIMUM_CENTS
    if not 0 < amount_nano <= nano_from_cents(most_cents):
        raise Refused(f"Give more than nothing, up to {dollars_text(most_cents)}.", code="amount", field="amount_nano")
    reasons.check_label(label)
    reasons.check_reason(reason)
    with transaction.atomic():
        account = ledger.lock(organization_id=organization.pk)
        promotions.check_end(expires_at, at=account.locked_at)
        granted = ledger.grant(
            organization_id=organization.pk,
            kind=CreditLot.Kind.ADJUSTMENT,
            amount_nano=amount_nano,
            expires_at=expires_at,
            label=label,
            reason=reason,
            actor_id=actor.pk,
            grant_key=key,
        )
        if not granted.is_replay:
            audit.record(
                organization=organization,
                actor=actor,
                action="correction_credit.given",
                target=f"lot:{granted.lot_id}",
                after={"amount_nano": amount_nano, "expires_at": granted.expires_at.isoformat()},
                request=request,
            )
    return granted


def take_credit(
    *,
    organization: Organization,
    amount_nano: int,
    may_owe: bool,
    label: str,
    reason: str,
    actor: User,
    key: UUID,
    request: HttpRequest | None = None,
) -> ledger.Adjusted:
    """Take credit to put something right. What no credit covers is debt where it ``may_owe``, else all is refused.

    Raises:
        Refused: ``field`` is the argument that won't do, credit lacks (``insufficient``), or the key has taken
            something else (``conflict``).
    """
    _check_debit(amount_nano=amount_nano, label=label, reason=reason)
    with transaction.atomic():
        return _adjust(
            organization=organization,
            amount_nano=amount_nano,
            may_owe=may_owe,
            label=label,
            reason=reason,
            actor=actor,
            key=key,
            unpriced_usage=None,
            request=request,
        )


def settle_unpriced(
    *,
    usage: UnpricedUsage,
    amount_nano: int,
    may_owe: bool,
    label: str,
    reason: str,
    actor: User,
    key: UUID,
    is_again: bool = False,
    request: HttpRequest | None = None,
) -> ledger.Adjusted:
    """Charge usage that was served without a price, by an adjustment that names it.

    Once: usage that an adjustment has settled, or that was charged under its own key since, is refused unless
    ``is_again`` says that a second time is meant (case 100).

    Raises:
        Refused: as :func:`take_credit`, the usage was never served (``not_served``), or it is settled (``settled``,
            field ``is_again``).
    """
    _check_debit(amount_nano=amount_nano, label=label, reason=reason)
    if not usage.was_served:
        raise Refused("This was refused before it was served: there is nothing to charge.", code="not_served")
    organization = usage.organization
    with transaction.atomic():
        ledger.lock(organization_id=organization.pk)
        is_repeat = DebitAdjustment.objects.filter(organization=organization, adjustment_key=key).exists()
        if not is_repeat and not is_again and (words := settled_by(usage)):
            raise Refused(f"This usage {words}. Say so if it is to be charged again.", code="settled", field="is_again")
        return _adjust(
            organization=organization,
            amount_nano=amount_nano,
            may_owe=may_owe,
            label=label,
            reason=reason,
            actor=actor,
            key=key,
            unpriced_usage=usage,
            request=request,
        )


def settled_by(usage: UnpricedUsage) -> str:
    """What has settled unpriced usage already, as the end of a sentence; empty while nothing has."""
    adjustment = DebitAdjustment.objects.filter(unpriced_usage=usage).order_by("-id").first()
    if adjustment is not None:
        return f"was settled by correction {adjustment.pk} of {credit_text(adjustment.amount_nano, is_owed=True)}"
    charge = None
    if usage.was_served:
        charge = Charge.objects.filter(
            organization_id=usage.organization_id, idempotency_key=usage.idempotency_key
        ).first()
    if charge is not None:
        return f"was charged since, as charge {charge.pk} of {credit_text(charge.amount_nano, is_owed=True)}"
    return ""


def reverse(
    *,
    organization: Organization,
    cause_kind: Reversal.Cause,
    cause_id: int,
    amount_nano: int | None,
    label: str,
    reason: str,
    actor: User,
    key: UUID,
    request: HttpRequest | None = None,
) -> ledger.Reversed:
    """Undo a charge, an adjustment or a take-back, wholly (``None``: all that is left of it) or in part.

    Credit goes back to the lots that it came from; what comes back to a lot past its end expires at once. Works on
    frozen and closed accounts too (case 113).

    Raises:
        Refused: ``field`` is the argument that won't do; codes as :func:`billing.credits.ledger.reverse`.
    """
    if amount_nano is not None and not 0 < amount_nano < 2**63:
        raise Refused("Give back more than nothing, and what is left at most.", code="amount", field="amount_nano")
    reasons.check_label(label)
    reasons.check_reason(reason)
    with transaction.atomic():
        try:
            done = ledger.reverse(
                organization_id=organization.pk,
                cause_kind=cause_kind,
                cause_id=cause_id,
                amount_nano=amount_nano,
                key=key,
                label=label,
                reason=reason,
                actor_id=actor.pk,
            )
        except Refused as refusal:
            raise _at_field(refusal, too_much="amount_nano") from refusal
        if not done.is_replay:
            audit.record(
                organization=organization,
                actor=actor,
                action="correction.reversed",
                target=f"reversal:{done.reversal_id}",
                after={
                    "cause": f"{cause_kind}:{cause_id}",
                    "amount_nano": done.amount_nano,
                    "expired_nano": done.expired_nano,
                },
                request=request,
            )
    return done


def left_to_reverse_nano(*, organization: Organization, cause_kind: Reversal.Cause, cause_id: int) -> int | None:
    """What of a charge, an adjustment or a take-back was not given back yet; None where there is no such thing."""
    mine: dict[str, Any] = {"organization": organization, "pk": cause_id}
    whole_nano: int
    if cause_kind == Reversal.Cause.CHARGE:
        charge = Charge.objects.filter(**mine).first()
        if charge is None:
            return None
        whole_nano = charge.amount_nano
    elif cause_kind == Reversal.Cause.ADJUSTMENT:
        adjustment = DebitAdjustment.objects.filter(**mine).first()
        if adjustment is None:
            return None
        whole_nano = adjustment.amount_nano
    else:
        take_back = TakeBack.objects.filter(**mine).first()
        if take_back is None:
            return None
        whole_nano = take_back.taken_nano + take_back.debt_nano
    reversals = Reversal.objects.filter(organization=organization, cause_kind=cause_kind, cause_id=cause_id)
    return whole_nano - sum(reversals.values_list("amount_nano", flat=True))


def take_back(
    *,
    organization: Organization,
    lot_id: int,
    amount_nano: int,
    rest_as_debt: bool,
    label: str,
    reason: str,
    actor: User,
    key: UUID,
    request: HttpRequest | None = None,
) -> ledger.TakenBack:
    """Take back credit of one lot: at most what is left of it unreserved; the rest is debt where ``rest_as_debt``.

    Raises:
        Refused: ``field`` is the argument that won't do, the organization has no such lot (``lot_unknown``), nothing
            of it can be taken (``nothing_left``), or the key has taken back something else (``conflict``).
    """
    _check_debit(amount_nano=amount_nano, label=label, reason=reason)
    with transaction.atomic():
        taken = ledger.take_back(
            organization_id=organization.pk,
            lot_id=lot_id,
            amount_nano=amount_nano,
            rest_as_debt=rest_as_debt,
            label=label,
            reason=reason,
            actor_id=actor.pk,
            key=key,
        )
        if taken.take_back_id is None:
            raise Refused("Nothing is left of this lot that could be taken back.", code="nothing_left")
        if not taken.is_replay:
            audit.record(
                organization=organization,
                actor=actor,
                action="lot.taken_back",
                target=f"lot:{lot_id}",
                after={
                    "take_back_id": taken.take_back_id,
                    "taken_nano": taken.taken_nano,
                    "debt_nano": taken.debt_nano,
                },
                request=request,
            )
    return taken


def set_state(
    *,
    organization: Organization,
    state: CreditAccount.State,
    reason: str,
    actor: User,
    request: HttpRequest | None = None,
) -> str:
    """Open, freeze or close the account for staff; the state before. Unless it is open, no new request is let through.

    Freezing and opening is staff's own block: an account that an Admin has stopped, or whose organization is suspended,
    stays frozen until that ends too. Whatever is under way ends as it would: open holds are captured, voided or lapse,
    reported usage is charged, credit expires. Closing is final. The same again changes nothing.

    Raises:
        Refused: no reason (``reason``), or the account is closed (``closed``).
    """
    reasons.check_reason(reason)
    with transaction.atomic():
        ledger.lock(organization_id=organization.pk)
        before = _state_of(organization)
        if before == CreditAccount.State.CLOSED:
            if state != CreditAccount.State.CLOSED:
                raise Refused("The account is closed, which is final.", code="closed")
            return before
        if _set_state(organization, state, reason=reason, actor=actor):
            audit.record(
                organization=organization,
                actor=actor,
                action=f"credit_account.{_DONE[state]}",
                target=f"credit_account:{organization.pk}",
                before={"state": before},
                after={"state": _state_of(organization), "reason": reason},
                request=request,
            )
    return before


def _state_of(organization: Organization) -> str:
    return CreditAccount.objects.values_list("state", flat=True).get(organization=organization)


def _set_state(organization: Organization, state: CreditAccount.State, *, reason: str, actor: User) -> bool:
    """Whether anything changed."""
    if state == CreditAccount.State.FROZEN:
        return usage_blocks.begin(organization=organization, kind=UsageBlock.Kind.STAFF, actor=actor, reason=reason)
    if state == CreditAccount.State.OPEN:
        return usage_blocks.end(organization=organization, kind=UsageBlock.Kind.STAFF, actor=actor)
    ledger.set_state(organization_id=organization.pk, state=state)
    return True


def price_version(*, version_id: int) -> PriceVersion:
    """The price version that staff chose to compute the cost of unpriced usage by.

    Raises:
        Refused: there is no such version (``price_version``).
    """
    version = PriceVersion.objects.select_related("priced_model").filter(pk=version_id).first()
    if version is None:
        raise Refused("There is no such price version.", code="price_version", field="price_version")
    return version


_DONE: Final = {
    CreditAccount.State.OPEN: "opened",
    CreditAccount.State.FROZEN: "frozen",
    CreditAccount.State.CLOSED: "closed",
}


def _check_debit(*, amount_nano: int, label: str, reason: str) -> None:
    if not 0 < amount_nano <= DEBIT_MAXIMUM_NANO:
        most = credit_text(DEBIT_MAXIMUM_NANO)
        raise Refused(f"Take more than nothing, up to {most}.", code="amount", field="amount_nano")
    reasons.check_label(label)
    reasons.check_reason(reason)


def _adjust(
    *,
    organization: Organization,
    amount_nano: int,
    may_owe: bool,
    label: str,
    reason: str,
    actor: User,
    key: UUID,
    unpriced_usage: UnpricedUsage | None,
    request: HttpRequest | None,
) -> ledger.Adjusted:
    try:
        adjusted = ledger.adjust(
            organization_id=organization.pk,
            amount_nano=amount_nano,
            key=key,
            label=label,
            reason=reason,
            actor_id=actor.pk,
            may_owe=may_owe,
            unpriced_usage_id=unpriced_usage.pk if unpriced_usage is not None else None,
        )
    except Refused as refusal:
        raise _at_field(refusal, insufficient="may_owe") from refusal
    if not adjusted.is_replay:
        audit.record(
            organization=organization,
            actor=actor,
            action="correction.debited" if unpriced_usage is None else "unpriced_usage.settled",
            target=f"adjustment:{adjusted.adjustment_id}",
            after={
                "amount_nano": amount_nano,
                "debt_nano": adjusted.debt_nano,
                "unpriced_usage_id": unpriced_usage.pk if unpriced_usage is not None else None,
            },
            request=request,
        )
    return adjusted


def _at_field(refusal: Refused, **fields: str) -> Refused:
    """The same refusal, at the argument that caused it."""
    return Refused(str(refusal), code=refusal.code, field=fields.get(refusal.code, refusal.field))
