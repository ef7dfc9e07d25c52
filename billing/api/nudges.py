"""Tells the workers that credit fell below the line of auto-reload, without making the request wait for the broker.

The mark that a reload is due stands in the database already and a sweep finds it, so a nudge may be lost: with the
process, with a broker that is down, or when too many wait.
"""

import queue
import threading
from collections.abc import Iterable

from billing.tasks import attempt_reload, nudge

WAITING_MAX = 1_000


class Nudges:
    """Organizations to look at, handed to the broker by one thread that starts with the first of them."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[int] = queue.Queue(WAITING_MAX)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell_low(self, organization_ids: Iterable[int]) -> None:
        """Ask for an attempt to reload in each organization, once."""
        for organization_id in dict.fromkeys(organization_ids):
            try:
                self._waiting.put_nowait(organization_id)
            except queue.Full:
                return
            self._start()

    def wait_until_told(self) -> None:
        """Block until the broker, or its absence, has been told everything."""
        self._waiting.join()

    def _start(self) -> None:
        with self._lock:
            # Started late, so that it lives in the worker process and not in the one that was forked.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._tell, name="gate-nudges", daemon=True)
                self._thread.start()

    def _tell(self) -> None:
        while True:
            organization_id = self._waiting.get()
            try:
                nudge(attempt_reload, organization_id)
            finally:
                self._waiting.task_done()


nudges = Nudges()
