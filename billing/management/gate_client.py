"""A client of the gate over one kept connection, as a gateway has it. Says the same again when an answer is lost.

Every operation of the gate is idempotent by its key or its hold, so sending it again is always right.
"""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TRIES = 8
WAIT_SECONDS_MAX = 5.0
TIMEOUT_SECONDS = 30.0


class GateUnreachable(Exception):
    """No answer, or only 503, after all tries."""


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """An answer below 500: its status and its JSON."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The stable code of a refusal, empty for a result."""
        error = self.body.get("error")
        return str(error["code"]) if error else ""


class GateClient:
    """One connection to the gate at ``url``, for one thread."""

    def __init__(self, *, url: str, service_key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a gate: it begins with http:// or https://.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._path = parts.path.rstrip("/") + "/v1/"
        self._headers = {"Authorization": f"Bearer {service_key}", "Content-Type": "application/json"}

    def post(self, operation: str, body: dict[str, Any]) -> GateAnswer:
        """Send until there is an answer. Raises GateUnreachable."""
        content = json.dumps(body).encode("ascii")
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(min(0.1 * 2**attempt, WAIT_SECONDS_MAX))
            try:
                self._connection.request("POST", self._path + operation, content, self._headers)
                response = self._connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                reason = f"{type(error).__name__}: {error}"
                continue
            if response.status < 500:
                return GateAnswer(response.status, _object(text))
            reason = f"HTTP {response.status}"
        raise GateUnreachable(f"{operation}: {reason}")

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._connection.close()


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise GateUnreachable("What answers there is not the gate: the answer is no JSON object.")
    return value
