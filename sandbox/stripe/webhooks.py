"""Webhooks: signed as Stripe signs them, delivered in the background, retried with growing pauses for three days.

Like Stripe it promises neither order nor exactly-once. On demand it duplicates, reorders, delays, loses, forges and
outdates deliveries.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.stripe import events
from sandbox.stripe.errors import Fields
from sandbox.stripe.semantics import Semantic, Semantics
from sandbox.stripe.state import State

Signature = Literal["good", "bad", "stale"]

RETRY_PAUSES_SECONDS = (1, 5, 30, 120, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 86_400)
"""Pauses between attempts, on the stand-in's clock; about three days in all, as in live mode."""

STALE_SECONDS = 600
TIMEOUT_SECONDS = 10
CONCURRENCY = 4


@dataclass
class Orders:
    """What is to happen to the first attempts of the next events. Each number counts down."""

    duplicate: int = 0
    copies: int = 2
    drop: int = 0
    bad_signature: int = 0
    stale: int = 0
    reorder: int = 0
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How the first attempt of one event goes."""

    copies: int = 1
    signature: Signature = "good"


class Webhooks:
    """The deliveries to one endpoint. Without an address no event is owed to anybody."""

    def __init__(self, state: State, *, url: str | None, secret: str | None, semantics: Semantics) -> None:
        self._state = state
        self._semantics = semantics
        self._url = url or state.setting("webhook_url")
        self._secret = secret or state.setting("webhook_secret")
        if self._url and not self._secret:
            raise ValueError("a webhook address needs its signing secret")
        # The state's own lock: events are owed inside its transactions, and two locks would be taken in two orders.
        self._changed = threading.Condition(state.lock)
        self._is_paused = False
        self._is_stopped = False
        self._in_flight: set[str] = set()
        self._plans: dict[str, Plan] = {}
        self._held: list[str] = []
        self._held_wanted = 0
        self.orders = Orders()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin to deliver, including what was still owed when the stand-in last stopped."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more; what is in flight is let finish."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        with self._changed:
            self._changed.wait_for(lambda: not self._in_flight, timeout=TIMEOUT_SECONDS + 1)

    # What the control port and tests ask for.

    def send_to(self, *, url: str | None, secret: str | None) -> None:
        """Deliver events from now on to this address, signed with this secret; None ends deliveries."""
        if url and not secret:
            raise ValueError("a webhook address needs its signing secret")
        with self._state.transaction():
            self._state.set_setting("webhook_url", url or "")
            self._state.set_setting("webhook_secret", secret or "")
        with self._changed:
            self._url, self._secret = url, secret
            self._changed.notify_all()

    def pause(self) -> None:
        """Hold deliveries back; events go on being recorded."""
        with self._changed:
            self._is_paused = True

    def resume(self) -> None:
        """Deliver again, beginning with what was held back."""
        with self._changed:
            self._is_paused = False
            self._changed.notify_all()

    def reset(self) -> None:
        """Forget all orders and resume."""
        with self._changed:
            self.orders = Orders()
            self._release_held()
            self._is_paused = False
            self._changed.notify_all()

    def clock_moved(self) -> None:
        """Retries may have become due."""
        with self._changed:
            self._changed.notify_all()

    def deliver(
        self, event_ids: list[str], *, signature: Signature = "good", is_concurrent: bool = False
    ) -> list[int | str]:
        """Deliver exactly these events now, in this order or all at once; an id may come several times.

        Returns the endpoint's status for each, or the reason why there is none.
        """
        if is_concurrent:
            with ThreadPoolExecutor(max_workers=max(1, len(event_ids))) as pool:
                return list(pool.map(lambda event_id: self._attempt(event_id, signature=signature), event_ids))
        return [self._attempt(event_id, signature=signature) for event_id in event_ids]

    def wait_until_idle(self, *, timeout_seconds: float = 10) -> bool:
        """Wait until nothing is in flight and nothing is due; False when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._in_flight and not self._due(), timeout=timeout_seconds)

    @property
    def is_paused(self) -> bool:
        """Whether deliveries are held back."""
        return self._is_paused

    def counts(self) -> dict[str, int]:
        """How many events are `delivered`, `pending`, `failed` or `lost`."""
        return dict(self._state.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))

    def deliveries(self) -> list[Fields]:
        """Every event that is or was owed, oldest first."""
        rows = self._state.execute(
            "SELECT d.event, d.state, d.attempts, d.next_at, d.last_status, o.body FROM deliveries d "
            "JOIN objects o ON o.id = d.event ORDER BY d.position"
        )
        return [
            {
                "event": event,
                "type": json.loads(body)["type"],
                "object": json.loads(body)["data"]["object"]["id"],
                "state": state,
                "attempts": attempts,
                "next_at": next_at,
                "last_status": last_status,
            }
            for event, state, attempts, next_at, last_status, body in rows
        ]

    def described(self) -> Fields:
        """The state of affairs, for the control port."""
        return {
            "url": self._url or None,
            "is_paused": self._is_paused,
            "orders": vars(self.orders),
            "deliveries": self.deliveries(),
        }

    # The machinery.

    def owe(self, event_id: str) -> None:
        """Called inside the transaction that recorded the event."""
        if not self._url:
            return
        rows = self._state.execute("SELECT position FROM objects WHERE id = ?", (event_id,))
        with self._changed:
            is_dropped = self.orders.drop > 0 and self._semantics.has(Semantic.LOSSES)
            if is_dropped:
                self.orders.drop -= 1
            else:
                self._plan(event_id)
            delay = self.orders.delay_seconds if self._semantics.has(Semantic.DELAYS) else 0
        self._state.execute(
            "INSERT INTO deliveries VALUES (?, ?, ?, 0, ?, NULL)",
            (event_id, rows[0][0], "lost" if is_dropped else "pending", self._state.now() + delay),
        )
        self._state.after_commit(self.clock_moved)

    def _plan(self, event_id: str) -> None:
        orders = self.orders
        signature: Signature = "good"
        if orders.bad_signature > 0:
            orders.bad_signature -= 1
            signature = "bad" if self._semantics.has(Semantic.FORGERIES) else "good"
        elif orders.stale > 0:
            orders.stale -= 1
            signature = "stale" if self._semantics.has(Semantic.STALENESS) else "good"
        copies = 1
        if orders.duplicate > 0:
            orders.duplicate -= 1
            copies = orders.copies if self._semantics.has(Semantic.DUPLICATES) else 1
        if signature != "good" or copies != 1:
            self._plans[event_id] = Plan(copies=copies, signature=signature)
        if orders.reorder > 0 and self._semantics.has(Semantic.REORDERING):
            orders.reorder -= 1
            self._held.append(event_id)
            if orders.reorder == 0:
                self._state.after_commit(self._release_in_reverse)

    def _release_in_reverse(self) -> None:
        with self._changed:
            held = list(reversed(self._held))
            self._in_flight.update(held)
            self._release_held()
        threading.Thread(target=self._send_in_order, args=(held,), daemon=True).start()

    def _release_held(self) -> None:
        self._held = []

    def _send_in_order(self, event_ids: list[str]) -> None:
        for event_id in event_ids:
            self._first_attempt(event_id)

    def _due(self) -> list[str]:
        if self._is_paused or self._is_stopped or not self._url:
            return []
        rows = self._state.execute(
            "SELECT event FROM deliveries WHERE state = 'pending' AND next_at <= ? ORDER BY position LIMIT 200",
            (self._state.now(),),
        )
        return [event for (event,) in rows if event not in self._in_flight and event not in self._held]

    def _seconds_to_next(self) -> float:
        rows = self._state.execute("SELECT min(next_at) FROM deliveries WHERE state = 'pending'")
        if rows[0][0] is None:
            return 60.0
        return min(60.0, max(0.05, float(rows[0][0]) - self._state.now()))

    def _run(self) -> None:
        slots = threading.Semaphore(CONCURRENCY)
        while True:
            with self._changed:
                if self._is_stopped:
                    return
                due = self._due()
                self._in_flight.update(due)
                if not due:
                    self._changed.wait(timeout=self._seconds_to_next())
            for event_id in due:
                slots.acquire()
                threading.Thread(target=self._first_attempt, args=(event_id, slots), daemon=True).start()

    def _first_attempt(self, event_id: str, slots: threading.Semaphore | None = None) -> None:
        try:
            plan = self._plans.pop(event_id, Plan())
            for _ in range(0 if self._is_stopped else plan.copies):
                self._attempt(event_id, signature=plan.signature)
        finally:
            if slots is not None:
                slots.release()
            with self._changed:
                self._in_flight.discard(event_id)
                self._changed.notify_all()

    def _attempt(self, event_id: str, *, signature: Signature) -> int | str:
        event = self._state.find("event", event_id)
        if event is None:
            raise ValueError(f"no such event: {event_id}")
        payload = json.dumps(events.shown(self._state, event), indent=2).encode()
        status = self._post(payload, signature=signature)
        self._note(event_id, status)
        return status

    def _post(self, payload: bytes, *, signature: Signature) -> int | str:
        at = int(self._state.now()) - (STALE_SECONDS if signature == "stale" else 0)
        is_forged = signature == "bad" or not self._semantics.has(Semantic.SIGNATURE)
        secret = "whsec_somebody_else" if is_forged else (self._secret or "")
        request = urllib.request.Request(
            self._url or "",
            data=payload,
            method="POST",
            headers={
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                "Stripe-Signature": signature_header(payload, secret=secret, at=at),
            },
        )
        try:
            with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except (OSError, ValueError) as error:
            return type(error).__name__

    def _note(self, event_id: str, status: int | str) -> None:
        """Count the attempt. What was delivered once stays delivered, whatever a further copy meets."""
        with self._state.transaction():
            rows = self._state.execute("SELECT state, attempts FROM deliveries WHERE event = ?", (event_id,))
            if not rows:
                return
            before, attempts = rows[0]
            if before == "delivered" or (isinstance(status, int) and 200 <= status < 300):
                after, pause = "delivered", 0
            elif attempts >= len(RETRY_PAUSES_SECONDS) or not self._semantics.has(Semantic.RETRIES):
                after, pause = "failed", 0
            else:
                after, pause = ("lost" if before == "lost" else "pending"), RETRY_PAUSES_SECONDS[attempts]
            self._state.execute(
                "UPDATE deliveries SET state = ?, attempts = attempts + 1, next_at = ?, last_status = ? "
                "WHERE event = ?",
                (after, self._state.now() + pause, str(status), event_id),
            )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is a failed delivery, as at Stripe."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def signature_header(payload: bytes, *, secret: str, at: int) -> str:
    """The `Stripe-Signature` of a payload (https://docs.stripe.com/webhooks#verify-manually)."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
