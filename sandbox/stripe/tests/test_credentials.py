"""Who may call: test keys only, and a publishable key only together with a client secret."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.conftest import error_of
from sandbox.stripe.tests.contract import Account, cites


def browser(stand_in: StandIn, method: str, path: str, **fields: str) -> tuple[int, dict[str, Any]]:
    """A request as Stripe.js makes it, with a publishable key."""
    text = urllib.parse.urlencode({"key": "pk_test_browser", **fields})
    url = stand_in.base_url + path
    request = urllib.request.Request(f"{url}?{text}" if method == "GET" else url, method=method)
    if method == "POST":
        request.data = text.encode()
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("key", ["sk_live_" + "a" * 24, "rk_live_" + "a" * 24, "whsec_x", "sk_test_", "nonsense"])
@cites("https://docs.stripe.com/keys#test-live-modes")
def test_no_other_key_than_a_test_key_opens_it(stand_in: StandIn, connect: Callable[..., Account], key: str) -> None:
    error = error_of(lambda: connect(stand_in, key=key).customer())
    assert isinstance(error, stripe.AuthenticationError)
    assert error.http_status == 401
    assert "a" * 24 not in str(error)


def test_a_key_can_be_asked_for_by_name(connect: Callable[..., Account]) -> None:
    with StandIn(secret_key="sk_test_this_one") as stand_in:
        assert error_of(lambda: connect(stand_in).customer()).http_status == 401
        assert connect(stand_in, key="sk_test_this_one").customer().id.startswith("cus_")


def test_a_publishable_key_makes_no_calls_of_a_server(stand_in: StandIn) -> None:
    for method, path in (
        ("POST", "/v1/customers"),
        ("POST", "/v1/payment_intents"),
        ("GET", "/v1/payment_intents"),
        ("GET", "/v1/events"),
    ):
        status, body = browser(stand_in, method, path)
        assert (status, body["error"]["code"]) == (401, "secret_key_required")


def test_a_publishable_key_needs_the_client_secret(stand_in: StandIn, account: Account) -> None:
    intent = account.v1.payment_intents.create(
        {"amount": 2500, "currency": "usd", "allowed_payment_method_types": ["card"], "metadata": {"secret": "x"}}
    )
    path = f"/v1/payment_intents/{intent.id}"
    assert browser(stand_in, "GET", path)[0] == 400
    assert browser(stand_in, "GET", path, client_secret=intent.id + "_secret_guess")[0] == 400
    status, body = browser(stand_in, "GET", path, client_secret=intent.client_secret)
    assert status == 200
    assert not {"metadata", "customer", "latest_charge"} & set(body)


def test_a_secret_key_has_no_place_in_an_address(stand_in: StandIn) -> None:
    assert browser(stand_in, "GET", "/v1/customers", key="sk_test_in_the_address")[0] == 401


def test_connected_accounts_are_refused(account: Account) -> None:
    error = error_of(lambda: account.v1.customers.create({}, {"stripe_account": "acct_other"}))
    assert error.http_status == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost"])  # noqa: S104
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 only"):
        StandIn(host=host)


def test_it_answers_no_foreign_host_name(stand_in: StandIn) -> None:
    request = urllib.request.Request(f"{stand_in.base_url}/_sandbox/journal", headers={"Host": "rebound.example:80"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 421
