"""The two doors that guard all their routes at once: the administration, and the gate."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import service_keys
from accounts.access import routes_of
from accounts.permissions import Role
from accounts.tests import cast
from console import gateway_urls
from console.tests.access_cases import admin_routes

pytestmark = pytest.mark.django_db


@pytest.fixture
def people() -> dict[str, Any]:
    acme = cast.organization("Acme")
    return {
        "admin": cast.member(acme, role=Role.ADMIN).user,
        "stranger": cast.member(cast.organization("Other"), role=Role.ADMIN).user,
        "staff": cast.person(is_staff=True, is_superuser=True),
    }


def client_of(people: dict[str, Any], principal: str) -> Client:
    client = Client()
    if principal != "anonymous":
        client.force_login(people[principal])
    return client


# --- The administration ----------------------------------------------------------------------------------------------


def admin_urls() -> Iterator[str]:
    """One address for each route of the admin, ids and all; nothing has to exist there to be refused."""
    for route in admin_routes():
        pattern = re.sub(r"<[a-z]+:[a-z_]+>", "1", route.pattern)
        pattern = re.sub(r"\(\?P<\w+>[^)]*\)|[\^$]", "1" if "(?P" in pattern else "", pattern)
        yield f"/{pattern}"


def test_the_administration_is_closed_to_everybody_but_staff(people):
    addresses = sorted(set(admin_urls()))
    assert len(addresses) > 20
    for principal in ("anonymous", "admin", "stranger"):
        client = client_of(people, principal)
        for address in addresses:
            for method in ("get", "post"):
                response = getattr(client, method)(address)
                assert response.status_code in (301, 302, 403, 404), (principal, address)
                if response.status_code in (301, 302):
                    assert re.match(r"/accounts/login/|/admin/login/|/admin/", response["Location"]), address


def test_staff_without_rights_see_an_empty_administration(people):
    client = Client()
    client.force_login(cast.person(is_staff=True))
    assert client.get("/admin/").status_code == 200
    for name in ("accounts_user", "accounts_organization", "accounts_auditevent", "accounts_servicekey"):
        assert client.get(reverse(f"admin:{name}_changelist")).status_code == 403


# --- The gate --------------------------------------------------------------------------------------------------------


@pytest.fixture
def _gate_process(settings):
    settings.ROOT_URLCONF = "console.gateway_urls"
    settings.MIDDLEWARE = settings.GATE_MIDDLEWARE


def gate_addresses() -> list[str]:
    return sorted(
        f"/{re.sub(r'<[^>]+>', '1', route.pattern)}"
        for route in routes_of(gateway_urls.urlpatterns)
        if route.pattern.startswith("v1/")
    )


def test_the_gate_process_serves_no_pages():
    patterns = {route.pattern for route in routes_of(gateway_urls.urlpatterns)}
    assert {pattern for pattern in patterns if not pattern.startswith("v1/")} == {"healthz"}
    assert len(patterns) > 7


@pytest.mark.usefixtures("_gate_process")
@pytest.mark.parametrize("principal", ["anonymous", "admin", "staff"])
def test_the_gate_knows_keys_and_never_sessions(people, principal, settings):
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        *settings.GATE_MIDDLEWARE,
    ]
    client = client_of(people, principal)
    revoked = service_keys.issue(name="revoked", actor=None)
    service_keys.revoke(service_key=revoked.service_key, at=timezone.now(), actor=None)
    for address in gate_addresses():
        for method in ("get", "post"):
            for headers in ({}, {"Authorization": f"Bearer {revoked.key_text}"}):
                response = getattr(client, method)(address, headers=headers)
                # 405 for the other method; 404 for ninja's landing page, which has no view.
                assert response.status_code in (401, 404, 405), (address, method)
                assert response.status_code != 404 or address == "/v1/"
