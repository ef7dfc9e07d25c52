"""What every answer carries, and what no log line may carry."""

import logging
import re
import secrets
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import current_request

# Chromium knows each; of one that it doesn't know it complains on every page.
PERMISSIONS_POLICY = ", ".join(
    [
        *(f"{feature}=()" for feature in ("accelerometer", "autoplay", "browsing-topics", "camera", "display-capture")),
        *(f"{feature}=()" for feature in ("encrypted-media", "fullscreen", "geolocation", "gyroscope", "hid")),
        *(f"{feature}=()" for feature in ("idle-detection", "local-fonts", "magnetometer", "microphone", "midi")),
        *(f"{feature}=()" for feature in ("payment", "picture-in-picture", "screen-wake-lock", "serial")),
        *(f"{feature}=()" for feature in ("storage-access", "usb", "xr-spatial-tracking")),
        # Passkeys, and the button that copies a key.
        *(f"{feature}=(self)" for feature in ("publickey-credentials-create", "publickey-credentials-get")),
        "clipboard-write=(self)",
    ]
)
# Not "cookies": that would also forget the mark of a known device, which keeps others from locking a person out, and
# cookies of the whole domain. The session's own row is deleted, and its cookie with it.
CLEARED_AT_SIGN_OUT = '"cache", "storage"'
SECRETS = re.compile(
    r"\b((?:sk|rk)_(?:live|test)_|whsec_|ck_[a-z]+_|\w*_secret_)[A-Za-z0-9_]{6,}"
    r"|\b((?:__Host-)?(?:session|csrf)=)[A-Za-z0-9]{6,}"
    r"|(/(?:password/reset/key|confirm-email|invitations|billing-contacts(?:/stop)?|contacts)/)[A-Za-z0-9_:%=-]{16,}"
)
SECRET_NAMES = re.compile(
    r"""(?ix)
    (\b(?:__Host-)?(?:session|sessionid|csrf|csrftoken|csrfmiddlewaretoken|device)(?:=|["']\s*:\s*)["']?
    |\b(?:password[12]?|oldpassword|client_secret|secret_key|token|api_key)(?:["']?\s*[=:]|["'],)\s*["']?
    |\b(?:proxy-)?authorization["']?\s*[=:]\s*["']?(?:bearer\s+|basic\s+)?
    |\bbearer\s+)
    (?!\[hidden\])[^\s"',;&})]{6,}
    """
)
# In an address of a service, between "//name:" and "@".
SECRET_USERINFO = re.compile(r"(\w+://[^\s:/@]*:)[^\s/@]+(?=@)")
# Whom a line is about is told by the reference of its request; the audit log says the rest.
EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?=[A-Za-z0-9.-]{1,255}\.[A-Za-z]{2,})")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def browser_policy(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Switch off browser features that no page uses, keep answers out of every cache and from other sites' pages.

    What says by itself how long it may be kept (files with a hash in their name) is left alone. It never looks at the
    person: while the database is away, that would turn one error into another.
    """

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
        # Browsers take it over TLS only.
        if settings.IS_TLS and getattr(request, "is_signed_out", False):
            response.headers["Clear-Site-Data"] = CLEARED_AT_SIGN_OUT
        return response

    return handle


def note_sign_out(sender: object, request: HttpRequest | None = None, **_: Any) -> None:
    """Receive Django's ``user_logged_out``: the answer tells the browser to forget what it kept."""
    if request is not None:
        request.is_signed_out = True  # type: ignore[attr-defined]


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
    """The text with every secret cut after its recognisable beginning, and e-mail addresses without their name.

    Keys, client secrets, cookies, secret links; what stands behind the name of a password or token; the password in an
    address of a service.
    """
    text = SECRETS.sub(lambda match: f"{match[1] or match[2] or match[3]}[hidden]", text)
    for pattern in (SECRET_NAMES, SECRET_USERINFO):
        text = pattern.sub(r"\1[hidden]", text)
    return EMAIL.sub("[hidden]@", text)


def on_one_line(text: str) -> str:
    """The text with control characters and line separators written as escapes (ASVS 5.0, 16.4.1)."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
