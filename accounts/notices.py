"""Mail to those who should know of a change that an intruder would make: card, reload, role, key or second factor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

from accounts.models import Organization, User
from accounts.outbox import send_mail_later
from accounts.permissions import Permission
from accounts.queries import holders_of

Kind = Literal["card", "auto_reload", "role", "key", "second_factor"]

# Who beyond the Admins is told: an app that keeps addresses adds a function here when it is loaded.
extra_recipients: Final[list[Callable[[Organization], Iterable[str]]]] = []


def tell_people(
    *, organization: Organization, actor: User | None, kind: Kind, subject: str, body: str, key: str
) -> None:
    """Write to the organization's Admins but the actor, and to its billing contacts, one mail each.

    In the caller's transaction. ``key`` names the change: told again under the same key, nobody gets a second mail.
    """
    admins = holders_of(organization=organization, permission=Permission.MEMBERS_MANAGE)
    addresses = {admin.user.email for admin in admins if actor is None or admin.user_id != actor.pk}
    addresses.update(address.lower() for more in extra_recipients for address in more(organization))
    if actor is not None:
        addresses.discard(actor.email)
    for address in sorted(addresses):
        send_mail_later(to=[address], subject=subject, body=body, key=f"notice:{kind}:{key}:{address}"[:200])
