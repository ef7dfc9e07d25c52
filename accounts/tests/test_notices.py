"""Who is told of a change that an intruder would make, and what."""

from typing import Any

import pytest
from django.test import RequestFactory
from django.urls import reverse

from accounts import current_request, memberships, notices
from accounts.models import Membership, Organization, OutboxMessage, Role, User
from accounts.tests import cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organization:
    return cast.organization("Acme", time_zone="Europe/Berlin")


@pytest.fixture
def ada(acme) -> User:
    return cast.member(acme, role=Role.ADMIN, name="Ada Admin").user


@pytest.fixture
def other(acme) -> User:
    return cast.member(acme, role=Role.ADMIN, name="Otto Other").user


def contacts(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(notices, "extra_recipients", [lambda organization: addresses])


def tell(acme: Organization, actor: User | None, *, key: str = "1", **values: Any) -> None:
    notices.tell_people(
        organization=acme, actor=actor, kind="role", subject="A role changed", body="Text.", key=key, **values
    )


def told() -> list[str]:
    return sorted(message.recipients[0] for message in OutboxMessage.objects.all())


def test_the_other_admins_and_the_billing_contacts_are_told_once_each(monkeypatch, acme, ada, other):
    cast.member(acme, role=Role.BILLING)
    # A contact may be an Admin, or the actor; case tells nobody apart.
    contacts(monkeypatch, "Books@Example.test", "books@example.test", ada.email.upper(), other.email.upper())
    for _ in range(2):
        tell(acme, ada)
    assert told() == sorted(["books@example.test", other.email])
    tell(acme, ada, key="2")
    assert len(told()) == 4


def test_who_has_a_mail_of_their_own_gets_no_second_one(acme, ada, other):
    tell(acme, ada, but=[other])
    assert told() == []


def test_two_long_addresses_that_begin_alike_are_both_told(monkeypatch, acme):
    addresses = [f"{'x' * 60}@{('y' * 60 + '.') * 3}{end}.test" for end in ("one", "two")]
    contacts(monkeypatch, *addresses)
    tell(acme, None, key="k" * 100)
    assert told() == sorted(addresses)


def test_a_mail_tells_who_when_from_where_and_what_to_do(acme, ada, other):
    request = RequestFactory().post("/", REMOTE_ADDR="192.0.2.7")
    request.user = ada
    with current_request.answering(request):
        tell(acme, ada)
    body = OutboxMessage.objects.get().body
    assert body.startswith("Text.\n\nWho: Ada Admin\nWhen: ")
    when = body.partition("When: ")[2].partition("\n")[0]
    assert " CE" in when
    assert " UTC)" in when
    assert "\nFrom: 192.0.2.7\n" in body
    for page in ("audit_log", "members"):
        assert f"{reverse(page, args=['acme'])}\n" in body


@pytest.mark.parametrize("is_staff", [True, False])
def test_staff_and_the_platform_are_named_as_what_they_are(acme, ada, is_staff, settings):
    staff = cast.person(name="Sam Staff", is_staff=True) if is_staff else None
    request = RequestFactory().post("/", REMOTE_ADDR="192.0.2.9")
    request.user = staff or ada
    with current_request.answering(request):
        tell(acme, staff)
    body = OutboxMessage.objects.get().body
    assert f"Who: {'staff of ' if is_staff else ''}{settings.PLATFORM_NAME}\n" in body
    assert "Sam" not in body
    assert "192.0.2" not in body


def test_a_promoted_or_removed_admin_gets_one_mail_about_it(acme, ada, other):
    cast.member(acme, role=Role.ADMIN)
    person = cast.member(acme, role=Role.USER, name="Uma User")
    memberships.change_role(membership=person, role=Role.ADMIN, actor=ada)
    assert told().count(person.user.email) == 1
    OutboxMessage.objects.all().delete()
    memberships.remove_member(membership=person, actor=ada)
    assert told().count(person.user.email) == 1
    assert told().count(other.email) == 1
    assert ada.email not in told()


def test_a_member_whom_somebody_adds_is_told_to_the_admins(acme, ada, other):
    staff = cast.person(is_staff=True)
    new = cast.person(name="Nina New")
    memberships.add_member(organization=acme, user=new, role=Role.ADMIN, actor=staff)
    assert told() == sorted([ada.email, other.email])
    message = OutboxMessage.objects.first()
    assert message is not None
    assert message.subject == "Nina New was added to Acme"
    assert "as Admin" in message.body
    assert Membership.objects.filter(organization=acme).count() == 3
