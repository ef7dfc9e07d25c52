"""The gate and its database: one round trip for an operation, and closed when the database is in trouble."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.db import connection

from billing.api import known
from billing.api.nudges import nudges
from billing.credits import ledger
from billing.models import Charge, CreditAccount
from billing.tests.gate_process import running_gate
from billing.tests.gateway import SMALL, SMALL_NANO, Gateway
from console.local import valkey

pytestmark = pytest.mark.django_db(transaction=True)

Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def round_trips() -> Iterator[list[int]]:
    """Counts what the server answered with ReadyForQuery: the ends of round trips, as libpq itself traces them."""
    count = [0]
    with tempfile.TemporaryFile() as trace:
        connection.ensure_connection()
        connection.connection.pgconn.trace(trace.fileno())
        yield count
        connection.connection.pgconn.untrace()
        trace.seek(0)
        count[0] = trace.read().count(b"ReadyForQuery")


def backend_pid() -> int:
    connection.ensure_connection()
    pid: int = connection.connection.info.backend_pid
    return pid


def expect_closed(gateway: Gateway, response: Any) -> None:
    """A refusal that a gateway repeats a moment later, and that tells nothing about the inside."""
    gateway.expect_refusal(response, 503, "unavailable")
    assert response.headers["Retry-After"] == "1"
    for inside in ("psycopg", "billing_", "credits_", "Traceback", "socket", "timeout", "lock"):
        assert inside not in response.content.decode()


def test_every_operation_is_one_round_trip(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.fund(10**9)
    # A slow machine must not have the key read again in the middle.
    monkeypatch.setattr(known, "KEY_SECONDS_MAX", 3_600)
    for number in range(3):
        held, failed = (gateway.post("authorize", gateway.usage(f"{word}{number}")) for word in ("held", "failed"))
        calls: dict[str, Any] = {
            "authorize": gateway.usage(f"a{number}"),
            "capture": gateway.capture(held, f"c{number}", SMALL),
            "void": {"organization": "acme", "hold_id": failed.json()["hold_id"]},
            "charge": gateway.usage(f"d{number}"),
            "usage": gateway.usage(f"u{number}"),
            "charge_many": {"events": [gateway.usage(f"m{number}-{event}") for event in range(20)]},
        }
        for operation, body in calls.items():
            with round_trips() as count:
                response = gateway.post(operation, body)
            assert response.status_code in {200, 201}
            if number:
                assert count == [1], operation


def test_a_refusal_is_one_round_trip(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KEY_SECONDS_MAX", 3_600)
    for number in range(2):
        with round_trips() as count:
            gateway.expect_refusal(gateway.post("authorize", gateway.usage(f"{number}")), 402, "credit_exhausted")
    assert count == [1]


def test_case_098_without_a_database_the_gate_is_closed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.fund(10**9)
    assert gateway.post("charge", gateway.usage("k1")).status_code == 201
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "HOST", "/nonexistent")
        expect_closed(gateway, gateway.post("charge", gateway.usage("k2")))
        expect_closed(gateway, gateway.post("charge_many", {"events": [gateway.usage("k2")]}))
        expect_closed(gateway, gateway.get("balance?organization=acme"))
        # A key that nobody has read yet can't be checked, so it opens nothing either.
        known.keys._read_at.clear()
        expect_closed(gateway, gateway.post("charge", gateway.usage("k2")))
        expect_closed(gateway, gateway.get("openapi.json"))
    assert gateway.post("charge", gateway.usage("k2")).status_code == 201
    assert Charge.objects.count() == 2


def test_a_restarted_database_is_found_again_without_a_refusal(
    gateway: Gateway, superuser_connection: Connection
) -> None:
    gateway.fund(10**9)
    gateway.post("charge", gateway.usage("k1"))
    superuser_connection.execute("SELECT pg_terminate_backend(%s)", [backend_pid()])
    assert gateway.post("charge", gateway.usage("k2")).status_code == 201
    assert Charge.objects.count() == 2


@pytest.mark.parametrize("setting", ["lock_timeout = '50ms'", "statement_timeout = '50ms'"], ids=["55P03", "57014"])
def test_waiting_too_long_for_the_lock_is_a_refusal_that_changes_nothing(
    gateway: Gateway, superuser_connection: Connection, setting: str
) -> None:
    gateway.fund(10**9)
    gateway.get("balance?organization=acme")
    with connection.cursor() as cursor:
        cursor.execute(f"SET {setting}")
    with superuser_connection.transaction():
        superuser_connection.execute("SELECT FROM billing_creditaccount FOR UPDATE")
        expect_closed(gateway, gateway.post("charge", gateway.usage("k1")))
    connection.close()
    assert not Charge.objects.exists()
    assert gateway.post("charge", gateway.usage("k1")).json()["available_nano"] == 10**9 - SMALL_NANO


def test_a_database_that_became_read_only_closes_the_gate(gateway: Gateway) -> None:
    """A failover: SQLSTATE 25006, which Django raises as InternalError."""
    gateway.fund(10**9)
    gateway.get("balance?organization=acme")
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    expect_closed(gateway, gateway.post("charge", gateway.usage("k1")))
    connection.close()
    assert not Charge.objects.exists()


def test_case_099_a_cost_that_can_not_be_computed_is_a_failure_and_not_a_zero(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.fund(10**9)
    gateway.get("balance?organization=acme")
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog")
    response = gateway.post("charge", gateway.usage("k1"))
    connection.close()
    gateway.expect_refusal(response, 500, "internal")
    assert "credits_charge" not in response.content.decode()
    assert response.json()["request_id"] in caplog.text
    assert "credits_charge" in caplog.text
    assert not Charge.objects.exists()


def test_a_connection_lost_in_the_middle_charges_once(gateway: Gateway, superuser_connection: Connection) -> None:
    gateway.fund(10**9)
    gateway.get("balance?organization=acme")
    pid = backend_pid()

    def end_the_waiting_backend(holder: Connection) -> None:
        deadline = time.monotonic() + 20
        with psycopg.connect(holder.info.dsn, autocommit=True) as observer:
            while time.monotonic() < deadline:
                row = observer.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
                if row == ("Lock",):
                    break
                time.sleep(0.01)
            observer.execute("SELECT pg_terminate_backend(%s)", [pid])
        holder.rollback()

    with psycopg.connect(superuser_connection.info.dsn) as holder:
        holder.execute("SELECT FROM billing_creditaccount FOR UPDATE")
        ender = threading.Thread(target=end_the_waiting_backend, args=[holder])
        ender.start()
        response = gateway.post("charge", gateway.usage("k1"))
        ender.join()
    assert response.status_code == 201
    assert backend_pid() != pid
    assert Charge.objects.count() == 1


def test_credit_below_the_line_is_marked_and_answered_while_the_broker_is_down(gateway: Gateway) -> None:
    gateway.fund(10**9)
    ledger.set_reload_line(organization_id=gateway.organization_id("acme"), below_nano=10**9)
    response = gateway.post("charge", gateway.usage("k1"))
    nudges.wait_until_told()
    assert response.status_code == 201
    assert CreditAccount.objects.get().low_cause == "level"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A real Valkey server; gives its address."""
    with tempfile.TemporaryDirectory(prefix="gate-broker-", dir="/tmp") as socket_folder:
        process = subprocess.Popen(
            valkey.command(data_folder=tmp_path, socket_folder=Path(socket_folder), account=None),
            stdout=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 20
            while not (Path(socket_folder) / "valkey.sock").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            yield valkey.url(Path(socket_folder))
        finally:
            process.terminate()
            process.wait(10)


def test_credit_below_the_line_wakes_auto_reload_once(
    gateway: Gateway,
    broker: str,
    role_address: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway.fund(10**9)
    organization_id = gateway.organization_id("acme")
    ledger.set_reload_line(organization_id=organization_id, below_nano=10**9)
    monkeypatch.setitem(os.environ, "REDIS_URL", broker)
    queue = redis.Redis(unix_socket_path=broker.removeprefix("redis+socket://"))
    with running_gate(database_url=role_address("console_app"), log=tmp_path / "gate.log") as url:
        for key in ("k1", "k2"):
            gateway.post_to(url, "charge", gateway.usage(key))
        gateway.post_to(url, "charge_many", {"events": [gateway.usage("k3")]})
        deadline = time.monotonic() + 20
        while not queue.llen("celery") and time.monotonic() < deadline:
            time.sleep(0.02)
    messages = queue.lrange("celery", 0, -1)
    assert len(messages) == 1
    assert b"billing.tasks.relay_credit_events" in messages[0]
