"""What several test modules of billing share."""

from collections.abc import Iterator
from typing import Any

import pytest

from billing import tasks
from billing.api import routes
from billing.api.key_states import KeyStates
from billing.api.known import OrganizationIds
from billing.tests.buyer import Buyer
from billing.tests.customer import Customer, publish_price
from billing.tests.gateway import Gateway
from sandbox.stripe.server import StandIn


@pytest.fixture
def gateway(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """A gateway with a valid key, in front of the gate's own routes and middleware."""
    # A process keeps the ids of organizations; those of another test's organizations are gone.
    monkeypatch.setattr(routes, "organization_ids", OrganizationIds())
    monkeypatch.setattr(routes, "key_states", KeyStates())
    settings.ROOT_URLCONF = "console.gateway_urls"
    settings.MIDDLEWARE = settings.GATE_MIDDLEWARE
    return Gateway()


@pytest.fixture
def stripe_stand_in(settings: Any) -> Iterator[StandIn]:
    """A stand-in for Stripe of this test's own, and settings that point to it."""
    with StandIn() as stand_in:
        settings.STRIPE_API_BASE = stand_in.base_url
        yield stand_in


@pytest.fixture
def buyer(db: None, stripe_stand_in: StandIn) -> Buyer:
    """An organization that pays by card."""
    return Buyer(stripe_stand_in)


@pytest.fixture
def at_once_in_this_process() -> Iterator[None]:
    """A broker and a worker that take no time: a task that is asked for runs then and there."""
    app = tasks.attempt_reload.app
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@pytest.fixture
def customer(db: None) -> Customer:
    """The organization "acme", without credit, and a model of which a unit costs one nano-USD."""
    publish_price()
    return Customer()
