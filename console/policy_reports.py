"""Where browsers tell of what the content security policy stopped.

Anybody can send here, so little is believed: the body is small and strictly read, an address gives up its query string,
and one line of the log is written for each kind of violation in ten minutes and process, however many come.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.access import public

BODY_BYTES_MAX: Final = 16 * 1024
TEXT_LENGTH_MAX: Final = 120
LINES_PER_WINDOW_MAX: Final = 50
WINDOW_SECONDS: Final = 600.0

logger = logging.getLogger(__name__)


class Notebook:
    """Remembers which violations were written down in this window."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began_at = 0.0
        self._seen: set[tuple[str, str, str]] = set()

    def is_new(self, violation: tuple[str, str, str], *, at_seconds: float) -> bool:
        """Whether to write it down: not yet in this window, and the window isn't full."""
        with self._lock:
            if at_seconds - self._began_at >= WINDOW_SECONDS:
                self._began_at, self._seen = at_seconds, set()
            if violation in self._seen or len(self._seen) >= LINES_PER_WINDOW_MAX:
                return False
            self._seen.add(violation)
            return True


notebook = Notebook()


@csrf_exempt
@require_POST
@public("browsers send reports without cookies or tokens; what they say is only written down")
def policy_reports(request: HttpRequest) -> HttpResponse:
    """Take one report of the older form (application/csp-report) or several of the newer (application/reports+json)."""
    # A longer body was refused unread: console.failures.body_cap.
    try:
        told = json.loads(request.body)
    except (ValueError, RecursionError):
        return HttpResponse(status=400)
    for violation in violations_in(told):
        if notebook.is_new(violation, at_seconds=time.monotonic()):
            logger.warning("Content policy: %s stopped %s on %s", *violation)
    return HttpResponse(status=204)


def violations_in(told: Any) -> list[tuple[str, str, str]]:
    """Directive, what it stopped and on which page, of each report that can be read."""
    reports = told if isinstance(told, list) else [told]
    return [violation for report in reports[:10] if (violation := _violation(report)) is not None]


def _violation(report: Any) -> tuple[str, str, str] | None:
    body = report.get("csp-report") or report.get("body") if isinstance(report, dict) else None
    if not isinstance(body, dict):
        return None
    directive = body.get("effective-directive") or body.get("violated-directive") or body.get("effectiveDirective")
    return (
        _short(directive),
        _without_query(body.get("blocked-uri") or body.get("blockedURL")),
        _without_query(body.get("document-uri") or body.get("documentURL")),
    )


def _short(value: Any) -> str:
    return value[:TEXT_LENGTH_MAX] if isinstance(value, str) else "?"


def _without_query(value: Any) -> str:
    """The address without what may be a secret in it."""
    try:
        parts = urlsplit(_short(value))
    except ValueError:
        return "?"
    return f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else parts.path
