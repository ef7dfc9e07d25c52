"""The control port: what a test or a rehearsal may ask of the stand-in, in the process or by HTTP under /_sandbox/.

There is no authentication, because it listens on loopback only. Requests with a body must be JSON, which a web page of
another origin can't send without being refused first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from sandbox.stripe import API_VERSION, payment_intents, setup_intents
from sandbox.stripe.call import Call
from sandbox.stripe.errors import Fields, Reply
from sandbox.stripe.faults import Fault, Faults, Kind
from sandbox.stripe.journal import Journal
from sandbox.stripe.state import State
from sandbox.stripe.webhooks import Webhooks


class Control:
    """Faults, webhooks, the clock and the card holder's answers."""

    def __init__(
        self,
        *,
        state: State,
        faults: Faults,
        webhooks: Webhooks,
        journal: Journal,
        own_call: Callable[[], Call],
        requests: Callable[[], list[Fields]],
    ) -> None:
        self._state = state
        self._journal = journal
        self._own_call = own_call
        self._requests = requests
        self.faults = faults
        self.webhooks = webhooks

    def add_fault(self, kind: Kind, **options: Any) -> Fault:
        """Let the next matching requests fail; see `faults`."""
        return self.faults.add(kind, **options)

    def move_clock(self, *, offset_seconds: float) -> None:
        """Set the stand-in's clock ahead of the machine's: keys grow old, retries become due."""
        self._state.move_clock(offset_seconds=offset_seconds)
        self.webhooks.clock_moved()

    def answer_challenge(self, intent_id: str, *, complete: bool) -> None:
        """Answer for the card holder, as the dialog of Stripe.js would; for tests without a browser."""
        with self._state.transaction():
            kind = "payment_intent" if intent_id.startswith("pi_") else "setup_intent"
            intent = self._state.find(kind, intent_id)
            if intent is None or intent["status"] != "requires_action":
                raise ValueError(f"{intent_id} waits for no answer")
            finish = (
                payment_intents.finish_authentication
                if kind == "payment_intent"
                else setup_intents.finish_authentication
            )
            finish(self._own_call(), intent, is_authenticated=complete)

    def answer(self, method: str, path: str, *, query: str, content_type: str, body: bytes) -> Reply:
        """One request to the control port."""
        if method == "POST" and content_type.partition(";")[0].strip() != "application/json":
            return _refused("send JSON with Content-Type: application/json", status=415)
        try:
            return self._route(method, path, given=_json_object(body), query=dict(parse_qsl(query)))
        except (ValueError, TypeError, KeyError) as error:
            return _refused(str(error))

    def _route(self, method: str, path: str, *, given: Fields, query: dict[str, str]) -> Reply:
        match (method, path):
            case ("GET", "/_sandbox/health"):
                return _done({"status": "ok", "api_version": API_VERSION, "clock": self._clock()})
            case ("GET", "/_sandbox/journal"):
                return _done({"entries": self._entries(query)})
            case ("GET", "/_sandbox/requests"):
                return _done({"requests": self._requests()})
            case ("GET", "/_sandbox/faults"):
                return _done({"faults": self.faults.listed()})
            case ("POST", "/_sandbox/faults"):
                self.faults.add(**given)
                return _done({"faults": self.faults.listed()})
            case ("DELETE", "/_sandbox/faults"):
                self.faults.clear()
                return _done({"faults": []})
            case ("GET", "/_sandbox/webhooks"):
                return _done(self.webhooks.described())
            case ("POST", "/_sandbox/webhooks"):
                return self._order_webhooks(given)
            case ("DELETE", "/_sandbox/webhooks"):
                self.webhooks.reset()
                return _done(self.webhooks.described())
            case ("GET", "/_sandbox/clock"):
                return _done(self._clock())
            case ("POST", "/_sandbox/clock"):
                self.move_clock(offset_seconds=float(given["offset_seconds"]))
                return _done(self._clock())
            case ("POST", "/_sandbox/challenges"):
                if given["answer"] not in ("complete", "fail"):
                    raise ValueError("answer is 'complete' or 'fail'")
                self.answer_challenge(given["intent"], complete=given["answer"] == "complete")
                return _done({"intent": given["intent"]})
        return _refused(f"there is no {method} {path}", status=404)

    def _entries(self, query: dict[str, str]) -> list[Fields]:
        metadata = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[")}
        plain = {name: value for name, value in query.items() if not name.startswith("metadata[")}
        off_session = plain.pop("off_session", None)
        return self._journal.entries(
            outcome=plain.pop("outcome", None),
            customer=plain.pop("customer", None),
            payment_intent=plain.pop("payment_intent", None),
            off_session=None if off_session is None else off_session == "true",
            after=int(plain.pop("after", "0")),
            metadata=metadata,
            **_nothing_else(plain),
        )

    def _order_webhooks(self, given: Fields) -> Reply:
        given = dict(given)
        statuses = None
        if "url" in given:
            self.webhooks.send_to(url=given.pop("url"), secret=given.pop("secret", None))
        if given.pop("pause", False):
            self.webhooks.pause()
        for name in ("duplicate", "copies", "drop", "bad_signature", "stale", "reorder"):
            if name in given:
                setattr(self.webhooks.orders, name, int(given.pop(name)))
        if "delay_seconds" in given:
            self.webhooks.orders.delay_seconds = float(given.pop("delay_seconds"))
        if "deliver" in given:
            statuses = self.webhooks.deliver(
                given.pop("deliver"),
                signature=given.pop("signature", "good"),
                is_concurrent=given.pop("is_concurrent", False),
            )
        if given.pop("resume", False):
            self.webhooks.resume()
        _nothing_else(given)
        return _done(self.webhooks.described() | ({} if statuses is None else {"statuses": statuses}))

    def _clock(self) -> Fields:
        return {"now": self._state.now(), "offset_seconds": self._state.clock_offset_seconds}


def _json_object(body: bytes) -> Fields:
    given = json.loads(body) if body.strip() else {}
    if not isinstance(given, dict):
        raise TypeError("a JSON object is expected")
    return given


def _nothing_else(rest: Fields) -> dict[str, Any]:
    if rest:
        raise ValueError(f"unknown: {', '.join(sorted(rest))}")
    return {}


def _done(body: Fields) -> Reply:
    return Reply(status=200, body=body)


def _refused(message: str, *, status: int = 400) -> Reply:
    return Reply(status=status, body={"error": message})
