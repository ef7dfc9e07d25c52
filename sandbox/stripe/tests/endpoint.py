"""A webhook endpoint for tests: verifies as the SDK does, answers as told, remembers everything."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import stripe


class Endpoint:
    """Events that were accepted, in order, and deliveries that were refused because of their signature."""

    def __init__(self, *, secret: str, patience_seconds: float = 10) -> None:
        self.accepted: list[Any] = []
        self.refused: list[str] = []
        self.statuses: list[int] = []
        """Statuses for the next genuine deliveries; 200 when empty."""
        self._secret = secret
        self._patience_seconds = patience_seconds
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/webhooks/stripe/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def types(self) -> list[str]:
        """The types of the accepted events, in the order of their arrival."""
        return [event.type for event in self.accepted]

    def wait_for(self, count: int, *, timeout_seconds: float | None = None) -> list[Any]:
        """The accepted events, once there are so many."""
        end = time.monotonic() + (self._patience_seconds if timeout_seconds is None else timeout_seconds)
        while len(self.accepted) < count:
            assert time.monotonic() < end, f"only {self.types()} of {count} events came"
            time.sleep(0.01)
        return list(self.accepted)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(endpoint.receive(payload, self.headers["stripe-signature"]))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def receive(self, payload: bytes, signature: str) -> int:
        """Judge one delivery."""
        try:
            event = stripe.Webhook.construct_event(payload, signature, self._secret)
        except stripe.SignatureVerificationError as error:
            self.refused.append(str(error))
            return 400
        status = self.statuses.pop(0) if self.statuses else 200
        if 200 <= status < 300:
            self.accepted.append(event)
        return status
