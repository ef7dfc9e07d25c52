"""The platform's gateway, as the tests of the gate play it: Django's test client with the gate's own routes."""

import json
from datetime import timedelta
from typing import Any

import psycopg
from django.test import Client
from django.utils import timezone

from accounts import service_keys
from accounts.models import Organization
from billing.credits import ledger, prices
from billing.management.gate_client import GateAnswer, GateClient
from billing.models import CreditLot

# 1,000 input at $3 a million and 100 output at $15 a million.
SMALL = {"input": 1_000, "output": 100}
SMALL_NANO = 4_500_000


class Gateway:
    """Speaks to the gate with a valid key; knows the organization "acme"."""

    def __init__(self) -> None:
        prices.seed(effective_at=timezone.now() - timedelta(days=36))
        self.key_text = service_keys.issue(name="gateway", actor=None).key_text
        self._client = Client(raise_request_exception=False)
        self.add_organization("acme")

    def post(self, path: str, body: Any, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body)
        return self._client.post(
            f"/v1/{path}", content, content_type="application/json", headers=self._headers() | headers
        )

    def post_to(self, url: str, path: str, body: dict[str, Any]) -> GateAnswer:
        """Over HTTP, to a gate in a process of its own."""
        client = GateClient(url=url, service_key=self.key_text)
        try:
            return client.post(path, body)
        finally:
            client.close()

    def get(self, path: str, **headers: str) -> Any:
        return self._client.get(f"/v1/{path}", headers=self._headers() | headers)

    def request(self, method: str, path: str, **headers: str) -> Any:
        return self._client.generic(method, path, headers=headers)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key_text}"}

    def add_organization(self, slug: str) -> None:
        Organization.objects.create(name=slug.title(), slug=slug)

    def organization_id(self, slug: str) -> int:
        return Organization.objects.get(slug=slug).pk

    def fund(self, amount_nano: int, *, slug: str = "acme") -> None:
        ledger.grant(
            organization_id=self.organization_id(slug),
            kind=CreditLot.Kind.PROMOTIONAL,
            amount_nano=amount_nano,
            reason="for a test",
        )

    def price(self, slug: str, prices_nano_per_million: dict[str, int]) -> object:
        return prices.publish(
            prices=prices.ModelPrices(slug=slug, name=slug, prices_nano_per_million=prices_nano_per_million),
            effective_at=timezone.now() - timedelta(seconds=1),
        )

    def usage(self, key: str, **changes: Any) -> dict[str, Any]:
        return {
            "organization": "acme",
            "idempotency_key": key,
            "model": "orion-medium",
            "surface": "api",
            "quantities": SMALL,
        } | changes

    def capture(self, held: Any, key: str, quantities: dict[str, int]) -> dict[str, Any]:
        return {
            "organization": "acme",
            "hold_id": held.json()["hold_id"],
            "idempotency_key": key,
            "quantities": quantities,
        }

    def expect_refusal(self, response: Any, status: int, code: str) -> dict[str, Any]:
        """The problem in a refusal, after a look at what every refusal carries."""
        body = response.json()
        assert (response.status_code, body["error"]["code"]) == (status, code), body
        assert set(body) == {"error", "request_id"}
        assert set(body["error"]) == {
            "code", "message", "field", "needed_nano", "needed_usd", "available_nano", "available_usd", "who_can_fix",
            "console_url", "resets_at",
        }  # fmt: skip
        assert body["error"]["message"]
        problem: dict[str, Any] = body["error"]
        return problem


def freeze(superuser: "psycopg.Connection[tuple[Any, ...]]", slug: str) -> None:
    """Suspend an organization, as staff will."""
    superuser.execute(
        "UPDATE billing_creditaccount SET state = 'frozen' FROM accounts_organization o"
        " WHERE o.id = organization_id AND o.slug = %s",
        [slug],
    )
