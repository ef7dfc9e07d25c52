"""The gate's door: service keys, the id of an exchange, and answers that are no operation."""

import re
import time
from typing import Any

import pytest
from django.utils import timezone

from accounts import service_keys
from accounts.models import ServiceKey
from billing.api import gate, known
from billing.tests.gateway import Gateway

pytestmark = pytest.mark.django_db

OPERATIONS = ["authorize", "capture", "void", "charge", "charge_many", "usage"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer ck_live_00000000_" + "0" * 43,
        "Bearer \udcff",
        "Bearer " + "k" * 5_000,
    ],
    ids=lambda header: repr(header)[:30],
)
def test_without_a_valid_key_nothing_is_answered(gateway: Gateway, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in [*OPERATIONS, "keys/verify", "balance", "openapi.json"]:
        method = "GET" if path in {"balance", "openapi.json"} else "POST"
        response = gateway.request(method, f"/v1/{path}", **headers)
        gateway.expect_refusal(response, 401, "service_key_invalid")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_the_secret_is_what_counts(gateway: Gateway) -> None:
    wrong = gateway.key_text[:-1] + ("a" if gateway.key_text[-1] != "a" else "b")
    response = gateway.request("GET", "/v1/balance?organization=acme", Authorization=f"Bearer {wrong}")
    gateway.expect_refusal(response, 401, "service_key_invalid")


def test_a_revoked_key_ends_within_the_stated_second(gateway: Gateway) -> None:
    assert gateway.get("balance?organization=acme").status_code == 200
    service_keys.revoke(service_key=ServiceKey.objects.get(), at=timezone.now(), actor=None)
    time.sleep(known.KEY_SECONDS_MAX)
    gateway.expect_refusal(gateway.get("balance?organization=acme"), 401, "service_key_invalid")


def test_uses_of_a_key_are_marked_in_batches() -> None:
    ring = known.KeyRing()
    first, second = (service_keys.issue(name=name, actor=None) for name in ("first", "second"))
    ring.find(first.key_text)
    ring.find(second.key_text)
    first.service_key.refresh_from_db()
    second.service_key.refresh_from_db()
    assert first.service_key.last_used_at is not None
    assert second.service_key.last_used_at is None, "it waits for the next batch"
    ring._marked_at -= known.MARK_SECONDS_MIN
    ring._read_at.clear()
    ring.find(first.key_text)
    second.service_key.refresh_from_db()
    assert second.service_key.last_used_at is not None


def test_the_ring_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KEYS_MAX", 3)
    ring = known.KeyRing()
    for number in range(8):
        assert ring.find(service_keys.issue(name=f"k{number}", actor=None).key_text)
        assert ring.find("ck_live_00000000_" + f"{number:043}") is None
    assert len(ring._read_at) <= 3


@pytest.mark.parametrize(
    ("given", "is_echoed"),
    [("req-1/α".encode().decode("latin1"), False), ("req_01ABC", True), ("x" * 129, False), ("a b", False)],
)
def test_the_id_of_an_exchange_is_echoed_when_it_is_printable(gateway: Gateway, given: str, is_echoed: bool) -> None:
    for response in (
        gateway.get("balance?organization=acme", **{"X-Request-Id": given}),
        gateway.get("balance?organization=nobody", **{"X-Request-Id": given}),
        gateway.get("nothing", **{"X-Request-Id": given}),
    ):
        request_id = response.headers["X-Request-Id"]
        assert response.json()["request_id"] == request_id
        assert (request_id == given) is is_echoed
        assert is_echoed or re.fullmatch("[0-9a-f]{32}", request_id)


def test_answers_are_json_and_are_not_cached(gateway: Gateway) -> None:
    not_found = gateway.get("nothing")
    gateway.expect_refusal(not_found, 404, "not_found")
    wrong_method = gateway.get("charge")
    gateway.expect_refusal(wrong_method, 405, "method_not_allowed")
    assert wrong_method.headers["Allow"] == "POST"
    for response in (not_found, wrong_method, gateway.get("balance?organization=acme"), gateway.get("openapi.json")):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Type"].startswith("application/json")
        assert not response.cookies


def test_every_operation_is_described(gateway: Gateway) -> None:
    description = gateway.get("openapi.json").json()
    assert set(description["paths"]) == {f"/v1/{name}" for name in [*OPERATIONS, "balance", "keys/verify"]}
    for path in description["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]
            assert {"401", "402", "409", "422", "503"} <= set(operation["responses"])
            assert operation["security"] == [{"ServiceKeyBearer": []}]
    schemas = description["components"]["schemas"]
    assert schemas["AuthorizeBody"]["additionalProperties"] is False
    event = schemas["ChargeManyBody"]["properties"]["events"]["items"]
    operation = event["properties"].pop("operation")
    assert (operation["enum"], operation["default"]) == (["charge", "usage"], "charge")
    assert event["properties"] == schemas["ChargeBody"]["properties"]
    assert event["required"] == schemas["ChargeBody"]["required"]
    assert schemas["ChargeBody"]["properties"]["quantities"]["maxProperties"] == 32


def test_bodies_are_as_described(gateway: Gateway) -> None:
    """Answers are written without ninja's own check, so the description is checked against them here."""
    from billing.api import answers

    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    examples: list[tuple[type[Any], Any]] = [
        (answers.Answer, held),
        (answers.Answer, gateway.post("void", {"organization": "acme", "hold_id": held.json()["hold_id"]})),
        (answers.BalanceAnswer, gateway.get("balance?organization=acme")),
        (answers.Refusal, gateway.post("authorize", gateway.usage("k2", model="unheard-of"))),
        (answers.ChargeManyAnswer, gateway.post("charge_many", {"events": [gateway.usage("k3"), {}]})),
    ]
    for model, response in examples:
        model.model_config["extra"] = "forbid"
        model.model_rebuild(force=True)
        model.model_validate(response.json(), strict=True)


def test_the_gate_serves_no_page_of_documentation() -> None:
    assert gate.docs_url is None


def test_a_fault_outside_of_the_operations_is_json_too(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.views.connection", None)
    response = gateway.request("GET", "/healthz")
    gateway.expect_refusal(response, 500, "internal")
    assert response.headers["X-Request-Id"] == response.json()["request_id"]
