"""What payments mean for auto-reload: its back-off, its suspension, and the line that follows from both.

Every function here runs inside its caller's transaction, after ``ledger.lock``: settings of auto-reload change under
the same lock as the money. The line in the credit account is a mirror: it stands exactly while auto-reload is switched
on and not suspended.
"""

from datetime import datetime, timedelta

from billing.credits import ledger
from billing.models import AutoReload, PaymentMethod, Purchase
from billing.money import nano_from_cents

DECLINES_MAX = 3
BACK_OFF = {1: timedelta(days=1), 2: timedelta(days=3)}
FAULT_BACK_OFF = timedelta(hours=1)


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
    """A payment by card has succeeded: declines count no more, and a suspension ends (case 44)."""
    reload = settings_of(organization_id=organization_id)
    if reload is not None:
        _resume(reload)


def note_declined(*, purchase: Purchase, is_hard: bool, at: datetime) -> AutoReload:
    """The bank said no to a reload. Waits a day, then three; the third decline in a row, or a hard one, suspends."""
    reload = settings_of(organization_id=purchase.organization_id)
    if reload is None:
        raise AutoReload.DoesNotExist(f"purchase {purchase.pk} has no auto-reload")
    reload.declines += 1
    if is_hard or reload.declines >= DECLINES_MAX:
        reload.suspension = AutoReload.Suspension.DECLINED
        reload.suspended_at = at
        reload.suspended_fingerprint = purchase.payment_method.fingerprint
        reload.next_attempt_at = None
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


def note_card(*, organization_id: int, card: PaymentMethod) -> None:
    """There is a new default card. One that differs from the declined one ends back-off and suspension (case 43)."""
    reload = settings_of(organization_id=organization_id)
    if reload is None or not reload.declines:
        return
    declined = reload.suspended_fingerprint or _last_declined_fingerprint(organization_id)
    if card.fingerprint and card.fingerprint != declined:
        _resume(reload)


def _resume(reload: AutoReload) -> None:
    reload.declines = 0
    reload.suspension = AutoReload.Suspension.NONE
    reload.suspended_at = None
    reload.suspended_fingerprint = ""
    reload.next_attempt_at = None
    _save_state(reload)


def _save_state(reload: AutoReload) -> None:
    reload.save(update_fields=["declines", "suspension", "suspended_at", "suspended_fingerprint", "next_attempt_at"])


def _last_declined_fingerprint(organization_id: int) -> str:
    ended = (Purchase.State.FAILED, Purchase.State.CANCELED)
    purchase = (
        Purchase.objects.select_related("payment_method")
        .filter(organization_id=organization_id, kind=Purchase.Kind.AUTO_RELOAD, state__in=ended)
        .order_by("-id")
        .first()
    )
    return purchase.payment_method.fingerprint if purchase is not None else ""
