"""What payments and usage mean for auto-reload: its back-off, its suspension, and the line that follows from both.

Every function here runs inside its caller's transaction, after ``ledger.lock``: settings of auto-reload change under
the same lock as the money. The line in the credit account is a mirror: it stands exactly while auto-reload is switched
on and not suspended.
"""

from datetime import datetime, timedelta

from django.db.models import Sum
from django.db.models.functions import Coalesce

from accounts import audit
from billing import emails
from billing.credits import ledger
from billing.models import AutoReload, PaymentMethod, Purchase
from billing.money import nano_from_cents
from billing.payments.reload_rules import CHARGE_MINIMUM_CENTS, Usage, month_start

DECLINES_MAX = 3
BACK_OFF = {1: timedelta(days=1), 2: timedelta(days=3)}
FAULT_BACK_OFF = timedelta(hours=1)
# What counts against the monthly limit.
COUNTED_STATES = (*Purchase.OPEN_STATES, Purchase.State.SUCCEEDED)


def settings_of(*, organization_id: int) -> AutoReload | None:
    """The organization's settings, locked until the end of the transaction; None where nobody ever saved any."""
    return AutoReload.objects.select_for_update().filter(organization_id=organization_id).first()


def is_armed(reload: AutoReload) -> bool:
    """Whether credit below the line may lead to a charge at all."""
    return reload.is_enabled and not reload.suspension


def review(*, organization_id: int) -> bool:
    """Mirror the settings into the account's line and look at the level anew. Returns whether a reload is due."""
    reload = settings_of(organization_id=organization_id)
    below_nano = nano_from_cents(reload.minimum_cents) if reload is not None and is_armed(reload) else None
    return ledger.set_reload_line(organization_id=organization_id, below_nano=below_nano)


def note_paid(*, organization_id: int) -> None:
    """A payment by card has succeeded: declines count no more, and a suspension for them ends (case 44)."""
    reload = settings_of(organization_id=organization_id)
    if reload is not None:
        _forget_declines(reload)


def note_declined(*, purchase: Purchase, is_hard: bool, at: datetime) -> AutoReload:
    """The bank said no to a reload. Waits a day, then three; the third decline in a row, or a hard one, suspends."""
    reload = settings_of(organization_id=purchase.organization_id)
    if reload is None:
        raise AutoReload.DoesNotExist(f"purchase {purchase.pk} has no auto-reload")
    reload.declines += 1
    if reload.suspension == AutoReload.Suspension.DISPUTED:
        # The graver reason stays; it takes another card too.
        reload.next_attempt_at = None
    elif is_hard or reload.declines >= DECLINES_MAX:
        _suspend(reload, AutoReload.Suspension.DECLINED, fingerprint=purchase.payment_method.fingerprint, at=at)
    else:
        reload.next_attempt_at = at + BACK_OFF[reload.declines]
    _save_state(reload)
    return reload


def note_fault(*, organization_id: int, at: datetime) -> None:
    """A reload could not be asked for, through no fault of the card: wait a little, count nothing."""
    reload = settings_of(organization_id=organization_id)
    if reload is not None:
        reload.next_attempt_at = at + FAULT_BACK_OFF
        _save_state(reload)


def note_disputed(*, organization_id: int, at: datetime, fingerprint: str = "") -> bool:
    """A charge was disputed: whoever owns the card says that they don't know it, so it is charged no more by itself.

    ``fingerprint`` is the disputed card's, by default that of the card in use. Ends with another card, or with
    :func:`note_dispute_won`; the caller holds the account's lock. Returns whether this paused auto-reload: not where it
    is off, or paused for a dispute already.
    """
    reload = settings_of(organization_id=organization_id)
    if reload is None or reload.suspension == AutoReload.Suspension.DISPUTED:
        return False
    card = PaymentMethod.objects.filter(organization_id=organization_id, is_default=True).first()
    if not fingerprint and card is not None:
        fingerprint = card.fingerprint
    _suspend(reload, AutoReload.Suspension.DISPUTED, fingerprint=fingerprint, at=at)
    _save_state(reload)
    _record_suspended(reload)
    review(organization_id=organization_id)
    if reload.is_enabled:
        emails.reload_disputed(reload=reload, at=at)
    return reload.is_enabled


def note_dispute_won(*, organization_id: int) -> None:
    """The last dispute ended in the platform's favor: the card's owner stands by the charge after all."""
    reload = settings_of(organization_id=organization_id)
    if reload is not None and reload.suspension == AutoReload.Suspension.DISPUTED:
        _resume(reload)
        review(organization_id=organization_id)


def note_braked(*, reload: AutoReload, usage: Usage, at: datetime) -> None:
    """Usage is so far above the usual that a person has to confirm it before it is paid for."""
    _suspend(reload, AutoReload.Suspension.BRAKE, fingerprint="", at=at)
    reload.brake_used_nano = usage.used_nano
    reload.brake_usual_nano = usage.usual_nano
    reload.brake_usual_is_known = usage.is_known
    reload.brake_allowed_until = None
    _save_state(reload)
    _record_suspended(reload, used_nano=usage.used_nano, usual_nano=usage.usual_nano)


def release_brake(*, reload: AutoReload, allowed_until: datetime) -> None:
    """Somebody has confirmed the usage: the brake lets reloads pass until ``allowed_until``."""
    reload.brake_allowed_until = allowed_until
    _end_suspension(reload)
    _save_state(reload)


def note_capped(*, reload: AutoReload, at: datetime) -> bool:
    """A reload that was due was skipped because of the monthly limit. Returns whether it is the first of the month."""
    is_first = reload.capped_at is None or reload.capped_at < month_start(at)
    reload.capped_at = at
    reload.save(update_fields=["capped_at"])
    return is_first


def spent_cents(*, organization_id: int, at: datetime) -> int:
    """What reloads of the calendar month (UTC) of ``at`` have charged or are about to."""
    reloads = Purchase.objects.filter(
        organization_id=organization_id,
        kind=Purchase.Kind.AUTO_RELOAD,
        state__in=COUNTED_STATES,
        created_at__gte=month_start(at),
    )
    total: int = reloads.aggregate(cents=Coalesce(Sum("amount_cents"), 0))["cents"]
    return total


def used_up_cap_cents(*, organization_id: int, at: datetime) -> int | None:
    """The monthly limit, where too little of it is left for another reload; None where more may come."""
    reload = settings_of(organization_id=organization_id)
    if reload is None:
        return None
    left_cents = reload.monthly_cap_cents - spent_cents(organization_id=organization_id, at=at)
    return reload.monthly_cap_cents if left_cents < CHARGE_MINIMUM_CENTS else None


def note_card_gone(*, organization_id: int, card: PaymentMethod, at: datetime) -> None:
    """Stripe has let go of the card: auto-reload that is on has nothing to charge, and its people are told."""
    reload = settings_of(organization_id=organization_id)
    if reload is not None and reload.is_enabled:
        emails.reload_without_card(reload=reload, card=card, at=at)


def note_card(*, organization_id: int, card: PaymentMethod) -> None:
    """There is a new default card. One that differs from the card that was declined or disputed ends back-off and
    suspension (case 43); the brake is about usage, and no card ends it."""
    reload = settings_of(organization_id=organization_id)
    if reload is None or not card.fingerprint:
        return
    if reload.suspension == AutoReload.Suspension.DISPUTED:
        is_another = card.fingerprint != reload.suspended_fingerprint
    else:
        declined = reload.suspended_fingerprint or _last_declined_fingerprint(organization_id)
        is_another = bool(reload.declines) and card.fingerprint != declined
    if is_another:
        _resume(reload)


def _suspend(reload: AutoReload, suspension: AutoReload.Suspension, *, fingerprint: str, at: datetime) -> None:
    reload.suspension = suspension
    reload.suspended_at = at
    reload.suspended_fingerprint = fingerprint
    reload.next_attempt_at = None


def _end_suspension(reload: AutoReload) -> None:
    reload.suspension = AutoReload.Suspension.NONE
    reload.suspended_at = None
    reload.suspended_fingerprint = ""


def _forget_declines(reload: AutoReload) -> None:
    reload.declines = 0
    reload.next_attempt_at = None
    if reload.suspension == AutoReload.Suspension.DECLINED:
        _end_suspension(reload)
    _save_state(reload)


def _resume(reload: AutoReload) -> None:
    if reload.suspension == AutoReload.Suspension.DISPUTED:
        _end_suspension(reload)
    _forget_declines(reload)


def _save_state(reload: AutoReload) -> None:
    reload.save(
        update_fields=[
            "declines",
            "suspension",
            "suspended_at",
            "suspended_fingerprint",
            "next_attempt_at",
            "brake_used_nano",
            "brake_usual_nano",
            "brake_usual_is_known",
            "brake_allowed_until",
        ]
    )


def _record_suspended(reload: AutoReload, **facts: int) -> None:
    audit.record(
        organization=reload.organization,
        actor=None,
        action="auto_reload.suspended",
        target=f"auto_reload:{reload.pk}",
        after={"suspension": str(reload.suspension), **facts},
    )


def _last_declined_fingerprint(organization_id: int) -> str:
    ended = (Purchase.State.FAILED, Purchase.State.CANCELED)
    purchase = (
        Purchase.objects.select_related("payment_method")
        .filter(organization_id=organization_id, kind=Purchase.Kind.AUTO_RELOAD, state__in=ended)
        .order_by("-id")
        .first()
    )
    return purchase.payment_method.fingerprint if purchase is not None else ""
