"""What the world outside does later by itself: banks that answer in their own time, on the stand-in's clock."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Literal

from sandbox.stripe.call import Call
from sandbox.stripe.state import State

Happening = Literal["fail_refund", "succeed_refund"]

_LOOK_EVERY_SECONDS = 1.0


def plan(call: Call, happening: Happening, subject: str, *, after_seconds: int) -> None:
    """Let this happen to the object later. Part of the present transaction."""
    call.state.execute(
        "INSERT INTO plans (due_at, happening, subject) VALUES (?, ?, ?)",
        (call.state.now() + after_seconds, happening, subject),
    )


class Outside:
    """Lets happen what is due, when the clock is moved and once a second. `act` does it, inside a transaction."""

    def __init__(self, state: State, *, act: Callable[[str, str], None]) -> None:
        self._state = state
        self._act = act
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outside", daemon=True)

    def start(self) -> None:
        """Begin to look at the clock."""
        self._thread.start()

    def stop(self) -> None:
        """Let nothing happen any more."""
        self._is_over.set()
        self._thread.join(timeout=5)

    def let_happen(self) -> int:
        """Let happen what is due by now. Returns how much that was; what has become impossible is dropped."""
        with self._state.transaction():
            due = self._state.execute(
                "SELECT position, happening, subject FROM plans WHERE due_at <= ? ORDER BY due_at, position",
                (self._state.now(),),
            )
            for position, happening, subject in due:
                self._state.execute("DELETE FROM plans WHERE position = ?", (position,))
                try:
                    self._act(happening, subject)
                except ValueError:
                    continue
        return len(due)

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK_EVERY_SECONDS):
            try:
                self.let_happen()
            except Exception:
                if not self._is_over.is_set():
                    traceback.print_exc(file=sys.stderr)
