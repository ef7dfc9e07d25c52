"""Many connections at once, over HTTP to a gate of its own: never more than there is, and never the same twice."""

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from billing.credits import queries
from billing.management.gate_client import GateClient
from billing.models import Charge
from billing.tests.gate_process import running_gate
from billing.tests.gateway import Gateway

THREADS = 16
CREDIT_NANO = 3_000
CHARGE_NANO = 7
AFFORDABLE = CREDIT_NANO // CHARGE_NANO

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def url(gateway: Gateway, role_address: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    gateway.price("unit", {"input": 1_000_000})
    gateway.fund(CREDIT_NANO)
    with running_gate(database_url=role_address("console_app"), threads=THREADS, log=tmp_path / "gate.log") as address:
        yield address


def at_once(gateway: Gateway, url: str, send: Callable[[GateClient, int], list[Any]]) -> Counter[Any]:
    """What ``send`` saw, counted over all threads."""

    def work(thread: int) -> list[Any]:
        client = GateClient(url=url, service_key=gateway.key_text)
        try:
            return send(client, thread)
        finally:
            client.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return Counter(seen for part in pool.map(work, range(THREADS)) for seen in part)


def test_charges_of_7_against_3000_are_accepted_428_times(gateway: Gateway, url: str) -> None:
    def send(client: GateClient, thread: int) -> list[Any]:
        bodies = (
            gateway.usage(f"{thread}-{number}", model="unit", quantities={"input": CHARGE_NANO})
            for number in range(AFFORDABLE // THREADS + 5)
        )
        return [client.post("charge", body).status for body in bodies]

    statuses = at_once(gateway, url, send)

    assert statuses == {201: AFFORDABLE, 402: (AFFORDABLE // THREADS + 5) * THREADS - AFFORDABLE}
    assert queries.summary(organization_id=gateway.organization_id("acme")).available_nano == CREDIT_NANO % CHARGE_NANO


def test_holds_never_promise_more_than_there_is(gateway: Gateway, url: str) -> None:
    def send(client: GateClient, thread: int) -> list[Any]:
        statuses = []
        for number in range(30):
            key = f"{thread}-{number}"
            held = client.post("authorize", gateway.usage(key, model="unit", quantities={"input": 300}))
            statuses.append(held.status)
            if held.status == 402:
                continue
            settled: dict[str, Any] = {"organization": "acme", "hold_id": held.body["hold_id"]}
            if number % 3:
                settled |= {"idempotency_key": key, "quantities": {"input": CHARGE_NANO}}
            client.post("capture" if number % 3 else "void", settled)
        return statuses

    at_once(gateway, url, send)

    summary = queries.summary(organization_id=gateway.organization_id("acme"))
    charges = Charge.objects.count()
    assert charges > 0
    assert (summary.available_nano, summary.held_nano) == (CREDIT_NANO - charges * CHARGE_NANO, 0)
    assert summary.debt_nano == 0


def test_one_key_from_all_sides_charges_once(gateway: Gateway, url: str) -> None:
    body = gateway.usage("the-one", model="unit", quantities={"input": CHARGE_NANO})

    def send(client: GateClient, thread: int) -> list[Any]:
        answer = client.post("charge", body)
        return [(answer.status, answer.body["charge_id"], answer.body["available_nano"])]

    seen = at_once(gateway, url, send)

    charge = Charge.objects.get()
    left_nano = CREDIT_NANO - CHARGE_NANO
    assert seen == {(201, charge.pk, left_nano): 1, (200, charge.pk, left_nano): THREADS - 1}


def test_case_092_a_socket_closed_right_after_the_request_cancels_no_settlement(gateway: Gateway, url: str) -> None:
    """The client of a stream is gone with its last chunk, and so may be the gateway's connection: the charge stands."""
    client = GateClient(url=url, service_key=gateway.key_text)
    held = client.post("authorize", gateway.usage("h", model="unit", quantities={"input": 300}))
    client.close()
    body = json.dumps(
        {
            "organization": "acme",
            "hold_id": held.body["hold_id"],
            "idempotency_key": "last chunk",
            "quantities": {"input": 120},
        }
    )
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(
            f"POST /v1/capture HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {gateway.key_text}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
    deadline = time.monotonic() + 30
    while not Charge.objects.filter(idempotency_key="last chunk").exists():
        assert time.monotonic() < deadline, "the settlement was cancelled"
        time.sleep(0.02)
    assert Charge.objects.get().amount_nano == 120
    assert queries.summary(organization_id=gateway.organization_id("acme")).available_nano == CREDIT_NANO - 120
