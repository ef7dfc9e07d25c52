"""The way in and out: through allauth, throttled, audited, and the same answer whoever asks."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, Membership, OutboxMessage, User
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"


def sign_in(client: Client, email: str, password: str = cast.PASSWORD, **extra: str):
    return client.post(LOGIN, {"login": email, "password": password, **extra})


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


def test_signing_in_by_address_in_any_case(client):
    user = cast.person("maya@acme.example")
    response = sign_in(client, "Maya@Acme.Example")
    assert (response.status_code, response["Location"]) == (302, "/")
    assert client.session["_auth_user_id"] == str(user.pk)
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.target) == ("session.signed_in", user, f"user:{user.pk}")
    assert event.origin.ip_address == "127.0.0.1"


def test_a_wrong_password_says_no_more_than_an_unknown_address(client):
    user = cast.person("maya@acme.example")
    wrong = sign_in(client, "maya@acme.example", "wrong password")
    unknown = sign_in(client, "nobody@acme.example", "wrong password")
    texts = [re.sub(r'value="[^"]*"', "", response.content.decode()) for response in (wrong, unknown)]
    assert texts[0] == texts[1]
    assert 'role="alert"' in texts[0]
    assert "_auth_user_id" not in client.session
    assert actions() == ["session.sign_in_failed"] * 2
    assert list(AuditEvent.objects.order_by("id").values_list("target", flat=True)) == [f"user:{user.pk}", ""]
    assert not AuditEvent.objects.exclude(actor=None).exists()


def test_what_was_typed_as_an_address_is_kept_nowhere(client):
    sign_in(client, "my-secret-password@example.test", "x")
    assert "my-secret" not in repr(list(AuditEvent.objects.values("target", "before", "after")))


def test_a_person_who_may_not_log_in_is_told_so(client):
    user = cast.person("maya@acme.example")
    User.objects.filter(pk=user.pk).update(is_active=False)
    sign_in(client, "maya@acme.example")
    assert "_auth_user_id" not in client.session


def test_an_unconfirmed_address_has_to_be_confirmed_first(client):
    User.objects.create_user("new@acme.example", cast.PASSWORD)
    response = sign_in(client, "new@acme.example")
    assert response["Location"] == reverse("account_email_verification_sent")
    assert "_auth_user_id" not in client.session
    mail = OutboxMessage.objects.get()
    link = re.search(r"http://localhost:8000(/accounts/confirm-email/\S+)", mail.body)
    assert link is not None
    page = client.get(link[1])
    assert "new@acme.example" in page.content.decode()
    client.post(link[1])
    sign_in(client, "new@acme.example")
    assert "_auth_user_id" in client.session


def test_signing_out_needs_a_form_not_a_link(client):
    client.force_login(cast.person())
    assert client.get("/accounts/logout/").status_code == 200
    assert "_auth_user_id" in client.session
    response = client.post("/accounts/logout/")
    assert response["Location"] == LOGIN
    assert "_auth_user_id" not in client.session
    assert actions() == ["session.signed_in", "session.signed_out"]


def test_every_form_on_the_way_in_refuses_a_forged_request():
    client = Client(enforce_csrf_checks=True)
    cast.person("maya@acme.example")
    assert sign_in(client, "maya@acme.example").status_code == 403
    assert client.post("/accounts/password/reset/", {"email": "maya@acme.example"}).status_code == 403


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_signing_in_never_leads_to_another_site(client, target):
    cast.person("maya@acme.example")
    assert sign_in(client, "maya@acme.example", next=target)["Location"] == "/"


def test_signing_in_leads_to_the_page_that_was_asked_for(client):
    cast.person("maya@acme.example")
    assert client.get("/o/acme/")["Location"] == f"{LOGIN}?next=/o/acme/"
    assert sign_in(client, "maya@acme.example", next="/o/acme/")["Location"] == "/o/acme/"


def test_a_forgotten_password_is_replaced_through_the_mail(client):
    user = cast.person("maya@acme.example")
    response = client.post("/accounts/password/reset/", {"email": "MAYA@acme.example"}, headers={"Host": "localhost"})
    assert response["Location"] == reverse("account_reset_password_done")
    mail = OutboxMessage.objects.get()
    assert mail.recipients == ["maya@acme.example"]
    link = re.search(r"http://localhost:8000(/accounts/password/reset/key/\S+)", mail.body)
    assert link is not None
    form = client.get(link[1], follow=True)
    path = form.redirect_chain[-1][0]
    short = client.post(path, {"password1": "short", "password2": "short"})
    assert "at least 12 characters" in short.content.decode()
    done = client.post(path, {"password1": "a much longer secret", "password2": "a much longer secret"})
    assert done["Location"] == reverse("account_reset_password_from_key_done")
    user.refresh_from_db()
    assert user.check_password("a much longer secret")
    assert "password.reset" in actions()
    assert "no longer works" in client.get(link[1], follow=True).content.decode()


def test_asking_for_a_reset_does_not_tell_who_has_an_account(client):
    cast.person("maya@acme.example")
    known = client.post("/accounts/password/reset/", {"email": "maya@acme.example"})
    unknown = client.post("/accounts/password/reset/", {"email": "nobody@acme.example"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert OutboxMessage.objects.values_list("recipients", flat=True).get() == ["maya@acme.example"]


def test_the_link_in_a_mail_never_follows_the_host_header(client, settings):
    settings.ALLOWED_HOSTS = ["*"]
    cast.person("maya@acme.example")
    client.post("/accounts/password/reset/", {"email": "maya@acme.example"}, headers={"Host": "evil.example"})
    body = OutboxMessage.objects.get().body
    assert "http://localhost:8000/accounts/password/reset/key/" in body
    assert "evil.example" not in body


def test_changing_the_password_ends_other_sessions_and_tells_the_owner(client):
    user = cast.person("maya@acme.example")
    other = Client()
    sign_in(other, "maya@acme.example")
    sign_in(client, "maya@acme.example")
    new = "another long secret"
    client.post("/accounts/password/change/", {"oldpassword": cast.PASSWORD, "password1": new, "password2": new})
    user.refresh_from_db()
    assert user.check_password(new)
    assert "_auth_user_id" in client.session
    assert other.get("/")["Location"].startswith(LOGIN)
    assert "password.changed" in actions()
    mail = OutboxMessage.objects.get()
    assert mail.recipients == ["maya@acme.example"]
    assert "http://localhost:8000/accounts/password/reset/" in mail.body


def test_removal_takes_effect_at_the_next_request(client):
    acme = cast.organization("Acme")
    member = cast.member(acme, role=Role.USER)
    client.force_login(member.user)
    assert client.get("/o/acme/").status_code == 200
    Membership.objects.all().delete()
    assert client.get("/o/acme/").status_code == 404


def test_staff_sign_in_to_the_administration_where_everyone_does(client):
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith(LOGIN)
    client.force_login(cast.person())
    assert client.get("/admin/login/").status_code == 403
    client.force_login(cast.person(is_staff=True, is_superuser=True))
    assert client.get("/admin/").status_code == 200
