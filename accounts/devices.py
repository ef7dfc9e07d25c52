"""Browsers in which somebody has signed in before. Strangers' failures elsewhere never lock such a browser out.

The cookie opens nothing: it only picks the counter of wrong passwords (accounts.middleware.rate_limits). It names one
person, by a digest, so that one's own cookie is no way around the limits of another's account. The idea is OWASP's
device cookie: https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import salted_hmac

SALT: Final = "accounts.devices"
AGE: Final = timedelta(days=365)


def cookie_name() -> str:
    """The prefix binds the cookie to this host; browsers take it over TLS only."""
    return "__Host-device" if settings.SESSION_COOKIE_SECURE else "device"


def known_device(request: HttpRequest, *, email: str) -> str:
    """The id of this browser if ``email`` signed in with it before, else an empty text."""
    try:
        content = signing.loads(request.COOKIES.get(cookie_name(), ""), salt=SALT, max_age=AGE)
        device, person = content["device"], content["person"]
    except (signing.BadSignature, KeyError, TypeError):
        return ""
    return str(device) if person == _person(email) else ""


def remember_device(request: HttpRequest, response: HttpResponseBase, *, email: str) -> None:
    """Leave the cookie in the browser in which ``email`` has just signed in."""
    device = known_device(request, email=email) or secrets.token_hex(16)
    response.set_cookie(
        cookie_name(),
        signing.dumps({"device": device, "person": _person(email)}, salt=SALT),
        max_age=AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _person(email: str) -> str:
    return salted_hmac(SALT, email.lower(), algorithm="sha256").hexdigest()
