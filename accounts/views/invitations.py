"""Inviting, and what the invited see.

The link of the mail carries its secret in the path. The first look at it keeps the secret's digest in the session and
leads on to an address without it, so that the secret stays out of referrers, bookmarks and shared screens. Looking
changes nothing else: programs that follow the links in mails accept nothing.
"""

from typing import cast

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import invitations, queries
from accounts.access import MemberRequest, public, requires, signed_in
from accounts.emails import MAY_SIGN_UP_AS
from accounts.invitations import (
    AlreadyInvited,
    InvitationGone,
    InvitationRefused,
    OtherAddress,
    token_sha256,
)
from accounts.member_forms import InvitationForm
from accounts.models import Invitation, Organization, User
from accounts.permissions import Permission
from accounts.views.members import members_context

# The session's key for the digest of the link that was opened.
OPENED = "invitation_token_sha256"


@requires(Permission.MEMBERS_MANAGE, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def invite(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Ask whom to invite as what, and send the mail."""
    if request.method != "POST":
        return _invite_page(request, organization, InvitationForm())
    form = InvitationForm(request.POST)
    if not form.is_valid():
        return _invite_page(request, organization, form, status=422)
    try:
        sent = invitations.invite(
            organization=organization,
            email=form.cleaned_data["email"],
            role=form.cleaned_data["role"],
            actor=request.user,
            at=timezone.now(),
            request=request,
        )
    except AlreadyInvited as refusal:
        form.add_error("email", str(refusal))
        return _invite_page(request, organization, form, status=422)
    except InvitationRefused as refusal:
        form.add_error(None, str(refusal))
        return _invite_page(request, organization, form, status=422)
    messages.success(request, f"An invitation is on its way to {sent.email}. Its link works for 7 days.")
    return redirect("members", slug=organization.slug)


@requires(Permission.MEMBERS_MANAGE, is_recent=True)
@require_POST
def invitation_send(request: MemberRequest, organization: Organization, *, invitation_id: int) -> HttpResponse:
    """Send it again, with a new link."""
    found = _open_invitation(organization, invitation_id)
    try:
        invitations.send_again(invitation=found, actor=request.user, at=timezone.now(), request=request)
    except InvitationRefused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"A new link is on its way to {found.email}. The old one works no more.")
    return redirect("members", slug=organization.slug)


@requires(Permission.MEMBERS_MANAGE)
@require_POST
def invitation_withdraw(request: MemberRequest, organization: Organization, *, invitation_id: int) -> HttpResponse:
    """End it: the link is dead at once."""
    found = _open_invitation(organization, invitation_id)
    try:
        invitations.revoke(invitation=found, actor=request.user, at=timezone.now(), request=request)
    except InvitationGone as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"The invitation to {found.email} is withdrawn. Its link works no more.")
    return redirect("members", slug=organization.slug)


@public("the secret link of a mail guards it, and looking changes nothing")
@require_safe
def invitation_link(request: HttpRequest, *, token: str) -> HttpResponse:
    """Keep in the session which invitation the link opens, and lead on to an address without the secret."""
    digest = token_sha256(token)
    found = invitations.acceptable(at=timezone.now()).filter(token_sha256=digest).first()
    if found is None:
        response = _gone(request)
    else:
        request.session[OPENED] = digest
        if not request.user.is_authenticated:
            # Whoever has the link got it by mail to this address: sign-up is open for it, and it counts as confirmed.
            request.session[MAY_SIGN_UP_AS] = found.email
        response = redirect("invitation")
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


@public("shows only the invitation whose link was opened in this session")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest) -> HttpResponse:
    """The invitation of this session: how to join, for whoever is signed in, out, or new."""
    digest = request.session.get(OPENED, "")
    found = invitations.acceptable(at=timezone.now()).filter(token_sha256=digest).first() if digest else None
    if found is None:
        return _gone(request)
    if not request.user.is_authenticated:
        return _page(request, found, state="signed_out")
    user = request.user
    if found.email not in invitations.confirmed_addresses(user=user):
        return _page(request, found, state="other_address")
    return _join(request, found)


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def own_invitation(request: HttpRequest, *, invitation_id: int) -> HttpResponse:
    """An invitation to a confirmed address of one's own, from the start page; no link is needed then."""
    user = cast(User, request.user)
    found = invitations.acceptable_for(user=user, at=timezone.now()).filter(pk=invitation_id).first()
    if found is None:
        raise Http404
    return _join(request, found)


def _join(request: HttpRequest, found: Invitation) -> HttpResponse:
    """One button; pressed, the person belongs to the organization."""
    if request.method != "POST":
        return _page(request, found, state="ready")
    try:
        accepted = invitations.accept(
            invitation=found, user=cast(User, request.user), at=timezone.now(), request=request
        )
    except OtherAddress:
        return _page(request, found, state="other_address")
    except InvitationRefused:
        slug = found.organization.slug
        # A second click on the button, which the first has overtaken.
        is_in = queries.membership_of(user=request.user, slug=slug) is not None
        return redirect("organization", slug=slug) if is_in else _gone(request)
    request.session.pop(OPENED, None)
    organization, role = found.organization, accepted.membership.get_role_display()
    if accepted.was_member:
        messages.info(request, f"You belonged to {organization.name} already. Your role stays {role}.")
    else:
        messages.success(request, f"Welcome to {organization.name}. Your role is {role}.")
    return redirect("organization", slug=organization.slug)


def _open_invitation(organization: Organization, invitation_id: int) -> Invitation:
    found = invitations.open_of(organization=organization).filter(pk=invitation_id).first()
    if found is None:
        raise Http404
    found.organization = organization
    return found


def _invite_page(
    request: MemberRequest, organization: Organization, form: InvitationForm, *, status: int = 200
) -> HttpResponse:
    context = members_context(request, organization)
    context["form"] = form
    return render(request, "accounts/invite.html", context, status=status)


def _page(request: HttpRequest, found: Invitation, *, state: str) -> HttpResponse:
    context = {"invitation": found, "state": state, "here": reverse("invitation")}
    return render(request, "accounts/invitation.html", context)


def _gone(request: HttpRequest) -> HttpResponse:
    """One answer, whether the link has expired, was used, withdrawn or replaced, or never was one."""
    return render(request, "accounts/invitation_gone.html", status=410)
