"""Who may reach a view, declared on the view. The declaration hands over the organization, already resolved.

Strangers get 404, whether the organization exists or not. Members without the right get 403 with the missing permission
and who holds it, and the refusal is audited. A member whose role needs a second factor and who has none is led to set
one up, whatever the page. A view that is reachable without any declaration is an error of the system
check in console.access_table, so forgetting fails the start and not the customer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import URLPattern, URLResolver
from django.utils import timezone

from accounts import audit, queries, reauthentication, second_factors
from accounts.models import Membership, Organization, User
from accounts.permissions import Permission, roles_with

# Where somebody was going who has to set up a second factor first: a path of this console, in their session.
RETURN_TO: Final = "second_factor_return_to"

P = ParamSpec("P")
View = Callable[..., HttpResponseBase]
# Somebody who may type anything: what history keeps of it is cut.
SLUG_LENGTH = 80
METHOD_LENGTH = 16
AnyView = TypeVar("AnyView", bound=Callable[..., HttpResponseBase])


class Audience(StrEnum):
    """Who a route is for."""

    PUBLIC = "public"
    SIGNED_IN = "signed in"
    MEMBER = "member"
    STAFF = "staff"
    SERVICE_KEY = "service key"


@dataclass(frozen=True, kw_only=True)
class Access:
    """The declaration of one route. ``permission`` narrows MEMBER; ``reason`` tells why PUBLIC is right.

    ``is_kept``: it stays open when the organization is closed, to read what is kept.
    ``is_recent``: a change through it needs a sign-in that is minutes old (accounts.reauthentication).
    """

    audience: Audience
    permission: Permission | None = None
    is_recent: bool = False
    is_kept: bool = False
    reason: str = ""


class MemberRequest(HttpRequest):
    """What a view behind ``requires`` or ``any_member`` receives."""

    membership: Membership
    user: User


MemberView = Callable[Concatenate[MemberRequest, Organization, P], HttpResponseBase]


def requires(
    permission: Permission, *, is_recent: bool = False, is_kept: bool = False
) -> Callable[[MemberView[P]], View]:
    """Let in members whose role holds ``permission``; the view is called with ``(request, organization, **kwargs)``.

    Consumes the URL's ``slug``. Sets ``request.membership``. With ``is_recent``, a form is taken only shortly after the
    person has proved who they are; otherwise they prove it again, and the form goes on by itself. With ``is_kept``, it
    stays open when the organization is closed; every other page then only says so.
    """
    return _member_view(Access(audience=Audience.MEMBER, permission=permission, is_recent=is_recent, is_kept=is_kept))


def any_member(view: MemberView[P]) -> View:
    """Let in every member of the organization, whatever the role; otherwise as ``requires``."""
    return _member_view(Access(audience=Audience.MEMBER))(view)


def any_recent_member(view: MemberView[P]) -> View:
    """As ``any_member``, with a form taken only shortly after the person has proved who they are."""
    return _member_view(Access(audience=Audience.MEMBER, is_recent=True))(view)


def signed_in(view: AnyView) -> AnyView:
    """Let in everyone who is signed in, LoginRequiredMiddleware sees to it; for pages of no organization."""
    view.access = Access(audience=Audience.SIGNED_IN)  # type: ignore[attr-defined]
    return view


def signed_in_recently(view: View) -> View:
    """As ``signed_in``, with a form taken only shortly after the person has proved who they are."""

    @wraps(view)
    def checked(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        reauthentication.require_recent(request)
        return view(request, *args, **kwargs)

    checked.access = Access(audience=Audience.SIGNED_IN, is_recent=True)  # type: ignore[attr-defined]
    return checked


def public(reason: str) -> Callable[[AnyView], AnyView]:
    """Let in everyone. ``reason`` says why that is right, or what else guards the view (a signature, say)."""

    def declare(view: AnyView) -> AnyView:
        view.access = Access(audience=Audience.PUBLIC, reason=reason)  # type: ignore[attr-defined]
        return login_not_required(view)

    return declare


def _member_view(access: Access) -> Callable[[MemberView[P]], View]:
    def declare(view: MemberView[P]) -> View:
        @wraps(view)
        def checked(request: HttpRequest, /, *, slug: str, **kwargs: Any) -> HttpResponseBase:
            membership = queries.membership_of(user=request.user, slug=slug)
            if membership is None:
                _note_stranger(request, slug)
                raise Http404
            member_request = cast(MemberRequest, request)
            member_request.membership = membership
            if second_factors.is_missing(membership=membership):
                return second_factor_first(request)
            if membership.organization.is_closed and not access.is_kept:
                return _closed(member_request)
            if access.permission is not None and not membership.may(access.permission):
                return refusal(member_request, access.permission)
            if access.is_recent:
                reauthentication.require_recent(request)
            return view(member_request, membership.organization, **kwargs)  # type: ignore[call-arg]

        checked.access = access  # type: ignore[attr-defined]
        return checked

    return declare


def _note_stranger(request: HttpRequest, slug: str) -> None:
    """Keep that somebody asked for an organization that is not theirs.

    The same work whether it exists or not, and in nobody's audit log: neither the answer, nor its time, nor a row that
    its members read tells one case from the other.
    """
    if isinstance(request.user, User):
        audit.record_once(
            organization=None,
            actor=request.user,
            action="access.not_found",
            occasion=audit.occasion_of(request),
            at=timezone.now(),
            after={"slug": slug[:SLUG_LENGTH], "method": str(request.method)[:METHOD_LENGTH]},
            request=request,
        )


def second_factor_first(request: HttpRequest) -> HttpResponseBase:
    """Lead to the page that says who asks for a second factor and sets one up; it leads back here afterwards."""
    # A form can't be sent again by a link: its page is where one goes on.
    is_page = request.method in reauthentication.SAFE_METHODS
    request.session[RETURN_TO] = request.get_full_path() if is_page else request.path
    return redirect("second_factor_required")


def _closed(request: MemberRequest) -> HttpResponseBase:
    """The audited page for members of a closed organization: that it is closed, and what there is still to read."""
    membership = request.membership
    audit.record_once(
        organization=membership.organization,
        actor=membership.user,
        action="access.closed",
        occasion=audit.occasion_of(request),
        at=timezone.now(),
        target=f"membership:{membership.pk}",
        after={"method": str(request.method)[:METHOD_LENGTH]},
        request=request,
    )
    context = {"organization": membership.organization, "membership": membership}
    return render(request, "organization_closed.html", context, status=403)


def refusal(request: MemberRequest, permission: Permission) -> HttpResponseBase:
    """The audited 403 page for a member: what is missing, which roles have it, and who could help."""
    membership = request.membership
    audit.record_once(
        organization=membership.organization,
        actor=membership.user,
        action="access.refused",
        occasion=f"{permission.value} {audit.occasion_of(request)}",
        at=timezone.now(),
        target=f"membership:{membership.pk}",
        after={"permission": permission.value, "role": membership.role, "method": str(request.method)[:METHOD_LENGTH]},
        request=request,
    )
    context = {
        "organization": membership.organization,
        "membership": membership,
        "permission": permission,
        "roles": roles_with(permission),
        "holders": queries.holders_of(organization=membership.organization, permission=permission),
    }
    return render(request, "403.html", context, status=403)


@dataclass(frozen=True, kw_only=True)
class Route:
    """One reachable pattern of a URLconf: its full path pattern, its name with namespaces, and its view."""

    pattern: str
    name: str
    view: View


def routes_of(
    patterns: list[URLPattern | URLResolver], *, pattern: str = "", namespaces: tuple[str, ...] = ()
) -> Iterator[Route]:
    """Every route below ``patterns``, includes followed."""
    for entry in patterns:
        full = pattern + str(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = (*namespaces, entry.namespace) if entry.namespace else namespaces
            yield from routes_of(entry.url_patterns, pattern=full, namespaces=inner)
        else:
            name = ":".join((*namespaces, entry.name)) if entry.name else ""
            yield Route(pattern=full, name=name, view=entry.callback)


def declared_access(view: View) -> Access | None:
    """What the view declares about itself, None when nothing."""
    access = getattr(view, "access", None)
    return access if isinstance(access, Access) else None
