"""Sessions: how long they last, where they are seen, and that an ended one is over at its next request."""

import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import tasks
from accounts.browsers import browser_words
from accounts.models import AuditEvent, BrowserSession, OutboxMessage, User
from accounts.tests import cast

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
PROFILE = "/accounts/profile/"
SESSIONS = "/accounts/sessions/"
PASSWORD_CHANGE = "/accounts/password/change/"
NEW_PASSWORD = "another long secret"


class MovedClock:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = timezone.now()
        patch.setattr(timezone, "now", lambda: self.now)

    def advance(self, **by: int) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    return MovedClock(monkeypatch)


@pytest.fixture
def maya() -> User:
    return cast.person("maya@acme.example", name="Maya Lind")


def signed_in(*, browser: str = FIREFOX, address: str = "198.51.100.7", remember: bool = False) -> Client:
    client = Client(HTTP_USER_AGENT=browser, REMOTE_ADDR=address)
    form = {"login": "maya@acme.example", "password": cast.PASSWORD}
    response = client.post("/accounts/login/", form | ({"remember": "on"} if remember else {}))
    assert response.status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get(PROFILE).status_code == 200


def test_idle_for_half_a_day_ends_a_session(maya, clock):
    client = signed_in()
    clock.advance(hours=11, minutes=59)
    assert is_in(client)
    clock.advance(hours=11, minutes=59)
    assert is_in(client)
    clock.advance(hours=12)
    response = client.get(PROFILE, follow=True)
    assert response.redirect_chain == [(f"/accounts/login/?next={PROFILE}", 302)]
    assert "You were signed out" in response.content.decode()
    assert not BrowserSession.objects.exists()


def test_whoever_asks_to_stay_signed_in_may_be_away_for_a_week(maya, clock):
    client = signed_in(remember=True)
    clock.advance(days=6, hours=23)
    assert is_in(client)
    clock.advance(days=7)
    assert not is_in(client)


def test_use_does_not_keep_a_session_beyond_two_weeks(maya, clock):
    client = signed_in(remember=True)
    for _ in range(27):
        clock.advance(hours=12)
        assert is_in(client)
    clock.advance(hours=12)
    assert not is_in(client)


def test_an_ended_session_takes_no_form(maya, clock):
    client = signed_in()
    clock.advance(hours=13)
    client.post(PROFILE, {"name": "Mallory"})
    maya.refresh_from_db()
    assert maya.name == "Maya Lind"


def test_only_a_session_that_was_asked_for_outlives_the_browser_s_window(maya):
    assert signed_in().cookies["session"]["expires"] == ""
    assert signed_in(remember=True).cookies["session"]["max-age"] == 14 * 86_400


def test_activity_is_marked_once_a_minute(maya, clock):
    client = signed_in()

    def writes() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert is_in(client)
        return sum(query["sql"].startswith(("INSERT", "UPDATE", "DELETE")) for query in queries)

    clock.advance(seconds=59)
    assert writes() == 0
    clock.advance(seconds=1)
    assert writes() == 2
    assert writes() == 0
    assert BrowserSession.objects.get().seen_at == clock.now


def test_a_session_from_before_this_was_kept_counts_from_its_next_request(maya, clock):
    client = signed_in()
    session = client.session
    del session["signed_in_at"], session["seen_at"]
    session.save()
    BrowserSession.objects.all().delete()
    assert is_in(client)
    assert BrowserSession.objects.get().signed_in_at == clock.now


def test_the_list_tells_browsers_apart_and_marks_this_one(maya, clock):
    signed_in(browser=CHROME, address="203.0.113.9")
    clock.advance(minutes=5)
    here = signed_in()
    text = here.get(SESSIONS).content.decode()
    assert text.index("Firefox on Linux") < text.index("This browser") < text.index("Chrome on Windows")
    assert text.count("This browser") == 1
    assert "198.51.100.7" in text
    assert "203.0.113.9" in text
    assert "Sign out all others" in text


def test_the_list_costs_the_same_with_one_session_and_with_many(maya, django_assert_num_queries):
    here = signed_in()
    with CaptureQueriesContext(connection) as one:
        here.get(SESSIONS)
    count = len(one)
    for _ in range(5):
        signed_in(browser=CHROME)
    with django_assert_num_queries(count):
        here.get(SESSIONS)


def test_others_sessions_are_nobody_s_business(maya):
    other = Client(HTTP_USER_AGENT=CHROME)
    other.force_login(cast.person())
    assert "Chrome" not in signed_in().get(SESSIONS).content.decode()


def test_signing_out_the_others_ends_them_and_keeps_this_one(maya):
    stranger = Client()
    stranger.force_login(cast.person())
    others = [signed_in(browser=CHROME) for _ in range(2)]
    here = signed_in()
    assert here.post(SESSIONS)["Location"] == SESSIONS
    assert [is_in(client) for client in (*others, here, stranger)] == [False, False, True, True]
    event = AuditEvent.objects.get(action="session.others_ended")
    assert (event.actor, event.after) == (maya, {"count": 2})
    text = here.get(SESSIONS).content.decode()
    assert "Sign out all others" not in text
    here.post(SESSIONS)
    assert AuditEvent.objects.filter(action="session.others_ended").count() == 1


def test_signing_out_takes_the_session_off_the_list(maya):
    gone, here = signed_in(browser=CHROME), signed_in()
    gone.post("/accounts/logout/")
    assert "Chrome" not in here.get(SESSIONS).content.decode()


def test_a_new_password_ends_the_others_and_keeps_this_one(maya, clock):
    other, here = signed_in(browser=CHROME), signed_in()
    clock.advance(minutes=2)
    form = {"oldpassword": cast.PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert here.post(PASSWORD_CHANGE, form).status_code == 302
    assert [is_in(other), is_in(here)] == [False, True]
    text = here.get(SESSIONS).content.decode()
    assert "This browser" in text
    assert "Chrome" not in text
    assert Session.objects.count() == 1


def test_a_password_reset_by_mail_ends_all_sessions(maya):
    client = signed_in()
    visitor = Client()
    visitor.post("/accounts/password/reset/", {"email": maya.email})
    link = re.search(r"http://localhost:8000(/accounts/password/reset/key/\S+)", OutboxMessage.objects.get().body)
    assert link is not None
    path = visitor.get(link[1], follow=True).redirect_chain[-1][0]
    visitor.post(path, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    assert not is_in(client)
    assert not BrowserSession.objects.exists()


def test_whoever_may_no_longer_sign_in_is_out_at_once(maya):
    client = signed_in()
    assert is_in(client)
    type(maya).objects.filter(pk=maya.pk).update(is_active=False)
    assert not is_in(client)


def test_removal_from_an_organization_ends_no_session(maya):
    membership = cast.member(cast.organization(), user=maya)
    client = signed_in()
    membership.delete()
    assert is_in(client)


def test_the_sweep_removes_what_is_over_and_nothing_else(maya, clock):
    old = signed_in()
    clock.advance(days=13)
    live = signed_in(browser=CHROME)
    clock.advance(days=2)
    tasks.remove_ended_sessions()
    assert [row.user_agent for row in BrowserSession.objects.all()] == [CHROME]
    assert Session.objects.filter(session_key=live.session.session_key).exists()
    assert not Session.objects.filter(session_key=old.cookies["session"].value).exists()


def test_the_name_is_changed_on_one_s_own_page(maya):
    client = signed_in()
    assert 'value="Maya Lind"' in client.get(PROFILE).content.decode()
    assert (
        client.post(PROFILE, {"name": "Maya B. Lind", "email": "x@example.test", "is_staff": "on"}).status_code == 302
    )
    maya.refresh_from_db()
    assert (maya.name, maya.email, maya.is_staff) == ("Maya B. Lind", "maya@acme.example", False)
    event = AuditEvent.objects.get(action="user.renamed")
    assert event.actor == maya
    assert "Lind" not in repr((event.before, event.after))
    client.post(PROFILE, {"name": "Maya B. Lind"})
    assert AuditEvent.objects.filter(action="user.renamed").count() == 1


def test_a_name_that_is_too_long_is_refused_at_its_field(maya):
    response = signed_in().post(PROFILE, {"name": "x" * 151})
    assert response.status_code == 422
    assert 'class="error"' in response.content.decode()


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (CHROME.replace("Safari", "Safari Edg/150.0"), "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 16) Chrome/150.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.0", "curl"),
        ("<script>alert(1)</script>", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_a_browser_is_told_in_words(user_agent, words):
    assert browser_words(user_agent) == words
