"""One request to the API, as an operation sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sandbox.stripe.errors import ApiError, Fields
from sandbox.stripe.events import Events
from sandbox.stripe.journal import Journal
from sandbox.stripe.semantics import ALL, Semantic, Semantics
from sandbox.stripe.state import State

Credential = Literal["secret", "publishable"]
MadeBy = Literal["server", "browser", "outside"]
"""Who made a money effect: our server, Stripe.js, or the world outside (a bank, a person in Stripe's dashboard)."""


@dataclass(frozen=True)
class Call:
    """What an operation works with. `at` is the stand-in's clock in whole seconds."""

    state: State
    events: Events
    journal: Journal
    at: int
    credential: Credential
    parameters: Fields
    request_id: str
    idempotency_key: str | None
    base_url: str
    user_agent: str
    client_user_agent: str
    semantics: Semantics = ALL
    is_from_outside: bool = False

    @property
    def is_from_browser(self) -> bool:
        """Whether a publishable key made the request."""
        return self.credential == "publishable"

    def has(self, semantic: Semantic) -> bool:
        """Whether the stand-in keeps this promise; false only in the test of its switches."""
        return self.semantics.has(semantic)

    @property
    def made_by(self) -> MadeBy:
        """For the journal."""
        if self.is_from_outside:
            return "outside"
        return "browser" if self.is_from_browser else "server"

    def emit(self, event_type: str, thing: Fields, *, previous: Fields | None = None) -> None:
        """Record an event about the object as it is now."""
        self.events.emit(
            event_type,
            thing,
            previous=previous,
            at=self.at,
            request_id=self.request_id,
            idempotency_key=self.idempotency_key,
        )

    def check_client_secret(self, thing: Fields) -> None:
        """A publishable key opens an intent only together with its client secret."""
        given = self.parameters.get("client_secret")
        if given is None and not self.is_from_browser:
            return
        if given is None:
            raise ApiError("Missing required param: client_secret.", code="parameter_missing", param="client_secret")
        if given != thing["client_secret"]:
            name = "PaymentIntent" if thing["object"] == "payment_intent" else "SetupIntent"
            raise ApiError(
                f"The client_secret provided does not match the client_secret associated with this {name}.",
                code=f"{thing['object']}_invalid_parameter",
                param="client_secret",
            )
