"""What the gate refuses to read. Each refusal names the field, repeats no value, and changes nothing."""

import json
from typing import Any

import pytest

from billing.api.bodies import BATCH_BYTES_MAX, BODY_BYTES_MAX
from billing.models import Charge, Hold
from billing.tests.gateway import SMALL, Gateway

pytestmark = pytest.mark.django_db

# What JSON can carry and a count of units can't be.
BAD_UNITS = [
    -1, 10**9 + 1, 10**400, 1.0, 1.5, True, False, None, "1", "１２", [], {}, [1],
]  # fmt: skip


def expect_invalid(gateway: Gateway, response: Any, field: str | None) -> None:
    assert gateway.expect_refusal(response, 422, "invalid")["field"] == field
    assert not Hold.objects.exists()
    assert not Charge.objects.exists()


@pytest.mark.parametrize("units", BAD_UNITS, ids=repr)
@pytest.mark.parametrize("operation", ["authorize", "charge", "usage"])
def test_units_are_strict_integers_within_bounds(gateway: Gateway, operation: str, units: object) -> None:
    gateway.fund(10**9)
    body = gateway.usage("k1", quantities={"input": 1, "output": units})
    expect_invalid(gateway, gateway.post(operation, body), "quantities.output")


@pytest.mark.parametrize("operation", ["authorize", "charge", "usage"])
def test_the_fee_of_a_request_is_no_quantity(gateway: Gateway, operation: str) -> None:
    """The price list adds it by itself, so that nobody forgets it or counts it twice."""
    gateway.fund(10**9)
    body = gateway.usage("k1", quantities={"input": 1, "request": 1})
    refused = gateway.post(operation, body)
    expect_invalid(gateway, refused, "quantities.request")
    assert "the price list adds it by itself" in refused.json()["error"]["message"]
    (result,) = gateway.post("charge_many", {"events": [body]}).json()["results"]
    assert (result["status"], result["error"]["field"]) == (422, "quantities.request")


@pytest.mark.parametrize("operation", ["authorize", "capture", "", None, 1, "USAGE"])
def test_an_event_is_a_charge_or_usage(gateway: Gateway, operation: object) -> None:
    gateway.fund(10**9)
    (result,) = gateway.post("charge_many", {"events": [gateway.usage("k1", operation=operation)]}).json()["results"]
    assert (result["status"], result["error"]["field"]) == (422, "operation")
    assert not Charge.objects.exists()


def test_case_087_units_that_overflow_a_bigint_are_refused_at_the_gate(gateway: Gateway) -> None:
    for units in (2**63, 2**64, -(2**63)):
        expect_invalid(
            gateway, gateway.post("charge", gateway.usage("k1", quantities={"input": units})), "quantities.input"
        )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E3", "1_000", "0x10", "01"])
def test_numbers_that_are_no_plain_json_integer_are_refused(gateway: Gateway, number: str) -> None:
    gateway.fund(10**9)
    text = json.dumps(gateway.usage("k1", quantities={"input": 123454321})).replace("123454321", number)
    response = gateway.post("charge", text.encode())
    assert gateway.expect_refusal(response, 422, "invalid")
    assert not Charge.objects.exists()


def test_an_integer_of_ten_thousand_digits_is_refused(gateway: Gateway) -> None:
    text = json.dumps(gateway.usage("k1", quantities={"input": 123454321})).replace("123454321", "9" * 10_000)
    expect_invalid(gateway, gateway.post("charge", text.encode()), None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"organization": ""}, "organization"),
        ({"organization": "acme "}, "organization"),
        ({"organization": "acme\n"}, "organization"),
        ({"organization": "a" * 61}, "organization"),
        ({"organization": 1}, "organization"),
        ({"organization": None}, "organization"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
        ({"idempotency_key": "k\u0000"}, "idempotency_key"),
        ({"idempotency_key": "k\ud800"}, "idempotency_key"),
        ({"idempotency_key": "k\n"}, "idempotency_key"),
        ({"idempotency_key": "schlüssel"}, "idempotency_key"),
        ({"idempotency_key": 7}, "idempotency_key"),
        ({"model": ""}, "model"),
        ({"model": "orion medium"}, "model"),
        ({"model": "m" * 65}, "model"),
        ({"model": "orion\u0000"}, "model"),
        ({"surface": "fax"}, "surface"),
        ({"surface": "API"}, "surface"),
        ({"surface": None}, "surface"),
        ({"key_ref": "k" * 65}, "key_ref"),
        ({"key_ref": "\u0000"}, "key_ref"),
        ({"key_ref": None}, "key_ref"),
        ({"quantities": {}}, "quantities"),
        ({"quantities": []}, "quantities"),
        ({"quantities": None}, "quantities"),
        ({"quantities": {f"c{number}": 1 for number in range(33)}}, "quantities"),
        ({"quantities": {"": 1}}, "quantities."),
        ({"quantities": {"in\u0000put": 1}}, "quantities.in\x00put"),
        ({"quantities": {"\ud800": 1}}, "quantities." + "\\ufffd" * 3),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 3601}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"ttl_seconds": "600"}, "ttl_seconds"),
        ({"amount_nano": 1}, "amount_nano"),
        ({"occurred_at": "2026-01-01T00:00:00Z"}, "occurred_at"),
        ({"x" * 50_000: 1}, "x" * 100),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_wrong_is_refused_by_the_name_of_its_field(
    gateway: Gateway, change: dict[str, Any], field: str
) -> None:
    gateway.fund(10**9)
    expect_invalid(gateway, gateway.post("authorize", gateway.usage("k1") | change), field)


@pytest.mark.parametrize("name", ["organization", "idempotency_key", "model", "surface", "quantities"])
def test_what_is_missing_is_named(gateway: Gateway, name: str) -> None:
    body = gateway.usage("k1")
    del body[name]
    expect_invalid(gateway, gateway.post("authorize", body), name)


@pytest.mark.parametrize("hold_id", [0, -1, 2**63, "1", 1.0, True, None])
@pytest.mark.parametrize("operation", ["capture", "void"])
def test_a_hold_is_named_by_a_strict_integer(gateway: Gateway, operation: str, hold_id: object) -> None:
    body: dict[str, Any] = {"organization": "acme", "hold_id": hold_id}
    if operation == "capture":
        body |= {"idempotency_key": "k1", "quantities": SMALL}
    expect_invalid(gateway, gateway.post(operation, body), "hold_id")


@pytest.mark.parametrize(
    "occurred_at",
    [
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01",
        "20260101T000000Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00+24:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-01-01T00:00:00Z\n",
        "٢٠٢٦-01-01T00:00:00Z",
        "now",
        1767225600,
        True,
        [],
    ],
    ids=repr,
)
@pytest.mark.parametrize("operation", ["charge", "usage"])
def test_an_instant_is_written_with_its_zone(gateway: Gateway, operation: str, occurred_at: object) -> None:
    gateway.fund(10**9)
    body = gateway.usage("k1", occurred_at=occurred_at)
    expect_invalid(gateway, gateway.post(operation, body), "occurred_at")


def test_an_instant_far_away_is_refused_by_its_distance(gateway: Gateway) -> None:
    body = gateway.usage("k1", occurred_at="0001-01-01T00:00:00Z")
    gateway.expect_refusal(gateway.post("usage", body), 422, "occurred_at_out_of_range")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"[" * 30_000,
        b'{"a":' * 10_000,
        b'{"organization":"acme","organization":"other"}',
        json.dumps({"organization": [[[[[[[1]]]]]]]}).encode(),
    ],
    ids=lambda body: repr(body[:30]),
)
@pytest.mark.parametrize("operation", ["authorize", "capture", "void", "charge", "usage", "charge_many"])
def test_what_is_no_json_object_is_refused(gateway: Gateway, operation: str, body: bytes) -> None:
    gateway.expect_refusal(gateway.post(operation, body), 422, "invalid")


def test_a_name_that_stands_twice_is_refused(gateway: Gateway) -> None:
    gateway.fund(10**9)
    text = json.dumps(gateway.usage("k1")).replace('"input": 1000', '"input": 1, "input": 1000')
    expect_invalid(gateway, gateway.post("charge", text.encode()), None)


def test_bodies_have_a_size(gateway: Gateway) -> None:
    padded = json.dumps(gateway.usage("k1")).encode().ljust(BODY_BYTES_MAX + 1)
    gateway.expect_refusal(gateway.post("charge", padded), 413, "too_large")
    assert gateway.post("charge_many", b'{"events": []}'.ljust(BODY_BYTES_MAX + 1)).status_code == 422
    gateway.expect_refusal(gateway.post("charge_many", b" " * (BATCH_BYTES_MAX + 1)), 413, "too_large")
    gateway.expect_refusal(gateway.post("charge_many", b" " * (3 * BATCH_BYTES_MAX)), 413, "too_large")


def test_a_batch_has_one_to_a_thousand_events(gateway: Gateway) -> None:
    for events in ([], [{}] * 1_001):
        refused = gateway.post("charge_many", {"events": events})
        assert gateway.expect_refusal(refused, 422, "invalid")["field"] == "events"
    assert gateway.post("charge_many", {"events": [{}] * 1_000}).status_code == 200


def test_a_full_batch_of_the_largest_events_fits(gateway: Gateway) -> None:
    gateway.fund(10**9)
    events = [
        gateway.usage(f"{number:0>255}", key_ref="r" * 64, quantities={"input": 1, "output": 0, "cache_read": 0})
        for number in range(1_000)
    ]
    results = gateway.post("charge_many", {"events": events}).json()["results"]
    assert {result["status"] for result in results} == {201}


@pytest.mark.parametrize("slug", ["", "%00", "%ff", "a%20b", "a" * 61])
def test_the_balance_of_no_slug_is_refused(gateway: Gateway, slug: str) -> None:
    refused = gateway.get(f"balance?organization={slug}")
    assert gateway.expect_refusal(refused, 422, "invalid")["field"] == "organization"


def test_the_longest_texts_are_taken(gateway: Gateway) -> None:
    gateway.fund(10**9)
    body = gateway.usage(" ~" + "k" * 253, key_ref="r" * 64, occurred_at=None)
    assert gateway.post("charge", body).status_code == 201


def test_no_refusal_repeats_what_was_sent(gateway: Gateway) -> None:
    secret = "4242424242424242"
    for change in ({"idempotency_key": secret * 20}, {"key_ref": secret * 20}, {"quantities": {"input": secret}}):
        assert secret not in gateway.post("charge", gateway.usage("k1") | change).content.decode()
