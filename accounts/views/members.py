"""Settings > Members: who belongs to the organization, changing roles, removing members, leaving."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts import invitations, memberships, notices, queries, second_factors
from accounts.access import MemberRequest, any_recent_member, requires
from accounts.member_forms import RoleForm, SearchForm
from accounts.models import Membership, Organization
from accounts.permissions import Permission, Role

MEMBERS_ON_PAGE = 50
KEYS_SHOWN = 10
LAST_ADMIN = "An organization always keeps an Admin. Make somebody else Admin first."


@requires(Permission.MEMBERS_MANAGE)
@require_safe
def members(request: MemberRequest, organization: Organization) -> HttpResponse:
    """People and open invitations. The number of queries doesn't grow with them."""
    return render(request, "accounts/members.html", members_context(request, organization))


@requires(Permission.MEMBERS_MANAGE, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def member(request: MemberRequest, organization: Organization, *, membership_id: int) -> HttpResponse:
    """Change a member's role. One's own changes only after a page that says what is given up."""
    found = _member(organization, membership_id)
    if request.method != "POST":
        return _member_page(request, found, RoleForm(initial={"role": found.role}))
    form = RoleForm(request.POST)
    if not form.is_valid():
        return _member_page(request, found, form, status=422)
    role = form.cleaned_data["role"]
    is_own = found.pk == request.membership.pk
    if memberships.is_last_admin(found) and role != Role.ADMIN:
        form.add_error("role", LAST_ADMIN)
        return _member_page(request, found, form, status=422)
    if is_own and role != found.role and not form.cleaned_data["is_confirmed"]:
        return _own_role_page(request, found, role)
    try:
        memberships.change_role(membership=found, role=role, actor=request.user, request=request)
    except memberships.LastAdmin:
        form.add_error("role", LAST_ADMIN)
        return _member_page(request, found, form, status=422)
    except memberships.MembershipEnded:
        messages.info(request, f"{found.user.get_full_name()} is no longer a member.")
        return redirect("members", slug=organization.slug)
    if found.role in (Role.ADMIN, Role.BILLING) and role not in (Role.ADMIN, Role.BILLING):
        addresses = ", ".join(notices.billing_recipients(organization=organization))
        messages.info(request, f"Mail about payments and credit goes to {addresses} from now on.")
    if is_own and role != Role.ADMIN:
        messages.success(request, f"You are now {role.label} of {organization.name}.")
        return redirect("organization", slug=organization.slug)
    messages.success(request, f"{found.user.get_full_name()} is now {role.label}. It counts from now on.")
    return redirect("members", slug=organization.slug)


@requires(Permission.MEMBERS_MANAGE, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def member_remove(request: MemberRequest, organization: Organization, *, membership_id: int) -> HttpResponse:
    """Say what removing means, and remove. One's own membership ends on the page for leaving."""
    found = _member(organization, membership_id)
    if found.pk == request.membership.pk:
        return redirect("leave", slug=organization.slug)
    if request.method != "POST":
        return _remove_page(request, found)
    try:
        memberships.remove_member(membership=found, actor=request.user, request=request)
    except memberships.LastAdmin:
        messages.error(request, LAST_ADMIN)
        return _remove_page(request, found, status=422)
    except memberships.MembershipEnded:
        messages.info(request, f"{found.user.get_full_name()} was no longer a member.")
        return redirect("members", slug=organization.slug)
    messages.success(request, f"{found.user.get_full_name()} is no longer a member of {organization.name}.")
    return redirect("members", slug=organization.slug)


@any_recent_member
@require_http_methods(["GET", "HEAD", "POST"])
def leave(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Say what leaving means, and leave."""
    if request.method == "POST":
        try:
            memberships.remove_member(membership=request.membership, actor=request.user, request=request)
        except memberships.MembershipEnded:
            return redirect("home")
        except memberships.LastAdmin:
            return _leave_page(request, organization, status=422)
        messages.success(request, f"You left {organization.name}.")
        return redirect("home")
    return _leave_page(request, organization)


def members_context(request: MemberRequest, organization: Organization) -> dict[str, Any]:
    """What the page shows; dialogs over it show it behind themselves."""
    search = SearchForm(request.GET)
    text, after = search.wanted()
    at = timezone.now()
    page = queries.member_page(organization=organization, search=text, after=after, limit=MEMBERS_ON_PAGE)
    kinds = second_factors.kinds_by_user(user_ids=[entry.user_id for entry in page.members])
    open_invitations = list(invitations.open_of(organization=organization))
    return {
        "organization": organization,
        "page": page,
        "people": [(entry, kinds.get(entry.user_id, [])) for entry in page.members],
        "search": search,
        "search_text": text,
        "is_first_page": not after,
        "member_count": queries.member_count(organization=organization),
        "admin_count": queries.admin_count(organization=organization),
        "invitations": [(invitation, invitation.is_expired(at)) for invitation in open_invitations],
    }


def _member(organization: Organization, membership_id: int) -> Membership:
    found = queries.member_of(organization=organization, membership_id=membership_id)
    if found is None:
        raise Http404
    return found


def _member_page(request: MemberRequest, found: Membership, form: RoleForm, *, status: int = 200) -> HttpResponse:
    context = members_context(request, found.organization)
    context.update(member=found, form=form, is_own=found.pk == request.membership.pk)
    return render(request, "accounts/member.html", context, status=status)


def _own_role_page(request: MemberRequest, found: Membership, role: Role) -> HttpResponse:
    context = members_context(request, found.organization)
    context.update(new_role=role)
    return render(request, "accounts/member_own_role.html", context)


def _remove_page(request: MemberRequest, found: Membership, *, status: int = 200) -> HttpResponse:
    context = members_context(request, found.organization)
    sent = invitations.open_of(organization=found.organization).filter(invited_by=found.user)
    context.update(
        member=found,
        is_last_admin=memberships.is_last_admin(found),
        invitations_sent=sent.count(),
        billing_mail=_billing_mail_without(found),
    )
    context.update(_keys_context(found))
    return render(request, "accounts/member_remove.html", context, status=status)


def _billing_mail_without(found: Membership) -> str:
    """Who gets billing mail once this member is gone, where the member gets it now; otherwise empty."""
    if not found.may(Permission.BILLING_DETAILS_EDIT):
        return ""
    return ", ".join(notices.billing_recipients(organization=found.organization, but=found.user))


def _leave_page(request: MemberRequest, organization: Organization, *, status: int = 200) -> HttpResponse:
    context = {"organization": organization, "is_last_admin": memberships.is_last_admin(request.membership)}
    context.update(_keys_context(request.membership))
    return render(request, "accounts/leave.html", context, status=status)


def _keys_context(membership: Membership) -> dict[str, Any]:
    """The keys that work on when this member is gone: some by name, and how many more."""
    keys = queries.usable_keys_by(user=membership.user, organization=membership.organization, at=timezone.now())
    shown = list(keys[:KEYS_SHOWN])
    return {"keys": shown, "more_keys": keys.count() - len(shown)}
