"""Where a form leads to afterwards: into this console, whatever the address asked for."""

import pytest
from django.test import Client

from accounts.tests import cast

pytestmark = pytest.mark.django_db

HOSTILE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "////evil.example",
    "https:evil.example",
    "https:///evil.example",
    "http:\\\\evil.example",
    "\\\\evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\n/evil.example",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "//evil.example@testserver/",
    "http://testserver@evil.example/",
    "http://testserver/",
    "evil.example",
    "http://localhost:8000.evil.example/",
    "\x00//evil.example",
    "\x01//evil.example",
]


def is_home(location: str) -> bool:
    """A path of this console, as any browser reads it."""
    return location.startswith("/") and not location.startswith(("//", "/\\")) and not set(location) & set("\t\r\n\\")


@pytest.fixture
def client_of_maya() -> Client:
    client = Client()
    client.force_login(cast.person("maya@acme.example"))
    return client


@pytest.mark.parametrize("target", HOSTILE)
def test_signing_in_leads_nowhere_else(client, target):
    cast.person("maya@acme.example")
    form = {"login": "maya@acme.example", "password": cast.PASSWORD, "next": target}
    assert client.post("/accounts/login/", form)["Location"] == "/"


@pytest.mark.parametrize("target", HOSTILE)
def test_being_signed_in_already_leads_nowhere_else(client_of_maya, target):
    for path in ("/accounts/login/", "/accounts/signup/"):
        response = client_of_maya.get(path, {"next": target})
        assert response.status_code in (200, 302)
        assert is_home(response.headers.get("Location", "/"))


@pytest.mark.parametrize("target", HOSTILE)
def test_forms_of_one_s_account_lead_nowhere_else(client_of_maya, target):
    proof = client_of_maya.post("/accounts/reauthenticate/", {"password": cast.PASSWORD, "next": target})
    new = "another long secret"
    form = {"oldpassword": cast.PASSWORD, "password1": new, "password2": new, "next": target}
    changed = client_of_maya.post("/accounts/password/change/", form)
    out = client_of_maya.post("/accounts/logout/", {"next": target})
    for response in (proof, changed, out):
        assert response.status_code == 302
        assert is_home(response["Location"]), response["Location"]
        assert "evil" not in response["Location"]


@pytest.mark.parametrize("target", ["/o/acme/", "/o/acme/usage/?month=2026-03", "/accounts/profile/"])
def test_paths_of_this_console_are_followed(client, target):
    cast.person("maya@acme.example")
    form = {"login": "maya@acme.example", "password": cast.PASSWORD, "next": target}
    assert client.post("/accounts/login/", form)["Location"] == target
