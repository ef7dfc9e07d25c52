"""Two organizations with the same rows, and everybody who may come by, made once for all cases of a test module.

Each case runs in a savepoint that is rolled back, with the cookies that its principal had at first. The ids of rows are
far apart from each other and from other numbers on pages, so that an id of one table is none of another's.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Any, Final
from unittest import mock
from uuid import UUID, uuid4

import psycopg
from allauth.account.internal.flows import login as flows
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client, override_settings
from django.utils import timezone

from accounts import audit, service_keys
from accounts.models import Membership, User
from accounts.permissions import Role
from accounts.tests import cast
from billing.api import routes
from billing.api.known import KeyRing, OrganizationIds
from billing.models import Receipt
from billing.tests.buyer import Buyer
from console.tests.access_objects import INVITED, KINDS, Value
from sandbox.stripe.server import StandIn

ID_FIRST: Final = 7_000_000
IDS_PER_TABLE: Final = 10_000
MISSING_NUMBER: Final = 987_654

UNSAFE: Final = "superuser without second factor"
STRANGERS: Final = (
    "without organization",
    "unverified",
    "invited",
    "stranger",
    "former member",
    "staff without rights",
    "staff who may look",
    "superuser",
    UNSAFE,
)
KEYS: Final = ("service key", "revoked service key")
# With nobody behind the session any more: as if there were none.
NOBODY: Final = ("anonymous", "deactivated", *KEYS)
ROLES: Final = tuple(role.value for role in Role)
PRINCIPALS: Final = (*NOBODY, *STRANGERS, *ROLES)
STAFF: Final = ("staff without rights", "staff who may look", "superuser", UNSAFE)


class Side:
    """One organization: its people, its rows, and an object of each kind."""

    def __init__(self, stand_in: StandIn, name: str) -> None:
        self.buyer = Buyer(stand_in, name)
        self.organization = self.buyer.organization
        self.people: dict[str, User] = {"admin": self.buyer.admin, "billing": self.buyer.billing}
        self.people["developer"] = self.buyer.developer
        for role in Role:
            if role.value not in self.people:
                self.people[role.value] = cast.member(self.organization, role=role, name=f"{name} {role.label}").user
        self.buyer.save_card()
        self.buyer.buy(2_500)
        self.buyer.arm()
        self.buyer.spend(100)
        self.objects: dict[str, Value] = {name: make(self) for name, make in KINDS.items()}
        self.receipt_text = Receipt.objects.filter(organization=self.organization)[0].number_text


class World:
    """Both sides, and a browser or key for each principal."""

    def __init__(self, stand_in: StandIn) -> None:
        self.own, self.foreign = Side(stand_in, "Acme"), Side(stand_in, "Other")
        # After everything of the other side, so that a position among its events is another than none.
        audit.record(organization=self.own.organization, actor=None, action="organization.changed")
        self.people: dict[str, User] = {**self.own.people, "stranger": self.foreign.people["admin"]}
        self.people["without organization"] = cast.person()
        self.people["invited"] = cast.person(INVITED)
        self.people["unverified"] = cast.person()
        self.people["former member"] = cast.member(self.own.organization, role=Role.ADMIN).user
        self.people["deactivated"] = cast.member(self.own.organization, role=Role.ADMIN).user
        self.people["staff without rights"] = cast.person(is_staff=True)
        self.people["staff who may look"] = cast.person(is_staff=True)
        self.people["superuser"] = cast.person(is_staff=True, is_superuser=True)
        self.people[UNSAFE] = cast.person(is_staff=True, is_superuser=True)
        for name in ("admin", "billing", "stranger", "staff without rights", "staff who may look", "superuser"):
            cast.second_factor(self.people[name])
        Group.objects.create(name="Support")
        Authenticator.objects.filter(user=self.people[UNSAFE]).delete()
        self.people["staff who may look"].user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        self.keys = {name: service_keys.issue(name=name, actor=None) for name in KEYS}
        revoked = self.keys["revoked service key"].service_key
        service_keys.revoke(service_key=revoked, at=timezone.now(), actor=None)
        self._clients = {name: self._client(name) for name in PRINCIPALS}
        self._strict_clients = {
            name: self._client(name, enforce_csrf_checks=True) for name in ("admin", "superuser", "anonymous")
        }
        self._cookies = {id(client): client.cookies.output() for client in self._every_client()}
        # Sessions that were open before these ends.
        Membership.objects.filter(user=self.people["former member"]).delete()
        User.objects.filter(pk=self.people["deactivated"].pk).update(is_active=False)
        EmailAddress.objects.filter(user=self.people["unverified"]).update(verified=False)

    def client(self, principal: str, *, strict: bool = False) -> Client:
        """The principal's browser as it was at first. ``strict``: with the check of CSRF tokens."""
        client = (self._strict_clients if strict else self._clients)[principal]
        client.cookies = SimpleCookie(self._cookies[id(client)].replace("Set-Cookie: ", ""))
        return client

    def headers(self, principal: str) -> dict[str, str]:
        """What a principal without a browser sends."""
        if principal not in self.keys:
            return {}
        return {"Authorization": f"Bearer {self.keys[principal].key_text}"}

    def request(
        self,
        principal: str,
        method: str,
        address: str,
        fields: Mapping[str, Any] | None = None,
        *,
        strict: bool = False,
    ) -> HttpResponse:
        """One request, in whose course nothing is caught: an error in a view is an error of the test."""
        client = self.client(principal, strict=strict)
        send = getattr(client, method.lower())
        response: HttpResponse = send(address, dict(fields or {}), headers=self.headers(principal))
        return response

    @contextmanager
    def old_sign_in(self, principal: str) -> Iterator[None]:
        """Inside, the principal has last proved who they are a day ago."""
        session = self.client(principal).session
        session[flows.AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "password", "at": time.time() - 86_400}]
        session.save()
        yield

    def _client(self, principal: str, **options: Any) -> Client:
        client = Client(**options)
        user = self.people.get(principal)
        if user is not None:
            client.force_login(user)
            session = client.session
            session[flows.AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "password", "at": time.time()}]
            session[flows._AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
            session.save()
        return client

    def _every_client(self) -> list[Client]:
        return [*self._clients.values(), *self._strict_clients.values()]


def missing_like(value: Value) -> Value:
    """A value of the same shape that names nothing."""
    if isinstance(value, UUID):
        return uuid4()
    if isinstance(value, int):
        return value + IDS_PER_TABLE - 1 if value >= ID_FIRST else MISSING_NUMBER
    return value.translate(str.maketrans("abcdefghijklmnopqrstuvwxyzABCDEFGH", "bcdefghijklmnopqrstuvwxyzaBCDEFGHA"))


@contextmanager
def case() -> Iterator[None]:
    """What happens inside leaves nothing in the database."""
    savepoint = transaction.savepoint()
    try:
        yield
    finally:
        connection.needs_rollback = False
        transaction.savepoint_rollback(savepoint)
        transaction.savepoint_commit(savepoint)


@contextmanager
def a_world(superuser_address: str) -> Iterator[World]:
    """A world in a transaction that is rolled back at the end."""
    spread_ids(superuser_address)
    atomic = transaction.atomic()
    # As in Django's own test cases: a transaction that production needs to be its own may stand inside.
    atomic._from_testcase = True  # type: ignore[attr-defined]
    with (
        StandIn() as stand_in,
        # A proof of who one is counts as recent for the whole of a run, however slow the machine.
        override_settings(STRIPE_API_BASE=stand_in.base_url, ACCOUNT_REAUTHENTICATION_TIMEOUT=12 * 3600),
        mock.patch("billing.tasks.nudge"),
        mock.patch("billing.api.nudges.nudge"),
        mock.patch.object(routes, "organization_ids", OrganizationIds()),
        mock.patch.object(routes, "keys", KeyRing()),
        atomic,
    ):
        yield World(stand_in)
        transaction.set_rollback(True)


def spread_ids(superuser_address: str) -> None:
    """Let the ids of each table begin at a number of its own."""
    with psycopg.connect(superuser_address, autocommit=True) as superuser:
        names = superuser.execute(
            "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'S' ORDER BY 1"
        ).fetchall()
        for place, (name,) in enumerate(names):
            superuser.execute("SELECT setval(%s::regclass, %s)", [name, ID_FIRST + place * IDS_PER_TABLE])
