"""What people see when something is wrong before a view runs, or in spite of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from billing.api.failures import is_passing
from console import policy_reports

FORM_BODY_BYTES_MAX = 64 * 1024
# No number that a body can have is longer.
LENGTH_DIGITS_MAX = 12
RETRY_AFTER_SECONDS = 30


class NoUploads(FileUploadHandler):
    """No page takes a file, so the first byte of one ends the request with 400. Named by FILE_UPLOAD_HANDLERS."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Raise ``SuspiciousOperation``."""
        raise SuspiciousOperation("No page takes a file.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


def page(template: str, *, status: int) -> HttpResponse:
    """An error's page, without the context of the request, which may be what is broken."""
    return HttpResponse(render_to_string(template), status=status)


def body_cap(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer 413 to a body of more than its route takes, before a byte of it is read.

    The server reads no further than the client states, and a body without a stated length as empty.
    """

    def handle(request: HttpRequest) -> HttpResponseBase:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            return page("400.html", status=400)
        if len(length) > LENGTH_DIGITS_MAX or int(length) > body_bytes_max(request.path_info):
            return page("413.html", status=413)
        return get_response(request)

    return handle


def body_bytes_max(path: str) -> int:
    """What the route at ``path`` takes. Staff's lists of prices and Stripe's events are larger than any page's form."""
    if path.startswith("/policy-reports/"):
        return policy_reports.BODY_BYTES_MAX
    if path.startswith(("/admin/", "/webhooks/")):
        return settings.PAGE_BODY_BYTES_MAX
    return FORM_BODY_BYTES_MAX


def methods(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Give the empty 405 of Django's decorators a page; its Allow header stays."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if not isinstance(response, HttpResponseNotAllowed) or response.content:
            return response
        answer = page("405.html", status=405)
        answer.headers["Allow"] = response.headers["Allow"]
        return answer

    return handle


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: what can't be read or names another host; 413 for what turned out too large."""
    if isinstance(exception, RequestDataTooBig):
        return page("413.html", status=413)
    return page("400.html", status=400)


def failed(request: HttpRequest) -> HttpResponse:
    """500, or 503 with Retry-After where the database can't be reached, or can in a moment, by its SQLSTATE."""
    error = sys.exc_info()[1]
    if not (isinstance(error, Error) and is_passing(error)):
        return page("500.html", status=500)
    response = page("503.html", status=503)
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
