"""Settings of an organization: who may change them, what stays, what history keeps."""

import pytest
from django.test import Client

from accounts.models import AuditEvent
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db

SETTINGS = "/o/acme/settings/organization/"


@pytest.fixture
def acme():
    return cast.organization("Acme")


@pytest.fixture
def admins_client(acme) -> Client:
    client = Client()
    client.force_login(cast.member(acme, role=Role.ADMIN).user)
    return client


def changes():
    return list(AuditEvent.objects.filter(action="organization.changed").values_list("before", "after"))


def test_an_admin_changes_name_and_time_zone_and_history_has_before_and_after(acme, admins_client):
    response = admins_client.post(SETTINGS, {"name": " Acme  Robotics ", "time_zone": "Europe/Berlin"}, follow=True)
    assert b"The settings are saved." in response.content
    acme.refresh_from_db()
    assert (acme.name, acme.time_zone, acme.slug) == ("Acme Robotics", "Europe/Berlin", "acme")
    assert changes() == [
        ({"name": "Acme", "time_zone": "UTC"}, {"name": "Acme Robotics", "time_zone": "Europe/Berlin"})
    ]


def test_the_same_again_changes_nothing_and_is_not_told(admins_client):
    admins_client.post(SETTINGS, {"name": "Acme", "time_zone": "UTC"})
    assert changes() == []


def test_only_what_changed_is_told(admins_client):
    admins_client.post(SETTINGS, {"name": "Acme", "time_zone": "Asia/Tokyo"})
    assert changes() == [({"time_zone": "UTC"}, {"time_zone": "Asia/Tokyo"})]


def test_the_address_never_changes_whatever_is_sent(acme, admins_client):
    admins_client.post(SETTINGS, {"name": "Acme", "time_zone": "UTC", "slug": "other", "id": "1", "closed_at": "2020"})
    acme.refresh_from_db()
    assert acme.slug == "acme"
    assert b"/o/acme/" in admins_client.get(SETTINGS).content


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "a" * 121},
        {"name": "a\u202eb"},
        {"name": "a\x00b"},
        {"time_zone": "Mars"},
        {"time_zone": ""},
    ],
)
def test_what_can_not_be_is_said_at_its_field_and_nothing_changes(acme, admins_client, wrong):
    response = admins_client.post(SETTINGS, {"name": "New", "time_zone": "UTC", **wrong})
    assert response.status_code == 422
    assert set(response.context["form"].errors) == set(wrong)
    acme.refresh_from_db()
    assert (acme.name, acme.time_zone) == ("Acme", "UTC")


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
def test_nobody_but_an_admin_changes_them(acme, role):
    client = Client()
    client.force_login(cast.member(acme, role=role).user)
    assert client.post(SETTINGS, {"name": "Mine", "time_zone": "UTC"}).status_code == 403
    acme.refresh_from_db()
    assert acme.name == "Acme"
