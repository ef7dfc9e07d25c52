"""The journal of money effects: what tests and rehearsals hold against the product's own ledger.

One entry for each attempt at charging a card and for each cancelled PaymentIntent, written in the transaction of the
effect. Replayed answers write nothing, because nothing happened.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandbox.stripe.errors import Fields
from sandbox.stripe.state import State

if TYPE_CHECKING:
    from sandbox.stripe.call import Call


class Journal:
    """Entries in the order in which the effects happened."""

    def __init__(self, state: State) -> None:
        self._state = state

    def record(self, call: Call, intent: Fields, *, outcome: str, off_session: bool, confirm: bool) -> None:
        """Write one entry.

        `outcome` is `succeeded`, `requires_action`, `authentication_failed`, `canceled`, or the card's decline code.
        """
        entry = {
            "at": self._state.now(),
            "payment_intent": intent["id"],
            "charge": intent["latest_charge"],
            "amount": intent["amount"],
            "currency": intent["currency"],
            "customer": intent["customer"],
            "payment_method": intent["payment_method"],
            "off_session": off_session,
            "confirm": confirm,
            "outcome": outcome,
            "metadata": intent["metadata"],
            "idempotency_key": call.idempotency_key,
            "request": call.request_id,
            "made_by": "browser" if call.is_from_browser else "server",
            "user_agent": call.user_agent,
            "client_user_agent": _parsed(call.client_user_agent),
        }
        self._state.execute("INSERT INTO journal (entry) VALUES (?)", (json.dumps(entry),))

    def entries(
        self,
        *,
        outcome: str | None = None,
        customer: str | None = None,
        payment_intent: str | None = None,
        off_session: bool | None = None,
        metadata: dict[str, str] | None = None,
        after: int = 0,
    ) -> list[Fields]:
        """Entries that match everything given; `after` is the `position` of the last entry already seen."""
        wanted = {
            "outcome": outcome,
            "customer": customer,
            "payment_intent": payment_intent,
            "off_session": off_session,
        }
        found = []
        for position, text in self._state.execute(
            "SELECT position, entry FROM journal WHERE position > ? ORDER BY position", (after,)
        ):
            entry: Fields = {"position": position} | json.loads(text)
            if any(value is not None and entry[name] != value for name, value in wanted.items()):
                continue
            if any(entry["metadata"].get(name) != value for name, value in (metadata or {}).items()):
                continue
            found.append(entry)
        return found

    def charged_cents(self, *, customer: str | None = None) -> int:
        """The sum of all succeeded charges, in cents."""
        return sum(entry["amount"] for entry in self.entries(outcome="succeeded", customer=customer))


def _parsed(text: str) -> Fields | str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text
