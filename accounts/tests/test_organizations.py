"""Organizations and their members: always one Admin, every change in history."""

import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, transaction

from accounts import memberships, organizations, queries
from accounts.models import AuditEvent, Membership
from accounts.permissions import Permission, Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db


def test_an_organization_begins_with_its_admin():
    admin, staff = cast.person(), cast.person(is_staff=True)
    made = organizations.create_organization(name=" Acme Robotics ", admin=admin, actor=staff)
    assert (made.name, made.slug, made.time_zone) == ("Acme Robotics", "acme-robotics", "UTC")
    assert Membership.objects.get(organization=made).role == Role.ADMIN
    events = AuditEvent.objects.filter(organization=made, actor=staff).order_by("id")
    assert [event.action for event in events] == ["organization.created", "membership.added"]


def test_a_taken_name_gets_an_address_of_its_own():
    admin = cast.person()
    slugs = [
        organizations.create_organization(name="Acme Robotics", admin=admin, actor=None).slug for _number in range(3)
    ]
    assert slugs == ["acme-robotics", "acme-robotics-2", "acme-robotics-3"]


def test_a_name_without_letters_still_gets_an_address():
    assert organizations.create_organization(name="東京", admin=cast.person(), actor=None).slug == "organization"


def test_a_given_address_that_is_taken_is_refused():
    cast.organization("Acme")
    with pytest.raises(organizations.SlugTaken):
        organizations.create_organization(name="Other", slug="acme", admin=cast.person(), actor=None)


@pytest.mark.parametrize(("name", "time_zone"), [("", "UTC"), ("Acme", "Mars/Olympus"), ("Acme", "")])
def test_an_organization_needs_a_name_and_a_time_zone_that_exists(name, time_zone):
    with pytest.raises(ValidationError):
        organizations.create_organization(name=name, admin=cast.person(), actor=None, time_zone=time_zone)


def test_a_person_is_a_member_once():
    acme = cast.organization()
    user = cast.member(acme).user
    with pytest.raises(memberships.AlreadyMember):
        memberships.add_member(organization=acme, user=user, role=Role.BILLING, actor=None)
    assert Membership.objects.get(organization=acme).role == Role.USER


def test_the_database_refuses_a_second_membership_and_an_unknown_role():
    member = cast.member(cast.organization())
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(organization=member.organization, user=member.user, role=Role.ADMIN)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(pk=member.pk).update(role="owner")


def test_a_changed_role_is_in_history():
    acme, admin = cast.organization(), cast.person()
    member = cast.member(acme, role=Role.DEVELOPER)
    memberships.change_role(membership=member, role=Role.BILLING, actor=admin)
    member.refresh_from_db()
    assert member.role == Role.BILLING
    event = AuditEvent.objects.get(action="membership.role_changed")
    assert (event.organization, event.actor, event.target) == (acme, admin, f"membership:{member.pk}")
    assert event.before == {"user": member.user_id, "role": "developer"}
    assert event.after == {"user": member.user_id, "role": "billing"}


def test_the_same_role_again_changes_nothing():
    member = cast.member(cast.organization(), role=Role.ADMIN)
    memberships.change_role(membership=member, role=Role.ADMIN, actor=None)
    assert not AuditEvent.objects.exists()


def test_a_removed_member_is_gone_and_in_history():
    member = cast.member(cast.organization(), role=Role.BILLING)
    memberships.remove_member(membership=member, actor=None)
    assert not Membership.objects.exists()
    assert AuditEvent.objects.get().before == {"user": member.user_id, "role": "billing"}


def test_the_last_admin_stays():
    acme = cast.organization()
    admin = cast.member(acme, role=Role.ADMIN)
    cast.member(acme, role=Role.BILLING)
    closed = cast.member(acme, role=Role.ADMIN)
    closed.user.is_active = False
    closed.user.save()
    with pytest.raises(memberships.LastAdmin):
        memberships.change_role(membership=admin, role=Role.BILLING, actor=None)
    with pytest.raises(memberships.LastAdmin):
        memberships.remove_member(membership=admin, actor=None)
    admin.refresh_from_db()
    assert admin.role == Role.ADMIN
    assert not AuditEvent.objects.exists()


def change_at_once(*changes):
    """Make the changes in threads that begin together; returns how many were refused for the last Admin."""
    barrier = threading.Barrier(len(changes))
    refused = []

    def make(change):
        barrier.wait(timeout=10)
        try:
            change()
        except memberships.LastAdmin:
            refused.append(change)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=make, args=[change]) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return len(refused)


def demotion(member):
    return lambda: memberships.change_role(membership=member, role=Role.USER, actor=None)


def departure(member):
    return lambda: memberships.remove_member(membership=member, actor=member.user)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("changes", [(demotion, demotion), (departure, departure), (demotion, departure)])
def test_two_admins_who_go_at_once_leave_one(changes):
    acme = cast.organization()
    admins = [cast.member(acme, role=Role.ADMIN) for _number in range(2)]
    assert change_at_once(*(change(admin) for change, admin in zip(changes, admins, strict=True))) == 1
    assert Membership.objects.filter(organization=acme, role=Role.ADMIN).count() == 1


@pytest.mark.django_db(transaction=True)
def test_control_without_the_lock_both_admins_go(monkeypatch):
    barrier = threading.Barrier(2)

    def unlocked(membership):
        return Membership.objects.select_related("user", "organization").get(pk=membership.pk)

    def together(membership):
        """Both look before either has gone."""
        answer = is_last_admin(membership)
        barrier.wait(timeout=10)
        return answer

    is_last_admin = memberships.is_last_admin
    monkeypatch.setattr(memberships, "_locked", unlocked)
    monkeypatch.setattr(memberships, "is_last_admin", together)
    acme = cast.organization()
    admins = [cast.member(acme, role=Role.ADMIN) for _number in range(2)]
    assert change_at_once(*map(demotion, admins)) == 0
    assert not Membership.objects.filter(organization=acme, role=Role.ADMIN).exists()


def test_a_change_to_somebody_who_left_meanwhile_is_refused():
    acme = cast.organization()
    cast.member(acme, role=Role.ADMIN)
    member = cast.member(acme)
    memberships.remove_member(membership=Membership.objects.get(pk=member.pk), actor=None)
    for change in (demotion, departure):
        with pytest.raises(memberships.MembershipEnded):
            change(member)()


def test_who_holds_a_permission_counts_only_those_who_can_sign_in():
    acme = cast.organization()
    billing = cast.member(acme, role=Role.BILLING, name="Bela")
    admin = cast.member(acme, role=Role.ADMIN, name="Ada")
    cast.member(acme, role=Role.DEVELOPER)
    cast.member(cast.organization("Other"), role=Role.ADMIN)
    closed = cast.member(acme, role=Role.ADMIN)
    closed.user.is_active = False
    closed.user.save()
    assert queries.holders_of(organization=acme, permission=Permission.CREDITS_BUY) == [admin, billing]


def test_memberships_are_listed_by_the_name_of_the_organization():
    user = cast.person()
    for name in ("Zeta", "Alpha", "Mid"):
        cast.member(cast.organization(name), user=user)
    assert [member.organization.name for member in queries.memberships_of(user=user)] == ["Alpha", "Mid", "Zeta"]
