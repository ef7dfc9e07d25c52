"""Too many tries: refused before the password is looked at, with a time to wait, and never a weapon against others."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.test import Client, RequestFactory
from django.urls import get_resolver, reverse
from django.utils import timezone

from accounts.access import routes_of
from accounts.middleware import rate_limits
from accounts.models import OutboxMessage, User
from accounts.tests import cast

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"
MAYA = "maya@acme.example"
NEW_PASSWORD = "another long secret"


@pytest.fixture
def maya() -> User:
    return cast.person(MAYA)


def browser(address: str = "198.51.100.7") -> Client:
    return Client(REMOTE_ADDR=address)


def sign_in(client: Client, email: str = MAYA, password: str = cast.PASSWORD):
    return client.post(LOGIN, {"login": email, "password": password})


def guess(client: Client, times: int, email: str = MAYA) -> list[int]:
    return [sign_in(client, email, f"wrong {number}").status_code for number in range(times)]


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_the_sixth_wrong_password_is_not_looked_at(maya, monkeypatch):
    looked_at: list[str] = []
    verify = MD5PasswordHasher.verify

    def noted(hasher: MD5PasswordHasher, password: str, encoded: str) -> bool:
        looked_at.append(password)
        return verify(hasher, password, encoded)

    monkeypatch.setattr(MD5PasswordHasher, "verify", noted)
    client = browser()
    assert guess(client, 5) == [200] * 5
    response = sign_in(client)
    assert (response.status_code, is_in(client)) == (429, False)
    assert looked_at == [f"wrong {number}" for number in range(5)]
    assert 0 < int(response["Retry-After"]) <= 300
    assert re.search(r"for [1-5] minutes?\.", response.content.decode())


def test_time_and_nothing_else_opens_the_door_again(maya, monkeypatch):
    client = browser()
    guess(client, 5)
    cache.clear()
    assert sign_in(browser()).status_code == 429
    later = timezone.now() + timedelta(minutes=5, seconds=1)
    monkeypatch.setattr("accounts.middleware.rate_limits.timezone.now", lambda: later)
    assert sign_in(client).status_code == 302
    assert is_in(client)


def test_right_passwords_don_t_count(maya):
    for _ in range(8):
        client = browser()
        sign_in(client)
        assert is_in(client)


def test_a_right_password_does_not_wipe_earlier_failures(maya):
    client = browser()
    guess(client, 4)
    sign_in(client)
    assert is_in(client)
    client.post("/accounts/logout/")
    client.cookies.pop("device")
    assert guess(client, 2) == [200, 429]


def test_a_stranger_elsewhere_locks_nobody_out(maya):
    guess(browser("203.0.113.9"), 6)
    owner = browser()
    assert sign_in(owner).status_code == 302


def test_a_known_browser_is_not_locked_out_by_guesses_from_everywhere(maya):
    owner = browser()
    sign_in(owner)
    owner.post("/accounts/logout/")
    # The device cookie stays after signing out; strangers use up every limit, even from the owner's own network.
    for number in range(10):
        guess(browser(f"203.0.113.{number}"), 5)
    assert guess(browser(), 1) == [429]
    assert guess(browser("192.0.2.1"), 1) == [429]
    assert sign_in(owner).status_code == 302
    assert is_in(owner)


def test_a_known_browser_has_a_limit_of_its_own(maya):
    owner = browser()
    sign_in(owner)
    owner.post("/accounts/logout/")
    assert guess(owner, 6) == [200] * 5 + [429]


def test_one_s_own_cookie_is_no_way_around_another_s_limits(maya):
    cast.person("mallory@evil.example")
    mallory = browser()
    sign_in(mallory, "mallory@evil.example")
    mallory.post("/accounts/logout/")
    assert guess(mallory, 6) == [200] * 5 + [429]
    forged = browser()
    forged.cookies["device"] = mallory.cookies["device"].value.replace("e", "f")
    assert guess(forged, 1) == [429]


def test_a_network_that_tries_many_addresses_is_slowed_down():
    client = browser("2001:db8::1")
    codes = [guess(client, 1, f"person-{number}@acme.example")[0] for number in range(20)]
    assert codes == [200] * 20
    assert guess(browser("2001:db8::ffff"), 1, "another@acme.example") == [429]
    assert guess(browser("2001:db8:0:1::1"), 1, "another@acme.example") == [200]


def test_a_reset_by_mail_forgets_failures_with_the_old_password(maya):
    for number in range(10):
        guess(browser(f"203.0.113.{number}"), 5)
    assert sign_in(browser()).status_code == 429
    client = browser()
    client.post("/accounts/password/reset/", {"email": MAYA})
    link = re.search(r"http://localhost:8000(/accounts/password/reset/key/\S+)", OutboxMessage.objects.get().body)
    assert link is not None
    path = client.get(link[1], follow=True).redirect_chain[-1][0]
    client.post(path, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    assert sign_in(browser(), password=NEW_PASSWORD).status_code == 302


def test_guessing_in_an_open_session_is_limited_too(maya):
    client = browser()
    client.force_login(maya)
    url = reverse("account_change_password")
    form = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    codes = [client.post(url, {"oldpassword": f"wrong {number}", **form}).status_code for number in range(6)]
    assert codes == [200] * 5 + [429]
    assert client.post(reverse("account_reauthenticate"), {"password": cast.PASSWORD}).status_code == 429


def test_guesses_at_the_second_factor_are_limited_by_account_whatever_the_network(maya):
    cast.second_factor(maya)
    codes = []
    for number in range(6):
        client = browser(f"203.0.113.{number}")
        assert sign_in(client)["Location"] == reverse("mfa_authenticate")
        codes.append(client.post(reverse("mfa_authenticate"), {"code": "000000"}).status_code)
    assert codes == [200] * 5 + [429]
    right = browser()
    sign_in(right)
    assert right.post(reverse("mfa_authenticate"), {"code": cast.code()}).status_code == 429
    assert not is_in(right)


def test_a_right_second_factor_does_not_count(maya):
    cast.second_factor(maya)
    client = browser()
    for used in cast.recovery_codes(maya)[:7]:
        sign_in(client)
        client.post(reverse("mfa_authenticate"), {"code": used})
        assert is_in(client)
        client.post("/accounts/logout/")


@pytest.mark.parametrize(("path", "limit"), [("/accounts/password/reset/", 5), ("/accounts/signup/", 5)])
@pytest.mark.parametrize("email", [MAYA, "nobody@acme.example"])
def test_mail_to_one_address_is_limited_whether_it_is_known_or_not(maya, settings, path, limit, email):
    settings.SIGN_UP_IS_OPEN = True
    form = {"email": email, "name": "Maya", "password1": NEW_PASSWORD}
    codes = [browser(f"203.0.113.{number}").post(path, form).status_code for number in range(limit + 1)]
    assert codes == [302] * limit + [429]


def test_looking_is_never_limited():
    client = browser()
    assert {client.get(LOGIN).status_code for _ in range(60)} == {200}


def test_a_forged_form_uses_nothing_up(maya):
    forged = Client(enforce_csrf_checks=True, REMOTE_ADDR="198.51.100.7")
    assert guess(forged, 6) == [403] * 6
    assert sign_in(browser()).status_code == 302


def test_a_wait_in_a_new_window_is_a_whole_number_of_seconds():
    response = rate_limits.too_many(rate_request(), seconds=61)
    assert (response.status_code, response["Retry-After"]) == (429, "61")
    assert "for 2 minutes." in response.content.decode()


def rate_request():
    request = RequestFactory().post(LOGIN)
    request.user = AnonymousUser()
    return request


# Pages of people that take a form and need no limit, each with its reason.
UNLIMITED = {
    "account_logout": "signing out costs nothing and tells nothing",
    "account_inactive": "takes no form",
    "account_email_verification_sent": "takes no form",
    "account_reset_password_done": "takes no form",
    "account_reset_password_from_key_done": "takes no form",
    "account_confirm_login_code": "sign-in by code is off",
    "account_profile": "a name",
    "account_sessions": "can only sign out",
    "mfa_index": "takes no form",
    "mfa_list_webauthn": "takes no form",
    "mfa_view_recovery_codes": "takes no form",
    "mfa_download_recovery_codes": "takes no form",
    "mfa_deactivate_totp": "nothing to guess, behind a fresh proof",
    "mfa_generate_recovery_codes": "nothing to guess, behind a fresh proof",
    "mfa_add_webauthn": "nothing to guess, behind a fresh proof",
    "mfa_remove_webauthn": "nothing to guess, behind a fresh proof",
    "mfa_edit_webauthn": "nothing to guess, behind a fresh proof",
}


def test_every_page_of_people_has_a_limit_or_a_reason():
    names = {route.name for route in routes_of(get_resolver().url_patterns) if route.pattern.startswith("accounts/")}
    own = {name for name in names if name.startswith(("account_", "mfa_"))}
    undecided = own - set(rate_limits.RULES) - set(UNLIMITED)
    assert undecided == set()
    assert set(UNLIMITED) <= own
