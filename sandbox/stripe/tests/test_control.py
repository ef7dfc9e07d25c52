"""The control port, the faults, and a process of its own that is killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.stripe import API_VERSION
from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.conftest import error_of
from sandbox.stripe.tests.contract import WEBHOOK_SECRET, Account
from sandbox.stripe.tests.endpoint import Endpoint

ROOT = Path(__file__).parents[3]


def ask(base_url: str, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
    """One request to the control port; a refusal comes back as (status, message)."""
    request = urllib.request.Request(
        base_url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": content_type},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def test_health_tells_the_version_and_the_clock(stand_in: StandIn) -> None:
    health = ask(stand_in.base_url, "GET", "/_sandbox/health")
    assert (health["status"], health["api_version"]) == ("ok", API_VERSION)
    assert abs(health["clock"]["now"] - time.time()) < 5


def test_the_journal_holds_each_money_effect_once(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    card = account.saved_card(customer)
    payment = account.pay(
        customer, card, key="demo:buy:7", off_session=True, metadata={"purchase_id": "7", "process": "worker-1"}
    )
    account.pay(
        customer, card, key="demo:buy:7", off_session=True, metadata={"purchase_id": "7", "process": "worker-1"}
    )
    error_of(lambda: account.pay(customer, "pm_card_chargeCustomerFail"))
    url = account.stand_in.base_url
    entries = ask(url, "GET", "/_sandbox/journal")["entries"]
    assert [entry["outcome"] for entry in entries] == ["succeeded", "generic_decline"]
    (entry,) = ask(url, "GET", "/_sandbox/journal?metadata[process]=worker-1&off_session=true")["entries"]
    assert entry["payment_intent"] == payment.id
    assert entry["charge"] == payment.latest_charge
    assert (entry["amount"], entry["customer"], entry["idempotency_key"]) == (2500, customer.id, "demo:buy:7")
    assert (entry["off_session"], entry["confirm"], entry["made_by"]) == (True, True, "server")
    assert entry["user_agent"].startswith("Stripe/v1 PythonBindings/")
    assert entry["client_user_agent"]["lang"] == "python"
    assert ask(url, "GET", f"/_sandbox/journal?after={entry['position']}&outcome=succeeded")["entries"] == []
    assert ask(url, "GET", "/_sandbox/journal?colour=red") == (400, "unknown: colour")


def test_requests_are_remembered_without_their_parameters(account: Account) -> None:
    assert account.stand_in is not None
    account.customer(name="Acme Secret")
    requests = ask(account.stand_in.base_url, "GET", "/_sandbox/requests")["requests"]
    assert [(each["method"], each["path"], each["status"]) for each in requests] == [("POST", "/v1/customers", 200)]
    assert "Acme" not in json.dumps(requests)


@pytest.mark.parametrize(
    ("kind", "is_executed"),
    [("refuse", False), ("cut_before", False), ("cut_after", True), ("half_body", True)],
)
def test_a_broken_connection_executes_or_not_as_ordered(account: Account, kind: str, is_executed: bool) -> None:
    assert account.stand_in is not None
    url = account.stand_in.base_url
    ask(url, "POST", "/_sandbox/faults", {"kind": kind, "method": "POST", "path": "/v1/customers"})
    error = error_of(account.customer)
    assert isinstance(error, stripe.APIConnectionError | stripe.APIError)
    assert error.http_status in (None, 200)
    assert len(account.v1.customers.list().data) == int(is_executed)
    assert ask(url, "GET", "/_sandbox/faults")["faults"][0]["hit"] == 1
    assert account.customer().id


@pytest.mark.parametrize(("kind", "retry"), [("rate_limited", "false"), ("lock_timeout", "true")])
def test_too_many_requests_execute_nothing(account: Account, kind: Any, retry: str) -> None:
    assert account.stand_in is not None
    account.stand_in.control.add_fault(kind)
    error = error_of(lambda: account.v1.customers.create({}, {"idempotency_key": "again"}))
    assert isinstance(error, stripe.RateLimitError)
    assert error.headers is not None
    assert error.headers["Stripe-Should-Retry"] == retry
    assert account.v1.customers.list().data == []
    assert account.v1.customers.create({}, {"idempotency_key": "again"}).id


@pytest.mark.parametrize("status", [401, 500, 502, 503])
def test_any_status_can_be_answered_with_nothing_done(account: Account, status: int) -> None:
    assert account.stand_in is not None
    url = account.stand_in.base_url
    ask(url, "POST", "/_sandbox/faults", {"kind": "status", "status": status})
    error = error_of(lambda: account.v1.customers.create({}, {"idempotency_key": "again"}))
    assert error.http_status == status
    assert account.v1.customers.list().data == []
    assert account.v1.customers.create({}, {"idempotency_key": "again"}).id


def test_the_sdk_retries_a_lock_timeout_by_itself(stand_in: StandIn, connect: Callable[..., Account]) -> None:
    stand_in.control.add_fault("lock_timeout", times=2)
    assert connect(stand_in, retries=2).customer().id


def test_a_fault_waits_for_the_request_it_is_meant_for(account: Account) -> None:
    assert account.stand_in is not None
    fault = account.stand_in.control.add_fault(
        "cut_before", path="/v1/customers", parameters={"metadata[organization_id]": "7"}, skip=1
    )
    account.customer(metadata={"organization_id": "8"})
    account.customer(metadata={"organization_id": "7"})
    assert fault.hit == 0
    error_of(lambda: account.customer(metadata={"organization_id": "7"}))
    assert fault.hit == 1
    account.customer(metadata={"organization_id": "7"})


def test_a_delay_holds_one_request_only(account: Account) -> None:
    assert account.stand_in is not None
    account.stand_in.control.add_fault("delay", path="/v1/payment_intents", delay_seconds=0.5)
    account.customer()
    begun = time.monotonic()
    account.v1.payment_intents.list()
    assert time.monotonic() - begun >= 0.5


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_sandbox/faults", {"kind": "meteor"}),
        ("/_sandbox/faults", {"kind": "delay"}),
        ("/_sandbox/faults", {"kind": "status", "status": 200}),
        ("/_sandbox/faults", {"kind": "refuse", "colour": "red"}),
        ("/_sandbox/webhooks", {"colour": "red"}),
        ("/_sandbox/webhooks", {"url": "http://127.0.0.1:9/"}),
        ("/_sandbox/clock", {}),
        ("/_sandbox/challenges", {"intent": "pi_x", "answer": "maybe"}),
        ("/_sandbox/challenges", {"intent": "pi_x", "answer": "complete"}),
        ("/_sandbox/faults", []),
    ],
)
def test_the_control_port_refuses_what_it_does_not_understand(stand_in: StandIn, path: str, body: Any) -> None:
    status, _ = ask(stand_in.base_url, "POST", path, body)
    assert status == 400


def test_a_web_page_can_not_reach_the_control_port(stand_in: StandIn) -> None:
    """A page may post a form anywhere, but never JSON; and no answer carries a permission for other origins."""
    refused = ask(stand_in.base_url, "POST", "/_sandbox/faults", {"kind": "refuse"}, content_type="text/plain")
    assert refused[0] == 415
    with urllib.request.urlopen(f"{stand_in.base_url}/_sandbox/health", timeout=10) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


def test_webhooks_the_clock_and_challenges_can_be_steered_by_http(account: Account, endpoint: Endpoint) -> None:
    assert account.stand_in is not None
    url = account.stand_in.base_url
    state = ask(url, "POST", "/_sandbox/webhooks", {"url": endpoint.url, "secret": WEBHOOK_SECRET, "pause": True})
    assert (state["url"], state["is_paused"]) == (endpoint.url, True)
    payment = account.pay(account.customer(), "pm_card_authenticationRequired", use_stripe_sdk=True)
    ask(url, "POST", "/_sandbox/challenges", {"intent": payment.id, "answer": "complete"})
    assert account.v1.payment_intents.retrieve(payment.id).status == "succeeded"
    deliveries = ask(url, "GET", "/_sandbox/webhooks")["deliveries"]
    wanted = [each["event"] for each in deliveries if each["type"] == "payment_intent.succeeded"] * 2
    assert ask(url, "POST", "/_sandbox/webhooks", {"deliver": wanted})["statuses"] == [200, 200]
    ask(url, "POST", "/_sandbox/webhooks", {"duplicate": 1, "copies": 3})
    account.customer()
    assert ask(url, "POST", "/_sandbox/webhooks", {"resume": True})["is_paused"] is False
    endpoint.wait_for(2 + len(deliveries) - 1 + 3)
    assert ask(url, "POST", "/_sandbox/clock", {"offset_seconds": 3600})["offset_seconds"] == 3600
    assert account.customer().created >= time.time() + 3500


def test_a_stopped_stand_in_answers_no_more(connect: Callable[..., Account]) -> None:
    with StandIn() as stand_in:
        account = connect(stand_in)
        account.customer()
    assert isinstance(error_of(account.customer), stripe.APIConnectionError)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run `python -m sandbox.stripe`; everything that is still running is killed at the end."""
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.stripe", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


def test_everything_survives_a_kill(
    tmp_path: Path, run: Callable[..., subprocess.Popen[str]], connect: Callable[..., Account]
) -> None:
    port = free_port()
    place = ("--port", str(port), "--folder", str(tmp_path / "stripe"))
    process = run(*place)
    assert process.stdout is not None
    assert str(port) in process.stdout.readline()
    url = f"http://127.0.0.1:{port}"
    account = Account(client=stripe.StripeClient("sk_test_kill", base_addresses={"api": url}), stand_in=None)
    customer = account.customer()
    card = account.saved_card(customer)
    payment = account.pay(customer, card, key="before the kill")
    ask(url, "POST", "/_sandbox/clock", {"offset_seconds": 100})
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = run(*place)
    assert process.stdout is not None
    process.stdout.readline()
    assert account.pay(customer, card, key="before the kill").id == payment.id
    assert account.v1.payment_intents.retrieve(payment.id).status == "succeeded"
    assert [entry["payment_intent"] for entry in ask(url, "GET", "/_sandbox/journal")["entries"]] == [payment.id]
    assert ask(url, "GET", "/_sandbox/clock")["offset_seconds"] == 100
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--memory",),
        ("--port", "0"),
        ("--port", "0", "--memory", "--folder", "x"),
        ("--port", "0", "--memory", "--host", "0.0.0.0"),  # noqa: S104
        ("--port", "0", "--memory", "--webhook-url", "http://127.0.0.1:9/"),
    ],
)
def test_a_wrong_command_line_is_refused(run: Callable[..., subprocess.Popen[str]], arguments: tuple[str, ...]) -> None:
    process = run(*arguments)
    _, message = process.communicate(timeout=20)
    assert process.returncode == 2
    assert message.strip()
    assert "Traceback" not in message


def test_a_busy_port_is_named_in_one_line(stand_in: StandIn, run: Callable[..., subprocess.Popen[str]]) -> None:
    process = run("--port", stand_in.base_url.rpartition(":")[2], "--memory")
    _, message = process.communicate(timeout=20)
    assert process.returncode == 2
    assert message.startswith("The Stripe stand-in can't start: ")
    assert message.count("\n") == 1


def test_a_folder_serves_one_process_at_a_time(tmp_path: Path) -> None:
    with StandIn(folder=tmp_path), pytest.raises(ValueError, match="another stand-in"):
        StandIn(folder=tmp_path)
    with StandIn(folder=tmp_path):
        pass


def test_kills_at_random_moments_lose_and_double_nothing(
    tmp_path: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    """Payments go on while the process is killed again and again; each key is asked until it has its answer."""
    port = free_port()
    place = ("--port", str(port), "--folder", str(tmp_path))
    url = f"http://127.0.0.1:{port}"
    client = stripe.StripeClient("sk_test_kills", base_addresses={"api": url}, max_network_retries=0)
    account = Account(client=client, stand_in=None)
    process = run(*place)
    assert process.stdout is not None
    process.stdout.readline()
    customer = account.customer()
    card = account.saved_card(customer)
    is_over = threading.Event()
    answers: dict[str, set[str]] = {}

    def pay_on() -> None:
        number = 0
        while not is_over.is_set():
            key = f"kill-{number}"
            with contextlib.suppress(stripe.APIConnectionError):
                payment = account.pay(customer, card, key=key, metadata={"purchase_id": key})
                answers.setdefault(key, set()).add(payment.id)
                number += 1

    payer = threading.Thread(target=pay_on)
    payer.start()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(4):
        time.sleep(0.2 + moments.random() * 0.3)
        process.kill()
        process.wait()
        process = run(*place)
        assert process.stdout is not None
        process.stdout.readline()
    is_over.set()
    payer.join(timeout=30)
    entries = ask(url, "GET", "/_sandbox/journal?outcome=succeeded")["entries"]
    charged = [entry["metadata"]["purchase_id"] for entry in entries]
    assert len(charged) == len(set(charged))
    assert {entry["payment_intent"] for entry in entries} >= {only for (only,) in answers.values()}
    assert len(answers) >= 4
