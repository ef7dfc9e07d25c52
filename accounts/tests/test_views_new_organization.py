"""Creating an organization of one's own."""

import re
import threading

import pytest
from allauth.account.models import EmailAddress
from django.db import connections
from django.test import Client

from accounts import organizations
from accounts.models import AuditEvent, Membership, Organization
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db

NEW = "/organizations/new/"
FORM = {"name": "Acme Robotics", "slug": "", "time_zone": "Europe/Berlin"}


def text_of(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


@pytest.fixture
def maya():
    return cast.person("maya@acme.example")


@pytest.fixture
def mayas_client(maya) -> Client:
    client = Client()
    client.force_login(maya)
    return client


def test_the_creator_is_its_admin(maya, mayas_client):
    response = mayas_client.post(NEW, FORM, follow=True)
    assert "Acme Robotics is there, and you are its Admin." in text_of(response)
    made = Organization.objects.get()
    assert (made.name, made.slug, made.time_zone) == ("Acme Robotics", "acme-robotics", "Europe/Berlin")
    assert Membership.objects.get().role == Role.ADMIN
    events = AuditEvent.objects.filter(organization=made, actor=maya)
    assert {event.action for event in events} == {"organization.created", "membership.added"}


def test_an_address_can_be_chosen_and_is_in_lower_case(mayas_client):
    mayas_client.post(NEW, {**FORM, "slug": "Acme-2026"})
    assert Organization.objects.get().slug == "acme-2026"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": ""}, "Write the organization&#x27;s name."),
        ({"name": "x" * 121}, "at most 120 characters"),
        ({"name": "Ac\u202eme"}, "a character that doesn&#x27;t show"),
        ({"name": "Ac\x00me"}, "Null characters are not allowed"),
        ({"slug": "no spaces"}, "Use letters, digits and hyphens only"),
        ({"slug": "../admin"}, "Use letters, digits and hyphens only"),
        ({"slug": "---"}, "Use at least one letter or digit."),
        ({"slug": "taken"}, "This address is taken. Choose another one."),
        ({"time_zone": "Mars/Olympus"}, "Choose one of the time zones."),
        ({"time_zone": ""}, "Choose a time zone."),
    ],
)
def test_what_cannot_be_is_said_at_its_field(mayas_client, change, error):
    cast.organization("taken")
    response = mayas_client.post(NEW, {**FORM, **change})
    assert response.status_code == 422
    assert error in text_of(response)
    assert Organization.objects.count() == 1


def test_whoever_has_not_confirmed_the_address_creates_nothing(maya, mayas_client):
    EmailAddress.objects.filter(user=maya).update(verified=False)
    assert "Confirm your e-mail address first." in text_of(mayas_client.get(NEW))
    assert mayas_client.post(NEW, FORM).status_code == 422
    assert not Organization.objects.exists()


def test_a_person_is_admin_of_ten_organizations_at_most(maya, mayas_client, monkeypatch):
    monkeypatch.setattr(organizations, "ADMIN_OF_MAXIMUM", 1)
    cast.member(cast.organization("Other"), role=Role.USER, user=maya)
    mayas_client.post(NEW, FORM)
    response = mayas_client.post(NEW, {**FORM, "name": "Second"})
    assert response.status_code == 422
    assert "You are Admin of 1 organizations" in text_of(response)
    assert Membership.objects.filter(user=maya, role=Role.ADMIN).count() == 1


@pytest.mark.django_db
def test_a_name_that_was_taken_a_moment_ago_gets_another_address(monkeypatch):
    find = organizations.free_slug

    def too_late(*, name):
        """Somebody else is done between looking and saving."""
        slug = find(name=name)
        if slug == "acme":
            cast.organization("Acme")
        return slug

    monkeypatch.setattr(organizations, "free_slug", too_late)
    made = organizations.create_own_organization(name="Acme", slug="", time_zone="UTC", creator=cast.person())
    assert made.slug == "acme-2"


@pytest.mark.django_db(transaction=True)
def test_two_with_the_same_name_at_once_get_addresses_of_their_own(monkeypatch):
    people = [cast.person(), cast.person()]
    barrier = threading.Barrier(2)
    find = organizations.free_slug
    waited = set()

    def together(*, name):
        """Both look before either has saved: the race, each time."""
        slug = find(name=name)
        if threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            barrier.wait(timeout=10)
        return slug

    monkeypatch.setattr(organizations, "free_slug", together)

    def create(person):
        try:
            organizations.create_own_organization(name="Acme", slug="", time_zone="UTC", creator=person)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create, args=[person]) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(Organization.objects.values_list("slug", flat=True)) == ["acme", "acme-2"]
