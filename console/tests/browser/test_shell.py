"""The way in, the shell and its dialogs in a real browser: keyboard, dark mode, phone, no scripts, strict policy."""

import re

import pytest
from playwright.sync_api import Page, expect

from accounts.models import Organization, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast
from console.tests.browser.windows import WINDOWS, expect_sound

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme() -> Organization:
    """Maya is Admin here, and User of a second organization with a long name."""
    acme = cast.organization("Acme", time_zone="Europe/Berlin")
    maya = cast.person("maya@acme.example", name="Maya Lindqvist")
    cast.member(acme, role=Role.ADMIN, user=maya)
    second = cast.organization("Borealis Laboratories and Partners International")
    cast.member(second, role=Role.USER, user=maya)
    cast.member(second, role=Role.ADMIN, name="Ada Admin")
    return acme


def sign_in(page: Page) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("E-mail").fill("maya@acme.example")
    page.get_by_label("Password").fill(cast.PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Billing")


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_every_page_of_people_is_sound(acme, open_page, scheme, width):
    page = open_page(scheme=scheme, width=width)
    for path in (
        "/accounts/login/",
        "/accounts/password/reset/",
        "/accounts/password/reset/done/",
        "/accounts/signup/",
        "/accounts/confirm-email/",
    ):
        page.goto(path)
        expect_sound(page)
    page.goto("/accounts/login/")
    page.get_by_label("E-mail").fill("maya@acme.example")
    page.get_by_label("Password").fill("wrong password")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    expect_sound(page)
    sign_in(page)
    second = "/o/borealis-laboratories-and-partners-international/"
    for path in (
        "/accounts/profile/",
        "/accounts/password/change/",
        "/accounts/email/",
        "/accounts/sessions/",
        "/accounts/logout/",
        "/o/nowhere/",
        second,
        f"{second}settings/billing/",
    ):
        page.goto(path)
        expect_sound(page)


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_menus_are_sound_when_open_and_close_on_escape(acme, open_page, scheme, width):
    page = open_page(scheme=scheme, width=width)
    sign_in(page)
    page.locator("summary.org").click()
    expect(page.get_by_role("link", name="Borealis")).to_be_visible()
    expect_sound(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Borealis")).to_be_hidden()
    expect(page.locator("summary.org")).to_be_focused()
    if width < 800:
        page.get_by_role("button", name="Menu").click()
        expect(page.locator("#nav").get_by_role("link", name="Usage")).to_be_visible()
        expect_sound(page)


def test_the_first_tab_skips_to_the_content(acme, open_page):
    page = open_page()
    sign_in(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_dialog_keeps_the_focus_and_escape_leads_back(acme, open_page):
    page = open_page()
    sign_in(page)
    page.goto("/o/acme/settings/billing/buy/")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for key in ["Tab"] * 9 + ["Shift+Tab"] * 9:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.closest('[role=dialog]') !== null"), key
    page.keyboard.press("Escape")
    page.wait_for_url("**/o/acme/settings/billing/")


def test_a_dialog_opens_over_the_page_and_gives_the_focus_back(acme, open_page):
    page = open_page()
    sign_in(page)
    # The page's own links to dialogs depend on cards and credit; this one stands for them.
    page.evaluate(
        """() => {
            const link = document.createElement("a");
            link.href = "/o/acme/settings/billing/auto-reload/";
            link.dataset.dialog = "";
            link.textContent = "Open it";
            document.querySelector("main").prepend(link);
        }"""
    )
    link = page.get_by_role("link", name="Open it")
    for close in (lambda: page.keyboard.press("Escape"), lambda: page.get_by_role("link", name="Close").click()):
        link.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.url.endswith("/o/acme/settings/billing/")
        assert page.evaluate("document.querySelector('.shell').inert")
        expect_sound(page)
        close()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(link).to_be_focused()
        assert not page.evaluate("document.querySelector('.shell').inert")


def test_without_scripts_everything_is_there(acme, open_page):
    page = open_page(width=390, scripts=False)
    sign_in(page)
    page.locator("summary.org").click()
    expect(page.get_by_role("link", name="Borealis")).to_be_visible()
    page.locator("summary.org").click()
    page.goto("/o/acme/settings/billing/buy/")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("link", name="Close").click()
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_from_signing_up_to_one_s_own_sessions(open_page, settings, scheme, width):
    settings.SIGN_UP_IS_OPEN = True
    page = open_page(scheme=scheme, width=width, scripts=False)
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Sign up").click()
    page.get_by_label("E-mail").fill("noor@new.example")
    page.get_by_label("Your name").fill("Noor Haddad")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_label("Your name")).to_have_value("Noor Haddad")
    expect(page.get_by_text("This password is too short")).to_be_visible()
    page.get_by_label("Password").fill(cast.PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    page.get_by_role("button", name="Send it again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    link = re.search(r"http\S+/accounts/confirm-email/\S+", OutboxMessage.objects.get().body)
    assert link is not None
    page.goto(link[0])
    page.get_by_role("button", name="Yes, confirm").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("You belong to no organization yet")
    page.goto("/accounts/sessions/")
    expect(page.get_by_text("This browser")).to_be_visible()
    page.goto("/accounts/email/")
    page.get_by_label("New address").fill("noor@other.example")
    page.get_by_role("button", name="Change the address").click()
    expect(page.get_by_text("noor@other.example is waiting to be confirmed")).to_be_visible()


def test_too_many_tries_say_how_long_to_wait(acme, open_page):
    page = open_page(width=390)
    for _ in range(6):
        page.goto("/accounts/login/")
        page.get_by_label("E-mail").fill("maya@acme.example")
        page.get_by_label("Password").fill("wrong password")
        page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Too many tries")
    expect(page.get_by_text("for 5 minutes")).to_be_visible()
    expect_sound(page)
