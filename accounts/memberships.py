"""Who belongs to an organization, and as what. An organization never loses its last Admin.

A changed role and an ended membership count from the member's next request on, are told to the person, and to the other
Admins and the billing contacts: an intruder would begin here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.urls import reverse

from accounts import audit, notices
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.outbox import rendered, send_mail_later
from accounts.permissions import Role

# Who else must know that somebody joined, left or has another role: called with the organization, in the transaction.
followers: Final[list[Callable[[Organization], None]]] = []


class AlreadyMember(Exception):
    """The user belongs to the organization already; their role is changed, not added."""


class LastAdmin(Exception):
    """The change would leave the organization without an Admin who can log in."""


class MembershipEnded(Exception):
    """The membership ended a moment ago, by somebody else's hand."""


def add_member(
    *, organization: Organization, user: User, role: Role, actor: User | None, request: HttpRequest | None = None
) -> Membership:
    """Make ``user`` a member with ``role``. Raises ``AlreadyMember``.

    The other Admins are told, unless the actor is the new member, who had an invitation: then that is told.
    """
    try:
        with transaction.atomic():
            membership = Membership.objects.create(organization=organization, user=user, role=role)
            event = audit.record(
                organization=organization,
                actor=actor,
                action="membership.added",
                target=f"membership:{membership.pk}",
                after={"user": user.pk, "role": membership.role},
                request=request,
            )
            if actor is None or actor.pk != user.pk:
                context = _mail_context(membership, actor=actor)
                _tell_others(membership, template="member_added", context=context, actor=actor, event=event)
    except IntegrityError as error:
        if Membership.objects.filter(organization=organization, user=user).exists():
            raise AlreadyMember from error
        raise
    return membership


def change_role(
    *, membership: Membership, role: Role, actor: User | None, request: HttpRequest | None = None
) -> Membership:
    """Give the member another role; the same role again changes nothing.

    Raises ``LastAdmin``, and ``MembershipEnded`` for somebody who is no member any more.
    """
    with transaction.atomic():
        current = _locked(membership)
        if current.role == role:
            return current
        if is_last_admin(current):
            raise LastAdmin
        before, current.role = current.role, role.value
        current.save(update_fields=["role"])
        event = audit.record(
            organization=current.organization,
            actor=actor,
            action="membership.role_changed",
            target=f"membership:{current.pk}",
            before={"user": current.user_id, "role": before},
            after={"user": current.user_id, "role": current.role},
            request=request,
        )
        _follow(current.organization)
        _tell_of_role(current, before=Role(before), actor=actor, event=event)
    return current


def remove_member(*, membership: Membership, actor: User | None, request: HttpRequest | None = None) -> None:
    """End the membership, by the member's own wish too. The next request of an open session is refused already.

    Raises ``LastAdmin``, and ``MembershipEnded`` for somebody who is no member any more.
    """
    with transaction.atomic():
        current = _locked(membership)
        if is_last_admin(current):
            raise LastAdmin
        event = audit.record(
            organization=current.organization,
            actor=actor,
            action="membership.removed",
            target=f"membership:{current.pk}",
            before={"user": current.user_id, "role": current.role},
            request=request,
        )
        _tell_of_end(current, actor=actor, event=event)
        current.delete()
        _follow(current.organization)


def _follow(organization: Organization) -> None:
    for follow in followers:
        follow(organization)


def is_last_admin(membership: Membership) -> bool:
    """Whether no other member could act as Admin if this one no longer did."""
    if membership.role != Role.ADMIN:
        return False
    return not (
        Membership.objects.filter(organization_id=membership.organization_id, role=Role.ADMIN, user__is_active=True)
        .exclude(pk=membership.pk)
        .exists()
    )


def _locked(membership: Membership) -> Membership:
    """The membership as it is now, with its organization locked: two Admins can't demote each other at once."""
    organization = Organization.objects.select_for_update(no_key=True).get(pk=membership.organization_id)
    current = Membership.objects.select_related("user").filter(pk=membership.pk).first()
    if current is None:
        raise MembershipEnded
    current.organization = organization
    return current


def _tell_of_role(membership: Membership, *, before: Role, actor: User | None, event: AuditEvent) -> None:
    context = {**_mail_context(membership, actor=actor), "before": before.label}
    own = {**context, "url": _url("roles", membership.organization)}
    _tell_person(membership, template="role_changed", context=own, actor=actor, event=event)
    _tell_others(membership, template="member_role_changed", context=context, actor=actor, event=event)


def _tell_of_end(membership: Membership, *, actor: User | None, event: AuditEvent) -> None:
    is_own = actor is not None and actor.pk == membership.user_id
    context = {**_mail_context(membership, actor=actor, but=membership.user), "is_own": is_own}
    _tell_person(membership, template="membership_ended", context=context, actor=actor, event=event)
    _tell_others(membership, template="member_gone", context=context, actor=actor, event=event)


def _tell_person(
    membership: Membership, *, template: str, context: dict[str, object], actor: User | None, event: AuditEvent
) -> None:
    """One mail to the member, unless it was their own doing."""
    if actor is not None and actor.pk == membership.user_id:
        return
    subject, body = rendered(template, context)
    send_mail_later(to=[membership.user.email], subject=subject, body=body, key=f"{template}:{event.pk}")


def _tell_others(
    membership: Membership, *, template: str, context: dict[str, object], actor: User | None, event: AuditEvent
) -> None:
    subject, body = rendered(template, context)
    notices.tell_people(
        organization=membership.organization,
        actor=actor,
        kind="role",
        subject=subject,
        body=body,
        key=str(event.pk),
        but=[membership.user],
    )


def _mail_context(membership: Membership, *, actor: User | None, but: User | None = None) -> dict[str, object]:
    return {
        "name": membership.user.get_full_name(),
        "email": membership.user.email,
        "role": membership.get_role_display(),
        "organization": membership.organization.name,
        "actor": _name_of(actor, organization=membership.organization),
        "url": _url("members", membership.organization),
        "billing_mail": ", ".join(notices.billing_recipients(organization=membership.organization, but=but)),
        "platform_name": settings.PLATFORM_NAME,
    }


def _name_of(actor: User | None, *, organization: Organization) -> str:
    """A member by name; staff of the platform act as the platform."""
    if actor is None or not Membership.objects.filter(organization=organization, user=actor).exists():
        return f"{settings.PLATFORM_NAME}'s staff"
    return actor.get_full_name()


def _url(name: str, organization: Organization) -> str:
    return settings.SITE_URL + reverse(name, args=[organization.slug])
