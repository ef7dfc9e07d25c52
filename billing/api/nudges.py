"""Tells the workers that the ledger has an event for them, without making the request wait for the broker.

The event is a row of the database already and is looked for every few seconds, so a nudge may be lost: with the
process, or with a broker that is down.
"""

import queue
import threading

from billing.tasks import nudge, relay_credit_events


class Nudges:
    """One word for the broker, said by one thread that starts with the first. Many at once are said as one."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[None] = queue.Queue(1)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell(self) -> None:
        """Ask for the ledger's events to be looked at."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            # Whoever is asked already will find this event too: its row is committed.
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
            self._waiting.get()
            try:
                nudge(relay_credit_events)
            finally:
                self._waiting.task_done()


nudges = Nudges()
