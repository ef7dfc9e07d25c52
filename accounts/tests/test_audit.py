"""History: written for every change, readable for ever, changeable by nobody."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from django.test import RequestFactory

from accounts import audit, audit_actions, current_request
from accounts.models import AuditEvent, AuditOrigin, Role, User
from accounts.tests import cast

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
CHANGES = (
    "UPDATE accounts_auditevent SET action = 'x'",
    "DELETE FROM accounts_auditevent",
    "TRUNCATE accounts_auditevent CASCADE",
)


@pytest.mark.django_db
def test_an_event_tells_who_what_where():
    organization, user = cast.organization(), cast.person()
    request = RequestFactory().get("/", headers={"User-Agent": "Browser/1 " + "x" * 900}, REMOTE_ADDR="192.0.2.7")
    event = audit.record(
        organization=organization,
        actor=user,
        action="organization.changed",
        target="thing:1",
        before={"a": 1},
        after={"a": 2},
        request=request,
    )
    event.refresh_from_db()
    assert (event.organization, event.actor, event.action, event.target) == (
        organization,
        user,
        "organization.changed",
        "thing:1",
    )
    assert (event.before, event.after) == ({"a": 1}, {"a": 2})
    assert event.origin.ip_address == "192.0.2.7"
    assert len(event.origin.user_agent) == 400


@pytest.mark.django_db
def test_an_event_rolls_back_with_the_change_it_tells_of():
    with pytest.raises(RuntimeError), transaction.atomic():
        audit.record(organization=None, actor=None, action="organization.changed")
        raise RuntimeError
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("sql", [*CHANGES, "ALTER TABLE accounts_auditevent DISABLE TRIGGER ALL"])
def test_the_runtime_role_cannot_change_history(sql):
    audit.record(organization=None, actor=None, action="organization.changed")
    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    assert AuditEvent.objects.get().action == "organization.changed"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sql", CHANGES)
def test_the_triggers_stop_even_the_owner_of_the_table(sql, owner_connection):
    audit.record(organization=None, actor=None, action="organization.changed")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="immutable"):
        owner_connection.execute(sql)
    assert AuditEvent.objects.get().action == "organization.changed"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "sql", ["UPDATE accounts_auditorigin SET user_agent = 'x'", "TRUNCATE accounts_auditorigin CASCADE"]
)
def test_the_runtime_role_cannot_change_where_an_event_came_from(sql):
    audit.record(organization=None, actor=None, action="organization.changed", request=RequestFactory().get("/"))
    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    assert AuditOrigin.objects.get().user_agent == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sql", ["UPDATE accounts_auditorigin SET user_agent = 'x'", "TRUNCATE accounts_auditorigin"])
def test_the_triggers_keep_origins_from_their_owner_too(sql, owner_connection):
    audit.record(organization=None, actor=None, action="organization.changed", request=RequestFactory().get("/"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="immutable"):
        owner_connection.execute(sql)


@pytest.mark.django_db(transaction=True)
def test_a_person_can_be_erased_without_touching_history():
    user = cast.person()
    event = audit.record(
        organization=None, actor=user, action="organization.changed", request=RequestFactory().get("/")
    )
    AuditOrigin.objects.filter(event=event).delete()
    user_id = user.pk
    User.objects.filter(pk=user_id).delete()
    event = AuditEvent.objects.get(pk=event.pk)
    assert (event.actor_id, event.action) == (user_id, "organization.changed")


@pytest.mark.parametrize(
    ("proxy_count", "forwarded", "expected"),
    [
        (0, "203.0.113.5", "192.0.2.7"),
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "198.51.100.1, 203.0.113.5", "203.0.113.5"),
        (2, "198.51.100.1, 203.0.113.5, 10.0.0.1", "203.0.113.5"),
        (2, "10.0.0.1", None),
        (1, "<script>", None),
        (1, "", None),
    ],
)
def test_a_client_cannot_choose_the_address_it_is_recorded_with(settings, proxy_count, forwarded, expected):
    settings.TRUSTED_PROXY_COUNT = proxy_count
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR="192.0.2.7")
    assert audit.client_address(request) == expected


def test_a_unix_socket_has_no_address(settings):
    settings.TRUSTED_PROXY_COUNT = 0
    assert audit.client_address(RequestFactory().get("/", REMOTE_ADDR="")) is None


@pytest.mark.django_db
def test_an_event_keeps_the_role_of_that_moment_and_the_reference_of_the_request():
    acme = cast.organization()
    membership = cast.member(acme, role=Role.BILLING)
    request = RequestFactory().get("/")
    request.request_id = "req_1"  # type: ignore[attr-defined]
    event = audit.record(organization=acme, actor=membership.user, action="organization.changed", request=request)
    assert (event.role, event.request_id) == ("billing", "req_1")


@pytest.mark.django_db
def test_staff_act_as_staff_unless_they_are_members():
    acme, staff = cast.organization(), cast.person(is_staff=True)
    assert audit.record(organization=acme, actor=staff, action="organization.changed").role == "staff"
    assert audit.record(organization=None, actor=staff, action="organization.changed").role == "staff"
    cast.member(acme, role=Role.ADMIN, user=staff)
    assert audit.record(organization=acme, actor=staff, action="organization.changed").role == "admin"


@pytest.mark.django_db
def test_what_the_system_does_has_no_role():
    event = audit.record(organization=cast.organization(), actor=None, action="organization.changed")
    assert (event.role, event.request_id) == ("", "")


@pytest.mark.django_db
def test_each_answer_carries_a_reference_of_its_own(client):
    first, second = (client.get("/accounts/login/", headers={"X-Request-Id": "mine"}) for _ in range(2))
    assert first["X-Request-Id"].startswith("req_")
    assert first["X-Request-Id"] != second["X-Request-Id"]


@pytest.mark.django_db
def test_an_action_that_nobody_has_words_for_is_an_error():
    with pytest.raises(audit_actions.UnknownAction, match=r"audit_actions\.py.*'thing\.changed'"):
        audit.record(organization=None, actor=None, action="thing.changed")


@pytest.mark.django_db
def test_the_origin_is_found_without_handing_the_request_down_and_only_for_its_own_person():
    mine, other = cast.person(), cast.person()
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
    request.user, request.request_id = mine, "req_7"  # type: ignore[attr-defined]
    with current_request.answering(request):
        own = audit.record(organization=None, actor=mine, action="card.added")
        others = audit.record(organization=None, actor=other, action="card.added")
        machines = audit.record(organization=None, actor=None, action="card.updated")
    assert (own.request_id, own.origin.ip_address) == ("req_7", "192.0.2.7")
    for event in (others, machines):
        assert event.request_id == "req_7"
        assert not AuditOrigin.objects.filter(event=event).exists()
    assert current_request.reference() == ""


def told_once(person: User, *, occasion: str = "page", at: datetime = NOON, action: str = "access.refused"):
    return audit.record_once(organization=None, actor=person, action=action, occasion=occasion, at=at)


@pytest.mark.django_db
def test_what_is_repeated_within_a_minute_is_told_once():
    person, other = cast.person(), cast.person()
    assert told_once(person) is not None
    assert told_once(person, at=NOON + timedelta(seconds=59)) is None
    assert told_once(person, at=NOON + timedelta(seconds=60)) is not None
    assert told_once(person, occasion="other page") is not None
    assert told_once(person, action="access.not_found") is not None
    assert told_once(other) is not None
    assert AuditEvent.objects.count() == 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_guard", [True, False])
def test_many_at_once_leave_one_event(has_guard):
    """Without the unique key each of them would leave one: shown by giving each a key of its own."""
    person, start = cast.person(), threading.Barrier(6)

    def refuse(number: int) -> None:
        start.wait()
        told_once(person, occasion="page" if has_guard else f"page {number}")
        connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(refuse, range(6)))
    assert AuditEvent.objects.count() == (1 if has_guard else 6)
