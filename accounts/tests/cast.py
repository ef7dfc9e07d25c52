"""The people of the tests. Each call makes the rows it names and nothing else."""

import time
from itertools import count
from typing import Any

from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY, record_authentication
from django.http import HttpRequest
from django.test import Client

from accounts.models import Membership, Organization, User
from accounts.permissions import Role

PASSWORD = "correct horse battery"

_number = count(1)


def person(email: str = "", *, name: str = "", is_staff: bool = False, is_superuser: bool = False) -> User:
    """Somebody with a confirmed address and PASSWORD."""
    return User.objects.create_user(
        email or f"person-{next(_number)}@example.test",
        PASSWORD,
        name=name,
        is_email_verified=True,
        is_staff=is_staff,
        is_superuser=is_superuser,
    )


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
