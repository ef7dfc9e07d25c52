"""The one writer of audit events: who did what, to which row, from where.

An event holds ids and plain values, never a name, an address or a secret; callers keep it that way in ``before`` and
``after``. The connection's address and browser go to a side row that can be deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts import audit_actions, current_request
from accounts.models import AuditEvent, AuditOrigin, Membership, Organization, User

if TYPE_CHECKING:
    from allauth.account.models import EmailAddress

USER_AGENT_LENGTH = 400
REFERENCE_LENGTH = 40
STAFF_ROLE = "staff"


def record(
    *,
    organization: Organization | None,
    actor: User | None,
    action: str,
    target: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request: HttpRequest | None = None,
) -> AuditEvent:
    """Add one event to history, in the caller's transaction.

    ``action`` is one of accounts.audit_actions (``membership.added``), ``target`` a kind and an id (``membership:12``).
    ``actor`` is None for what the system did by itself. The request's origin is kept beside the event, and its
    reference in it: of ``request``, or of the one at hand if it is the actor's. The actor's role at this moment is
    noted, because it may be another one tomorrow.

    Raises:
        UnknownAction: nobody has said in accounts.audit_actions what the action is called.
    """
    return _record(
        organization=organization,
        actor=actor,
        action=action,
        target=target,
        before=before,
        after=after,
        request=request,
        once_key=None,
    )


def record_once(
    *,
    organization: Organization | None,
    actor: User | None,
    action: str,
    occasion: str,
    at: datetime,
    target: str = "",
    after: Mapping[str, Any] | None = None,
    request: HttpRequest | None = None,
) -> AuditEvent | None:
    """As ``record``, but once in a minute of the clock for the same organization, actor, action and ``occasion``.

    For what somebody can repeat at will. None when it stands in history already; a unique key decides between two who
    come at once.
    """
    minute = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")
    same = (action, organization and organization.pk, actor and actor.pk, occasion, minute)
    once_key = hashlib.sha256(repr(same).encode()).hexdigest()
    # Looked up first, because each insert that a constraint refuses is an error in the database's log.
    if AuditEvent.objects.filter(once_key=once_key).exists():
        return None
    try:
        with transaction.atomic():
            return _record(
                organization=organization,
                actor=actor,
                action=action,
                target=target,
                before=None,
                after=after,
                request=request,
                once_key=once_key,
            )
    except IntegrityError:
        if AuditEvent.objects.filter(once_key=once_key).exists():
            return None
        raise


def occasion_of(request: HttpRequest) -> str:
    """What a repeated request has in common: its route, whatever ids and parameters it names."""
    match = request.resolver_match
    return match.view_name if match is not None and match.view_name else request.path[:200]


def _record(
    *,
    organization: Organization | None,
    actor: User | None,
    action: str,
    target: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    request: HttpRequest | None,
    once_key: str | None,
) -> AuditEvent:
    audit_actions.check(action)
    if request is None and actor is not None:
        request = current_request.request_of(actor.pk)
    event = AuditEvent.objects.create(
        organization=organization,
        actor=actor,
        role=role_of(actor=actor, organization=organization, request=request),
        action=action,
        target=target,
        before=dict(before) if before is not None else None,
        after=dict(after) if after is not None else None,
        request_id=(getattr(request, "request_id", "") or current_request.reference())[:REFERENCE_LENGTH],
        once_key=once_key,
    )
    if request is not None:
        AuditOrigin.objects.create(
            event=event,
            ip_address=client_address(request),
            user_agent=request.headers.get("User-Agent", "").replace("\x00", "")[:USER_AGENT_LENGTH],
        )
    return event


def role_of(*, actor: User | None, organization: Organization | None, request: HttpRequest | None) -> str:
    """As what the actor acts: the role in the organization, ``staff``, or nothing where neither is so."""
    if actor is None:
        return ""
    if organization is None:
        return STAFF_ROLE if actor.is_staff else ""
    known = getattr(request, "membership", None)
    if known is not None and (known.user_id, known.organization_id) == (actor.pk, organization.pk):
        return str(known.role)
    role = Membership.objects.filter(user=actor, organization=organization).values_list("role", flat=True).first()
    return role or (STAFF_ROLE if actor.is_staff else "")


def client_address(request: HttpRequest) -> str | None:
    """The address of the browser, or None when it can't be told.

    Each trusted proxy appends the address it saw to X-Forwarded-For, so the client's stands TRUSTED_PROXY_COUNT places
    from the right; everything left of it is the client's own claim and is never believed.
    """
    address = request.META.get("REMOTE_ADDR", "")
    proxy_count = settings.TRUSTED_PROXY_COUNT
    if proxy_count:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
        address = hops[-proxy_count] if len(hops) >= proxy_count else ""
    try:
        return str(ip_address(address))
    except ValueError:
        # A Unix socket has no address.
        return None


def record_sign_in(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Receive Django's ``user_logged_in``."""
    record(organization=None, actor=user, action="session.signed_in", target=f"user:{user.pk}", request=request)


def record_sign_out(sender: object, request: HttpRequest, user: User | None, **_: Any) -> None:
    """Receive Django's ``user_logged_out``; signing out without a session leaves nothing to tell."""
    if user is not None:
        record(organization=None, actor=user, action="session.signed_out", target=f"user:{user.pk}", request=request)


def record_failed_sign_in(
    sender: object, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """Receive Django's ``user_login_failed``.

    The typed address is not kept, because people type passwords into that field; a known one leaves its user's id.
    """
    email = credentials.get("email") or credentials.get("username") or ""
    user = User.objects.filter(email=email).first() if isinstance(email, str) and "\x00" not in email else None
    record(
        organization=None,
        actor=None,
        action="session.sign_in_failed",
        target=f"user:{user.pk}" if user else "",
        request=request,
    )


def record_email_change(sender: object, from_email_address: EmailAddress | None = None, **values: Any) -> None:
    """Receive allauth's ``email_changed``, which it also sends when a new account's first address is confirmed."""
    if from_email_address is not None:
        record_own_change(action="email.changed")(sender, **values)


def record_own_change(*, action: str) -> Callable[..., None]:
    """A receiver for one of allauth's signals about what people change on their own account."""

    def receive(
        sender: object,
        request: HttpRequest | None = None,
        user: User | None = None,
        email_address: EmailAddress | None = None,
        **_: Any,
    ) -> None:
        if user is None and email_address is not None:
            user = email_address.user
        is_theirs = request is not None and request.user == user
        record(
            organization=None,
            # A link from a mail works without being signed in; nobody but its recipient is known to have acted then.
            actor=user if is_theirs else None,
            action=action,
            target=f"user:{user.pk}" if user is not None else "",
            request=request,
        )

    return receive
