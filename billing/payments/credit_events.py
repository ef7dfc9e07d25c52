"""What the ledger tells others: reads its events and does what follows from them, each once.

An event is a row of the transaction that made it true, so nobody hears of what was rolled back, and a lost message
loses nothing (case 33). Here a row is claimed, acted on and marked in one transaction of its own: many relays may run
at once, one that dies leaves the row waiting, and an event that can't be handled holds up no other.
"""

import logging
from datetime import datetime

from django.db import transaction

from billing import emails
from billing.models import CreditAccount, CreditEvent, ReloadState
from billing.payments import auto_reload

EVENTS_AT_ONCE_MAX = 200

logger = logging.getLogger(__name__)


def relay(*, at: datetime, limit: int = EVENTS_AT_ONCE_MAX) -> list[int]:
    """Handle at most ``limit`` waiting events, oldest first. Returns the organizations that want a reload attempted.

    Whoever calls makes the attempts; if nobody does, the sweep of accounts that are low will.
    """
    reloads: dict[int, None] = {}
    last_id = 0
    for _ in range(limit):
        event_id = None
        try:
            with transaction.atomic():
                event = _claim(after_id=last_id)
                if event is None:
                    break
                event_id = last_id = event.pk
                if event.kind == CreditEvent.Kind.RELOAD_DUE:
                    reloads[event.organization_id] = None
                else:
                    _tell_exhausted(event, at=at)
                CreditEvent.objects.filter(pk=event.pk).update(handled_at=at)
        except Exception:
            if event_id is None:
                raise
            logger.exception("credit event %s was not handled and stays waiting", event_id)
    return list(reloads)


def _claim(*, after_id: int) -> CreditEvent | None:
    """The next waiting event, locked until the transaction ends; those that another relay works on are left out."""
    waiting = CreditEvent.objects.select_for_update(skip_locked=True).filter(handled_at__isnull=True, pk__gt=after_id)
    return waiting.order_by("pk").first()


def _tell_exhausted(event: CreditEvent, *, at: datetime) -> None:
    """Mail that credit has run out, unless credit has come in since, or the account is not open anyway."""
    account = CreditAccount.objects.select_related("organization").get(organization_id=event.organization_id)
    if account.exhausted_at != event.occurred_at or account.state != CreditAccount.State.OPEN:
        return
    status = auto_reload.status(organization=account.organization, at=at)
    is_coming = status.state == ReloadState.ARMED and status.is_due
    emails.credit_exhausted(
        event=event,
        organization=account.organization,
        # Armed and due, so the attempt comes within seconds; otherwise with the next request that is refused.
        reload_state=ReloadState.CHARGING if is_coming else status.state,
        next_attempt_at=status.until,
    )
