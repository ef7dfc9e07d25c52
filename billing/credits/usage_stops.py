"""An Admin's stop of all usage: made at once, undone by an Admin too."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest

from accounts import audit, notices
from accounts.models import Organization, User
from billing.credits import usage_blocks
from billing.models import UsageBlock


def stop(*, organization: Organization, actor: User, request: HttpRequest | None = None) -> bool:
    """Refuse all new requests of the organization, from the next one on; False when that was so before.

    Requests under way end as they would and are charged.
    """
    with transaction.atomic():
        if not usage_blocks.begin(organization=organization, kind=UsageBlock.Kind.STOP, actor=actor):
            return False
        _tell(organization, "stopped", actor, request)
    return True


def resume(*, organization: Organization, actor: User, request: HttpRequest | None = None) -> bool:
    """End the stop; False when there was none. What staff froze or the platform suspended stays so."""
    with transaction.atomic():
        if not usage_blocks.end(organization=organization, kind=UsageBlock.Kind.STOP, actor=actor):
            return False
        _tell(organization, "resumed", actor, request)
    return True


def _tell(organization: Organization, done: str, actor: User, request: HttpRequest | None) -> None:
    event = audit.record(
        organization=organization,
        actor=actor,
        action=f"usage.{done}",
        target=f"credit_account:{organization.pk}",
        request=request,
    )
    now = "All new requests are refused: API, Workbench and Claude Code." if done == "stopped" else "Requests go on."
    notices.tell_people(
        organization=organization,
        actor=actor,
        kind="key",
        subject=f"Usage of {organization} was {done}",
        body=f"Usage of {organization} was {done} by {actor.get_full_name()}. {now}\n",
        key=f"event:{event.pk}",
    )
