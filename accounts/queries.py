"""Reads about people and organizations. Every read of a member's world begins at the membership or the organization."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser

from accounts.models import Membership, Organization, User
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
