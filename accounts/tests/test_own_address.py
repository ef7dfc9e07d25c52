"""Changing one's address: proved by a link to the new one, told to the old one, and never somebody else's."""

import re
from urllib.parse import urlencode

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import AuditEvent, OutboxMessage, User
from accounts.tests import cast

pytestmark = pytest.mark.django_db

EMAIL = "/accounts/email/"
OLD, NEW = "maya@acme.example", "maya@new.example"


@pytest.fixture
def maya() -> User:
    return cast.person(OLD)


@pytest.fixture
def her_browser(maya: User) -> Client:
    client = Client()
    client.force_login(maya)
    return client


def ask(client: Client, email: str = NEW):
    return client.post(EMAIL, {"action_add": "", "email": email})


def link_to(address: str) -> str:
    mail = OutboxMessage.objects.filter(recipients=[address]).latest("pk")
    link = re.search(r"http://localhost:8000(/accounts/confirm-email/\S+)", mail.body)
    assert link is not None
    return link[1]


def addresses() -> list[tuple[str, bool, bool]]:
    return list(EmailAddress.objects.order_by("pk").values_list("email", "verified", "primary"))


def test_the_new_address_takes_over_when_its_link_is_opened(maya, her_browser):
    assert ask(her_browser)["Location"] == EMAIL
    maya.refresh_from_db()
    assert maya.email == OLD
    assert f"{NEW} is waiting to be confirmed" in her_browser.get(EMAIL).content.decode()
    her_browser.post(link_to(NEW))
    maya.refresh_from_db()
    assert maya.email == NEW
    assert addresses() == [(NEW, True, True)]
    assert AuditEvent.objects.filter(action="email.changed", target=f"user:{maya.pk}").count() == 1


def test_the_old_address_is_told(maya, her_browser):
    ask(her_browser)
    assert not OutboxMessage.objects.filter(recipients=[OLD]).exists()
    her_browser.post(link_to(NEW))
    notice = OutboxMessage.objects.get(recipients=[OLD])
    assert notice.subject == "Your e-mail address was changed"
    assert NEW in notice.body
    assert "If this wasn't you" in notice.body


def test_only_the_newest_wish_counts_and_it_can_be_called_off(maya, her_browser):
    ask(her_browser, "typo@new.example")
    typo = link_to("typo@new.example")
    ask(her_browser)
    her_browser.post(typo)
    assert [address for address, *_ in addresses()] == [OLD, NEW]
    her_browser.post(EMAIL, {"action_remove": "", "email": NEW})
    assert addresses() == [(OLD, True, True)]
    assert her_browser.post(link_to(NEW)).status_code == 404
    maya.refresh_from_db()
    assert maya.email == OLD


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_another_account_s_address_is_never_taken_and_asking_tells_nothing(maya, her_browser, is_confirmed):
    User.objects.create_user(NEW, cast.PASSWORD, is_email_verified=is_confirmed)
    other = Client()
    other.force_login(cast.person("other@acme.example"))
    answers = [ask(her_browser), ask(other, "free@new.example")]
    assert [(answer.status_code, answer["Location"]) for answer in answers] == [(302, EMAIL)] * 2
    response = her_browser.post(link_to(NEW), follow=True)
    assert response.status_code == 200
    assert "Another account uses" in response.content.decode()
    maya.refresh_from_db()
    assert maya.email == OLD
    assert EmailAddress.objects.get(email=OLD).verified


@pytest.mark.parametrize(("email", "words"), [("not an address", "valid email"), (OLD, "This is your address already")])
def test_what_can_t_be_is_told_at_the_field(maya, her_browser, email, words):
    response = ask(her_browser, email)
    assert words in response.content.decode()
    assert len(addresses()) == 1


def test_the_one_address_can_t_be_removed(maya, her_browser):
    her_browser.post(EMAIL, {"action_remove": "", "email": OLD})
    her_browser.post(EMAIL, {"action_remove": "", "email": "other@acme.example"})
    assert addresses() == [(OLD, True, True)]


def test_a_link_that_reached_a_stranger_by_a_typing_error_gives_them_nothing(maya, her_browser):
    ask(her_browser)
    stranger = Client()
    link = link_to(NEW)
    response = stranger.post(link)
    assert response["Location"] == f"/accounts/login/?{urlencode({'next': link})}"
    assert "Sign in first" in stranger.get(response["Location"]).content.decode()
    stranger.post("/accounts/password/reset/", {"email": NEW})
    assert not OutboxMessage.objects.filter(subject="Choose a new password").exists()
    maya.refresh_from_db()
    assert maya.email == OLD
    form = {"login": OLD, "password": cast.PASSWORD, "next": link}
    elsewhere = Client()
    assert elsewhere.post("/accounts/login/", form)["Location"] == link
    elsewhere.post(link)
    maya.refresh_from_db()
    assert maya.email == NEW


def test_a_wish_keeps_nobody_from_signing_up_with_the_address(maya, her_browser, settings):
    settings.SIGN_UP_IS_OPEN = True
    ask(her_browser)
    link = link_to(NEW)
    visitor = Client()
    visitor.post("/accounts/signup/", {"email": NEW, "name": "Noor", "password1": "a long enough secret"})
    assert User.objects.filter(email=NEW).exists()
    her_browser.post(link)
    maya.refresh_from_db()
    assert maya.email == OLD


def test_a_second_factor_stands_in_no_one_s_way_to_another_address(maya, her_browser):
    cast.second_factor(maya)
    ask(her_browser)
    her_browser.post(link_to(NEW))
    maya.refresh_from_db()
    assert maya.email == NEW
