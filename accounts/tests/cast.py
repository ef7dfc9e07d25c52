"""The people of the tests. Each call makes the rows it names and nothing else."""

import time
from itertools import count
from typing import Any

from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY, record_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.http import HttpRequest
from django.test import Client

from accounts.models import Membership, Organization, User
from accounts.permissions import Role

PASSWORD = "correct horse battery"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # pragma: allowlist secret

_number = count(1)


def person(
    email: str = "",
    *,
    name: str = "",
    is_staff: bool = False,
    is_superuser: bool = False,
    has_factor: bool | None = None,
) -> User:
    """Somebody with a confirmed address and PASSWORD; staff, who need one, with an authenticator app too."""
    user = User.objects.create_user(
        email or f"person-{next(_number)}@example.test",
        PASSWORD,
        name=name,
        is_email_verified=True,
        is_staff=is_staff,
        is_superuser=is_superuser,
    )
    if is_staff if has_factor is None else has_factor:
        second_factor(user)
    return user


def second_factor(user: User) -> None:
    """Give the person, who may have some already, an app that shows ``code()`` and recovery codes; nobody is told."""
    if not Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists():
        TOTP.activate(user, TOTP_SECRET)
    RecoveryCodes.activate(user)


def recovery_codes(user: User) -> list[str]:
    """The codes that still work."""
    kept = Authenticator.objects.get(user=user, type=Authenticator.Type.RECOVERY_CODES)
    return list(RecoveryCodes(kept).get_unused_codes())


def code(*, secret: str = TOTP_SECRET, periods_ago: int = 0) -> str:
    """What the app shows now; a code of an earlier period has run out."""
    now, *_others = yield_hotp_counters_from_time()
    return str(format_hotp_value(hotp_value(secret, now - periods_ago)))


def organization(name: str = "Acme Robotics", *, time_zone: str = "UTC") -> Organization:
    """An organization without members."""
    return Organization.objects.create(name=name, slug=name.lower().replace(" ", "-"), time_zone=time_zone)


def member(of: Organization, *, role: Role = Role.USER, user: User | None = None, name: str = "") -> Membership:
    """A member with this role; a new person unless ``user`` is given."""
    return Membership.objects.create(organization=of, user=user or person(name=name), role=role)


def prove(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Receive ``user_logged_in``: ``Client.force_login`` stands for a sign-in, which is a proof of who somebody is."""
    if "REQUEST_METHOD" not in request.META:
        record_authentication(request, user, method="password")


def grow_stale(client: Client, *, seconds: int = 301) -> None:
    """Move the client's proofs of who it is into the past."""
    session = client.session
    records = session.get(AUTHENTICATION_METHODS_SESSION_KEY, [])
    at = time.time() - seconds
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{**record, "at": at} for record in records]
    session.save()
