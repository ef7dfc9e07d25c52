"""Service keys that were refused at the gate stand in history, and nobody can fill it by knocking."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection
from django.test import RequestFactory
from django.utils import timezone

from accounts import audit, service_keys
from accounts.models import AuditEvent, Scope
from billing.api import refusals
from billing.api.refusals import RefusedKeys
from billing.tests.gateway import Gateway

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.api.failures.refused_keys", RefusedKeys())


def noted() -> list[tuple[str, object]]:
    return list(AuditEvent.objects.filter(action="service_key.refused").order_by("id").values_list("target", "after"))


def note(refused: RefusedKeys, key_text: str) -> None:
    refused.note(RequestFactory().get("/v1/balance", headers={"Authorization": f"Bearer {key_text}"}))


def test_a_refused_key_is_told_once_a_minute_with_where_it_came_from(gateway: Gateway) -> None:
    for _ in range(3):
        answer = gateway.request("GET", "/v1/balance?organization=acme", Authorization="Bearer nonsense")
        assert answer.status_code == 401
    (event,) = AuditEvent.objects.filter(action="service_key.refused")
    assert (event.organization, event.actor, event.target, event.after) == (None, None, "", None)
    assert event.origin.ip_address is not None
    assert re.fullmatch(r"[0-9a-f]{32}", event.request_id)


def test_which_key_it_was_is_told_and_never_its_secret() -> None:
    revoked = service_keys.issue(name="old", actor=None)
    service_keys.revoke(service_key=revoked.service_key, at=timezone.now(), actor=None)
    live = service_keys.issue(name="new", actor=None)
    refused = RefusedKeys()
    note(refused, revoked.key_text)
    note(refused, live.key_text)
    assert noted() == [
        (f"service_key:{revoked.service_key.pk}", {"is_revoked": True}),
        (f"service_key:{live.service_key.pk}", {"is_revoked": False}),
    ]
    everything = repr(list(AuditEvent.objects.values()))
    assert revoked.key_text[-20:] not in everything


def test_a_key_without_the_scope_of_a_route_is_told_too(gateway: Gateway) -> None:
    key = service_keys.issue(name="reader", actor=None, scopes=[Scope.READ])
    for _ in range(2):
        answer = gateway.request("POST", "/v1/authorize", Authorization=f"Bearer {key.key_text}")
        gateway.expect_refusal(answer, 403, "scope_missing")
    assert noted() == [(f"service_key:{key.service_key.pk}", {"is_revoked": False})]


def test_keys_that_were_never_issued_count_as_one() -> None:
    refused = RefusedKeys()
    for number in range(5):
        note(refused, "ck_live_" + f"{number:08}_" + "0" * 43)
    note(refused, "")
    assert noted() == [("", None)]


def test_what_was_told_costs_no_query(django_assert_num_queries: object) -> None:
    refused = RefusedKeys()
    note(refused, "x")
    with django_assert_num_queries(0):  # type: ignore[operator]
        for _ in range(50):
            note(refused, "x")


def test_a_process_remembers_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "REMEMBERED_MAX", 3)
    refused = RefusedKeys()
    for number in range(9):
        note(refused, "ck_live_" + f"{number:08}_" + "0" * 43)
    assert len(refused._told) == 3


def test_a_database_that_is_away_does_not_change_the_answer(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(**_: object) -> None:
        raise OperationalError

    monkeypatch.setattr(audit, "record_once", away)
    answer = gateway.request("GET", "/v1/balance?organization=acme", Authorization="Bearer nonsense")
    gateway.expect_refusal(answer, 401, "service_key_invalid")
    assert "could not be noted" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_processes_that_refuse_at_once_leave_one_event() -> None:
    start = threading.Barrier(4)

    def refuse(_: int) -> None:
        process = RefusedKeys()
        start.wait()
        note(process, "x")
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(refuse, range(4)))
    assert noted() == [("", None)]
