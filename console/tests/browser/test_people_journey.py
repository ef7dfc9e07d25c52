"""People in an organization, in real browsers: from the invitation to the end of the access, and how the pages look."""

import re
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts import invitations
from accounts.models import Membership, Organization, OutboxMessage, User
from accounts.permissions import Role
from accounts.tests import cast
from console.tests.browser import second_factor
from console.tests.browser.windows import WINDOWS, Open, expect_sound

pytestmark = pytest.mark.django_db(transaction=True)

LENA = "lena@partner.example"
MEMBERS = "/o/acme/settings/members/"


@pytest.fixture
def acme() -> Organization:
    """Ada is the only Admin, and Dana a Developer."""
    acme = cast.organization("Acme")
    cast.member(acme, role=Role.ADMIN, user=cast.person("ada@acme.example", name="Ada Admin"))
    cast.member(acme, role=Role.DEVELOPER, user=cast.person("dana@acme.example", name="Dana Developer"))
    return acme


def sign_in(page: Page, email: str) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(cast.PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(re.compile(r"^(?!.*/login/)"))


def link_in_the_mail(site: str) -> str:
    """The link of the last invitation, as its recipient reads it."""
    mail = OutboxMessage.objects.filter(key__startswith="invitation:").last()
    found = re.search(rf"{site}/invitations/[\w-]+/", mail.body if mail else "")
    assert found is not None
    return found[0]


def invite(page: Page, email: str, *, role: Role) -> None:
    """From the list of members, in its dialog."""
    page.goto(MEMBERS)
    page.get_by_role("link", name="Invite").click()
    page.get_by_role("textbox", name="E-mail").fill(email)
    page.get_by_role("dialog").locator(f"input[value={role.value}]").check()
    page.get_by_role("button", name="Send invitation").click()
    expect(page.get_by_text(f"An invitation is on its way to {email}.")).to_be_visible()


def choose_role(page: Page, name: str, *, role: Role) -> None:
    """From the list of members, in its dialog."""
    page.goto(MEMBERS)
    page.get_by_role("link", name=f"Change {name}").click()
    page.get_by_role("dialog").locator(f"input[value={role.value}]").check()
    page.get_by_role("button", name="Save").click()


def test_from_the_invitation_to_the_end_of_the_access(acme: Any, site: str, open_page: Open) -> None:
    ada = User.objects.get(email="ada@acme.example")
    cast.second_factor(ada)
    Organization.objects.filter(pk=acme.pk).update(requires_second_factor=True)
    adas = open_page()
    second_factor.sign_in(adas, ada.email, app=second_factor.App(secret=cast.TOTP_SECRET))
    invite(adas, LENA, role=Role.DEVELOPER)

    lenas = open_page()
    lenas.goto(link_in_the_mail(site))
    assert lenas.url == f"{site}/invitation/"
    join_as_somebody_new(lenas)
    assert lenas.url == f"{site}/o/acme/usage/"
    set_up_factors(lenas)

    lenas.goto("/o/acme/settings/billing/")
    expect(lenas.get_by_role("heading", name="You may not see billing details")).to_be_visible()
    choose_role(adas, "Lena Fischer", role=Role.BILLING)
    expect(adas.get_by_text("Lena Fischer is now Billing.")).to_be_visible()
    expect(adas.get_by_role("row", name="Lena Fischer")).to_contain_text("Passkey")
    lenas.reload()
    expect(lenas.get_by_role("heading", level=1)).to_have_text("Billing")

    adas.get_by_role("link", name="Change Lena Fischer").click()
    adas.get_by_role("link", name="Remove").click()
    adas.get_by_role("button", name="Remove").click()
    expect(adas.get_by_text("Lena Fischer is no longer a member of Acme.")).to_be_visible()
    lenas.reload()
    expect(lenas.get_by_role("heading", name="Nothing at this address")).to_be_visible()
    lenas.goto("/")
    expect(lenas.get_by_role("heading", name="You belong to no organization yet")).to_be_visible()


def join_as_somebody_new(page: Page) -> None:
    """From the page of the invitation: an account with the invited address, then the one click."""
    expect(page.get_by_role("heading", name="Join Acme")).to_be_visible()
    page.get_by_role("link", name="Make an account").click()
    expect(page.get_by_label("E-mail")).to_have_value(LENA)
    page.get_by_label("Your name").fill("Lena Fischer")
    page.get_by_label("Password").fill(cast.PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    page.get_by_role("button", name="Join Acme").click()
    expect(page.get_by_text("Welcome to Acme. Your role is Developer.")).to_be_visible()


def set_up_factors(page: Page) -> None:
    """An app for codes and a passkey; then out, and in again by the passkey alone."""
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Set up an authenticator app").click()
    second_factor.confirm_password(page)
    second_factor.set_up_app(page)
    second_factor.Authenticator(page)
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Add a passkey").click()
    second_factor.confirm_password(page)
    second_factor.add_passkey(page, name="Lena's phone")
    expect(page.get_by_text("Lena's phone")).to_be_visible()
    page.goto("/o/acme/usage/")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    second_factor.sign_in_with_passkey(page)
    page.wait_for_url("**/o/acme/usage/")


def test_inviting_joining_and_changing_a_role_need_no_scripts(acme: Any, site: str, open_page: Open) -> None:
    adas = open_page(width=390, scripts=False)
    sign_in(adas, "ada@acme.example")
    invite(adas, LENA, role=Role.DEVELOPER)
    cast.person(LENA, name="Lena Fischer")
    lenas = open_page(width=390, scripts=False)
    lenas.goto(link_in_the_mail(site))
    lenas.get_by_role("link", name="Sign in").click()
    lenas.get_by_label("E-mail").fill(LENA)
    lenas.get_by_label("Password").fill(cast.PASSWORD)
    lenas.get_by_role("button", name="Sign in", exact=True).click()
    lenas.get_by_role("button", name="Join Acme").click()
    expect(lenas.get_by_text("Welcome to Acme.")).to_be_visible()
    choose_role(adas, "Lena Fischer", role=Role.ADMIN)
    expect(adas.get_by_text("Lena Fischer is now Admin.")).to_be_visible()
    # With another Admin there, Ada may give it up, once she has read what that means.
    choose_role(adas, "Ada Admin", role=Role.USER)
    expect(adas.get_by_role("heading", name="Give up being Admin?")).to_be_visible()
    adas.get_by_role("button", name="Become User").click()
    expect(adas.get_by_text("You are now User of Acme.")).to_be_visible()
    assert Membership.objects.get(user__email="ada@acme.example").role == Role.USER


def test_a_second_organization_is_made_and_reached_by_keyboard(acme: Any, site: str, open_page: Open) -> None:
    page = open_page()
    sign_in(page, "ada@acme.example")
    page.locator("summary.org").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="New organization")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label("Name", exact=True).fill("Borealis Labs")
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Borealis Labs is there, and you are its Admin.")).to_be_visible()
    assert page.url.startswith(f"{site}/o/borealis-labs/")
    page.locator("summary.org").click()
    page.get_by_role("link", name="Acme Admin").click()
    page.wait_for_url("**/o/acme/settings/billing/")


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_every_page_about_people_is_sound(acme: Any, site: str, open_page: Open, scheme: str, width: int) -> None:
    ada = Membership.objects.get(user__email="ada@acme.example").user
    dana = Membership.objects.get(user__email="dana@acme.example")
    cast.member(
        acme, role=Role.ADMIN, user=cast.person("x" * 60 + "@a-very-long-domain.example", name="Maximilian " * 9)
    )
    for email in (LENA, "somebody.with.a.very.long.address@a-very-long-domain.partner.example"):
        invitations.invite(organization=acme, email=email, role=Role.LIMITED_DEVELOPER, actor=ada, at=timezone.now())
    page = open_page(scheme=scheme, width=width)
    for path in (link_in_the_mail(site), "/invitations/none/"):
        page.goto(path)
        expect_sound(page)
    sign_in(page, "ada@acme.example")
    for path in (
        MEMBERS,
        f"{MEMBERS}?q=nobody",
        f"{MEMBERS}{dana.pk}/",
        f"{MEMBERS}{dana.pk}/remove/",
        "/o/acme/settings/invitations/new/",
        "/o/acme/settings/roles/",
        "/o/acme/leave/",
        "/organizations/new/",
        "/invitation/",
    ):
        page.goto(path)
        expect_sound(page)
    page.goto(f"{MEMBERS}{Membership.objects.get(user=ada).pk}/")
    page.get_by_role("dialog").locator("input[value=user]").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Give up being Admin?")).to_be_visible()
    expect_sound(page)
    danas = open_page(scheme=scheme, width=width)
    sign_in(danas, "dana@acme.example")
    danas.goto(MEMBERS)
    expect_sound(danas)
    lenas = open_page(scheme=scheme, width=width)
    cast.person(LENA)
    sign_in(lenas, LENA)
    expect(lenas.get_by_role("heading", name="You are invited")).to_be_visible()
    expect_sound(lenas)
    lenas.get_by_role("link", name="Look").click()
    expect(lenas.get_by_role("heading", name="Join Acme")).to_be_visible()
    expect_sound(lenas)
