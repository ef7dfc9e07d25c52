"""Reads about people and organizations. Every read of a member's world begins at the membership or the organization."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet

from accounts.models import ApiKey, Membership, Organization, User
from accounts.permissions import Permission, Role, roles_with

_STRENGTH = {role.value: place for place, role in enumerate(Role)}


def membership_of(*, user: User | AnonymousUser, slug: str) -> Membership | None:
    """The user's membership in the organization named ``slug``, with both sides loaded; None for a stranger."""
    if not user.is_authenticated:
        return None
    return Membership.objects.select_related("organization", "user").filter(organization__slug=slug, user=user).first()


def memberships_of(*, user: User | AnonymousUser) -> list[Membership]:
    """All memberships of the user with their organizations, by the organization's name."""
    if not user.is_authenticated:
        return []
    return list(
        Membership.objects.select_related("organization")
        .filter(user=user)
        .order_by("organization__name", "organization_id")
    )


def members_of(*, organization: Organization) -> list[Membership]:
    """The organization's members who may log in, strongest role first, then by name."""
    members = Membership.objects.select_related("user").filter(organization=organization, user__is_active=True)
    return sorted(members, key=lambda member: (_STRENGTH[member.role], member.user.get_full_name(), member.pk))


def holders_of(*, organization: Organization, permission: Permission) -> list[Membership]:
    """The members who hold ``permission`` and can still log in, strongest role first."""
    roles = {role.value for role in roles_with(permission)}
    return [member for member in members_of(organization=organization) if member.role in roles]


@dataclass(frozen=True, kw_only=True)
class MemberPage:
    """Some of an organization's members, in the order in which they joined. ``after`` begins the next page, if any."""

    members: list[Membership]
    after: int | None


def member_page(*, organization: Organization, search: str = "", after: int = 0, limit: int) -> MemberPage:
    """Members whose name or address contains ``search``, from the one that joined next after membership ``after``."""
    members = Membership.objects.select_related("user").filter(organization=organization, pk__gt=after).order_by("pk")
    if search:
        members = members.filter(Q(user__name__icontains=search) | Q(user__email__icontains=search))
    found = list(members[: limit + 1])
    return MemberPage(members=found[:limit], after=found[limit - 1].pk if len(found) > limit else None)


def member_count(*, organization: Organization) -> int:
    """How many people belong to the organization."""
    return Membership.objects.filter(organization=organization).count()


def member_of(*, organization: Organization, membership_id: int) -> Membership | None:
    """The membership with this id, if it is one of this organization."""
    return (
        Membership.objects.select_related("user", "organization")
        .filter(organization=organization, pk=membership_id)
        .first()
    )


def admin_count(*, organization: Organization) -> int:
    """How many Admins can log in."""
    return Membership.objects.filter(organization=organization, role=Role.ADMIN, user__is_active=True).count()


def usable_keys_by(*, user: User, organization: Organization, at: datetime) -> QuerySet[ApiKey]:
    """The organization's keys that this person created, neither revoked nor expired at ``at``, newest first."""
    return (
        ApiKey.objects.filter(organization=organization, created_by=user, revoked_at=None)
        .filter(Q(expires_at=None) | Q(expires_at__gt=at))
        .order_by("-id")
    )
