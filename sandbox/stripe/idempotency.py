"""Idempotency keys as documented at https://docs.stripe.com/api/idempotent_requests.

The first status and body are replayed, declines and 500s included; other parameters under the same key are an error; a
second request while the first is in flight is a conflict; refused parameters and conflicts are not kept; keys are
forgotten after 24 hours on the stand-in's clock.
"""

from __future__ import annotations

import hashlib
import json
import threading

from sandbox.stripe.errors import ApiError, Reply
from sandbox.stripe.rules import KEY_KEPT_SECONDS, KEY_LENGTH_MAXIMUM
from sandbox.stripe.semantics import Semantic, Semantics
from sandbox.stripe.state import State


class IdempotencyKeys:
    """The keys of one stand-in. `begin`, then exactly one of `keep` (inside the transaction) and `release` always."""

    def __init__(self, state: State, *, semantics: Semantics) -> None:
        self._state = state
        self._semantics = semantics
        self._in_flight: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def begin(self, *, scope: str, key: str, request: str) -> Reply | None:
        """Claim a key for a request. Returns the answer to replay, or None when the request is to be executed.

        `scope` keeps the keys of secret and publishable requests apart; `request` is what `fingerprint` made.
        """
        if len(key) > KEY_LENGTH_MAXIMUM:
            raise ApiError(f"Idempotency keys can be at most {KEY_LENGTH_MAXIMUM} characters long.")
        with self._lock:
            if (scope, key) in self._in_flight and self._semantics.has(Semantic.IN_FLIGHT_CONFLICT):
                raise ApiError(
                    "There is currently another in-progress request using this Idempotent Key (that probably means you "
                    f"submitted twice, and the other request is still going through): {key}. Please try again later.",
                    status=409,
                    type="idempotency_error",
                    code="idempotency_key_in_use",
                    headers={"Stripe-Should-Retry": "true"},
                )
            kept = self._kept(scope=scope, key=key, request=request)
            if kept is None:
                self._in_flight.add((scope, key))
            return kept

    def _kept(self, *, scope: str, key: str, request: str) -> Reply | None:
        if self._semantics.has(Semantic.KEYS_EXPIRE):
            self._state.execute("DELETE FROM idempotency WHERE created <= ?", (self._state.now() - KEY_KEPT_SECONDS,))
        rows = self._state.execute(
            "SELECT request, status, body, headers FROM idempotency WHERE scope = ? AND key = ?", (scope, key)
        )
        if not rows:
            return None
        first_request, status, body, headers = rows[0]
        if not self._semantics.has(Semantic.CHANGED_PARAMETERS):
            first_request = request
        if first_request.split(" ")[0] != request.split(" ")[0]:
            raise ApiError(
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{request.split(' ')[0]}' vs '{first_request.split(' ')[0]}'). "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                type="idempotency_error",
            )
        if first_request != request:
            raise ApiError(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                type="idempotency_error",
            )
        return Reply(
            status=status, body=json.loads(body), headers=json.loads(headers) | {"Idempotent-Replayed": "true"}
        )

    def keep(self, *, scope: str, key: str, request: str, reply: Reply, request_id: str) -> None:
        """Keep the answer. Called in the transaction that holds the request's effects."""
        if not self._is_kept(reply.status):
            return
        headers = reply.headers | {"Original-Request": request_id}
        self._state.execute(
            "INSERT OR IGNORE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?)",
            (scope, key, request, reply.status, json.dumps(reply.body), json.dumps(headers), self._state.now()),
        )

    def _is_kept(self, status: int) -> bool:
        has = self._semantics.has
        if status >= 500 and not has(Semantic.REPLAY_OF_500S):
            return False
        if status == 402 and not has(Semantic.REPLAY_OF_DECLINES):
            return False
        return has(Semantic.REPLAY)

    def release(self, *, scope: str, key: str) -> None:
        """The request is over, however it ended."""
        with self._lock:
            self._in_flight.discard((scope, key))


def fingerprint(*, path: str, pairs: list[tuple[str, str]]) -> str:
    """A request as text that is equal for equal requests: the endpoint, and a digest of the parameters in any order."""
    digest = hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()
    return f"{path} {digest}"
