"""Faults on demand: what a network and a payment processor do on a bad day, for the next requests that match."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "refuse",
    "cut_before",
    "delay",
    "rate_limited",
    "lock_timeout",
    "status",
    "error_500_after_effect",
    "cut_after",
    "half_body",
]
"""
- `refuse`: the connection is reset; nothing is done.
- `cut_before`: the connection is closed without an answer; nothing is done.
- `delay`: the request waits `delay_seconds` while its idempotency key counts as in flight, then goes on.
- `rate_limited`, `lock_timeout`: 429; nothing is done. The second one asks for a retry.
- `status`: the answer has this `status`, such as 502; nothing is done.
- `error_500_after_effect`: everything is done, the answer and every replay of it is a 500.
- `cut_after`: everything is done and kept, the answer is never sent.
- `half_body`: everything is done and kept, the answer ends in the middle.
"""

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass
class Fault:
    """One fault waiting for its requests.

    `path` matches when the request's path begins with it; `parameters` when all of these are among the request's, by
    the name on the wire such as `metadata[purchase_id]`. `skip` matching requests pass first, then `times` are hit.
    """

    kind: Kind
    method: str | None = None
    path: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    times: int = 1
    skip: int = 0
    delay_seconds: float = 0.0
    status: int = 503
    hit: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}; known are {', '.join(KINDS)}")
        if self.kind == "delay" and not 0 < self.delay_seconds <= 120:
            raise ValueError("a delay needs delay_seconds between 0 and 120")
        if not 400 <= self.status <= 599:
            raise ValueError("a status of a fault is between 400 and 599")

    def is_for(self, *, method: str, path: str, parameters: dict[str, str]) -> bool:
        """Whether the request is one that this fault waits for."""
        return (
            self.hit < self.times
            and (self.method is None or self.method.upper() == method)
            and (self.path is None or path.startswith(self.path))
            and all(parameters.get(name) == value for name, value in self.parameters.items())
        )


class Faults:
    """The faults that are waiting, and how often each has struck: a test must see that its fault really happened."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: Kind, **options: Any) -> Fault:
        """Let the next matching requests fail. Options are the fields of `Fault`."""
        fault = Fault(kind, **options)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, *, method: str, path: str, parameters: dict[str, str]) -> Fault | None:
        """The fault that strikes this request, counted."""
        with self._lock:
            for fault in self._faults:
                if fault.is_for(method=method, path=path, parameters=parameters):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.hit += 1
                    return fault
        return None

    def listed(self) -> list[dict[str, Any]]:
        """All faults since the last clearing, with their hits."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()
