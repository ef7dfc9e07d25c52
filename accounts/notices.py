"""Mail to those who should know of a change that an intruder would make: card, reload, role, key or second factor.

Each tells who did what, when, from where, and what to do if nobody wanted it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, Literal

from django.conf import settings
from django.db import connection

from accounts import audit, current_request
from accounts.models import Organization, User
from accounts.moments import moment_text
from accounts.outbox import send_mail_later
from accounts.permissions import Permission
from accounts.queries import holders_of

Kind = Literal["card", "auto_reload", "role", "key", "second_factor"]

# Who beyond the Admins is told: an app that keeps addresses adds a function here when it is loaded.
extra_recipients: Final[list[Callable[[Organization], Iterable[str]]]] = []


def tell_people(
    *,
    organization: Organization,
    actor: User | None,
    kind: Kind,
    subject: str,
    body: str,
    key: str,
    but: Iterable[User] = (),
) -> None:
    """Write to the organization's Admins but the actor, and to its billing contacts, one mail each.

    In the caller's transaction. ``body`` says what was done; who, when and from where is added to it. ``key`` names the
    change: told again under the same key, nobody gets a second mail. ``but`` are people whom another mail tells.
    """
    admins = holders_of(organization=organization, permission=Permission.MEMBERS_MANAGE)
    addresses = {admin.user.email for admin in admins}
    addresses.update(address.lower() for more in extra_recipients for address in more(organization))
    addresses -= {person.email for person in (*but, *([actor] if actor is not None else []))}
    if not addresses:
        return
    text = f"{body.rstrip()}\n\n{circumstances(organization=organization, actor=actor)}"
    for address in sorted(addresses):
        # The digest, because a key has 200 characters and two long addresses may begin alike.
        digest = hashlib.sha256(address.encode()).hexdigest()[:32]
        send_mail_later(to=[address], subject=subject, body=text, key=f"notice:{kind}:{key}:{digest}")


def billing_recipients(*, organization: Organization, but: User | None = None) -> list[str]:
    """The addresses that get billing mail: Admins and Billing members ``but`` one, and billing contacts."""
    members = holders_of(organization=organization, permission=Permission.BILLING_DETAILS_EDIT)
    addresses = {member.user.email for member in members if but is None or member.user_id != but.pk}
    addresses.update(address for more in extra_recipients for address in more(organization))
    return sorted(addresses)


def circumstances(*, organization: Organization, actor: User | None) -> str:
    """Who did it, when and from where, and what to do if nobody expected it: the end of a mail.

    The time is the database's, of the statement: the change happens in the same transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        (at,) = cursor.fetchone()
    who, address = _who_and_where(organization, actor)
    lines = [f"Who: {who}", f"When: {moment_text(at, organization.zone)}"]
    if address:
        lines.append(f"From: {address}")
    # Spelled out, because mail is also written by processes that serve no page.
    page = f"{settings.SITE_URL}/o/{organization.slug}/"
    return (
        "\n".join(lines)
        + "\n\nIf nobody of you wanted this, somebody may be using an account that is not theirs. Then an Admin can\n"
        f"- see in the audit log what else was done: {page}settings/audit-log/\n"
        f"- take the role of that account away: {page}settings/members/\n"
        f"- stop all usage until it is clear what happened: {page}keys/\n"
    )


def _who_and_where(organization: Organization, actor: User | None) -> tuple[str, str]:
    """A member by name and address of the connection; staff of the platform only by what they are."""
    if actor is None:
        return settings.PLATFORM_NAME, ""
    if audit.role_of(actor=actor, organization=organization, request=None) == audit.STAFF_ROLE:
        return f"staff of {settings.PLATFORM_NAME}", ""
    request = current_request.request_of(actor.pk)
    return actor.get_full_name(), (audit.client_address(request) or "") if request is not None else ""
