"""The control port: what a test or a rehearsal may ask of the stand-in, in the process or by HTTP under /_sandbox/.

There is no authentication, because it listens on loopback only. Requests with a body must be JSON, which a web page of
another origin can't send without being refused first. `control_page` puts buttons in front of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from sandbox.stripe import (
    API_VERSION,
    disputes,
    fraud_warnings,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
)
from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError, Fields, Reply
from sandbox.stripe.faults import Fault, Faults, Kind
from sandbox.stripe.journal import Journal
from sandbox.stripe.outside import Outside
from sandbox.stripe.state import State
from sandbox.stripe.webhooks import Webhooks

_FAULT_WORDS = {"cut_after": "calls made with their answer lost", "cut_before": "calls that don't arrive"}


class Control:
    """Faults, webhooks, the clock, and what card holders, banks and people in Stripe's dashboard do."""

    def __init__(
        self,
        *,
        state: State,
        faults: Faults,
        webhooks: Webhooks,
        journal: Journal,
        own_call: Callable[..., Call],
        requests: Callable[[], list[Fields]],
    ) -> None:
        self._state = state
        self._journal = journal
        self._own_call = own_call
        self._requests = requests
        self.faults = faults
        self.webhooks = webhooks
        self.outside = Outside(state, act=self._act)

    def add_fault(self, kind: Kind, **options: Any) -> Fault:
        """Let the next matching requests fail; see `faults`."""
        return self.faults.add(kind, **options)

    def move_clock(self, *, offset_seconds: float) -> None:
        """Set the stand-in's clock ahead of the machine's: keys grow old, retries become due."""
        self._state.move_clock(offset_seconds=offset_seconds)
        self.outside.let_happen()
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
            finish(self._own_call(is_from_outside=False), intent, is_authenticated=complete)

    def open_dispute(
        self,
        payment_intent: str,
        *,
        status: str = "needs_response",
        reason: str = "fraudulent",
        amount: int | None = None,
    ) -> str:
        """The card holder asks the bank for the money back. Returns the dispute's id.

        `status` is `needs_response`, `warning_needs_response` for an inquiry, or `prevented`. `amount` is in cents;
        None means all that is left of the charge. ValueError where Stripe would have no such dispute.
        """
        with self._state.transaction():
            charge = self._charge_of(payment_intent)
            dispute = disputes.open_dispute(self._own_call(), charge, status=status, reason=reason, amount=amount)
            return str(dispute["id"])

    def change_dispute(self, dispute: str, *, status: str) -> None:
        """The bank decides, or an inquiry becomes a dispute; which status may follow which is in `rules`."""
        with self._state.transaction():
            disputes.change_status(self._own_call(), dispute, status)

    def warn_of_fraud(self, payment_intent: str) -> str:
        """The card's issuer reports fraud, before any dispute. Returns the early fraud warning's id."""
        with self._state.transaction():
            return str(fraud_warnings.warn(self._own_call(), self._charge_of(payment_intent))["id"])

    def refund_in_dashboard(self, payment_intent: str, *, amount: int | None = None) -> str:
        """A person refunds in Stripe's dashboard: without our metadata. Returns the refund's id."""
        given = {"payment_intent": payment_intent, "reason": "requested_by_customer"}
        call = replace(self._own_call(), parameters=given | ({} if amount is None else {"amount": amount}))
        try:
            with self._state.transaction():
                return str(refunds.create(call).body["id"])
        except ApiError as error:
            raise ValueError(error.message) from error

    def change_refund(self, refund: str, *, status: str) -> None:
        """The bank answers: `succeeded`, `failed`, `requires_action` or `canceled`, as `rules` allow."""
        with self._state.transaction():
            refunds.change_status(self._own_call(), refund, status)

    def fail_refund(self, refund: str) -> None:
        """The bank sends a refund back, also one that had succeeded."""
        self.change_refund(refund, status="failed")

    def succeed_refund(self, refund: str) -> None:
        """A pending refund succeeds."""
        self.change_refund(refund, status="succeeded")

    def hold_refunds(self, *, times: int = 1) -> None:
        """Let the next refunds begin as `pending`, as when the account's balance doesn't cover them."""
        with self._state.transaction():
            self._state.set_setting(refunds.HELD_SETTING, str(times))

    def hold_payments(self, *, times: int = 1) -> None:
        """Let the next payments go to `processing` instead of an end; `settle_processing` ends them."""
        with self._state.transaction():
            self._state.set_setting(payment_intents.HELD_SETTING, str(times))

    def decline_payments(self, *, times: int = 1) -> None:
        """Let the bank decline the next payments, whatever the card."""
        with self._state.transaction():
            self._state.set_setting(payment_intents.DECLINED_SETTING, str(times))

    def ordered(self) -> list[tuple[int, str]]:
        """How many of what is still to happen to the next requests, in words."""
        counts = [
            (int(self._state.setting(name) or 0), words)
            for name, words in (
                (payment_intents.DECLINED_SETTING, "charge declined"),
                (payment_intents.HELD_SETTING, "charge in processing"),
                (refunds.HELD_SETTING, "refund pending"),
            )
        ]
        counts += [
            (fault["times"] - fault["hit"], _FAULT_WORDS.get(fault["kind"], fault["kind"]))
            for fault in self.faults.listed()
        ]
        return [(count, words) for count, words in counts if count > 0]

    def forget_orders(self) -> None:
        """Let the next requests go their usual way."""
        with self._state.transaction():
            for name in (payment_intents.DECLINED_SETTING, payment_intents.HELD_SETTING, refunds.HELD_SETTING):
                self._state.set_setting(name, "0")
        self.faults.clear()

    def settle_processing(self, payment_intent: str, *, succeeds: bool) -> None:
        """The bank has made up its mind about a payment in `processing`."""
        with self._state.transaction():
            payment_intents.settle_processing(self._own_call(), payment_intent, succeeds=succeeds)

    def update_card(self, payment_method: str, *, by_network: bool = True, **changes: Any) -> None:
        """The card's network reports a new number or expiry, or somebody corrects it; see `payment_methods.change`."""
        with self._state.transaction():
            payment_methods.change(self._own_call(), payment_method, changes=changes, by_network=by_network)

    def expire_card(self, payment_method: str) -> None:
        """Let the card's last month be the one before this."""
        last_month = datetime.fromtimestamp(self._state.now(), tz=UTC).replace(day=1) - timedelta(days=1)
        self.update_card(payment_method, exp_month=last_month.month, exp_year=last_month.year)

    def detach_card(self, payment_method: str) -> None:
        """Somebody removes the card in Stripe's dashboard."""
        try:
            with self._state.transaction():
                payment_methods.detach(self._own_call(), payment_method)
        except ApiError as error:
            raise ValueError(error.message) from error

    def _act(self, happening: str, subject: str) -> None:
        refunds.change_status(self._own_call(), subject, "failed" if happening == "fail_refund" else "succeeded")

    def _charge_of(self, payment_intent: str) -> Fields:
        intent = self._state.find("payment_intent", payment_intent)
        if intent is None or intent["status"] != "succeeded":
            raise ValueError(f"{payment_intent} is no payment that succeeded")
        return self._state.get("charge", intent["latest_charge"])

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
            case ("POST", "/_sandbox/disputes"):
                return _done({"dispute": self._order_dispute(given)})
            case ("POST", "/_sandbox/warnings"):
                return _done({"warning": self.warn_of_fraud(**given)})
            case ("POST", "/_sandbox/refunds"):
                return _done(self._order_refund(given))
            case ("POST", "/_sandbox/payments"):
                if "hold" in given:
                    self.hold_payments(times=int(given["hold"]))
                elif "decline" in given:
                    self.decline_payments(times=int(given["decline"]))
                else:
                    self.settle_processing(**given)
                return _done({})
            case ("POST", "/_sandbox/cards"):
                self._order_card(dict(given))
                return _done({})
        return _refused(f"there is no {method} {path}", status=404)

    def _order_dispute(self, given: Fields) -> str:
        if "dispute" not in given:
            return self.open_dispute(**given)
        self.change_dispute(**given)
        return str(given["dispute"])

    def _order_refund(self, given: Fields) -> Fields:
        if "hold" in given:
            self.hold_refunds(times=int(given["hold"]))
            return {}
        if "refund" not in given:
            return {"refund": self.refund_in_dashboard(**given)}
        self.change_refund(**given)
        return {"refund": given["refund"]}

    def _order_card(self, given: Fields) -> None:
        card = given.pop("payment_method")
        if given.pop("detach", False):
            self.detach_card(card, **_nothing_else(given))
        elif given.pop("expire", False):
            self.expire_card(card, **_nothing_else(given))
        else:
            self.update_card(card, **given)

    def _entries(self, query: dict[str, str]) -> list[Fields]:
        metadata = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[")}
        plain = {name: value for name, value in query.items() if not name.startswith("metadata[")}
        off_session = plain.pop("off_session", None)
        return self._journal.entries(
            kind=plain.pop("kind", None),
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
