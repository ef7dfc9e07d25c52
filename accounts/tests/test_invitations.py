"""Invitations: one link, once, for one address, for seven days; and everything that must not be a way around."""

import re
import threading
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from accounts import invitations, memberships
from accounts.models import AuditEvent, Invitation, InvitationMail, Membership, Organization, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db

NOW = timezone.now()
DAY = timedelta(days=1)


def invited(email="lena@partner.example", *, role=Role.BILLING, to=None, at=NOW):
    acme = to or cast.organization()
    admin = cast.member(acme, role=Role.ADMIN, name="Ada Admin").user
    return invitations.invite(organization=acme, email=email, role=role, actor=admin, at=at)


def last_token():
    """The secret in the last mail."""
    mail = OutboxMessage.objects.filter(key__startswith="invitation:").last()
    found = re.search(r"/invitations/([\w-]+)/", mail.body if mail else "")
    assert found is not None
    return found[1]


def test_an_invitation_is_a_mail_with_a_link_and_leaves_no_secret_behind(settings):
    settings.SITE_URL = "https://console.example"
    invitation = invited("Lena@Partner.example")
    mail = OutboxMessage.objects.get()
    assert mail.recipients == ["lena@partner.example"]
    assert mail.subject == "Ada Admin invites you to Acme Robotics"
    assert f"https://console.example/invitations/{last_token()}/" in mail.body
    assert "Your role would be Billing." in mail.body
    assert invitation.token_sha256 == invitations.token_sha256(last_token())
    assert len(last_token()) == 43
    assert invitation.expires_at == NOW + timedelta(days=7)
    event = AuditEvent.objects.get()
    assert (event.action, event.target) == ("invitation.sent", f"invitation:{invitation.pk}")
    assert event.actor == invitation.invited_by
    assert event.after == {"role": "billing"}


def test_nothing_is_sent_when_the_transaction_rolls_back():
    acme = cast.organization()
    admin = cast.member(acme, role=Role.ADMIN).user
    with pytest.raises(RuntimeError), transaction.atomic():
        invitations.invite(organization=acme, email="a@b.example", role=Role.USER, actor=admin, at=NOW)
        raise RuntimeError
    assert not OutboxMessage.objects.exists()
    assert not Invitation.objects.exists()


def test_an_address_is_invited_once_in_any_case():
    first = invited("lena@partner.example")
    with pytest.raises(invitations.AlreadyInvited, match="invited already"):
        invited("LENA@partner.example", to=first.organization)
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            organization=first.organization,
            email="Lena@Partner.example",
            role=Role.USER,
            token_sha256="x",
            invited_by=first.invited_by,
            sent_at=NOW,
            expires_at=NOW,
        )
    # Another organization may, of course.
    invited("lena@partner.example", to=cast.organization("Other"))


def test_a_member_is_not_invited():
    acme = cast.organization()
    cast.member(acme, user=cast.person("lena@partner.example"))
    with pytest.raises(invitations.AlreadyInvited, match="is a member of Acme Robotics already"):
        invited("Lena@partner.example", to=acme)


def test_inviting_again_after_expiry_ends_the_old_invitation():
    old = invited(at=NOW - timedelta(days=8))
    new = invited(to=old.organization, role=Role.USER)
    old.refresh_from_db()
    assert old.revoked_at == NOW
    assert list(invitations.open_of(organization=old.organization)) == [new]


def test_an_invitation_makes_a_member_once():
    invitation = invited(role=Role.DEVELOPER)
    lena = cast.person("lena@partner.example", name="Lena Fischer")
    accepted = invitations.accept(invitation=invitation, user=lena, at=NOW)
    assert (accepted.membership.user, accepted.membership.role, accepted.was_member) == (lena, "developer", False)
    invitation.refresh_from_db()
    assert (invitation.accepted_at, invitation.accepted_by) == (NOW, lena)
    with pytest.raises(invitations.InvitationGone):
        invitations.accept(invitation=invitation, user=lena, at=NOW)
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["invitation.sent", "invitation.accepted", "membership.added"]


def test_the_admins_are_told_of_whom_they_have_now():
    invitation = invited()
    cast.member(invitation.organization, role=Role.ADMIN, user=cast.person("second@acme.example"))
    lena = cast.person("lena@partner.example", name="Lena Fischer")
    invitations.accept(invitation=invitation, user=lena, at=NOW)
    mails = OutboxMessage.objects.filter(subject="Lena Fischer joined Acme Robotics as Billing")
    assert {mail.recipients[0] for mail in mails} == {invitation.invited_by.email, "second@acme.example"}
    assert "accepted an invitation from Ada Admin" in mails[0].body


def test_a_forwarded_invitation_is_of_no_use_to_another_account():
    invitation = invited()
    with pytest.raises(invitations.OtherAddress):
        invitations.accept(invitation=invitation, user=cast.person("other@partner.example"), at=NOW)
    assert Membership.objects.count() == 1


def test_an_unconfirmed_address_is_nobodys():
    invitation = invited()
    lena = cast.person("lena@partner.example")
    EmailAddress.objects.filter(user=lena).update(verified=False)
    with pytest.raises(invitations.OtherAddress):
        invitations.accept(invitation=invitation, user=lena, at=NOW)


@pytest.mark.parametrize("end", ["revoked", "expired", "sent again"])
def test_an_invitation_that_ended_makes_no_member(end):
    invitation = invited()
    lena = cast.person("lena@partner.example")
    at = NOW
    if end == "revoked":
        invitations.revoke(invitation=invitation, actor=invitation.invited_by, at=NOW)
    elif end == "sent again":
        invitations.send_again(invitation=invitation, actor=invitation.invited_by, at=NOW)
    else:
        at = NOW + timedelta(days=7)
    with pytest.raises(invitations.InvitationGone):
        invitations.accept(invitation=invitation, user=lena, at=at)
    assert not Membership.objects.filter(user=lena).exists()


def test_a_moment_before_its_end_it_still_works():
    invitation = invited()
    lena = cast.person("lena@partner.example")
    invitations.accept(invitation=invitation, user=lena, at=NOW + timedelta(days=7) - timedelta(microseconds=1))


def test_sending_again_makes_a_new_link_and_a_new_end():
    invitation = invited(at=NOW - timedelta(days=6))
    old = last_token()
    invitations.send_again(invitation=invitation, actor=invitation.invited_by, at=NOW)
    invitation.refresh_from_db()
    assert last_token() != old
    assert invitation.token_sha256 == invitations.token_sha256(last_token())
    assert invitation.expires_at == NOW + timedelta(days=7)
    assert AuditEvent.objects.filter(action="invitation.sent_again").count() == 1


def test_an_invitation_that_ended_is_neither_sent_again_nor_withdrawn():
    invitation = invited()
    invitations.revoke(invitation=invitation, actor=invitation.invited_by, at=NOW)
    for change in (invitations.send_again, invitations.revoke):
        with pytest.raises(invitations.InvitationGone):
            change(invitation=invitation, actor=invitation.invited_by, at=NOW)
    assert InvitationMail.objects.count() == 1


def test_an_address_gets_six_mails_a_day_also_when_withdrawn_and_invited_anew():
    invitation = invited()
    admin = invitation.invited_by
    for _number in range(3):
        invitations.send_again(invitation=invitation, actor=admin, at=NOW)
    invitations.revoke(invitation=invitation, actor=admin, at=NOW)
    invitation = invitations.invite(
        organization=invitation.organization, email=invitation.email, role=Role.USER, actor=admin, at=NOW
    )
    invitations.send_again(invitation=invitation, actor=admin, at=NOW)
    with pytest.raises(invitations.TooManyInvitations, match="6 invitations within 24 hours"):
        invitations.send_again(invitation=invitation, actor=admin, at=NOW + DAY - timedelta(seconds=1))
    invitation.refresh_from_db()
    assert invitation.sent_at == NOW
    invitations.send_again(invitation=invitation, actor=admin, at=NOW + DAY)


def test_fifty_invitations_are_open_at_most(monkeypatch):
    monkeypatch.setattr(invitations, "OPEN_MAXIMUM", 2)
    first = invited("a@b.example")
    invited("b@b.example", to=first.organization)
    with pytest.raises(invitations.TooManyInvitations, match="2 invitations are open"):
        invited("c@b.example", to=first.organization)
    invitations.revoke(invitation=first, actor=first.invited_by, at=NOW)
    invited("c@b.example", to=first.organization)


def test_an_organization_sends_a_hundred_mails_a_day_at_most(monkeypatch):
    monkeypatch.setattr(invitations, "MAILS_OF_ORGANIZATION_MAXIMUM", 2)
    first = invited("a@b.example")
    invited("b@b.example", to=first.organization)
    with pytest.raises(invitations.TooManyInvitations, match="Try again tomorrow"):
        invited("c@b.example", to=first.organization)
    invited("c@b.example", to=cast.organization("Other"))


def test_who_became_a_member_meanwhile_keeps_the_role():
    invitation = invited(role=Role.ADMIN)
    lena = cast.person("lena@partner.example")
    memberships.add_member(organization=invitation.organization, user=lena, role=Role.USER, actor=None)
    accepted = invitations.accept(invitation=invitation, user=lena, at=NOW)
    assert (accepted.was_member, accepted.membership.role) == (True, "user")
    assert Membership.objects.get(user=lena).role == Role.USER


def test_nobody_joins_a_closed_organization_or_is_invited_to_it():
    invitation = invited()
    lena = cast.person("lena@partner.example")
    acme, admin = invitation.organization, invitation.invited_by
    Organization.objects.filter(pk=acme.pk).update(closed_at=NOW)
    assert not invitations.acceptable_for(user=lena, at=NOW).exists()
    with pytest.raises(invitations.ClosedOrganization):
        invitations.accept(invitation=invitation, user=lena, at=NOW)
    with pytest.raises(invitations.ClosedOrganization, match="Acme Robotics is closed"):
        invitations.send_again(invitation=invitation, actor=admin, at=NOW)
    with pytest.raises(invitations.ClosedOrganization):
        invitations.invite(organization=acme, email="x@y.example", role=Role.USER, actor=admin, at=NOW)
    assert OutboxMessage.objects.count() == 1


def accept_twice_at_once(invitation, lena):
    """What two requests at the same moment got."""
    barrier = threading.Barrier(2)
    got = []

    def join():
        barrier.wait(timeout=10)
        try:
            accepted = invitations.accept(invitation=invitation, user=lena, at=NOW)
            got.append("known" if accepted.was_member else "joined")
        except invitations.InvitationGone:
            got.append("gone")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=join) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return sorted(got)


@pytest.mark.django_db(transaction=True)
def test_two_accepts_at_once_make_one_membership():
    invitation = invited()
    lena = cast.person("lena@partner.example")
    assert accept_twice_at_once(invitation, lena) == ["gone", "joined"]
    assert Membership.objects.filter(user=lena).count() == 1
    assert AuditEvent.objects.filter(action="invitation.accepted").count() == 1


class Unguarded:
    """An update that has forgotten its condition, and waits until the other request is as far."""

    def __init__(self, pk, barrier):
        self.pk, self.barrier = pk, barrier

    def filter(self, **_conditions):
        return self

    def update(self, **values):
        self.barrier.wait(timeout=10)
        return Invitation.objects.filter(pk=self.pk).update(**values)


@pytest.mark.django_db(transaction=True)
def test_the_condition_alone_makes_one_membership_too(monkeypatch):
    invitation = invited()
    lena = cast.person("lena@partner.example")
    monkeypatch.setattr(invitations, "_locked", lambda organization_id: None)
    assert accept_twice_at_once(invitation, lena) == ["gone", "joined"]


@pytest.mark.django_db(transaction=True)
def test_control_without_lock_and_condition_both_accepts_go_through(monkeypatch):
    barrier = threading.Barrier(2)
    invitation = invited()
    lena = cast.person("lena@partner.example")
    monkeypatch.setattr(invitations, "_locked", lambda organization_id: None)
    monkeypatch.setattr(invitations, "_still_open", lambda invitation: Unguarded(invitation.pk, barrier))
    assert accept_twice_at_once(invitation, lena) == ["joined", "known"]
    assert AuditEvent.objects.filter(action="invitation.accepted").count() == 2


def invite_twice_at_once(acme, admin):
    """What two requests at the same moment got."""
    barrier = threading.Barrier(2)
    got = []

    def send():
        barrier.wait(timeout=10)
        try:
            invitations.invite(organization=acme, email="a@b.example", role=Role.USER, actor=admin, at=NOW)
            got.append("sent")
        except invitations.AlreadyInvited:
            got.append("known")
        except IntegrityError:
            got.append("stopped by the index")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return sorted(got)


@pytest.mark.django_db(transaction=True)
def test_two_invitations_of_one_address_at_once_are_one_and_a_clear_answer():
    acme = cast.organization()
    admin = cast.member(acme, role=Role.ADMIN).user
    assert invite_twice_at_once(acme, admin) == ["known", "sent"]
    assert OutboxMessage.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_control_without_the_look_at_what_is_there_the_index_stops_the_second(monkeypatch):
    monkeypatch.setattr(invitations, "_refuse_known", lambda organization, *, email, at: None)
    monkeypatch.setattr(invitations, "_revoke", lambda invitation, **_: None)
    acme = cast.organization()
    admin = cast.member(acme, role=Role.ADMIN).user
    assert invite_twice_at_once(acme, admin) == ["sent", "stopped by the index"]
    assert OutboxMessage.objects.count() == 1
