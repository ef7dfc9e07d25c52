"""Signing up: by a setting or an invitation, with a confirmed address, and nobody learns who has an account."""

import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.emails import MAY_SIGN_UP_AS
from accounts.models import AuditEvent, OutboxMessage, User
from accounts.tests import cast

pytestmark = pytest.mark.django_db

SIGN_UP = "/accounts/signup/"
MAYA = "maya@acme.example"
# A few statements more or less are far below what a network adds; a password's hash would not be.
QUERIES_APART_MAX = 4


@pytest.fixture
def _open(settings):
    settings.SIGN_UP_IS_OPEN = True


def sign_up(client: Client, email: str = MAYA, **changes: str):
    return client.post(SIGN_UP, {"email": email, "name": "Maya Lind", "password1": cast.PASSWORD, **changes})


def invite(client: Client, email: str = MAYA) -> None:
    """What an invitation's page does once its link was found good."""
    session = client.session
    session[MAY_SIGN_UP_AS] = email
    session.save()
    client.cookies["session"] = session.session_key or ""


def link_in(mail: OutboxMessage) -> str:
    link = re.search(r"http://localhost:8000(/accounts/confirm-email/\S+)", mail.body)
    assert link is not None
    return link[1]


def errors_of(response: Any) -> str:
    return " ".join(re.findall(r'class="error".*?<span>(.*?)</span>', response.content.decode(), flags=re.DOTALL))


@pytest.mark.usefixtures("_open")
def test_from_the_form_to_the_first_page(client):
    response = sign_up(client, "Maya@Acme.Example")
    assert response["Location"] == reverse("account_email_verification_sent")
    user = User.objects.get()
    assert (user.email, user.name, user.is_staff) == (MAYA, "Maya Lind", False)
    assert "_auth_user_id" not in client.session
    page = client.get(response["Location"]).content.decode()
    assert MAYA in page
    mail = OutboxMessage.objects.get()
    assert (mail.recipients, mail.subject) == ([MAYA], "Confirm your e-mail address")
    link = link_in(mail)
    assert MAYA in client.get(link).content.decode()
    assert not EmailAddress.objects.get().verified
    confirmed = client.post(link)
    assert (confirmed.status_code, confirmed["Location"]) == (302, "/")
    assert EmailAddress.objects.get().verified
    assert client.get("/").status_code == 200
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["user.signed_up", "email.confirmed", "session.signed_in"]


@pytest.mark.usefixtures("_open")
def test_the_link_opened_in_another_browser_confirms_and_signs_nobody_in(client):
    sign_up(client)
    other = Client()
    response = other.post(link_in(OutboxMessage.objects.get()))
    assert response["Location"] == "/accounts/login/"
    assert "_auth_user_id" not in other.session
    assert EmailAddress.objects.get().verified


@pytest.mark.usefixtures("_open")
def test_without_the_link_the_right_password_opens_nothing(client):
    sign_up(client)
    other = Client()
    response = other.post("/accounts/login/", {"login": MAYA, "password": cast.PASSWORD})
    assert response["Location"] == reverse("account_email_verification_sent")
    assert other.get("/")["Location"].startswith("/accounts/login/")


@pytest.mark.usefixtures("_open")
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("email", "not an address", "valid email"),
        ("name", " ", "required"),
        ("password1", "short", "at least 12 characters"),
        ("password1", "maya@acme.example", "too similar"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(client, field, value, words):
    response = sign_up(client, **{field: value})
    assert words in errors_of(response)
    assert not User.objects.exists()
    if field != "name":
        assert 'value="Maya Lind"' in response.content.decode()


def test_closed_it_shows_a_text_and_takes_no_form(client):
    assert "by yourself" in client.get(SIGN_UP).content.decode()
    sign_up(client)
    assert not User.objects.exists()
    assert "Ask an Admin" in client.get("/accounts/login/").content.decode()


def test_an_invited_person_signs_up_though_it_is_closed_and_is_in_at_once(client):
    invite(client)
    page = client.get(SIGN_UP).content.decode()
    assert f'value="{MAYA}"' in page
    response = sign_up(client, next="/o/acme/")
    assert response["Location"] == "/o/acme/"
    assert "_auth_user_id" in client.session
    assert EmailAddress.objects.get().verified
    assert not OutboxMessage.objects.exists()
    assert MAY_SIGN_UP_AS not in client.session


def test_an_invitation_opens_sign_up_for_its_own_address_only(client):
    invite(client)
    response = sign_up(client, "other@acme.example")
    assert f"The invitation is for {MAYA}" in errors_of(response)
    assert not User.objects.exists()


@pytest.mark.usefixtures("_open")
def test_another_address_than_the_invited_one_has_to_be_confirmed(client):
    invite(client)
    sign_up(client, "other@acme.example")
    assert not EmailAddress.objects.get().verified


@pytest.mark.usefixtures("_open")
def test_a_known_address_gets_a_mail_and_keeps_its_account(client):
    user = cast.person(MAYA, name="Maya")
    response = sign_up(client, password1="a stranger's password")
    assert response["Location"] == reverse("account_email_verification_sent")
    mail = OutboxMessage.objects.get()
    assert (mail.recipients, mail.subject) == ([MAYA], "You have an account already")
    user.refresh_from_db()
    assert (user.name, user.check_password(cast.PASSWORD)) == ("Maya", True)
    assert (User.objects.count(), EmailAddress.objects.count(), AuditEvent.objects.count()) == (1, 1, 0)


@pytest.mark.usefixtures("_open")
def test_a_second_sign_up_in_the_same_moment_is_answered_like_a_known_address(client, monkeypatch):
    cast.person(MAYA)
    monkeypatch.setattr("accounts.forms.SignUpForm.validate_unique_email", lambda form, value: value)
    response = sign_up(client)
    assert response["Location"] == reverse("account_email_verification_sent")
    assert OutboxMessage.objects.get().subject == "You have an account already"
    assert User.objects.count() == 1


@pytest.mark.usefixtures("_open")
@pytest.mark.parametrize("is_known", [False, True])
def test_the_mail_is_sent_again_after_a_while_whoever_asks(client, monkeypatch, is_known):
    if is_known:
        cast.person(MAYA)
    sign_up(client)
    resend = reverse("account_resend_confirmation")
    assert client.post(resend)["Location"] == reverse("account_email_verification_sent")
    assert OutboxMessage.objects.count() == 1
    later = timezone.now() + timedelta(minutes=3, seconds=1)
    monkeypatch.setattr("accounts.emails.timezone.now", lambda: later)
    client.post(resend)
    assert OutboxMessage.objects.count() == 2
    assert len(set(OutboxMessage.objects.values_list("subject", flat=True))) == 1


def test_resending_without_a_sign_up_leads_to_the_way_in(client):
    assert client.post(reverse("account_resend_confirmation"))["Location"] == "/accounts/login/"
    assert client.get(reverse("account_resend_confirmation")).status_code == 405


# --- Nobody learns who has an account ---------------------------------------------------------------------------------


class Work:
    """What answering one form took: hashes of passwords, statements, and the answer itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: str, form: dict[str, str]) -> None:
        hashes: list[str] = []
        encode = MD5PasswordHasher.encode
        client = Client()

        def noted(*arguments: Any) -> str:
            hashes.append("one")
            return encode(*arguments)

        with monkeypatch.context() as patch, CaptureQueriesContext(connection) as queries:
            patch.setattr(MD5PasswordHasher, "encode", noted)
            self.response = client.post(path, form)
        self.hashes = len(hashes)
        self.queries = len(queries)
        after = client.get(self.response["Location"]) if self.response.status_code == 302 else self.response
        address = form.get("login", form.get("email", ""))
        text = re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", after.content.decode())
        self.body = text.replace(address, "ADDRESS")
        self.cookies = sorted(client.cookies)


FORMS = {
    "/accounts/login/": {"login": "", "password": "a wrong password"},
    "/accounts/password/reset/": {"email": ""},
    "/accounts/signup/": {"email": "", "name": "Maya", "password1": "a long enough secret"},
}


@pytest.mark.usefixtures("_open")
@pytest.mark.parametrize("path", FORMS)
def test_known_and_unknown_addresses_get_the_same_answer_after_the_same_work(monkeypatch, path):
    cast.person(MAYA)
    answers = {}
    for email in (MAYA, "nobody@acme.example"):
        form = {name: value or email for name, value in FORMS[path].items()}
        answers[email] = Work(monkeypatch, path, form)
    known, unknown = answers.values()
    assert (known.response.status_code, known.response.get("Location")) == (
        unknown.response.status_code,
        unknown.response.get("Location"),
    )
    assert known.body == unknown.body
    assert known.cookies == unknown.cookies
    assert known.hashes == unknown.hashes
    assert abs(known.queries - unknown.queries) <= QUERIES_APART_MAX, (known.queries, unknown.queries)


def test_the_measure_sees_a_hash(monkeypatch):
    cast.person(MAYA)
    work = Work(monkeypatch, "/accounts/login/", {"login": MAYA, "password": "a wrong password"})
    assert work.hashes == 1
    assert work.queries > 3
