"""The journal of money effects: what tests and rehearsals hold against the product's own ledger.

One entry for each attempt at charging a card, each cancelled PaymentIntent, each refund and each movement of a
dispute's funds, written in the transaction of the effect. Replayed answers write nothing, because nothing happened.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from sandbox.stripe.errors import Fields
from sandbox.stripe.state import State

if TYPE_CHECKING:
    from sandbox.stripe.call import Call


Movement = Literal["refund", "dispute"]


class Journal:
    """Entries in the order in which the effects happened."""

    def __init__(self, state: State) -> None:
        self._state = state

    def record(self, call: Call, intent: Fields, *, outcome: str, off_session: bool, confirm: bool) -> None:
        """Write one entry.

        `outcome` is `succeeded`, `processing`, `requires_action`, `authentication_failed`, `canceled`, or the card's
        decline code.
        """
        entry = {
            "kind": "payment",
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
            "made_by": call.made_by,
            "user_agent": call.user_agent,
            "client_user_agent": _parsed(call.client_user_agent),
        }
        self._write(entry)

    def record_movement(
        self, call: Call, charge: Fields, *, kind: Movement, subject: str, amount: int, outcome: str
    ) -> None:
        """Write that money of a charge went back, or came back after all.

        `outcome` is `refunded` or `refund_failed`, `dispute_withdrawn` or `dispute_reinstated`. `amount` is positive,
        in cents; `subject` is the id of the refund or dispute. The metadata is the charge's.
        """
        self._write(
            {
                "kind": kind,
                "at": self._state.now(),
                "payment_intent": charge["payment_intent"],
                "charge": charge["id"],
                kind: subject,
                "amount": amount,
                "currency": charge["currency"],
                "customer": charge["customer"],
                "payment_method": charge["payment_method"],
                "off_session": False,
                "confirm": False,
                "outcome": outcome,
                "metadata": charge["metadata"],
                "idempotency_key": call.idempotency_key,
                "request": call.request_id,
                "made_by": call.made_by,
                "user_agent": call.user_agent,
                "client_user_agent": _parsed(call.client_user_agent),
            }
        )

    def _write(self, entry: Fields) -> None:
        self._state.execute("INSERT INTO journal (entry) VALUES (?)", (json.dumps(entry),))

    def entries(
        self,
        *,
        kind: str | None = None,
        outcome: str | None = None,
        customer: str | None = None,
        payment_intent: str | None = None,
        off_session: bool | None = None,
        metadata: dict[str, str] | None = None,
        after: int = 0,
    ) -> list[Fields]:
        """Entries that match everything given; `after` is the `position` of the last entry already seen."""
        wanted = {
            "kind": kind,
            "outcome": outcome,
            "customer": customer,
            "payment_intent": payment_intent,
            "off_session": off_session,
        }
        found = []
        for position, text in self._state.execute(
            "SELECT position, entry FROM journal WHERE position > ? ORDER BY position", (after,)
        ):
            entry: Fields = {"position": position, "kind": "payment"} | json.loads(text)
            if any(value is not None and entry[name] != value for name, value in wanted.items()):
                continue
            if any(entry["metadata"].get(name) != value for name, value in (metadata or {}).items()):
                continue
            found.append(entry)
        return found

    def charged_cents(self, *, customer: str | None = None) -> int:
        """The sum of all succeeded charges, in cents."""
        return self._sum("succeeded", customer=customer)

    def refunded_cents(self, *, customer: str | None = None) -> int:
        """The sum of all refunds that have not failed, in cents."""
        return self._sum("refunded", customer=customer) - self._sum("refund_failed", customer=customer)

    def disputed_cents(self, *, customer: str | None = None) -> int:
        """The sum of what disputes have taken and not given back, in cents."""
        return self._sum("dispute_withdrawn", customer=customer) - self._sum("dispute_reinstated", customer=customer)

    def _sum(self, outcome: str, *, customer: str | None) -> int:
        return sum(entry["amount"] for entry in self.entries(outcome=outcome, customer=customer))


def _parsed(text: str) -> Fields | str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text
