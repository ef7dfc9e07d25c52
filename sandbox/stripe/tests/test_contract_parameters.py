"""What the API accepts: exactly what the pinned SDK's parameter types say, at any depth."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import pytest

from sandbox.stripe import API_VERSION
from sandbox.stripe.parameters import accepted, sdk_parameters
from sandbox.stripe.routing import OPERATIONS
from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account, cites

CARD_ONLY = {"allowed_payment_method_types": ["card"]}


def refusal(account: Account, **parameters: Any) -> tuple[int | None, str | None, str | None]:
    """Status, code and param of the refusal of a PaymentIntent."""
    error = error_of(lambda: account.v1.payment_intents.create({"amount": 2500, "currency": "usd", **parameters}))
    body = body_of(error)
    return error.http_status, body.get("code"), body.get("param")


@cites("https://docs.stripe.com/changelog/endive")
def test_the_retired_payment_method_types_is_refused_by_name(either: Account) -> None:
    assert refusal(either, payment_method_types=["card"])[:2] == (400, "payment_method_types_no_longer_supported")
    error = error_of(lambda: either.v1.setup_intents.create({"payment_method_types": ["card"]}))
    assert body_of(error)["code"] == "payment_method_types_no_longer_supported"


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"amont": 1}, "amont"),
        ({"idempotency_keys": "x"}, "idempotency_keys"),
        ({"automatic_payment_methods": {"enabled": True, "alow_redirects": "never"}}, None),
        ({"shipping": {"name": "x", "address": {"stret": "y"}}}, None),
    ],
)
@cites("https://docs.stripe.com/error-codes#parameter-unknown")
def test_an_unknown_parameter_is_refused_at_any_depth(
    either: Account, parameters: dict[str, Any], param: str | None
) -> None:
    status, code, named = refusal(either, **parameters)
    assert (status, code) == (400, "parameter_unknown")
    if param is not None:
        assert named == param


WRITING = [each for each in OPERATIONS if each.method == "POST" and each.shape is not None]


@cites("https://docs.stripe.com/error-codes#parameter-unknown")
@pytest.mark.parametrize("operation", WRITING, ids=lambda operation: operation.path)
def test_every_call_refuses_a_planted_parameter(account: Account, operation: Any) -> None:
    """Wrong, retired and wrongly typed ones, at each call that writes, before it looks for anything else."""

    def refused(**parameters: Any) -> Any:
        path = operation.path.replace(":id", "xx_1").replace(":method", "xx_2")
        error = error_of(lambda: account.client.raw_request("post", path, **parameters))
        assert error.http_status == 400
        return body_of(error)

    assert refused(planted=1)["code"] == "parameter_unknown"
    known = accepted(operation.shape)
    is_typed_new = "allowed_payment_method_types" in known
    retired = "payment_method_types_no_longer_supported" if is_typed_new else "parameter_unknown"
    if "payment_method_types" not in known:
        assert refused(payment_method_types=["card"])["code"] == retired
    needed = {"amount": 2500, "currency": "usd"} if operation.path == "/v1/payment_intents" else {}
    for name, value in (("expand", "latest_charge"), ("metadata", "purchase"), ("amount", "25.00")):
        if name in known:
            assert refused(**{**needed, name: value})["param"] == name


@cites("https://docs.stripe.com/error-codes#parameter-unknown")
def test_all_unknown_parameters_are_named_together(account: Account) -> None:
    error = error_of(
        lambda: account.v1.payment_intents.create({"amount": 2500, "currency": "usd", "alpha": 1, "beta": 2})
    )
    assert body_of(error)["message"] == "Received unknown parameters: alpha, beta"


@cites("https://docs.stripe.com/error-codes#parameter-unknown")
def test_the_sdks_request_options_are_no_parameters(account: Account) -> None:
    assert refusal(account, max_network_retries=3)[1] == "parameter_unknown"


@cites("https://docs.stripe.com/api/errors")
def test_what_stripe_knows_and_the_stand_in_does_not_is_never_ignored(account: Account) -> None:
    assert refusal(account, statement_descriptor="CONSOLE")[1:] == ("stand_in_not_covered", "statement_descriptor")
    assert refusal(account, capture_method="manual")[1:] == ("stand_in_not_covered", "capture_method")


@pytest.mark.parametrize("missing", ["amount", "currency"])
@cites("https://docs.stripe.com/error-codes#parameter-missing")
def test_a_missing_parameter_is_named(either: Account, missing: str) -> None:
    parameters = {"amount": 2500, "currency": "usd", **CARD_ONLY}
    del parameters[missing]
    body = body_of(error_of(lambda: either.v1.payment_intents.create(parameters)))
    assert (body["code"], body["param"]) == ("parameter_missing", missing)


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (49, "amount_too_small"),
        (0, "parameter_invalid_integer"),
        (-2500, "parameter_invalid_integer"),
        (100_000_000, "amount_too_large"),
        ("25.00", "parameter_invalid_integer"),
        ("2_500", "parameter_invalid_integer"),
        ("", "parameter_invalid_empty"),
    ],
)
@cites("https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts")
def test_amounts_are_whole_cents_within_bounds(either: Account, amount: Any, code: str) -> None:
    status, given, param = refusal(either, amount=amount, **CARD_ONLY)
    assert (status, given, param) == (400, code, "amount")


@pytest.mark.parametrize("amount", [50, 99_999_999])
@cites("https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts")
def test_amounts_at_the_bounds_are_taken(either: Account, amount: int) -> None:
    intent = either.v1.payment_intents.create({"amount": amount, "currency": "usd", **CARD_ONLY})
    assert (intent.amount, intent.status) == (amount, "requires_payment_method")


@pytest.mark.parametrize(
    "parameters",
    [
        {"confirm": "yes"},
        {"metadata": "purchase"},
        {"metadata": {"k" * 41: "x"}},
        {"metadata": {"k": "x" * 501}},
        {"metadata": {str(number): "x" for number in range(51)}},
        {"expand": "latest_charge"},
        {"expand": ["nothing"]},
        {"receipt_email": "nobody"},
        {"off_session": True},
        {"allowed_payment_method_types": ["card"], "automatic_payment_methods": {"enabled": True}},
        {"customer": "cus_nobody"},
        {"currency": "dollars"},
    ],
)
@cites("https://docs.stripe.com/api/errors")
def test_values_of_the_wrong_shape_are_refused(either: Account, parameters: dict[str, Any]) -> None:
    assert refusal(either, **parameters)[0] == 400


@cites("https://docs.stripe.com/api/errors")
def test_enumerations_are_closed(either: Account) -> None:
    error = error_of(lambda: either.v1.setup_intents.create({"usage": "sometimes", **CARD_ONLY}))
    assert error.http_status == 400
    assert body_of(error)["param"] == "usage"


@cites("https://docs.stripe.com/api/metadata")
def test_metadata_is_changed_by_key_and_cleared_by_empty_values(either: Account) -> None:
    customer = either.customer(metadata={"organization_id": "7", "plan": "a"})
    either.v1.customers.update(customer.id, {"metadata": {"plan": ""}})
    assert either.v1.customers.retrieve(customer.id).metadata.to_dict() == {"organization_id": "7"}
    either.v1.customers.update(customer.id, {"metadata": ""})
    assert either.v1.customers.retrieve(customer.id).metadata.to_dict() == {}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
@cites("https://github.com/stripe/stripe-python (stripe.params)")
def test_every_covered_parameter_is_one_of_the_sdk(operation: Any) -> None:
    if operation.shape is not None:
        assert operation.covered <= set(accepted(operation.shape))


@cites("https://github.com/stripe/stripe-python (stripe.params)")
def test_parameter_types_are_read_through_all_their_levels() -> None:
    """The types of a whole tree resolve, so that no nested parameter is ever judged by accident."""
    pending: list[type] = [operation.shape for operation in OPERATIONS if operation.shape]
    seen: set[type] = set()
    while pending:
        shape = pending.pop()
        if shape in seen:
            continue
        seen.add(shape)
        for hint in accepted(shape).values():
            pending += _typed_dicts(hint)
    assert sdk_parameters("PaymentIntentCreateParams") in seen
    assert len(seen) > 200


def _typed_dicts(hint: Any) -> list[type]:
    if isinstance(hint, type) and hasattr(hint, "__required_keys__"):
        return [hint]
    return [inner for argument in getattr(hint, "__args__", ()) for inner in _typed_dicts(argument)]


def raw(stand_in: StandIn, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Post bytes that the SDK would never send."""
    request = urllib.request.Request(
        f"{stand_in.base_url}/v1/customers",
        data=body,
        headers={"Authorization": "Bearer sk_test_of_raw_bytes", **headers},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "body", [b"email[=x", b"[email]=x", b"a=1&a[b]=2", b"metadata[a][b]=1", b"email=%ff", b"metadata[0]" * 20 + b"=1"]
)
@cites("https://docs.stripe.com/api/errors")
def test_malformed_bodies_are_refused_without_a_fault(stand_in: StandIn, body: bytes) -> None:
    assert raw(stand_in, body)[0] == 400


@cites("https://docs.stripe.com/api")
def test_json_bodies_are_refused(stand_in: StandIn) -> None:
    assert raw(stand_in, b'{"email": "a@example.org"}', **{"Content-Type": "application/json"})[0] == 400


@cites("https://docs.stripe.com/api/expanding_objects")
def test_unindexed_lists_are_understood(stand_in: StandIn) -> None:
    status, answer = raw(stand_in, b"email=a@example.org&expand[]=invoice_settings.default_payment_method")
    assert status == 200, answer


@cites("https://docs.stripe.com/api/versioning")
def test_the_version_is_the_sdks_and_no_other(stand_in: StandIn) -> None:
    assert raw(stand_in, b"", **{"Stripe-Version": "2020-08-27"})[0] == 400
    assert raw(stand_in, b"", **{"Stripe-Version": API_VERSION})[0] == 200
