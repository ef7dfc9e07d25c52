"""The contract: what we rely on, each clause with its source, judged at the stand-in and, with a key, at Stripe itself.

A clause is a test in `test_contract_*.py` that `cites` where Stripe says so. Those that take `either` run in both
places; the others need the outside world to obey (the clock, faults, webhooks, a bank's decision) and run at the
stand-in only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import stripe

from sandbox.stripe.server import StandIn

REAL_KEY_NAME = "STRIPE_CONTRACT_KEY"
NOT_RUN = f"not run against Stripe: {REAL_KEY_NAME} is not set"
WEBHOOK_SECRET = "whsec_of_the_tests"
REAL_PATIENCE_SECONDS = 60

Test = TypeVar("Test", bound=Callable[..., Any])
Found = TypeVar("Found")


def cites(source: str) -> Callable[[Test], Test]:
    """Say where Stripe documents what this test holds."""

    def cited(test: Test) -> Test:
        test.__dict__["source"] = source
        return test

    return cited


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

    def eventually(self, look: Callable[[], Found]) -> Found:
        """What is found once there is something: at once at the stand-in, within a minute at Stripe."""
        end = time.monotonic() + (0 if self.stand_in else REAL_PATIENCE_SECONDS)
        while not (found := look()) and time.monotonic() < end:
            time.sleep(1)
        return found


def connected(stand_in: StandIn, *, retries: int = 0, key: str = "sk_test_contract") -> Account:
    """The stand-in's account; `retries` are the SDK's own."""
    client = stripe.StripeClient(
        key,
        base_addresses={"api": stand_in.base_url},
        max_network_retries=retries,
        http_client=stripe.RequestsClient(timeout=10),
    )
    return Account(client=client, stand_in=stand_in)
