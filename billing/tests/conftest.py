"""What several test modules of billing share."""

from typing import Any

import pytest

from billing.tests.gateway import Gateway


@pytest.fixture
def gateway(db: None, settings: Any) -> Gateway:
    """A gateway with a valid key, in front of the gate's own routes and middleware."""
    settings.ROOT_URLCONF = "console.gateway_urls"
    settings.MIDDLEWARE = settings.GATE_MIDDLEWARE
    return Gateway()
