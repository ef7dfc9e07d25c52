"""Events: an unchangeable snapshot of an object at the moment that something happened to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.stripe import API_VERSION
from sandbox.stripe.errors import ApiError, Fields
from sandbox.stripe.intents import check_exclusive
from sandbox.stripe.rules import EVENT_TYPES, EVENT_TYPES_MAXIMUM
from sandbox.stripe.semantics import Semantic, Semantics
from sandbox.stripe.state import State, new_id

if TYPE_CHECKING:
    from sandbox.stripe.call import Call


class Events:
    """Records events and hands them to whoever delivers them, in the transaction of the change."""

    def __init__(self, state: State, *, semantics: Semantics) -> None:
        self._state = state
        self._semantics = semantics
        self.on_event: list[Callable[[str], None]] = []
        """Called with the id of each new event, inside the transaction."""

    def emit(
        self,
        event_type: str,
        thing: Fields,
        *,
        previous: Fields | None,
        at: int,
        request_id: str,
        idempotency_key: str | None,
    ) -> None:
        """Record one event. `previous` are the earlier values of what an update changed."""
        if not self._semantics.has(Semantic.EVENTS):
            return
        data: Fields = {"object": thing}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Fields = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": at,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": request_id, "idempotency_key": idempotency_key},
            "type": event_type,
        }
        self._state.add(event)
        for listener in self.on_event:
            listener(event["id"])


def shown(state: State, event: Fields) -> Fields:
    """The event as the API shows it now: the number of endpoints that haven't accepted it yet is counted on reading."""
    rows = state.execute("SELECT state FROM deliveries WHERE event = ?", (event["id"],))
    return event | {"pending_webhooks": 1 if rows and rows[0][0] != "delivered" else 0}


def matches(call: Call, event: Fields) -> bool:
    """Whether an event passes the filters `type`, `types` and `delivery_success` of a list request."""
    parameters = call.parameters
    wanted = parameters.get("types") or ([parameters["type"]] if parameters.get("type") else [])
    if wanted and not any(_is_of_type(event["type"], name) for name in wanted):
        return False
    if "delivery_success" in parameters and call.has(Semantic.DELIVERY_FILTER):
        rows = call.state.execute("SELECT state FROM deliveries WHERE event = ?", (event["id"],))
        is_delivered = not rows or rows[0][0] == "delivered"
        return bool(parameters["delivery_success"]) == is_delivered
    return True


def check_filters(call: Call) -> None:
    """Refuse filters that exclude each other."""
    check_exclusive(call, EVENT_TYPES)
    if len(call.parameters.get("types") or []) > EVENT_TYPES_MAXIMUM:
        raise ApiError(f"You may pass at most {EVENT_TYPES_MAXIMUM} values in `types`.", param="types")


def _is_of_type(event_type: str, name: str) -> bool:
    return event_type.startswith(name[:-1]) if name.endswith("*") else event_type == name
