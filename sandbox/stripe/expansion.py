"""Expanding ids into objects on request: https://docs.stripe.com/api/expanding_objects."""

from __future__ import annotations

from sandbox.stripe.errors import ApiError, Fields
from sandbox.stripe.state import State

EXPANDABLE: dict[str, dict[str, str]] = {
    "balance_transaction": {"source": "*"},
    "charge": {
        "balance_transaction": "balance_transaction",
        "customer": "customer",
        "dispute": "dispute",
        "payment_intent": "payment_intent",
        "payment_method": "payment_method",
    },
    "customer": {"invoice_settings.default_payment_method": "payment_method"},
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "payment_intent": {"customer": "customer", "latest_charge": "charge", "payment_method": "payment_method"},
    "payment_method": {"customer": "customer"},
    "radar.early_fraud_warning": {"charge": "charge", "payment_intent": "payment_intent"},
    "refund": {
        "balance_transaction": "balance_transaction",
        "charge": "charge",
        "failure_balance_transaction": "balance_transaction",
        "payment_intent": "payment_intent",
    },
    "setup_intent": {"customer": "customer", "payment_method": "payment_method"},
}
"""For each kind of object: the fields that hold an id, and what the id names; `*` for any kind of object."""

DEPTH_MAXIMUM = 4


def expand(state: State, body: Fields, *, paths: list[str]) -> Fields:
    """The body with the objects in place of their ids; raises for a path that names no expandable field."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEPTH_MAXIMUM:
            raise ApiError(f"You cannot expand more than {DEPTH_MAXIMUM} levels of a property. Property: {path}")
        if body.get("object") == "list":
            if steps[0] != "data":
                raise _not_expandable(path)
            for thing in body["data"]:
                _expand(state, thing, steps=steps[1:], path=path)
        else:
            _expand(state, body, steps=steps, path=path)
    return body


def _expand(state: State, thing: Fields, *, steps: list[str], path: str) -> None:
    if not steps:
        return
    fields = EXPANDABLE.get(thing["object"], {})
    name = steps[0]
    rest = steps[1:]
    holder = thing
    if name not in fields and rest and f"{name}.{rest[0]}" in fields:
        kind = fields[f"{name}.{rest[0]}"]
        holder = thing[name]
        name, rest = rest[0], rest[1:]
    elif name in fields:
        kind = fields[name]
    else:
        raise _not_expandable(path)
    value = holder.get(name)
    if isinstance(value, str):
        value = state.find_any(value) if kind == "*" else state.find(kind, value)
        holder[name] = value
    if value is not None:
        _expand(state, value, steps=rest, path=path)


def _not_expandable(path: str) -> ApiError:
    return ApiError(
        f"This property cannot be expanded ({path}). You may want to try expanding 'data.{path}' instead.",
        param="expand",
    )
