"""The stand-in as a server on loopback: the API under /v1/, Stripe.js, receipts, and the control port under /_sandbox/.

with StandIn() as stripe:            # in memory, on a free port
    StripeClient("sk_test_any", base_addresses={"api": stripe.base_url})
"""

from __future__ import annotations

import contextlib
import html
import json
import socket
import struct
import threading
from collections.abc import Set as AbstractSet
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qsl, urlsplit

from sandbox.stripe import control_page
from sandbox.stripe.api import Answer, Api, Request
from sandbox.stripe.control import Control
from sandbox.stripe.control_page import ControlPage
from sandbox.stripe.credentials import AcceptedKeys
from sandbox.stripe.errors import Reply
from sandbox.stripe.events import Events
from sandbox.stripe.faults import Faults
from sandbox.stripe.journal import Journal
from sandbox.stripe.semantics import Semantic, Semantics
from sandbox.stripe.state import State
from sandbox.stripe.webhooks import Webhooks

LOOPBACK = "127.0.0.1"
HTML = "text/html; charset=utf-8"
BODY_LENGTH_MAXIMUM = 1_000_000
STRIPE_JS = Path(__file__).with_name("static") / "stripe.js"
STRIPE_JS_PATHS = ("/stripe.js", "/endive/stripe.js")

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Stripe-Version",
    "Access-Control-Expose-Headers": "Request-Id, Stripe-Should-Retry",
    "Access-Control-Max-Age": "300",
}


class StandIn:
    """One stand-in. `folder` None keeps everything in memory; `port` 0 takes a free one.

    `secret_key` and `publishable_key` narrow down which test keys are accepted; None accepts any well-formed one.
    `without` names promises that this stand-in breaks, to see that a test notices.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        host: str = LOOPBACK,
        port: int = 0,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        secret_key: str | None = None,
        publishable_key: str | None = None,
        without: AbstractSet[Semantic] = frozenset(),
    ) -> None:
        if host != LOOPBACK:
            raise ValueError(f"the stand-in listens on {LOOPBACK} only, not on {host}")
        self._server = _Server((host, port), _Handler)
        try:
            self._state = State(folder)
        except Exception:
            self._server.server_close()
            raise
        semantics = Semantics(without=without)
        self._events = Events(self._state, semantics=semantics)
        self._faults = Faults()
        self._webhooks = Webhooks(self._state, url=webhook_url, secret=webhook_secret, semantics=semantics)
        self._events.on_event.append(self._webhooks.owe)
        self.base_url = f"http://{host}:{self._server.server_address[1]}"
        self.journal = Journal(self._state)
        self.api = Api(
            state=self._state,
            events=self._events,
            journal=self.journal,
            faults=self._faults,
            keys=AcceptedKeys(secret=secret_key, publishable=publishable_key, semantics=semantics),
            semantics=semantics,
            base_url=self.base_url,
        )
        self.control = Control(
            state=self._state,
            faults=self._faults,
            webhooks=self._webhooks,
            journal=self.journal,
            own_call=self.api.own_call,
            requests=self.api.requests,
        )
        self.page = ControlPage(state=self._state, control=self.control)
        self._server.stand_in = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="stand-in", daemon=True)

    @property
    def js_url(self) -> str:
        """Where a page loads Stripe.js from."""
        return self.base_url + STRIPE_JS_PATHS[0]

    def start(self) -> Self:
        """Answer requests and deliver webhooks, in threads of their own."""
        self._webhooks.start()
        self.control.outside.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Let go of the port, the connections and the file."""
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.close_connections()
        self._server.server_close()
        self.control.outside.stop()
        self._webhooks.stop()
        self.api.stop()
        self._state.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def receipt(self, charge_id: str) -> str | None:
        """The receipt page of a succeeded charge, or None."""
        charge = self._state.find("charge", charge_id)
        if charge is None or not charge["paid"]:
            return None
        cents = charge["amount"]
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Receipt</title><h1>Receipt</h1>'
            f"<p>{html.escape(charge['description'] or 'Payment')}: ${cents // 100}.{cents % 100:02d}</p>"
            f"<p>Charge {html.escape(charge_id)}. Written by a stand-in for Stripe; no money has moved.</p></html>"
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    stand_in: StandIn

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End connections that clients keep open: a stopped server must not go on answering on them."""
        with self._connections_lock:
            for connection in self._connections:
                _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "stand-in"
    sys_version = ""
    wbufsize = 65536
    disable_nagle_algorithm = True
    timeout = 300

    @property
    def _stand_in(self) -> StandIn:
        return cast(_Server, self.server).stand_in

    def do_GET(self) -> None:
        self._dispatch()

    def do_POST(self) -> None:
        self._dispatch()

    def do_DELETE(self) -> None:
        self._dispatch()

    def do_OPTIONS(self) -> None:
        self._send(204, b"", headers=_CORS if self.path.startswith("/v1/") else {})

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are remembered by the API itself, without their parameters."""

    def _dispatch(self) -> None:
        url = urlsplit(self.path)
        body = self._body()
        if body is None:
            return
        if self.headers.get("host", "").rpartition(":")[0] not in (LOOPBACK, "localhost"):
            self._send_reply(Reply(status=421, body={"error": "the stand-in answers on loopback only"}))
        elif url.path.startswith("/v1/"):
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = self._stand_in.api.answer(Request(self.command, url.path, url.query, headers, body))
            self._send_answer(answer)
        elif url.path in (control_page.ADDRESS, control_page.ACTION, control_page.STYLE):
            self._control_page(url.path, body)
        elif url.path.startswith("/_sandbox/"):
            reply = self._stand_in.control.answer(
                self.command,
                url.path,
                query=url.query,
                content_type=self.headers.get("content-type", ""),
                body=body,
            )
            self._send_reply(reply)
        elif self.command == "GET" and url.path in STRIPE_JS_PATHS:
            self._send(
                200,
                STRIPE_JS.read_bytes(),
                headers={"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"},
                content_type="text/javascript; charset=utf-8",
            )
        elif self.command == "GET" and url.path.startswith("/receipts/"):
            page = self._stand_in.receipt(url.path.removeprefix("/receipts/"))
            self._send(404 if page is None else 200, (page or "No such receipt.").encode(), content_type="text/html")
        else:
            self._send_reply(Reply(status=404, body={"error": f"there is no {self.command} {url.path}"}))

    def _control_page(self, path: str, body: bytes) -> None:
        """The page for people: read with GET, its forms answered by sending the browser back to it."""
        page = self._stand_in.page
        if (self.command, path) == ("GET", control_page.ADDRESS):
            self._send(200, page.html().encode(), headers=control_page.HEADERS, content_type=HTML)
        elif (self.command, path) == ("GET", control_page.STYLE):
            self._send(200, control_page.STYLE_FILE.read_bytes(), content_type="text/css; charset=utf-8")
        elif (self.command, path) == ("POST", control_page.ACTION):
            try:
                form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
                page.act(form, origin=self.headers.get("origin"), host=self.headers.get("host", ""))
            except control_page.Forbidden:
                self._send(403, b"This form was not sent by the page itself. Nothing was done.", content_type=HTML)
            else:
                self._send(303, b"", headers={"Location": control_page.ADDRESS})
        else:
            self._send_reply(Reply(status=405, body={"error": f"there is no {self.command} {path}"}))

    def _body(self) -> bytes | None:
        length = self.headers.get("content-length", "0")
        if self.headers.get("transfer-encoding") or not length.isdigit() or int(length) > BODY_LENGTH_MAXIMUM:
            self.close_connection = True
            self._send_reply(Reply(status=413, body={"error": {"message": "The body is too long."}}))
            return None
        return self.rfile.read(int(length))

    def _send_answer(self, answer: Answer) -> None:
        fault = answer.fault.kind if answer.fault else None
        if fault == "refuse":
            # Closing with nothing to linger for makes the kernel send a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault in ("cut_before", "cut_after"):
            self.close_connection = True
            _shut(self.connection)
        else:
            self._send_reply(answer.reply, headers=_CORS, is_half=fault == "half_body")

    def _send_reply(self, reply: Reply, *, headers: dict[str, str] | None = None, is_half: bool = False) -> None:
        body = json.dumps(reply.body, indent=2).encode()
        common = {"Cache-Control": "no-cache, no-store"}
        self._send(reply.status, body, headers=common | reply.headers | (headers or {}), is_half=is_half)

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
        is_half: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("X-Content-Type-Options", "nosniff")
        if status != 204:
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_half else body)
        self.wfile.flush()
        if is_half:
            self.close_connection = True
            _shut(self.connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
