"""The gate's operations over HTTP semantics: what each answers, what it changes, and what it never changes."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts import service_keys
from accounts.models import Organization
from billing.credits import ledger, prices, queries
from billing.models import Charge, CreditLot, Hold, LedgerEntry

pytestmark = pytest.mark.django_db

SMALL = {"input": 1_000, "output": 100}


class Gate:
    """A gateway's view of the gate, inside the test's transaction."""

    def __init__(self, key_text: str) -> None:
        self._client = Client(raise_request_exception=False)
        self._headers = {"Authorization": f"Bearer {key_text}"}

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self._client.post(
            f"/v1/{path}",
            body if isinstance(body, bytes) else json.dumps(body),
            content_type="application/json",
            headers=self._headers | headers,
        )

    def get(self, path: str, **headers: str) -> Any:
        return self._client.get(f"/v1/{path}", headers=self._headers | headers)


@pytest.fixture
def gate(settings: Any) -> Gate:
    settings.ROOT_URLCONF = "console.gateway_urls"
    settings.MIDDLEWARE = settings.GATE_MIDDLEWARE
    return Gate(service_keys.issue(name="gateway", actor=None).key_text)


@pytest.fixture
def organization(gate: Gate) -> Organization:
    from django.utils import timezone

    prices.seed(effective_at=timezone.now() - timezone.timedelta(days=36))
    return Organization.objects.create(name="Acme", slug="acme")


def fund(organization: Organization, amount_nano: int) -> None:
    ledger.grant(
        organization_id=organization.pk,
        kind=CreditLot.Kind.PROMOTIONAL,
        amount_nano=amount_nano,
        reason="for a test",
    )


def usage_body(key: str = "k1", **changes: Any) -> dict[str, Any]:
    return {
        "organization": "acme",
        "idempotency_key": key,
        "model": "orion-medium",
        "surface": "api",
        "quantities": SMALL,
    } | changes


def test_authorize_then_capture_charges_what_was_used(gate, organization):
    fund(organization, 10**9)
    held = gate.post("authorize", usage_body())
    assert held.status_code == 201, held.content
    captured = gate.post("capture", {"organization": "acme", "hold_id": held.json()["hold_id"], "idempotency_key": "k1", "quantities": {"input": 1000, "output": 1}})
    assert captured.status_code == 201, captured.content
    assert captured.json()["amount_nano"] == 3_000_000 + 15_000
