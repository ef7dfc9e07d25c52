"""Inviting people by mail, and what becomes of an invitation.

A link carries 256 random bits, of which only the SHA-256 is kept. It works once, for seven days, and only for an
account with the invited address: whoever forwards it, forwards nothing. Sent again, it has a new link only.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from accounts import audit, memberships, notices
from accounts.models import Invitation, InvitationMail, Membership, Organization, User
from accounts.outbox import rendered, send_mail_later
from accounts.permissions import Role

LIFETIME: Final = timedelta(days=7)
OPEN_MAXIMUM: Final = 50
# Mails in any 24 hours: the first to an address and five more, and all of an organization.
MAILS_TO_ADDRESS_MAXIMUM: Final = 6
MAILS_OF_ORGANIZATION_MAXIMUM: Final = 100
DAY: Final = timedelta(hours=24)


class InvitationRefused(Exception):
    """What was asked can't be done; the text says why, in words for the person who asked."""


class AlreadyInvited(InvitationRefused):
    """The address has an open invitation to this organization, or belongs to a member."""


class TooManyInvitations(InvitationRefused):
    """A limit on open invitations or on mails is reached."""


class ClosedOrganization(InvitationRefused):
    """The organization was closed: nobody joins it any more."""


class InvitationGone(InvitationRefused):
    """It was accepted or withdrawn, has expired, or another link replaces it."""


class OtherAddress(InvitationRefused):
    """The account doesn't have the invited address, confirmed."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What accepting led to. ``was_member``: the person belonged to the organization already, and the role stays."""

    membership: Membership
    was_member: bool


def token_sha256(token: str) -> str:
    """What is kept of a link's secret."""
    return hashlib.sha256(token.encode()).hexdigest()


def open_of(*, organization: Organization) -> QuerySet[Invitation]:
    """The organization's open invitations, expired ones included, newest first; OPEN_MAXIMUM at most."""
    return Invitation.objects.select_related("invited_by").filter(
        organization=organization, accepted_at=None, revoked_at=None
    )


def acceptable(*, at: datetime) -> QuerySet[Invitation]:
    """All invitations that somebody could accept at ``at``."""
    return Invitation.objects.select_related("organization", "invited_by").filter(
        accepted_at=None, revoked_at=None, expires_at__gt=at, organization__closed_at=None
    )


def acceptable_for(*, user: User, at: datetime) -> QuerySet[Invitation]:
    """What the person could accept: the invitations to confirmed addresses of the account, the latest first."""
    return acceptable(at=at).filter(email__in=confirmed_addresses(user=user))


def confirmed_addresses(*, user: User) -> set[str]:
    """The addresses that are known to be this person's, in lower case."""
    return {
        email.lower() for email in EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    }


def invite(
    *,
    organization: Organization,
    email: str,
    role: Role,
    actor: User,
    at: datetime,
    request: HttpRequest | None = None,
) -> Invitation:
    """Send an invitation. Raises ``AlreadyInvited``, ``TooManyInvitations`` and ``ClosedOrganization``.

    An open invitation to the same address that has expired is withdrawn for the new one.
    """
    email = email.strip().lower()
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        organization = _locked(organization.pk)
        _refuse_known(organization, email=email, at=at)
        for expired in open_of(organization=organization).filter(email=email):
            _revoke(expired, actor=actor, at=at, request=request)
        if open_of(organization=organization).count() >= OPEN_MAXIMUM:
            raise TooManyInvitations(
                f"{OPEN_MAXIMUM} invitations are open, which is the most there can be. Withdraw one that isn't needed."
            )
        _refuse_flood(organization, email=email, at=at)
        invitation = Invitation.objects.create(
            organization=organization,
            email=email,
            role=role,
            token_sha256=token_sha256(token),
            invited_by=actor,
            sent_at=at,
            expires_at=at + LIFETIME,
        )
        _record("invitation.sent", invitation, actor=actor, after={"role": invitation.role}, request=request)
        _mail(invitation, token=token, sender=actor, at=at)
    return invitation


def send_again(*, invitation: Invitation, actor: User, at: datetime, request: HttpRequest | None = None) -> Invitation:
    """Send a new link, which works for LIFETIME from now; the old one is dead. The role stays.

    Raises ``InvitationGone`` when it is no longer open, ``TooManyInvitations`` after too many mails in a day, and
    ``ClosedOrganization``.
    """
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        organization = _locked(invitation.organization_id)
        _refuse_flood(organization, email=invitation.email, at=at)
        changed = _still_open(invitation).update(token_sha256=token_sha256(token), sent_at=at, expires_at=at + LIFETIME)
        if not changed:
            raise InvitationGone("This invitation was accepted or withdrawn a moment ago.")
        current = Invitation.objects.get(pk=invitation.pk)
        current.organization = organization
        _record("invitation.sent_again", current, actor=actor, after={"role": current.role}, request=request)
        _mail(current, token=token, sender=actor, at=at)
    return current


def revoke(*, invitation: Invitation, actor: User, at: datetime, request: HttpRequest | None = None) -> None:
    """Withdraw it: its link is dead at once. Raises ``InvitationGone`` when it is no longer open."""
    with transaction.atomic():
        _revoke(invitation, actor=actor, at=at, request=request)


def accept(*, invitation: Invitation, user: User, at: datetime, request: HttpRequest | None = None) -> Accepted:
    """Make the person a member with the invitation's role; once, whoever asks again or at the same moment.

    Raises ``OtherAddress`` for an account without the invited address, ``InvitationGone`` when it isn't open, and
    ``ClosedOrganization``.
    """
    if invitation.email not in confirmed_addresses(user=user):
        raise OtherAddress(f"The invitation is for {invitation.email}.")
    with transaction.atomic():
        _locked(invitation.organization_id)
        # Conditions on the row itself only: those of a joined table are not looked at again after waiting for the row.
        taken = (
            _still_open(invitation)
            .filter(token_sha256=invitation.token_sha256, expires_at__gt=at)
            .update(accepted_at=at, accepted_by=user)
        )
        if not taken:
            raise InvitationGone("This invitation was accepted, withdrawn or sent again a moment ago.")
        _record("invitation.accepted", invitation, actor=user, after={"role": invitation.role}, request=request)
        try:
            membership = memberships.add_member(
                organization=invitation.organization,
                user=user,
                role=Role(invitation.role),
                actor=user,
                request=request,
            )
        except memberships.AlreadyMember:
            known = Membership.objects.get(organization=invitation.organization, user=user)
            return Accepted(membership=known, was_member=True)
        _tell_of_new_member(membership, invitation=invitation)
    return Accepted(membership=membership, was_member=False)


def _locked(organization_id: int) -> Organization:
    """The organization as it is now, with its row locked: so the limits hold, and nobody joins what is being closed."""
    organization = Organization.objects.select_for_update(no_key=True).get(pk=organization_id)
    if organization.closed_at is not None:
        raise ClosedOrganization(f"{organization.name} is closed. Nobody can be invited any more.")
    return organization


def _still_open(invitation: Invitation) -> QuerySet[Invitation]:
    return Invitation.objects.filter(pk=invitation.pk, accepted_at=None, revoked_at=None)


def _revoke(invitation: Invitation, *, actor: User, at: datetime, request: HttpRequest | None) -> None:
    if not _still_open(invitation).update(revoked_at=at):
        raise InvitationGone("This invitation was accepted or withdrawn a moment ago.")
    _record("invitation.revoked", invitation, actor=actor, before={"role": invitation.role}, request=request)


def _refuse_known(organization: Organization, *, email: str, at: datetime) -> None:
    if Membership.objects.filter(organization=organization, user__email=email).exists():
        raise AlreadyInvited(
            f"{email} is a member of {organization.name} already. You can change the role in the list."
        )
    if open_of(organization=organization).filter(email=email, expires_at__gt=at).exists():
        raise AlreadyInvited(
            f"{email} is invited already. Send that invitation again, or withdraw it to invite with another role."
        )


def _refuse_flood(organization: Organization, *, email: str, at: datetime) -> None:
    """Keep an organization from filling mailboxes. The caller holds the organization's lock."""
    mails = InvitationMail.objects.filter(organization=organization, sent_at__gt=at - DAY)
    if mails.filter(invitation__email=email).count() >= MAILS_TO_ADDRESS_MAXIMUM:
        raise TooManyInvitations(
            f"{email} got {MAILS_TO_ADDRESS_MAXIMUM} invitations within 24 hours. Try again tomorrow, or ask whether "
            "the mails ended up among spam."
        )
    if mails.count() >= MAILS_OF_ORGANIZATION_MAXIMUM:
        raise TooManyInvitations(
            f"{organization.name} sent {MAILS_OF_ORGANIZATION_MAXIMUM} invitations within 24 hours, which is the most "
            "there can be. Try again tomorrow."
        )


def _record(
    action: str,
    invitation: Invitation,
    *,
    actor: User,
    request: HttpRequest | None,
    before: dict[str, str] | None = None,
    after: dict[str, str] | None = None,
) -> None:
    # The address stays in the invitation's row: history names ids.
    audit.record(
        organization=invitation.organization,
        actor=actor,
        action=action,
        target=f"invitation:{invitation.pk}",
        before=before,
        after=after,
        request=request,
    )


def _mail(invitation: Invitation, *, token: str, sender: User, at: datetime) -> None:
    mail = InvitationMail.objects.create(organization=invitation.organization, invitation=invitation, sent_at=at)
    context = {
        "organization": invitation.organization.name,
        "role": invitation.get_role_display(),
        "sender": sender.get_full_name(),
        "sender_email": sender.email,
        "recipient": invitation.email,
        "days": LIFETIME.days,
        "url": settings.SITE_URL + reverse("invitation_link", args=[token]),
        "platform_name": settings.PLATFORM_NAME,
        "site_url": settings.SITE_URL,
    }
    subject, body = rendered("invitation", context)
    send_mail_later(to=[invitation.email], subject=subject, body=body, key=f"invitation:{mail.pk}")


def _tell_of_new_member(membership: Membership, *, invitation: Invitation) -> None:
    context = {
        "name": membership.user.get_full_name(),
        "email": membership.user.email,
        "role": membership.get_role_display(),
        "organization": membership.organization,
        "inviter": invitation.invited_by.get_full_name(),
        "url": settings.SITE_URL + reverse("members", args=[membership.organization.slug]),
        "platform_name": settings.PLATFORM_NAME,
    }
    subject, body = rendered("member_joined", context)
    notices.tell_people(
        organization=membership.organization,
        actor=membership.user,
        kind="role",
        subject=subject,
        body=body,
        key=f"joined:{invitation.pk}",
    )
