"""What every answer carries, and what no log line may carry."""

import logging
import re
import secrets
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import current_request

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()"
SECRETS = re.compile(
    r"\b((?:sk|rk)_(?:live|test)_|whsec_|ck_[a-z]+_|\w*_secret_)[A-Za-z0-9_]{6,}"
    r"|\b((?:__Host-)?(?:session|csrf)=)[A-Za-z0-9]{6,}"
    r"|(/(?:password/reset/key|confirm-email|invitations|billing-contacts(?:/stop)?|contacts)/)[A-Za-z0-9_:%=-]{16,}"
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def browser_policy(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Switch off browser features that no page uses, and keep signed-in pages out of every cache."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        user = getattr(request, "user", None)
        if user is not None and user.is_authenticated:
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return handle


def request_id(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Give each request a reference that its answer, its audit events and its log lines share.

    Always our own: a reference that a client chooses could be made to point to somebody else's request.
    """

    def handle(request: HttpRequest) -> HttpResponseBase:
        request.request_id = f"req_{secrets.token_hex(8)}"  # type: ignore[attr-defined]
        with current_request.answering(request):
            response = get_response(request)
        response.headers["X-Request-Id"] = request.request_id  # type: ignore[attr-defined]
        return response

    return handle


class ReferenceFilter(logging.Filter):
    """Puts the reference of the request on each log line, so that what a customer names leads to it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add it to the record; a dash outside a request. Never drop the record."""
        record.request_id = current_request.reference() or "-"
        return True


class SecretsFilter(logging.Filter):
    """Blanks secrets in log lines, and keeps each record on one line, so that nobody writes lines of their own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record where it carries a secret or a line break; never drop it."""
        text = record.getMessage()
        clean = on_one_line(without_secrets(text))
        if clean != text:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = without_secrets(record.exc_text)
        return True


def without_secrets(text: str) -> str:
    """The text with every secret cut after its recognisable beginning: keys, client secrets, cookies, secret links."""
    return SECRETS.sub(lambda match: f"{match[1] or match[2] or match[3]}[hidden]", text)


def on_one_line(text: str) -> str:
    """The text with control characters and line separators written as escapes (ASVS 5.0, 16.4.1)."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
