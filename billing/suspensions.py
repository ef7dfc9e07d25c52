"""Suspending an organization by staff, and lifting that: its usage and its purchases stop, its people can still read.

A block of its own kind (billing.credits.usage_blocks): an Admin's stop and a freeze by staff stand and end apart from
it. Members read ``notice``; ``reason`` is for staff and the audit log.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import Organization, User
from billing import emails
from billing.credits import reasons, usage_blocks
from billing.errors import Refused
from billing.models import UsageBlock

NOTICE_LENGTH_MAX: Final = 300


def standing(*, organization_id: int) -> UsageBlock | None:
    """The suspension that stands now, or None."""
    return usage_blocks.suspension(organization_id=organization_id)


def suspend(
    *, organization: Organization, reason: str, notice: str, actor: User, request: HttpRequest | None = None
) -> bool:
    """Suspend it at once, and tell its Admins, Billing members and contacts; False when it was suspended before.

    Raises:
        Refused: no reason (``reason``), or no line for the customer (``notice``).
    """
    reasons.check_reason(reason)
    if not 0 < len(notice.strip()) <= NOTICE_LENGTH_MAX or not notice.isprintable():
        raise Refused(
            f"Write one line of at most {NOTICE_LENGTH_MAX} characters for the customer.", code="notice", field="notice"
        )
    with transaction.atomic():
        is_new = usage_blocks.begin(
            organization=organization, kind=UsageBlock.Kind.SUSPENSION, actor=actor, reason=reason, notice=notice
        )
        if is_new:
            event = audit.record(
                organization=organization,
                actor=actor,
                action="organization.suspended",
                target=f"organization:{organization.pk}",
                before={"is_suspended": False},
                after={"is_suspended": True, "reason": reason, "notice": notice},
                request=request,
            )
            emails.organization_suspended(organization=organization, notice=notice, key=str(event.pk))
    return is_new


def lift(*, organization: Organization, reason: str, actor: User, request: HttpRequest | None = None) -> bool:
    """End the suspension and tell the same people; False when there is none. Other stops go on to stand.

    Raises:
        Refused: no reason (``reason``).
    """
    reasons.check_reason(reason)
    with transaction.atomic():
        ended = usage_blocks.end(organization=organization, kind=UsageBlock.Kind.SUSPENSION, actor=actor)
        if ended:
            event = audit.record(
                organization=organization,
                actor=actor,
                action="organization.suspension_lifted",
                target=f"organization:{organization.pk}",
                before={"is_suspended": True},
                after={"is_suspended": False, "reason": reason},
                request=request,
            )
            is_running = not usage_blocks.standing(organization_id=organization.pk)
            emails.suspension_lifted(organization=organization, is_running=is_running, key=str(event.pk))
    return ended
