"""Second factors of people: who needs one, and what follows when one changes.

Adding and removing is allauth's work, announced by its signals; what is kept of it, who is told and which sessions end
is decided here. A factor is an authenticator app or a passkey; recovery codes stand in for one and are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest

from accounts import audit, notices, sessions
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.outbox import rendered, send_mail_later
from accounts.permissions import Role

# Whose role an organization can ask a second factor of: those who can spend its money or change who can.
ROLES: Final = frozenset({Role.ADMIN.value, Role.BILLING.value})
KINDS: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
SHORT_NAMES: Final = {Authenticator.Type.TOTP: "Authenticator app", Authenticator.Type.WEBAUTHN: "Passkey"}
NAMES: Final = {Authenticator.Type.TOTP: "an authenticator app", Authenticator.Type.WEBAUTHN: "a passkey"}


class OwnFactors(Exception):
    """Nobody removes their own factors as staff: a stolen session would need nothing else."""


class OfStaff(Exception):
    """Only a superuser removes the factors of staff."""


class NoFactors(Exception):
    """There is nothing to remove."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Who asks a second factor of somebody, and because of what; without an organization, the platform of its staff."""

    organization: Organization | None
    role: str


def has_factor(*, user: User) -> bool:
    """Whether the person signs in with more than a password."""
    return bool(Authenticator.objects.filter(user=user, type__in=KINDS).exists())


def kinds_by_user(*, user_ids: Iterable[int]) -> dict[int, list[str]]:
    """Which kinds of factors each of these people has, in words, as a list shows it; who has none is left out."""
    kinds: dict[int, list[str]] = {}
    held = Authenticator.objects.filter(user__in=list(user_ids), type__in=KINDS).order_by("type")
    for user_id, kind in held.values_list("user_id", "type").distinct():
        kinds.setdefault(user_id, []).append(SHORT_NAMES[kind])
    return kinds


def demands_on(*, user: User) -> list[Demand]:
    """Everyone who asks a second factor of this person, the platform first, then by the organizations' names."""
    memberships = (
        Membership.objects.select_related("organization")
        .filter(user=user, role__in=ROLES, organization__requires_second_factor=True)
        .order_by("organization__name", "organization_id")
    )
    platform = [Demand(organization=None, role="")] if user.is_staff else []
    return platform + [
        Demand(organization=membership.organization, role=membership.get_role_display()) for membership in memberships
    ]


def is_missing(*, membership: Membership) -> bool:
    """Whether this member may not go on in the organization before setting up a second factor."""
    is_asked = membership.organization.requires_second_factor and membership.role in ROLES
    return is_asked and not has_factor(user=membership.user)


def members_without(*, organization: Organization) -> list[Membership]:
    """Admins and Billing members who can sign in and have no second factor, by name."""
    factors = Authenticator.objects.filter(user=OuterRef("user"), type__in=KINDS)
    members = Membership.objects.select_related("user").filter(
        ~Exists(factors), organization=organization, role__in=ROLES, user__is_active=True
    )
    return sorted(members, key=lambda member: (member.user.get_full_name(), member.pk))


def remove_lost(*, user: User, reason: str, actor: User, request: HttpRequest | None = None) -> int:
    """Take all factors and recovery codes from somebody who has lost them; returns how many factors there were.

    For staff who have made sure who asks. Ends all sessions of the person, who signs in with the password alone
    afterwards, and is told, as are the Admins of the organizations that the person is Admin or Billing of. Raises
    ``OwnFactors``, ``OfStaff`` and ``NoFactors``.
    """
    if user.pk == actor.pk:
        raise OwnFactors
    if user.is_staff and not actor.is_superuser:
        raise OfStaff
    with transaction.atomic():
        # As allauth does before it changes recovery codes: one change of a person's factors at a time.
        person = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        removed = list(Authenticator.objects.filter(user=person).order_by("pk"))
        if not removed:
            raise NoFactors
        kinds = [one.type for one in removed]
        Authenticator.objects.filter(pk__in=[one.pk for one in removed]).delete()
        event = _record(
            "second_factor.removed_by_staff",
            user=person,
            actor=actor,
            before={"types": kinds},
            after={"reason": reason},
            request=request,
        )
        sessions.end_others(user=person, kept_key=None, actor=actor, request=request)
        _write_to(person, event=event, template="second_factors_removed")
        _tell_organizations(person, event=event, actor=actor, done="has no second factor any more")
    return sum(kind in KINDS for kind in kinds)


# --- What allauth announces ------------------------------------------------------------------------------------------


def note_added(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    """Receive ``authenticator_added``: for a factor, the sessions that never gave it end."""
    if authenticator.type == Authenticator.Type.RECOVERY_CODES:
        _note_codes(user=user, authenticator=authenticator, request=request)
        return
    with transaction.atomic():
        event = _record(
            "second_factor.added", user=user, actor=user, after={"type": authenticator.type}, request=request
        )
        _end_other_sessions(user, request=request)
        _tell_organizations(user, event=event, actor=user, done=f"added {NAMES[authenticator.type]} as second factor")


def note_removed(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    """Receive ``authenticator_removed``. Recovery codes go with the last factor."""
    if authenticator.type == Authenticator.Type.RECOVERY_CODES:
        _record("recovery_codes.removed", user=user, actor=user, request=request)
        return
    with transaction.atomic():
        event = _record(
            "second_factor.removed", user=user, actor=user, before={"type": authenticator.type}, request=request
        )
        _end_other_sessions(user, request=request)
        _tell_organizations(user, event=event, actor=user, done=f"removed {NAMES[authenticator.type]} as second factor")


def note_reset(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    """Receive ``authenticator_reset``: new recovery codes, the old ones are void."""
    with transaction.atomic():
        event = _note_codes(user=user, authenticator=authenticator, request=request)
        _end_other_sessions(user, request=request)
        _tell_organizations(user, event=event, actor=user, done="made new recovery codes")


def note_used(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    """Receive ``authenticator_used``. A recovery code is worth a mail: it is what a thief finds on paper."""
    if authenticator.type != Authenticator.Type.RECOVERY_CODES:
        return
    left = len(RecoveryCodes(Authenticator.objects.get(pk=authenticator.pk)).get_unused_codes())
    with transaction.atomic():
        event = _record("recovery_code.used", user=user, actor=user, after={"codes_left": left}, request=request)
        _write_to(user, event=event, template="recovery_code_used", codes_left=left)


def note_failed(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    """Receive ``authentication_failed``. Who tried is not known; whose factor it was, is."""
    _record("second_factor.refused", user=user, actor=None, after={"type": authenticator.type}, request=request)


def note_renamed(*, user: User, authenticator: Authenticator, request: HttpRequest) -> None:
    """A passkey has another name; the name itself is the person's and stays out of history."""
    _record("second_factor.renamed", user=user, actor=user, after={"authenticator": authenticator.pk}, request=request)


def mark_as_seen(sender: object, instance: Authenticator, **_: Any) -> None:
    """Receive ``pre_save``: allauth would note the first look at recovery codes, and looking must write nothing."""
    if instance.type == Authenticator.Type.RECOVERY_CODES:
        instance.data.setdefault("viewed_at", instance.created_at.timestamp())


def _note_codes(*, user: User, authenticator: Authenticator, request: HttpRequest) -> AuditEvent:
    return _record("recovery_codes.generated", user=user, actor=user, request=request)


def _end_other_sessions(user: User, *, request: HttpRequest) -> None:
    """Sign the person out where the change was not made: a session from before it never gave the factor."""
    sessions.end_others(user=user, kept_key=request.session.session_key, actor=user, request=request)


def _record(
    action: str,
    *,
    user: User,
    actor: User | None,
    request: HttpRequest | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEvent:
    return audit.record(
        organization=None,
        actor=actor,
        action=action,
        target=f"user:{user.pk}",
        before=before,
        after=after,
        request=request,
    )


def _write_to(user: User, *, event: AuditEvent, template: str, **context: Any) -> None:
    """One mail to the person; its first line is the subject."""
    full = {"platform_name": settings.PLATFORM_NAME, "site_url": settings.SITE_URL, **context}
    subject, body = rendered(template, full)
    send_mail_later(to=[user.email], subject=subject, body=body, key=f"{template}:{event.pk}")


def _tell_organizations(user: User, *, event: AuditEvent, actor: User, done: str) -> None:
    """Write to those who should know that somebody who can spend or change rights signs in another way now."""
    name = user.get_full_name()
    for organization in _organizations_of(user):
        notices.tell_people(
            organization=organization,
            actor=actor,
            kind="second_factor",
            subject=f"{name} {done}",
            body=f"{name}, who is Admin or Billing in {organization.name}, {done}.",
            key=f"{event.pk}:{organization.pk}",
            # Whose factor it is has a mail of their own.
            but=(user,),
        )


def _organizations_of(user: User) -> Iterable[Organization]:
    return Organization.objects.filter(memberships__user=user, memberships__role__in=ROLES).order_by("pk")
