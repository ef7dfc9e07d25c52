"""API keys and the stop of all usage in a real browser: shown once, sound in every look, usable without scripts."""

import re

import pytest
from playwright.sync_api import Page, expect

from accounts import api_keys
from accounts.models import ApiKey, Organization
from accounts.permissions import Role
from accounts.tests import cast
from console.tests.browser import second_factor
from console.tests.browser.windows import WINDOWS, expect_sound

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme() -> Organization:
    acme = cast.organization("Acme", time_zone="Europe/Berlin")
    maya = cast.person("maya@acme.example", name="Maya Lindqvist")
    cast.member(acme, role=Role.ADMIN, user=maya)
    for name in ("production-api", "a name that is rather long and goes on for more than one line of the list"):
        api_keys.create(
            organization=acme, name=name, surface=ApiKey.Surface.API, expires_at=None, actor=maya, request=None
        )
    return acme


def signed_in(page: Page) -> Page:
    second_factor.sign_in(page, "maya@acme.example")
    page.wait_for_url("**/o/acme/**")
    return page


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_every_look_of_the_keys_is_sound(acme, open_page, scheme, width):
    page = signed_in(open_page(scheme=scheme, width=width))
    key = ApiKey.objects.earliest("pk")
    for path in ("", "new/", f"{key.pk}/", f"{key.pk}/rotate/", f"{key.pk}/revoke/"):
        answer = page.goto(f"/o/acme/keys/{path}")
        assert answer is not None
        assert answer.ok, path
        expect_sound(page, f"keys-{scheme}-{width}-{path.strip('/').replace('/', '-')}")


def test_a_key_is_shown_once_and_ended_without_scripts(acme, open_page):
    page = signed_in(open_page(scripts=False))
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


def test_all_usage_is_stopped_in_two_clicks_and_every_page_says_so(acme, open_page):
    page = signed_in(open_page(scripts=False))
    page.goto("/o/acme/keys/")
    page.get_by_role("link", name=re.compile("Stop all usage")).first.click()
    page.locator("main form button").last.click()
    page.goto("/o/acme/usage/")
    expect(page.get_by_text("All usage is stopped.")).to_be_visible()


def test_a_form_that_is_sent_again_makes_no_second_key(acme, open_page):
    page = signed_in(open_page())
    page.goto("/o/acme/keys/new/")
    page.get_by_label("Name").fill("nightly")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_label("nightly")).to_have_value(re.compile("ck_live_"))
    page.reload()
    expect(page.get_by_text("no second key was")).to_be_visible()
    assert ApiKey.objects.filter(name="nightly").count() == 1
