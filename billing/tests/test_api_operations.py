"""The gate's operations: what each answers, what it changes, and what it never changes."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from billing.credits import queries
from billing.models import Charge, CreditAccount, CreditLot, Hold, LedgerEntry, PricedModel, UnpricedUsage, UsageDay
from billing.tests.gateway import SMALL, SMALL_NANO, Gateway, freeze

pytestmark = pytest.mark.django_db


def state() -> tuple[object, ...]:
    """Everything that an operation on credit could change, but for the notes that a refusal leaves for others."""
    return (
        [
            {name: value for name, value in row.items() if name not in ("last_at", "exhausted_at")}
            for row in CreditAccount.objects.order_by("pk").values()
        ],
        list(CreditLot.objects.order_by("pk").values()),
        list(Hold.objects.order_by("pk").values()),
        list(Charge.objects.order_by("pk").values()),
        list(LedgerEntry.objects.order_by("pk").values()),
    )


def test_authorize_then_capture_charges_what_was_used(gateway: Gateway) -> None:
    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    assert held.status_code == 201
    assert held.json() | {"hold_id": 0, "expires_at": "", "request_id": ""} == {
        "outcome": "authorized",
        "is_replay": False,
        "hold_id": 0,
        "charge_id": None,
        "amount_nano": SMALL_NANO,
        "amount_usd": "0.004500000",
        "debt_nano": 0,
        "available_nano": 10**9 - SMALL_NANO,
        "available_usd": "0.995500000",
        "expires_at": "",
        "request_id": "",
    }

    captured = gateway.post("capture", gateway.capture(held, "k1", {"input": 1_000, "output": 1}))

    assert captured.status_code == 201
    assert captured.json()["outcome"] == "charged"
    assert captured.json()["amount_nano"] == 3_015_000
    assert captured.json()["hold_id"] == held.json()["hold_id"]
    assert captured.json()["available_nano"] == 10**9 - 3_015_000
    assert Charge.objects.get().pk == captured.json()["charge_id"]


def test_a_failed_request_costs_nothing(gateway: Gateway) -> None:
    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    voided = gateway.post("void", {"organization": "acme", "hold_id": held.json()["hold_id"]})
    assert voided.status_code == 200
    assert voided.json()["outcome"] == "voided"
    assert voided.json()["available_nano"] == 10**9
    assert not Charge.objects.exists()
    assert LedgerEntry.objects.count() == 1, "only the grant"


def test_voiding_twice_is_voiding_once(gateway: Gateway) -> None:
    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    gateway.post("void", {"organization": "acme", "hold_id": held.json()["hold_id"]})
    again = gateway.post("void", {"organization": "acme", "hold_id": held.json()["hold_id"]})
    assert (again.status_code, again.json()["outcome"], again.json()["is_replay"]) == (200, "voided", True)
    assert again.json()["available_nano"] == 10**9


@pytest.mark.parametrize("operation", ["authorize", "charge", "usage"])
def test_the_same_key_gives_the_first_result_again(gateway: Gateway, operation: str) -> None:
    gateway.fund(10**9)
    first = gateway.post(operation, gateway.usage("k1"))
    before = state()
    again = gateway.post(operation, gateway.usage("k1"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() | {"request_id": "", "is_replay": False} == first.json() | {"request_id": ""}
    assert again.json()["is_replay"] is True
    assert state() == before


def test_the_same_capture_gives_the_first_result_again(gateway: Gateway) -> None:
    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    first = gateway.post("capture", gateway.capture(held, "k1", SMALL))
    before = state()
    again = gateway.post("capture", gateway.capture(held, "k1", SMALL))
    assert again.json() | {"request_id": "", "is_replay": False} == first.json() | {"request_id": ""}
    assert state() == before


@pytest.mark.parametrize("operation", ["authorize", "charge", "usage"])
@pytest.mark.parametrize(
    "change",
    [{"quantities": {"input": 1}}, {"model": "orion-large"}, {"surface": "workbench"}, {"key_ref": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_the_same_key_for_something_else_is_a_conflict(
    gateway: Gateway, operation: str, change: dict[str, Any]
) -> None:
    gateway.fund(10**9)
    gateway.post(operation, gateway.usage("k1"))
    before = state()
    refused = gateway.post(operation, gateway.usage("k1") | change)
    gateway.expect_refusal(refused, 409, "conflict")
    assert state() == before


@pytest.mark.parametrize("operation", ["authorize", "charge"])
def test_without_enough_credit_the_refusal_says_what_is_missing_and_who_can_help(
    gateway: Gateway, operation: str
) -> None:
    gateway.fund(SMALL_NANO - 1)
    before = state()
    error = gateway.expect_refusal(gateway.post(operation, gateway.usage("k1")), 402, "credit_exhausted")
    assert error["needed_nano"] == SMALL_NANO
    assert error["needed_usd"] == "0.004500000"
    assert error["available_nano"] == SMALL_NANO - 1
    assert error["who_can_fix"] == ["admin", "billing"]
    assert error["console_url"] == "http://localhost:8000/o/acme/settings/billing/"
    assert error["resets_at"] is None
    assert state() == before


def test_a_refusal_does_not_burn_its_key(gateway: Gateway) -> None:
    gateway.expect_refusal(gateway.post("authorize", gateway.usage("k1")), 402, "credit_exhausted")
    gateway.fund(10**9)
    assert gateway.post("authorize", gateway.usage("k1")).status_code == 201


def test_case_097_an_organization_without_any_lot_can_not_start_a_request_not_even_a_free_one(gateway: Gateway) -> None:
    refused = gateway.post("authorize", gateway.usage("k1", quantities={"input": 0}))
    gateway.expect_refusal(refused, 402, "credit_exhausted")


def test_case_096_reported_usage_is_charged_in_full_and_the_shortfall_is_debt(gateway: Gateway) -> None:
    gateway.fund(1_000_000)
    reported = gateway.post("usage", gateway.usage("k1"))
    assert reported.status_code == 201
    assert reported.json()["amount_nano"] == SMALL_NANO
    assert reported.json()["debt_nano"] == SMALL_NANO - 1_000_000
    assert reported.json()["available_nano"] == 1_000_000 - SMALL_NANO
    gateway.expect_refusal(gateway.post("authorize", gateway.usage("k2")), 402, "credit_exhausted")


def test_usage_is_priced_and_dated_by_when_it_occurred(gateway: Gateway) -> None:
    gateway.fund(10**9)
    occurred_at = timezone.now() - timedelta(days=3)
    text = occurred_at.isoformat().replace("+00:00", "Z")
    assert gateway.post("usage", gateway.usage("k1", occurred_at=text)).status_code == 201
    assert Charge.objects.get().started_at == occurred_at


@pytest.mark.parametrize("away", [timedelta(days=-35, minutes=-1), timedelta(minutes=6)])
def test_usage_from_too_long_ago_or_from_the_future_is_refused(gateway: Gateway, away: timedelta) -> None:
    gateway.fund(10**9)
    body = gateway.usage("k1", occurred_at=(timezone.now() + away).isoformat())
    error = gateway.expect_refusal(gateway.post("usage", body), 422, "occurred_at_out_of_range")
    assert error["field"] == "occurred_at"
    assert not Charge.objects.exists()


@pytest.mark.parametrize("operation", ["authorize", "charge", "usage"])
@pytest.mark.parametrize(
    ("change", "field"),
    [({"model": "unheard-of"}, "model"), ({"quantities": {"input": 1, "thought": 5}}, "quantities.thought")],
)
def test_case_078_what_has_no_price_is_refused_recorded_and_never_free(
    gateway: Gateway, operation: str, change: dict[str, Any], field: str
) -> None:
    gateway.fund(10**9)
    before = state()
    error = gateway.expect_refusal(gateway.post(operation, gateway.usage("k1") | change), 422, "price_missing")
    assert error["field"] == field
    assert error["who_can_fix"] == ["staff"]
    assert "recorded as unpriced" in error["message"]
    assert ("must not be served" in error["message"]) == (operation != "usage")
    assert state() == before
    row = UnpricedUsage.objects.get()
    assert (row.operation, row.was_served) == (operation, operation == "usage")
    assert field == ("model" if not row.token_class else f"quantities.{row.token_class}")


def test_case_078_usage_without_a_price_that_is_sent_again_is_recorded_once(gateway: Gateway) -> None:
    gateway.fund(10**9)
    body = gateway.usage("k1", model="unheard-of")
    for _ in range(3):
        gateway.expect_refusal(gateway.post("usage", body), 422, "price_missing")
    gateway.expect_refusal(gateway.post("usage", body | {"idempotency_key": "k2"}), 422, "price_missing")
    rows = UnpricedUsage.objects.order_by("idempotency_key").values_list("idempotency_key", "attempts")
    assert list(rows) == [("k1", 3), ("k2", 1)]


def test_case_100_one_request_is_not_charged_by_two_paths(gateway: Gateway) -> None:
    """A gateway that captures a hold and reports the same work again is told; nothing is taken twice."""
    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    gateway.post("capture", gateway.capture(held, "k1", SMALL))
    before = state()
    for operation in ("usage", "charge"):
        gateway.expect_refusal(gateway.post(operation, gateway.usage("k1")), 409, "conflict")
    (result,) = gateway.post("charge_many", {"events": [gateway.usage("k1", operation="usage")]}).json()["results"]
    assert (result["status"], result["error"]["code"]) == (409, "conflict")
    assert state() == before


def test_the_fee_of_each_request_is_held_and_charged_with_it(gateway: Gateway) -> None:
    """A search costs a cent beside its tokens: for the hold, the capture, a charge and reported usage alike."""
    gateway.fund(10**9)
    body = gateway.usage("k1", model="orion-search")
    held = gateway.post("authorize", body)
    assert held.json()["amount_nano"] == SMALL_NANO + 10**7
    captured = gateway.post("capture", gateway.capture(held, "k1", {"input": 0}))
    assert captured.json()["amount_nano"] == 10**7
    for operation in ("charge", "usage"):
        answer = gateway.post(operation, body | {"idempotency_key": operation})
        assert answer.json()["amount_nano"] == SMALL_NANO + 10**7
    assert UsageDay.objects.get().requests == 3


def test_batch_and_long_context_are_classes_with_prices_of_their_own(gateway: Gateway) -> None:
    gateway.fund(10**9)
    quantities = {"input_batch": 1_000, "output_batch": 100, "input_long": 1_000, "output_long": 100}
    answer = gateway.post("charge", gateway.usage("k1", quantities=quantities))
    assert answer.json()["amount_nano"] == SMALL_NANO // 2 + 2 * 3_000_000 + 1_500_000 * 3 // 2


def test_case_131_free_usage_writes_a_record_of_its_key_and_no_entry(gateway: Gateway) -> None:
    """An explicit zero is a price. The row says what was used, for its day and for ever; no credit moves."""
    gateway.fund(10**9)
    gateway.price("free-week", {"input": 0, "output": 0})
    body = gateway.usage("k1", model="free-week")
    assert gateway.post("usage", body).json()["amount_nano"] == 0
    charge = Charge.objects.get()
    assert (charge.amount_nano, charge.debt_nano, charge.quantities) == (0, 0, SMALL)
    assert list(LedgerEntry.objects.values_list("kind", flat=True)) == ["grant"]
    assert (UsageDay.objects.get().requests, UsageDay.objects.get().amount_nano) == (1, 0)
    assert gateway.get("balance?organization=acme").json()["available_nano"] == 10**9
    again = gateway.post("usage", body)
    assert (again.status_code, again.json()["is_replay"]) == (200, True)
    gateway.expect_refusal(gateway.post("usage", body | {"quantities": {"input": 1}}), 409, "conflict")


def test_a_capture_of_a_class_without_price_names_the_class(gateway: Gateway) -> None:
    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    refused = gateway.post("capture", gateway.capture(held, "k1", {"thought": 5}))
    assert gateway.expect_refusal(refused, 422, "price_missing")["field"] == "quantities.thought"


@pytest.mark.django_db(transaction=True)
def test_a_suspended_organization_gets_no_new_work_but_its_served_work_is_charged(
    gateway: Gateway, superuser_connection: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    gateway.fund(10**9)
    held = gateway.post("authorize", gateway.usage("k1"))
    freeze(superuser_connection, "acme")
    refused = gateway.post("authorize", gateway.usage("k2"))
    assert gateway.expect_refusal(refused, 403, "organization_suspended")["who_can_fix"] == ["staff"]
    assert gateway.post("capture", gateway.capture(held, "k1", SMALL)).status_code == 201


def test_a_hold_is_settled_once(gateway: Gateway) -> None:
    gateway.fund(10**9)
    captured, voided = (gateway.post("authorize", gateway.usage(key)) for key in ("k1", "k2"))
    gateway.post("capture", gateway.capture(captured, "k1", SMALL))
    gateway.post("void", {"organization": "acme", "hold_id": voided.json()["hold_id"]})
    before = state()
    other_key = gateway.post("capture", gateway.capture(captured, "other", SMALL))
    gateway.expect_refusal(other_key, 409, "already_captured")
    void = gateway.post("void", {"organization": "acme", "hold_id": captured.json()["hold_id"]})
    gateway.expect_refusal(void, 409, "already_captured")
    late = gateway.post("capture", gateway.capture(voided, "k2", SMALL))
    gateway.expect_refusal(late, 409, "already_voided")
    assert state() == before


def test_case_128_an_organization_can_not_reach_the_hold_of_another(gateway: Gateway) -> None:
    gateway.fund(10**9)
    gateway.add_organization("other")
    held = gateway.post("authorize", gateway.usage("k1"))
    before = state()
    foreign = {"organization": "other", "hold_id": held.json()["hold_id"]}
    gateway.expect_refusal(gateway.post("void", foreign), 404, "hold_unknown")
    foreign |= {"idempotency_key": "k1", "quantities": SMALL}
    gateway.expect_refusal(gateway.post("capture", foreign), 404, "hold_unknown")
    assert state()[1:] == before[1:]


@pytest.mark.parametrize("operation", ["authorize", "charge", "usage"])
def test_an_unknown_organization_is_said_to_be_unknown(gateway: Gateway, operation: str) -> None:
    body = gateway.usage("k1", organization="nobody")
    error = gateway.expect_refusal(gateway.post(operation, body), 404, "organization_unknown")
    assert error["console_url"] is None
    gateway.expect_refusal(gateway.get("balance?organization=nobody"), 404, "organization_unknown")


def test_a_new_organization_works_at_once(gateway: Gateway) -> None:
    body = gateway.usage("k1", organization="newcomer")
    gateway.expect_refusal(gateway.post("authorize", body), 404, "organization_unknown")
    gateway.add_organization("newcomer")
    gateway.fund(10**9, slug="newcomer")
    assert gateway.post("authorize", body).status_code == 201


def test_the_balance_tells_held_and_available_apart(gateway: Gateway) -> None:
    gateway.fund(10**9)
    gateway.post("authorize", gateway.usage("k1"))
    answer = gateway.get("balance?organization=acme")
    assert answer.status_code == 200
    assert answer.json() | {"counted_at": "", "request_id": ""} == {
        "organization": "acme",
        "balance_nano": 10**9,
        "balance_usd": "1.000000000",
        "held_nano": SMALL_NANO,
        "open_holds": 1,
        "debt_nano": 0,
        "available_nano": 10**9 - SMALL_NANO,
        "available_usd": "0.995500000",
        "is_blocked": False,
        "state": "open",
        "counted_at": "",
        "console_url": "http://localhost:8000/o/acme/settings/billing/",
        "request_id": "",
    }


def test_a_batch_gives_each_event_its_own_result(gateway: Gateway) -> None:
    gateway.fund(SMALL_NANO * 2)
    gateway.add_organization("poor")
    gateway.post("charge", gateway.usage("before"))
    events = [
        gateway.usage("e1"),
        gateway.usage("e2", organization="nobody"),
        gateway.usage("e3", quantities={"input": -1}),
        "no event",
        gateway.usage("e4", model="unheard-of"),
        gateway.usage("e5", organization="poor"),
        gateway.usage("before"),
        gateway.usage("e1"),
        gateway.usage("e1", surface="workbench"),
        gateway.usage("e6"),
    ]
    answer = gateway.post("charge_many", {"events": events})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 404, 422, 422, 422, 402, 200, 200, 409, 402]
    codes = [result["error"]["code"] if result["error"] else result["result"]["outcome"] for result in results]
    assert codes == [
        "charged", "organization_unknown", "invalid", "invalid", "price_missing", "credit_exhausted", "charged",
        "charged", "conflict", "credit_exhausted",
    ]  # fmt: skip
    assert results[2]["error"]["field"] == "quantities.input"
    assert results[6]["result"]["is_replay"]
    assert results[7]["result"]["charge_id"] == results[0]["result"]["charge_id"]
    assert Charge.objects.count() == 2


def test_a_batch_is_what_single_charges_in_its_order_are(gateway: Gateway) -> None:
    """A seeded comparison: two organizations with the same credit, one charged singly, the other in a batch."""
    import random

    seed = random.randrange(2**32)
    print("seed", seed)
    source = random.Random(seed)
    gateway.add_organization("batch")
    for slug in ("acme", "batch"):
        gateway.fund(SMALL_NANO * 9, slug=slug)
    bodies = [
        gateway.usage(f"k{source.randrange(12)}", quantities={"input": source.choice([1, 1_000, 2_000])})
        for _ in range(40)
    ]
    singles = [gateway.post("charge", body) for body in bodies]
    batch = gateway.post("charge_many", {"events": [body | {"organization": "batch"} for body in bodies]})
    for single, result in zip(singles, batch.json()["results"], strict=True):
        assert result["status"] == single.status_code
        body = result["result"] or result["error"]
        expected = single.json().get("error") or single.json()
        for name in ("outcome", "code", "amount_nano", "available_nano", "is_replay", "needed_nano"):
            assert body.get(name) == expected.get(name), name


def test_a_batch_takes_reports_of_usage_beside_charges(gateway: Gateway) -> None:
    """What was served already is charged in full, and a charge after it is refused for lack of credit."""
    gateway.fund(SMALL_NANO)
    events = [
        gateway.usage("k1", operation="usage", quantities={"input": 3_000}),
        gateway.usage("k2", operation="charge"),
        gateway.usage("k3", operation="usage", model="unheard-of"),
        gateway.usage("k4", model="unheard-of"),
        gateway.usage("k1", operation="usage", quantities={"input": 3_000}),
        gateway.usage("k1", operation="charge", quantities={"input": 3_000}),
    ]
    results = gateway.post("charge_many", {"events": events}).json()["results"]
    assert [result["status"] for result in results] == [201, 402, 422, 422, 200, 409]
    assert results[0]["result"]["debt_nano"] == 9_000_000 - SMALL_NANO
    assert [result["error"] and result["error"]["code"] for result in results] == [
        None, "credit_exhausted", "price_missing", "price_missing", None, "conflict",
    ]  # fmt: skip
    assert "staff can charge it" in results[2]["error"]["message"]
    assert "must not be served" in results[3]["error"]["message"]
    assert list(UnpricedUsage.objects.order_by("pk").values_list("operation", "idempotency_key")) == [
        ("usage", "k3"),
        ("charge", ""),
    ]


def test_a_million_tiny_requests_cost_what_the_rounding_rule_says(gateway: Gateway) -> None:
    """Each request is rounded up once, to a nano-USD, so none is free however cheap it is."""
    gateway.fund(10**9)
    answer = gateway.post("charge", gateway.usage("k1", model="orion-small", quantities={"cache_read": 1}))
    assert answer.json()["amount_nano"] == 80
    assert gateway.price("penny", {"input": 1}) is not None
    answer = gateway.post("charge", gateway.usage("k2", model="penny", quantities={"input": 1}))
    assert answer.json()["amount_nano"] == 1


def test_a_price_of_zero_is_a_price(gateway: Gateway) -> None:
    gateway.fund(10**9)
    gateway.price("gift", {"input": 0})
    answer = gateway.post("charge", gateway.usage("k1", model="gift", quantities={"input": 10}))
    assert (answer.status_code, answer.json()["amount_nano"]) == (201, 0)
    assert PricedModel.objects.filter(slug="gift").exists()
    assert queries.summary(organization_id=gateway.organization_id("acme")).available_nano == 10**9
