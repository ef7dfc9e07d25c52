"""A stand-in and a real SDK client for each test. Nothing here needs Django or a database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from sandbox.stripe.errors import Fields
from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.endpoint import Endpoint

REAL_KEY_NAME = "STRIPE_CONTRACT_SECRET_KEY"
WEBHOOK_SECRET = "whsec_of_the_tests"


@dataclass(frozen=True)
class Account:
    """An account at Stripe or at the stand-in, as a server of ours sees it. `stand_in` is None for a real account."""

    client: stripe.StripeClient
    stand_in: StandIn | None

    @property
    def v1(self) -> Any:
        """The API's calls; untyped, because tests also send what the types forbid."""
        return self.client.v1

    def customer(self, **fields: Any) -> Any:
        """A new customer."""
        return self.v1.customers.create({"email": "maya@example.org", **fields})

    def saved_card(self, customer: Any, *, card: str = "pm_card_visa") -> str:
        """The id of a card that is set up for off-session charges of the customer."""
        intent = self.v1.setup_intents.create(
            {
                "customer": customer.id,
                "usage": "off_session",
                "allowed_payment_method_types": ["card"],
                "payment_method": card,
                "confirm": True,
            }
        )
        assert intent.status == "succeeded"
        return str(intent.payment_method)

    def pay(self, customer: Any, payment_method: str, *, key: str | None = None, **fields: Any) -> Any:
        """A confirmed PaymentIntent of 25 dollars; `fields` replace or add parameters."""
        return self.v1.payment_intents.create(
            {
                "amount": 2500,
                "currency": "usd",
                "customer": customer.id,
                "payment_method": payment_method,
                "allowed_payment_method_types": ["card"],
                "confirm": True,
                **fields,
            },
            {"idempotency_key": key} if key else {},
        )


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in in memory, of this test's own."""
    with StandIn() as running:
        yield running


@pytest.fixture
def connect() -> Callable[..., Account]:
    """Make a client for a stand-in; `retries` are the SDK's own."""

    def connected(stand_in: StandIn, *, retries: int = 0, key: str = "sk_test_contract") -> Account:
        client = stripe.StripeClient(
            key,
            base_addresses={"api": stand_in.base_url},
            max_network_retries=retries,
            http_client=stripe.RequestsClient(timeout=10),
        )
        return Account(client=client, stand_in=stand_in)

    return connected


@pytest.fixture
def account(stand_in: StandIn, connect: Callable[..., Account]) -> Account:
    """The stand-in's account, for what only a stand-in can be asked."""
    return connect(stand_in)


@pytest.fixture(params=["stand-in", "real"])
def either(request: pytest.FixtureRequest) -> Account:
    """The same contract with the stand-in and, where a test key of a sandbox account is given, with Stripe itself."""
    if request.param == "stand-in":
        found: Account = request.getfixturevalue("account")
        return found
    key = os.environ.get(REAL_KEY_NAME, "")
    if not key.startswith("sk_test_"):
        pytest.skip(f"set {REAL_KEY_NAME} to an sk_test_ key to run this against Stripe itself")
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
