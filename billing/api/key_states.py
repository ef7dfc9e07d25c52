"""What a process knows of customers' keys, and which requests it refuses for that.

States are read again after a second, all keys that were asked for lately in one query. So a revoked, stopped or
used-up key works for at most a second more, and a request costs the database nothing for its key. Texts that don't
have the form of a key's public part are labels of the gateway's own and mean nothing here.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from accounts import api_keys
from accounts.key_text import is_api_key_prefix
from billing.credits import key_limits
from billing.credits.key_limits import KeyState, KnownKey

STATE_SECONDS_MAX = 1.0
# Keys that were asked for within this time are read with the next one that is due.
LATELY_SECONDS = 5.0
KEYS_MAX = 10_000
MARK_SECONDS_MIN = 30.0


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """Why a key can't pay for a request. ``code`` is the answer's; ``resets_at`` when it resolves by itself."""

    code: str
    resets_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says about its key."""

    organization_id: int
    key_ref: str
    surface: str


class KeyStates:
    """States of keys that were read during the last second, and the marks of use that are still to be written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, KnownKey]] = {}
        self._asked_at: dict[str, float] = {}
        self._used: set[str] = set()
        self._marked_at = -MARK_SECONDS_MIN

    def refusals(self, asked: Collection[Asked]) -> list[KeyRefusal | None]:
        """For each request why its key can't pay for it, or None; one query at most, and none for labels."""
        states = self._states({one.key_ref for one in asked if is_api_key_prefix(one.key_ref)})
        answers = [self._refusal(one, states) for one in asked]
        self.mark(one.key_ref for one, answer in zip(asked, answers, strict=True) if answer is None)
        return answers

    def mark(self, key_refs: Iterable[str]) -> None:
        """Note uses of keys; all notes of this process are written at most twice a minute."""
        used = {key_ref for key_ref in key_refs if is_api_key_prefix(key_ref)}
        if not used:
            return
        now = time.monotonic()
        with self._lock:
            self._used |= used
            if now - self._marked_at < MARK_SECONDS_MIN:
                return
            prefixes, self._used, self._marked_at = self._used, set(), now
        api_keys.mark_used(prefixes=prefixes, at=timezone.now())

    @staticmethod
    def _refusal(asked: Asked, states: Mapping[str, KnownKey]) -> KeyRefusal | None:
        if not is_api_key_prefix(asked.key_ref):
            return None
        key = states.get(asked.key_ref)
        # A key of somebody else is no key here; the gateway mixed two customers up, or forgot one.
        if key is None or key.organization_id != asked.organization_id:
            return KeyRefusal("key_unknown")
        if key.state is KeyState.LIMIT_REACHED:
            return KeyRefusal("key_limit_reached", key.resets_at)
        if key.state is not KeyState.ACTIVE:
            return KeyRefusal(f"key_{key.state}")
        return KeyRefusal("key_surface_mismatch") if key.surface != asked.surface else None

    def _states(self, prefixes: Collection[str]) -> Mapping[str, KnownKey]:
        if not prefixes:
            return {}
        now = time.monotonic()
        self._asked_at.update(dict.fromkeys(prefixes, now))
        fresh = self._fresh(prefixes, now=now)
        if len(fresh) == len(prefixes):
            return fresh
        with self._lock:
            # Whoever waited here finds what the one before has read.
            now = time.monotonic()
            fresh = self._fresh(prefixes, now=now)
            missing = [prefix for prefix in prefixes if prefix not in fresh]
            if missing:
                fresh |= self._read(missing, now=now)
        return fresh

    def _fresh(self, prefixes: Collection[str], *, now: float) -> dict[str, KnownKey]:
        known = self._known
        return {
            prefix: found[1]
            for prefix in prefixes
            if (found := known.get(prefix)) is not None and now - found[0] < STATE_SECONDS_MAX
        }

    def _read(self, missing: Collection[str], *, now: float) -> dict[str, KnownKey]:
        """Read these and all that were asked for lately. The age counts from before the read."""
        lately = {prefix: at for prefix, at in list(self._asked_at.items()) if now - at < LATELY_SECONDS}
        # Which keys exist is not remembered for those that don't, so that a new one works at once.
        due = {*missing, *list(lately)[-KEYS_MAX:]}
        read = key_limits.known_keys(due)
        self._asked_at = {prefix: at for prefix, at in lately.items() if prefix in read}
        self._known = {prefix: (now, key) for prefix, key in read.items()}
        return {prefix: read[prefix] for prefix in missing if prefix in read}


key_states = KeyStates()
