"""Closing an organization for good, by its Admin.

Other apps have their part in it without being known here: each registers what it locks, what stands in the way, what it
has to say, and what it does, when it is loaded. All of it happens in one transaction, so an organization is never
closed by half; what needs a network follows after the commit, with a sweep behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from accounts import audit, notices
from accounts.models import ApiKey, Invitation, Membership, Organization, User
from accounts.outbox import rendered, send_mail_later
from accounts.permissions import Permission


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps an organization from being closed: what there is, and what to do about it."""

    what: str
    do: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One app's part in closing.

    ``lock`` comes first and keeps what the app guards from changing until the end of the transaction. ``facts`` are
    shown before anybody confirms. ``close`` runs in the transaction, ``finish`` after it.
    """

    lock: Callable[[Organization], None]
    obstacles: Callable[[Organization], Sequence[Obstacle]]
    facts: Callable[[Organization], dict[str, Any]]
    close: Callable[[Organization, User, datetime, HttpRequest | None], None]
    finish: Callable[[Organization], None]


parts: Final[list[Part]] = []


class NotPossible(Exception):
    """Something stands in the way: ``obstacles``, empty where the actor may not close it (any more)."""

    def __init__(self, obstacles: Sequence[Obstacle] = ()) -> None:
        super().__init__(", ".join(obstacle.what for obstacle in obstacles))
        self.obstacles = tuple(obstacles)


def obstacles_of(organization: Organization) -> list[Obstacle]:
    """What stands in the way now. Reads only."""
    return [obstacle for part in parts for obstacle in part.obstacles(organization)]


def facts_of(organization: Organization) -> dict[str, Any]:
    """What closing would do to what there is now. Reads only."""
    facts: dict[str, Any] = {
        "key_count": ApiKey.objects.filter(organization=organization, revoked_at=None).count(),
        "member_count": Membership.objects.filter(organization=organization).count(),
    }
    for part in parts:
        facts |= part.facts(organization)
    return facts


def close(*, organization: Organization, actor: User, at: datetime, request: HttpRequest | None = None) -> bool:
    """Close it for good; False when it was closed already. Keys end, invitations end, and every app does its part.

    Raises:
        NotPossible: a payment is open, say, or the actor may not (any more).
    """
    with transaction.atomic(durable=True):
        for part in parts:
            part.lock(organization)
        current = Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        if current.is_closed:
            return False
        membership = Membership.objects.filter(organization=current, user=actor, user__is_active=True).first()
        if membership is None or not membership.may(Permission.ORGANIZATION_CLOSE):
            raise NotPossible
        found = obstacles_of(current)
        if found:
            raise NotPossible(found)
        for part in parts:
            part.close(current, actor, at, request)
        _end(current, actor=actor, at=at, request=request)
    for part in parts:
        part.finish(current)
    return True


def _end(organization: Organization, *, actor: User, at: datetime, request: HttpRequest | None) -> None:
    keys = ApiKey.objects.filter(organization=organization, revoked_at=None).update(revoked_at=at, revoked_by=actor)
    invitations = Invitation.objects.filter(organization=organization, accepted_at=None, revoked_at=None).update(
        revoked_at=at
    )
    Organization.objects.filter(pk=organization.pk).update(closed_at=at)
    audit.record(
        organization=organization,
        actor=actor,
        action="organization.closed",
        target=f"organization:{organization.pk}",
        after={"keys_revoked": keys, "invitations_withdrawn": invitations},
        request=request,
    )
    subject, body = rendered(
        "organization_closed",
        {
            "organization": organization.name,
            "actor": actor.get_full_name(),
            "url": f"{settings.SITE_URL}/o/{organization.slug}/",
            "platform": settings.PLATFORM_NAME,
        },
    )
    for address in notices.billing_recipients(organization=organization):
        key = f"organization-closed-{organization.pk}-{address}"[:200]
        send_mail_later(to=[address], subject=subject, body=body, key=key)
