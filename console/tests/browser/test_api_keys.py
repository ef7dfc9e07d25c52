"""API keys and the stop of all usage in a real browser: shown once, sound in every look, usable without scripts."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts import api_keys
from accounts.models import ApiKey, Organization
from accounts.permissions import Role
from accounts.tests import cast
from console.tests.browser.test_shell import WINDOWS, expect_sound

pytestmark = pytest.mark.django_db(transaction=True)

Open = Callable[..., Page]


@pytest.fixture
def acme(settings, live_server) -> Organization:
    settings.SITE_URL = live_server.url
    settings.CSRF_TRUSTED_ORIGINS = [live_server.url]
    acme = cast.organization("Acme", time_zone="Europe/Berlin")
    maya = cast.person("maya@acme.example", name="Maya Lindqvist")
    cast.member(acme, role=Role.ADMIN, user=maya)
    for name in ("production-api", "a name that is rather long and goes on for more than one line of the list"):
        api_keys.create(
            organization=acme, name=name, surface=ApiKey.Surface.API, expires_at=None, actor=maya, request=None
        )
    return acme


@pytest.fixture
def open_page(browser: Browser, live_server, acme) -> Iterator[Open]:
    contexts = []

    def open_page(*, scheme: str = "light", width: int = 1280, scripts: bool = True) -> Page:
        context = browser.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": 844},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=scripts,
        )
        contexts.append(context)
        page = context.new_page()
        page.goto("/accounts/login/")
        page.get_by_label("E-mail").fill("maya@acme.example")
        page.get_by_label("Password").fill(cast.PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url("**/o/acme/**")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_every_look_of_the_keys_is_sound(open_page, scheme, width):
    page = open_page(scheme=scheme, width=width)
    key = ApiKey.objects.earliest("pk")
    for path in ("", "new/", f"{key.pk}/", f"{key.pk}/rotate/", f"{key.pk}/revoke/"):
        answer = page.goto(f"/o/acme/keys/{path}")
        assert answer is not None
        assert answer.ok, path
        expect_sound(page)


def test_a_key_is_shown_once_and_ended_without_scripts(open_page):
    page = open_page(scripts=False)
    page.goto("/o/acme/keys/new/")
    page.get_by_label("Name").fill("nightly")
    page.locator("form button").last.click()
    shown = re.search(r"ck_live_[A-Za-z0-9]{8}_[A-Za-z0-9]{49}", page.content())
    assert shown is not None
    page.goto("/o/acme/keys/")
    expect(page.get_by_text("nightly").first).to_be_visible()
    assert shown[0] not in page.content()
    key = ApiKey.objects.get(name="nightly")
    page.goto(f"/o/acme/keys/{key.pk}/revoke/")
    page.locator("main form button").last.click()
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_all_usage_is_stopped_in_two_clicks_and_every_page_says_so(open_page):
    page = open_page(scripts=False)
    page.goto("/o/acme/keys/")
    page.get_by_role("link", name=re.compile("Stop all usage")).first.click()
    page.locator("main form button").last.click()
    page.goto("/o/acme/usage/")
    expect(page.get_by_text("All usage is stopped.")).to_be_visible()
