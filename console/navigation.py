"""The side bar and the ways into an organization: which pages there are, and which of them a role may use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from accounts import queries
from accounts.access import MemberRequest, any_member, signed_in
from accounts.invitations import acceptable_for
from accounts.models import Membership, Organization, User
from accounts.permissions import Permission


@dataclass(frozen=True, kw_only=True)
class Page:
    """One entry of the side bar. ``path_name`` takes the organization's slug. Without ``permission`` it is for all."""

    label: str
    icon: str
    path_name: str
    permission: Permission | None
    group: str

    def is_for(self, membership: Membership) -> bool:
        """Whether the member may use the page."""
        return self.permission is None or membership.may(self.permission)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A page as the side bar shows it to one member."""

    label: str
    icon: str
    url: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """Links under one heading."""

    label: str
    links: Sequence[Link]


PAGES: Final = (
    Page(
        label="API keys",
        icon="key-round",
        path_name="billing:api_keys",
        permission=Permission.KEYS_MANAGE,
        group="Build",
    ),
    Page(
        label="Usage", icon="chart-column", path_name="billing:usage", permission=Permission.USAGE_VIEW, group="Spend"
    ),
    Page(
        label="Billing",
        icon="wallet",
        path_name="billing:overview",
        permission=Permission.BILLING_VIEW,
        group="Settings",
    ),
    Page(
        label="Organization",
        icon="building-2",
        path_name="organization_settings",
        permission=Permission.ORGANIZATION_EDIT,
        group="Settings",
    ),
    Page(label="Members", icon="users", path_name="members", permission=Permission.MEMBERS_MANAGE, group="Settings"),
    Page(label="Roles", icon="id-card", path_name="roles", permission=None, group="Settings"),
    Page(
        label="Security",
        icon="shield-check",
        path_name="organization_security",
        permission=Permission.ORGANIZATION_EDIT,
        group="Settings",
    ),
    Page(
        label="Audit log",
        icon="scroll-text",
        path_name="audit_log",
        permission=Permission.AUDIT_LOG_VIEW,
        group="Settings",
    ),
)
# Where a member lands: the first of these that the role may use.
LANDING: Final = ("billing:overview", "billing:usage")


def groups_for(membership: Membership, *, path: str) -> list[Group]:
    """The side bar of a member; the link whose page contains ``path`` is the current one."""
    if membership.organization.is_closed:
        return []
    slug = membership.organization.slug
    groups: dict[str, list[Link]] = {}
    for page in PAGES:
        if page.is_for(membership):
            url = reverse(page.path_name, args=[slug])
            link = Link(label=page.label, icon=page.icon, url=url, is_current=path.startswith(url))
            groups.setdefault(page.group, []).append(link)
    return [Group(label=label, links=links) for label, links in groups.items()]


def landing_url(membership: Membership) -> str | None:
    """The first page of the organization that the member may use, or None."""
    by_name = {page.path_name: page for page in PAGES}
    for path_name in LANDING:
        if by_name[path_name].is_for(membership):
            return reverse(path_name, args=[membership.organization.slug])
    return None


@signed_in
def home(request: HttpRequest) -> HttpResponse:
    """Lead to the first organization, by name, or staff to the administration.

    Whoever is invited somewhere, or belongs nowhere, is told what to do.
    """
    user = cast(User, request.user)
    memberships = queries.memberships_of(user=user)
    invitations = list(acceptable_for(user=user, at=timezone.now()))
    if memberships and not invitations:
        first = next((one for one in memberships if not one.organization.is_closed), memberships[0])
        return redirect("organization", slug=first.organization.slug)
    if user.is_staff and not invitations:
        return redirect("admin:index")
    return render(request, "home.html", {"invitations": invitations, "memberships": memberships})


@any_member
def organization_home(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Lead to the first page the role may use; a role without one learns what it is for and who can change it."""
    url = landing_url(request.membership)
    if url is not None:
        return redirect(url)
    admins = queries.holders_of(organization=organization, permission=Permission.MEMBERS_MANAGE)
    return render(request, "organization_home.html", {"organization": organization, "admins": admins})
