"""A stand-in and a real SDK client for each test. Nothing here needs Django or a database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from sandbox.stripe.errors import Fields
from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.contract import NOT_RUN, REAL_KEY_NAME, WEBHOOK_SECRET, Account, connected
from sandbox.stripe.tests.endpoint import Endpoint


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in in memory, of this test's own."""
    with StandIn() as running:
        yield running


@pytest.fixture
def connect() -> Callable[..., Account]:
    """Make a client for a stand-in; `retries` are the SDK's own."""
    return connected


@pytest.fixture
def account(stand_in: StandIn, connect: Callable[..., Account]) -> Account:
    """The stand-in's account, for what only a stand-in can be asked."""
    return connect(stand_in)


@pytest.fixture(params=["stand-in", "stripe"])
def either(request: pytest.FixtureRequest) -> Account:
    """The same contract with the stand-in and, where a test key of a sandbox account is given, with Stripe itself."""
    if request.param == "stand-in":
        found: Account = request.getfixturevalue("account")
        return found
    key = os.environ.get(REAL_KEY_NAME, "")
    if not key:
        pytest.skip(NOT_RUN)
    if not key.startswith(("sk_test_", "rk_test_")):
        pytest.fail(f"{REAL_KEY_NAME} must be a test key: the contract is never run with real money")
    return Account(client=stripe.StripeClient(key, max_network_retries=2), stand_in=None)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A webhook endpoint that remembers what it receives."""
    with Endpoint(secret=WEBHOOK_SECRET) as running:
        yield running


@pytest.fixture
def notified(endpoint: Endpoint, connect: Callable[..., Account]) -> Iterator[Account]:
    """The account of a stand-in that sends its events to `endpoint`."""
    with StandIn(webhook_url=endpoint.url, webhook_secret=WEBHOOK_SECRET) as running:
        yield connect(running)


def error_of(call: Callable[[], Any]) -> stripe.StripeError:
    """The SDK's error for a call that must fail."""
    with pytest.raises(stripe.StripeError) as caught:
        call()
    return caught.value


def body_of(error: stripe.StripeError) -> Fields:
    """The `error` of the API's answer, as sent."""
    assert isinstance(error.json_body, dict)
    found: Fields = error.json_body["error"]
    return found
