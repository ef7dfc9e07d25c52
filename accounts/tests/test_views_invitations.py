"""What Admins see of inviting, and what the invited see."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import invitations
from accounts.emails import MAY_SIGN_UP_AS
from accounts.models import Invitation, Membership, OutboxMessage, User
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db

LENA = "lena@partner.example"
INVITATIONS = "/o/acme/settings/invitations/"


@pytest.fixture
def acme():
    return cast.organization("Acme")


@pytest.fixture
def ada(acme):
    return cast.member(acme, role=Role.ADMIN, user=cast.person("ada@acme.example", name="Ada Admin")).user


@pytest.fixture
def adas_client(ada) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def text_of(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def invite(ada, acme, *, email=LENA, role=Role.BILLING, at=None):
    """An invitation, and the path of its link."""
    sent = invitations.invite(organization=acme, email=email, role=role, actor=ada, at=at or timezone.now())
    return sent, link()


def link():
    mail = OutboxMessage.objects.filter(key__startswith="invitation:").last()
    found = re.search(r"(/invitations/[\w-]+/)", mail.body if mail else "")
    assert found is not None
    return found[1]


# --- Inviting --------------------------------------------------------------------------------------------------------


def test_an_admin_invites_somebody(acme, ada, adas_client):
    assert "Invite to Acme" in text_of(adas_client.get(f"{INVITATIONS}new/"))
    response = adas_client.post(f"{INVITATIONS}new/", {"email": "Lena@Partner.example", "role": "billing"}, follow=True)
    assert "An invitation is on its way to lena@partner.example." in text_of(response)
    sent = Invitation.objects.get()
    assert (sent.email, sent.role, sent.invited_by) == (LENA, "billing", ada)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"role": "billing"}, "Write the address of the person to invite."),
        ({"email": "lena", "role": "billing"}, "Write an address like name@example.com."),
        ({"email": "a@b.example, c@d.example", "role": "user"}, "Write an address like name@example.com."),
        ({"email": "x" * 300 + "@b.example", "role": "user"}, "at most 254 characters"),
        ({"email": LENA}, "Choose a role."),
        ({"email": LENA, "role": "owner"}, "Choose one of the roles."),
        ({"email": "ada@acme.example", "role": "user"}, "is a member of Acme already"),
    ],
)
def test_what_cannot_be_invited_is_said_at_its_field_and_nothing_typed_is_lost(acme, adas_client, form, error):
    response = adas_client.post(f"{INVITATIONS}new/", form)
    assert response.status_code == 422
    assert error in text_of(response)
    assert f'value="{form["email"]}"' in response.content.decode() if "email" in form else True
    assert not Invitation.objects.exists()


def test_sending_again_and_withdrawing(acme, ada, adas_client):
    sent, old = invite(ada, acme)
    response = adas_client.post(f"{INVITATIONS}{sent.pk}/send/", follow=True)
    assert "A new link is on its way to lena@partner.example. The old one works no more." in text_of(response)
    assert link() != old
    response = adas_client.post(f"{INVITATIONS}{sent.pk}/withdraw/", follow=True)
    assert "is withdrawn. Its link works no more." in text_of(response)
    for path in ("send", "withdraw"):
        assert adas_client.post(f"{INVITATIONS}{sent.pk}/{path}/").status_code == 404
    assert Client().get(link()).status_code == 410


def test_too_many_mails_are_refused_in_words(acme, ada, adas_client, monkeypatch):
    sent, _link = invite(ada, acme)
    monkeypatch.setattr(invitations, "MAILS_TO_ADDRESS_MAXIMUM", 1)
    response = adas_client.post(f"{INVITATIONS}{sent.pk}/send/", follow=True)
    assert "lena@partner.example got 1 invitations within 24 hours." in text_of(response)


def test_inviting_needs_a_recent_proof(acme, ada):
    sent, _link = invite(ada, acme)
    client = Client()
    client.force_login(ada)
    cast.grow_stale(client)
    for path in ("new/", f"{sent.pk}/send/"):
        response = client.post(INVITATIONS + path, {"email": "x@y.example", "role": "admin"})
        assert response["Location"].startswith("/accounts/reauthenticate/")
    assert Invitation.objects.count() == 1


# --- The link --------------------------------------------------------------------------------------------------------


def test_the_link_leads_on_to_an_address_without_its_secret(acme, ada):
    _sent, path = invite(ada, acme)
    client = Client()
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (302, "/invitation/")
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["Cache-Control"] == "no-store"
    secret = path.split("/")[2]
    assert secret not in str(dict(client.session))
    page = client.get("/invitation/")
    assert "Ada Admin invites lena@partner.example to join Acme as Billing" in text_of(page)
    assert secret not in page.content.decode()


def test_looking_at_the_link_writes_the_session_and_nothing_else(acme, ada):
    sent, path = invite(ada, acme)
    statements: list[str] = []

    def note(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    client = Client()
    with connection.execute_wrapper(note):
        client.get(path)
        client.get("/invitation/")
        client.head(path)
    writes = [sql for sql in statements if re.match(r"\s*(INSERT|UPDATE|DELETE)", sql)]
    assert [sql for sql in writes if "django_session" not in sql] == []
    sent.refresh_from_db()
    assert sent.accepted_at is None


def test_links_that_do_not_work_all_look_the_same(acme, ada):
    at = timezone.now()
    dead = ["/invitations/no-such-link/"]
    used, path = invite(ada, acme)
    invitations.accept(invitation=used, user=cast.person(LENA), at=at)
    dead.append(path)
    revoked, path = invite(ada, acme, email="b@b.example")
    invitations.revoke(invitation=revoked, actor=ada, at=at)
    dead.append(path)
    _expired, path = invite(ada, acme, email="c@b.example", at=at - timedelta(days=7))
    dead.append(path)
    again, path = invite(ada, acme, email="d@b.example")
    invitations.send_again(invitation=again, actor=ada, at=at)
    dead.append(path)
    answers = [Client().get(path) for path in [*dead, "/invitation/"]]
    assert {(answer.status_code, answer.content) for answer in answers} == {(410, answers[0].content)}
    assert "Ask whoever invited you to send a new one." in text_of(answers[0])
    assert {answer["Referrer-Policy"] for answer in answers[:-1]} == {"no-referrer"}


# --- Joining ---------------------------------------------------------------------------------------------------------


def test_somebody_with_an_account_joins_with_one_click(acme, ada):
    _sent, path = invite(ada, acme)
    lena = cast.person(LENA, name="Lena")
    client = Client()
    client.force_login(lena)
    assert "Join Acme" in text_of(client.get(path, follow=True))
    assert not Membership.objects.filter(user=lena).exists()
    response = client.post("/invitation/", follow=True)
    assert "Welcome to Acme. Your role is Billing." in text_of(response)
    assert Membership.objects.get(user=lena).role == Role.BILLING
    assert client.post("/invitation/").status_code == 410


def test_a_double_click_on_the_button_leads_in_both_times(acme, ada, monkeypatch):
    _sent, path = invite(ada, acme)
    lena = cast.person(LENA)
    client = Client()
    client.force_login(lena)
    client.get(path)
    accept = invitations.accept

    def overtaken(**values):
        """The first click's request ends while the second's is on its way."""
        accept(**values)
        return accept(**values)

    monkeypatch.setattr(invitations, "accept", overtaken)
    response = client.post("/invitation/")
    assert (response.status_code, response["Location"]) == (302, "/o/acme/")
    assert Membership.objects.filter(user=lena).count() == 1


def test_somebody_signed_out_signs_in_and_comes_back(acme, ada):
    _sent, path = invite(ada, acme)
    cast.person(LENA)
    client = Client()
    page = client.get(path, follow=True).content.decode()
    assert "/accounts/login/?next=%2Finvitation%2F" in page
    response = client.post(
        "/accounts/login/?next=/invitation/", {"login": LENA, "password": cast.PASSWORD, "next": "/invitation/"}
    )
    assert response["Location"] == "/invitation/"
    assert "Join Acme" in text_of(client.get("/invitation/"))


@pytest.mark.parametrize("is_open", [True, False])
def test_somebody_new_signs_up_with_the_invited_address_and_joins(acme, ada, settings, is_open):
    settings.SIGN_UP_IS_OPEN = is_open
    _sent, path = invite(ada, acme)
    client = Client()
    page = client.get(path, follow=True).content.decode()
    assert "/accounts/signup/?next=%2Finvitation%2F" in page
    assert client.session[MAY_SIGN_UP_AS] == LENA
    form = {"email": LENA, "name": "Lena Fischer", "password1": cast.PASSWORD, "next": "/invitation/"}
    response = client.post("/accounts/signup/?next=/invitation/", form)
    assert response["Location"] == "/invitation/"
    assert "Join Acme" in text_of(client.get("/invitation/"))
    client.post("/invitation/")
    assert Membership.objects.get(user__email=LENA).role == Role.BILLING


def test_the_link_opens_sign_up_for_no_other_address(acme, ada, settings):
    settings.SIGN_UP_IS_OPEN = False
    _sent, path = invite(ada, acme)
    client = Client()
    client.get(path)
    client.post("/accounts/signup/", {"email": "other@b.example", "name": "X", "password1": cast.PASSWORD})
    assert not User.objects.filter(email="other@b.example").exists()


def test_another_account_is_told_so_and_can_sign_out(acme, ada):
    _sent, path = invite(ada, acme)
    other = cast.person("other@b.example")
    client = Client()
    client.force_login(other)
    page = client.get(path, follow=True)
    assert "You are signed in with another address." in text_of(page)
    assert 'action="/accounts/logout/"' in page.content.decode()
    assert "You are signed in with another address." in text_of(client.post("/invitation/"))
    assert not Membership.objects.filter(user=other).exists()


def test_without_a_session_a_post_joins_nobody(acme, ada):
    _sent, path = invite(ada, acme)
    client = Client()
    client.get(path)
    assert "Sign in with this address" in text_of(client.post("/invitation/"))
    assert Membership.objects.count() == 1


def test_from_the_start_page_no_link_is_needed(acme, ada):
    sent, _path = invite(ada, acme)
    client = Client()
    client.force_login(cast.person(LENA))
    assert "Join Acme" in text_of(client.get(f"/invitation/{sent.pk}/"))
    assert "Welcome to Acme" in text_of(client.post(f"/invitation/{sent.pk}/", follow=True))
    assert client.post(f"/invitation/{sent.pk}/").status_code == 404
