"""A stolen session alone changes nothing that matters: every such form asks for a new proof, and goes on after it."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.access import Access, Audience, routes_of
from accounts.models import Organization, User
from accounts.permissions import Permission, Role
from accounts.tests import cast
from console import access_table, urls

pytestmark = pytest.mark.django_db

REAUTHENTICATE = "/accounts/reauthenticate/"
# A form through one of these rights changes card, auto-reload, roles or keys.
SENSITIVE = {Permission.CARD_EDIT, Permission.AUTO_RELOAD_EDIT, Permission.MEMBERS_MANAGE, Permission.KEYS_MANAGE}
# Forms behind such a right that an old sign-in may send, each with its reason.
NEEDS_NO_PROOF = {
    "invitation_withdraw": "takes a way in away, which must be quick",
    "billing:api_key_stop": "stops a key that leaked, which must be quick; going on again asks for a proof",
    "billing:api_key_revoke": "ends a key that leaked, which must be quick",
}
# Forms of one's own account that ask for a proof by themselves or change nothing of worth, each with its reason.
OTHERWISE = {
    "account_reauthenticate": "is the proof",
    "account_change_password": "takes the current password itself",
    "account_set_password": "only for accounts without any password, which have nothing to prove with",
    "account_profile": "a name",
    "account_sessions": "can only sign out",
    "home": "takes no form",
    "mfa_index": "takes no form",
    "mfa_list_webauthn": "takes no form",
    "mfa_view_recovery_codes": "takes no form",
    "mfa_reauthenticate": "is the proof",
    "mfa_reauthenticate_webauthn": "is the proof",
}
# allauth's own forms, which ask by ACCOUNT_REAUTHENTICATION_REQUIRED, with what to post.
OF_ALLAUTH: dict[str, dict[str, str]] = {
    "account_email": {"action_add": "", "email": "new@acme.example"},
    "mfa_activate_totp": {"code": "123456"},
    "mfa_deactivate_totp": {},
    "mfa_generate_recovery_codes": {},
    "mfa_download_recovery_codes": {},
    "mfa_add_webauthn": {"name": "Key", "credential": "{}"},
    "mfa_remove_webauthn": {},
    "mfa_edit_webauthn": {"name": "Key"},
}
WITH_AN_ID = {"mfa_remove_webauthn", "mfa_edit_webauthn"}


@pytest.fixture
def acme() -> Organization:
    return cast.organization("Acme")


@pytest.fixture
def admin(acme: Organization) -> User:
    return cast.member(acme, role=Role.ADMIN, user=cast.person("admin@acme.example")).user


def stale(user: User) -> Client:
    client = Client()
    client.force_login(user)
    cast.grow_stale(client)
    return client


def declared() -> Iterator[tuple[str, str, Access]]:
    """Name, pattern and declaration of every page of the web process."""
    for route in routes_of(urls.urlpatterns):
        access = access_table.access_of(route)
        if access is not None and not route.pattern.startswith("admin/"):
            yield route.name, route.pattern, access


def address_of(pattern: str) -> str:
    """An address of acme's for a route's pattern; its ids needn't exist to be refused."""
    return "/" + re.sub(r"<(int:)?\w+>", "1", pattern.replace("<slug:slug>", "acme"))


def test_every_form_that_changes_what_matters_declares_a_recent_sign_in(admin):
    sensitive = {name: (pattern, access) for name, pattern, access in declared() if access.permission in SENSITIVE}
    assert len(sensitive) >= 10
    client = stale(admin)
    for name, (pattern, access) in sensitive.items():
        if not access.is_recent and name not in NEEDS_NO_PROOF:
            # Without the declaration it has to be a page that only shows something.
            assert client.post(address_of(pattern)).status_code == 405, name
    assert set(NEEDS_NO_PROOF) <= {name for name, (_, access) in sensitive.items() if not access.is_recent}


def test_every_form_of_one_s_own_account_asks_or_has_a_reason():
    names = {name for name, _, access in declared() if access.audience is Audience.SIGNED_IN and not access.is_recent}
    own = {name for name in names if name == "home" or name.startswith(("account_", "mfa_"))}
    assert own == set(OTHERWISE) | set(OF_ALLAUTH)


def addresses() -> list[str]:
    """One address for each route of an organization that declares ``is_recent``."""
    return sorted(
        address_of(pattern) for _, pattern, access in declared() if access.is_recent and "<slug:slug>" in pattern
    )


def rows() -> dict[str, Any]:
    """Every table but sessions, their activity and counted tries, row by row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        tables = [name for (name,) in cursor.fetchall()]
        found = {}
        for table in tables:
            if table not in {"django_session", "console_cache", "accounts_browsersession", "accounts_throttlecounter"}:
                cursor.execute(f'SELECT t::text FROM "{table}" t ORDER BY 1')
                found[table] = cursor.fetchall()
    return found


def test_no_stale_session_changes_anything_that_matters(acme, admin):
    client = stale(admin)
    before = rows()
    for address in addresses():
        response = client.post(address, {"is_enabled": "on", "minimum": "10", "action": "begin"})
        assert (response.status_code, response["Location"].partition("?")[0]) == (302, REAUTHENTICATE), address
    assert rows() == before


@pytest.mark.parametrize("name", OF_ALLAUTH)
def test_no_stale_session_changes_an_account(admin, name):
    cast.second_factor(admin)
    client = stale(admin)
    before = rows()
    response = client.post(reverse(name, args=[1] if name in WITH_AN_ID else None), OF_ALLAUTH[name])
    assert response.status_code == 302, response.content.decode()
    assert response["Location"].startswith(f"{REAUTHENTICATE}?next=")
    assert rows() == before


def test_a_form_goes_on_after_the_proof_with_all_that_was_typed(admin):
    client = stale(admin)
    response = client.post("/accounts/email/", OF_ALLAUTH["account_email"])
    page = client.get(response["Location"])
    assert "Confirm that it is you" in page.content.decode()
    wrong = client.post(response["Location"], {"password": "wrong"})
    assert "The password is wrong." in wrong.content.decode()
    client.post(response["Location"], {"password": cast.PASSWORD, "next": "/accounts/email/"})
    assert admin.emailaddress_set.filter(email="new@acme.example", verified=False).exists()


def test_a_card_form_that_grew_old_is_led_to_the_proof_by_its_script(acme, admin):
    client = stale(admin)
    url = reverse("billing:card", args=["acme"])
    page = client.get(f"{url}?next=buy")
    assert unquote(page["Location"]) == f"{REAUTHENTICATE}?next={url}?next=buy"
    begun = client.post(url, {"action": "begin"}, headers={"Accept": "application/json"})
    assert (begun.status_code, begun.json()["reauthenticate_url"]) == (401, REAUTHENTICATE)
    # Nothing is kept that would be sent again, as JSON, into the window.
    assert "account_reauthentication_state" not in client.session
    back = client.post(REAUTHENTICATE, {"password": cast.PASSWORD, "next": f"{url}?next=buy"})
    assert back["Location"] == f"{url}?next=buy"
    assert client.get(f"{url}?next=buy").status_code == 200


def test_buying_and_billing_details_need_no_new_proof(acme, admin):
    client = stale(admin)
    for name in ("billing:buy", "billing:billing_details"):
        response = client.post(reverse(name, args=["acme"]), {})
        assert not response.headers.get("Location", "").startswith(REAUTHENTICATE)
