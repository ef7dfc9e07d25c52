"""Settings > Roles: what each role may do, which one is mine, and who holds which."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import queries
from accounts.access import MemberRequest, any_member
from accounts.models import Organization
from accounts.permissions import Permission, Role, description_of, permissions_of, roles_with

NAMES_MAXIMUM = 10


@dataclass(frozen=True, kw_only=True)
class RoleRow:
    """One role for this member to read about."""

    role: Role
    description: str
    is_mine: bool
    names: list[str]
    more_count: int


@any_member
@require_safe
def roles(request: MemberRequest, organization: Organization) -> HttpResponse:
    """The one table of permissions, as people read it."""
    members = queries.members_of(organization=organization)
    rows = []
    for role in Role:
        names = [member.user.get_full_name() for member in members if member.role == role]
        rows.append(
            RoleRow(
                role=role,
                description=description_of(role),
                is_mine=request.membership.role == role,
                names=names[:NAMES_MAXIMUM],
                more_count=max(len(names) - NAMES_MAXIMUM, 0),
            )
        )
    context = {
        "organization": organization,
        "rows": rows,
        "table": [
            (permission, [(role, permission in permissions_of(role)) for role in Role])
            for permission in sorted(Permission, key=lambda permission: -len(roles_with(permission)))
        ],
    }
    return render(request, "accounts/roles.html", context)
