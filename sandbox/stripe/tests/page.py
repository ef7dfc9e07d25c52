"""A page with a strict CSP that uses the card element, as the product's pages do; for tests in a browser."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_SCRIPT = """
const stripe = Stripe("pk_test_page");
const elements = stripe.elements();
window.makeCard = (options) => {
  const card = elements.create("card", options);
  card.on("change", (event) => { window.lastChange = event; });
  for (const name of ["ready", "focus", "blur"]) card.on(name, () => { (window.seen ||= []).push(name); });
  card.mount("#card");
  return card;
};
window.card = makeCard({ hidePostalCode: !location.search.includes("postal") });
window.settled = (promise) => promise.then(
  (result) => ({ status: (result.setupIntent || result.paymentIntent || {}).status, error: result.error, result }),
  (error) => ({ thrown: error.name, message: error.message }),
);
window.setUp = (secret) => settled(stripe.confirmCardSetup(secret, {
  payment_method: { card: window.card, billing_details: { name: "Maya Lindqvist" } },
}));
window.pay = (secret) => settled(stripe.confirmCardPayment(secret));
window.look = (secret) => settled(stripe.retrieveSetupIntent(secret));
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


class Page:
    """One page on loopback. `stripe_origin` is the only foreign origin that it allows."""

    def __init__(self, *, js_url: str, stripe_origin: str) -> None:
        self._policy = (
            f"default-src 'none'; script-src 'self' {stripe_origin}; style-src 'self'; connect-src {stripe_origin}; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )
        self._documents = {
            "/": (
                "text/html",
                '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Card</title>'
                f'<link rel="stylesheet" href="/page.css"></head><body><main><h1>Card</h1>'
                '<form id="form" action="/submitted" method="get"><div id="card"></div>'
                '<button type="submit">Update</button></form></main>'
                f'<script src="{js_url}"></script><script src="/page.js"></script></body></html>',
            ),
            "/submitted": ("text/html", "<!doctype html><title>Submitted</title><p>Submitted."),
            "/page.js": ("text/javascript", _SCRIPT),
            "/page.css": (
                "text/css",
                ":root{color-scheme:light dark;--surface:light-dark(#fff,#1a1a1f);--text:light-dark(#1c1b22,#ededf1);"
                "--line-strong:light-dark(#8b8880,#72717e);--faint:light-dark(#6b6974,#9695a1);"
                "--soft:light-dark(#5a5863,#aeadb8);--radius-s:8px;--accent:light-dark(#3d3f9e,#b0b5fb);"
                "--accent-bg:light-dark(#3a3c96,#5053bd);--on-accent:#fff;--bad:light-dark(#a02720,#f7aaa2)}"
                "body{font:16px/1.5 sans-serif;background:light-dark(#f7f6f3,#121215);color:var(--text)}"
                "main{max-inline-size:480px;margin:24px auto;padding:0 16px}",
            ),
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        documents, policy = self._documents, self._policy

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, text = documents.get(self.path.partition("?")[0], ("text/plain", ""))
                body = text.encode()
                self.send_response(200 if text else 404)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Security-Policy", policy)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
