"""Second factors in a real browser: an app's real codes, recovery codes and passkeys, under the strict policy."""

from pathlib import Path

import pytest
from allauth.mfa.models import Authenticator as Factor
from playwright.sync_api import Page, expect

from accounts.models import AuditEvent, Organization, User
from accounts.permissions import Role
from accounts.tests import cast
from console.tests.browser import second_factor
from console.tests.browser.second_factor import App, Authenticator
from console.tests.browser.windows import expect_sound

pytestmark = pytest.mark.django_db(transaction=True)

WINDOWS = [("light", 1280), ("dark", 390)]
MAYA = "maya@acme.example"


@pytest.fixture
def maya() -> User:
    return cast.person(MAYA, name="Maya Lindqvist")


@pytest.fixture
def acme(maya: User) -> Organization:
    acme = cast.organization("Acme")
    cast.member(acme, role=Role.ADMIN, user=maya)
    return acme


def expect_signed_in(page: Page) -> None:
    expect(
        page.get_by_role("button", name="Sign out").or_(page.get_by_role("button", name="Menu")).first
    ).to_be_visible()


def test_an_app_is_set_up_asked_for_and_replaced_by_a_recovery_code_once(maya, acme, open_page):
    page = open_page()
    second_factor.sign_in(page, MAYA)
    expect_signed_in(page)
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Set up an authenticator app").click()
    second_factor.confirm_password(page)
    app, codes = second_factor.set_up_app(page)
    assert len(codes) == 10
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert codes[0] in Path(download.value.path()).read_text()

    by_code = open_page()
    second_factor.sign_in(by_code, MAYA, app=app)
    expect_signed_in(by_code)

    by_recovery_code = open_page()
    second_factor.sign_in(by_recovery_code, MAYA)
    second_factor.give_code(by_recovery_code, codes[0])
    expect_signed_in(by_recovery_code)

    again = open_page()
    second_factor.sign_in(again, MAYA)
    second_factor.give_code(again, codes[0])
    expect(again.get_by_text("That didn't work.")).to_be_visible()
    assert AuditEvent.objects.filter(action="recovery_code.used").count() == 1


def test_a_passkey_is_added_and_signs_in_alone_and_as_second_step(maya, acme, open_page):
    page = open_page()
    phone = Authenticator(page)
    second_factor.sign_in(page, MAYA)
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Add a passkey").click()
    second_factor.confirm_password(page)
    second_factor.add_passkey(page, name="Maya's phone")
    second_factor.recovery_codes(page)
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_text("Maya's phone")).to_be_visible()
    expect(page.get_by_text("Signs in by itself.")).to_be_visible()

    alone = open_page()
    carried = Authenticator(alone)
    carried.hold(phone.credentials())
    second_factor.sign_in_with_passkey(alone)
    expect_signed_in(alone)
    expect(alone.get_by_role("heading", level=1)).to_have_text("Billing")

    second_step = open_page()
    Authenticator(second_step).hold(carried.credentials())
    second_factor.sign_in(second_step, MAYA)
    second_step.get_by_role("button", name="Use a passkey").click()
    expect_signed_in(second_step)


def test_a_passkey_is_renamed_and_removed_and_proves_who_one_is(maya, acme, open_page):
    page = open_page()
    Authenticator(page)
    second_factor.sign_in(page, MAYA)
    page.goto("/accounts/2fa/webauthn/add/")
    second_factor.confirm_password(page)
    second_factor.add_passkey(page)
    # The page that follows has to be there, or going on would be cut off by it.
    expect(page.get_by_text("The passkey is added.")).to_be_visible()
    page.goto("/accounts/2fa/webauthn/reauthenticate/?next=/accounts/2fa/webauthn/")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("link", name="Rename Passkey").click()
    page.get_by_role("textbox", name="Name").fill("Key on the key ring")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Key on the key ring")).to_be_visible()
    page.get_by_role("link", name="Remove Key on the key ring").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("The passkey is removed.")).to_be_visible()
    assert not Factor.objects.exists()


def test_a_passkey_whose_owner_is_not_recognised_says_what_to_do(maya, acme, open_page):
    page = open_page()
    phone = Authenticator(page)
    second_factor.sign_in(page, MAYA)
    page.goto("/accounts/2fa/webauthn/add/")
    second_factor.confirm_password(page)
    phone.recognise_owner(False)
    second_factor.add_passkey(page)
    expect(page.get_by_role("alert")).to_contain_text("Try again when you are ready.")
    expect(page.get_by_role("button", name="Add a passkey")).to_be_enabled()
    assert not Factor.objects.exists()


def test_without_scripts_an_app_is_set_up_and_passkeys_say_that_they_need_them(maya, acme, open_page):
    page = open_page(scripts=False)
    second_factor.sign_in(page, MAYA)
    page.goto("/accounts/2fa/totp/activate/")
    second_factor.confirm_password(page)
    second_factor.set_up_app(page)
    page.goto("/accounts/2fa/webauthn/add/")
    second_factor.confirm_password(page)
    expect(page.get_by_text("Passkeys need JavaScript")).to_be_visible()
    expect(page.get_by_role("button", name="Add a passkey")).to_be_hidden()
    page.goto("/accounts/logout/")


def test_an_admin_requires_a_factor_and_a_billing_member_sets_one_up_and_goes_on(maya, acme, open_page):
    cast.member(acme, role=Role.BILLING, user=cast.person("jonas@acme.example", name="Jonas Weber"))
    cast.second_factor(maya)
    admin = open_page()
    second_factor.sign_in(admin, MAYA, app=App(secret=cast.TOTP_SECRET))
    admin.get_by_role("link", name="Security").click()
    expect(admin.get_by_text("Jonas Weber")).to_be_visible()
    admin.get_by_label("Admin and Billing members need a second factor").check()
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_text("need a second factor from now on")).to_be_visible()

    billing = open_page(width=390)
    second_factor.sign_in(billing, "jonas@acme.example")
    expect(billing.get_by_text("You are Billing there.")).to_be_visible()
    billing.get_by_role("link", name="Use an authenticator app").click()
    second_factor.confirm_password(billing)
    second_factor.set_up_app(billing)
    billing.get_by_role("link", name="I have kept them, go on").click()
    expect(billing.get_by_role("heading", level=1)).to_have_text("Billing")


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_every_page_of_second_factors_is_sound(maya, acme, open_page, scheme, width):
    def look(page: Page, name: str) -> None:
        expect_sound(page, f"{name}-{scheme}-{width}")

    Organization.objects.update(requires_second_factor=True)
    page = open_page(scheme=scheme, width=width)
    Authenticator(page)
    page.goto("/accounts/login/")
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_visible()
    look(page, "login")
    second_factor.sign_in(page, MAYA)
    expect(page.get_by_role("heading", name="Set up a second factor")).to_be_visible()
    look(page, "required")
    page.goto("/accounts/2fa/")
    look(page, "index-empty")
    page.goto("/accounts/reauthenticate/")
    look(page, "confirm")
    page.goto("/accounts/2fa/totp/activate/")
    second_factor.confirm_password(page)
    page.get_by_text("Can't scan it?").click()
    look(page, "app")
    page.get_by_label("Code that the app shows").fill("000000")
    page.get_by_role("button", name="Switch it on").click()
    expect(page.get_by_text("That didn't work.")).to_be_visible()
    look(page, "app-refused")
    app, _codes = second_factor.set_up_app(page)
    look(page, "recovery-codes")
    page.goto("/accounts/2fa/webauthn/add/")
    look(page, "passkey")
    second_factor.add_passkey(page, name="A passkey with rather a long name on my phone")
    expect(page.get_by_text("The passkey is added.")).to_be_visible()
    look(page, "index")
    key = Factor.objects.get(type=Factor.Type.WEBAUTHN)
    for path, name in (
        ("webauthn/", "passkeys"),
        (f"webauthn/keys/{key.pk}/edit/", "passkey-rename"),
        (f"webauthn/keys/{key.pk}/remove/", "passkey-remove"),
        ("webauthn/reauthenticate/", "confirm-passkey"),
        ("reauthenticate/", "confirm-code"),
        ("totp/deactivate/", "app-remove"),
        ("recovery-codes/generate/", "recovery-codes-new"),
    ):
        page.goto(f"/accounts/2fa/{path}")
        look(page, name)
    page.goto("/o/acme/settings/security/")
    look(page, "organization")
    second = open_page(scheme=scheme, width=width)
    second_factor.sign_in(second, MAYA)
    expect(second.get_by_role("heading", name="One more step")).to_be_visible()
    look(second, "second-step")
    second_factor.give_code(second, app.code())
    expect_signed_in(second)
