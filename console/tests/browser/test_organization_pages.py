"""The organization's own pages in a real browser: settings, billing contacts, closing, and what a suspension says."""

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization
from accounts.permissions import Role
from accounts.tests import cast
from billing import contacts, suspensions
from console.tests.browser import second_factor
from console.tests.browser.windows import WINDOWS, expect_sound

pytestmark = pytest.mark.django_db(transaction=True)

NAME_WIDTH_MIN = 120


@pytest.fixture
def acme() -> Organization:
    acme = cast.organization("Acme", time_zone="Europe/Berlin")
    maya = cast.person("maya@acme.example", name="Maya Lindqvist")
    cast.member(acme, role=Role.ADMIN, user=maya)
    contacts.add(
        organization=acme,
        name="Accounts payable, second floor",
        email="accounts.payable@acme.example",
        actor=maya,
        at=timezone.now(),
    )
    suspensions.suspend(
        organization=acme,
        reason="Chargebacks",
        notice="We are looking into two disputed payments. Write to support.",
        actor=cast.person(is_staff=True),
    )
    return acme


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_every_look_is_sound_and_says_that_it_is_suspended(acme, open_page, scheme, width):
    page = open_page(scheme=scheme, width=width)
    second_factor.sign_in(page, "maya@acme.example")
    page.wait_for_url("**/o/acme/**")
    for name in ("organization_settings", "billing:contacts", "organization_close", "organization_security"):
        page.goto(reverse(name, args=["acme"]))
        assert page.get_by_text("two disputed payments").first.is_visible(), name
        expect_sound(page, f"{name.replace(':', '-')}-{scheme}-{width}")


def test_on_a_narrow_window_a_contacts_name_keeps_room_beside_its_buttons(acme, open_page):
    page = open_page(width=390)
    second_factor.sign_in(page, "maya@acme.example")
    page.wait_for_url("**/o/acme/**")
    page.goto(reverse("billing:contacts", args=["acme"]))
    name = page.get_by_text("Accounts payable, second floor").bounding_box()
    remove = page.get_by_role("button", name="Remove").bounding_box()
    card = page.locator("section.card").first.bounding_box()
    assert name is not None
    assert remove is not None
    assert card is not None
    assert name["width"] >= NAME_WIDTH_MIN
    assert remove["x"] + remove["width"] <= card["x"] + card["width"]
