"""One client of a measurement, in a process of its own, as a worker of the gate is. Orders come on standard input.

An order is a line of JSON: `{"operation": NAME, "milliseconds": N, ...}` repeats an operation for so long, any other
one does something once; the answer is a line of JSON. Nothing here is imported from the product, so that the peers,
which live in an environment of their own, are measured by the same lines.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Order = Mapping[str, Any]
Answer = dict[str, Any]
# One call of what is measured; returns how many charges (or reads) it made.
Call = Callable[[], int]


def serve(
    *,
    show: Callable[[str], str],
    backend: int,
    repeated: Mapping[str, Callable[[Order], Call]],
    once: Mapping[str, Callable[[Order], Answer]] | None = None,
) -> None:
    """Say what the session's durability is (``show`` asks the database), then do what the orders say.

    ``backend`` is the process of the database that serves this client: its processor time is read beside this one's.
    """
    _say({"durability": {name: show(name) for name in ("fsync", "synchronous_commit", "full_page_writes")}})
    for line in sys.stdin:
        order = json.loads(line)
        name = order["operation"]
        if name in repeated:
            _say(_repeat(repeated[name](order), milliseconds=order["milliseconds"], backend=backend))
        else:
            _say((once or {})[name](order))


def _repeat(call: Call, *, milliseconds: int, backend: int) -> Answer:
    server_before, client_before = processor_nanoseconds(backend), time.process_time_ns()
    count, started_at = 0, time.perf_counter_ns()
    end_at = started_at + milliseconds * 1_000_000
    while (now := time.perf_counter_ns()) < end_at:
        count += call()
    client = time.process_time_ns() - client_before
    server_after = processor_nanoseconds(backend)
    server = None if server_before is None or server_after is None else server_after - server_before
    return {
        "count": count,
        "microseconds": (now - started_at) // 1_000,
        "server_nanoseconds": server,
        "client_nanoseconds": client,
    }


def processor_nanoseconds(process: int) -> int | None:
    """Processor time that a process has had, where the system tells it (Linux does)."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _say(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)
