"""Who belongs to an organization, and as what. An organization never loses its last Admin."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import Membership, Organization, User
from accounts.permissions import Role


class AlreadyMember(Exception):
    """The user belongs to the organization already; their role is changed, not added."""


class LastAdmin(Exception):
    """The change would leave the organization without an Admin who can log in."""


def add_member(
    *, organization: Organization, user: User, role: Role, actor: User | None, request: HttpRequest | None = None
) -> Membership:
    """Make ``user`` a member with ``role``. Raises ``AlreadyMember``."""
    try:
        with transaction.atomic():
            membership = Membership.objects.create(organization=organization, user=user, role=role)
            audit.record(
                organization=organization,
                actor=actor,
                action="membership.added",
                target=f"membership:{membership.pk}",
                after={"user": user.pk, "role": membership.role},
                request=request,
            )
    except IntegrityError as error:
        if Membership.objects.filter(organization=organization, user=user).exists():
            raise AlreadyMember from error
        raise
    return membership


def change_role(
    *, membership: Membership, role: Role, actor: User | None, request: HttpRequest | None = None
) -> Membership:
    """Give the member another role; the same role again changes nothing. Raises ``LastAdmin``."""
    with transaction.atomic():
        current = _locked(membership)
        if current.role == role:
            return current
        if is_last_admin(current):
            raise LastAdmin
        before, current.role = current.role, role.value
        current.save(update_fields=["role"])
        audit.record(
            organization=current.organization,
            actor=actor,
            action="membership.role_changed",
            target=f"membership:{current.pk}",
            before={"user": current.user_id, "role": before},
            after={"user": current.user_id, "role": current.role},
            request=request,
        )
    return current


def remove_member(*, membership: Membership, actor: User | None, request: HttpRequest | None = None) -> None:
    """End the membership. The next request of an open session is refused already. Raises ``LastAdmin``."""
    with transaction.atomic():
        current = _locked(membership)
        if is_last_admin(current):
            raise LastAdmin
        audit.record(
            organization=current.organization,
            actor=actor,
            action="membership.removed",
            target=f"membership:{current.pk}",
            before={"user": current.user_id, "role": current.role},
            request=request,
        )
        current.delete()


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
    current = Membership.objects.select_related("user").get(pk=membership.pk)
    current.organization = organization
    return current
