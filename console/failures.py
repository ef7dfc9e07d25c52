"""What people see when something is wrong before a view runs, or in spite of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string

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


def body_cap(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer 413 to a body of more than PAGE_BODY_BYTES_MAX before a byte of it is read."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        if stated_length(request) > settings.PAGE_BODY_BYTES_MAX:
            return render(None, "413.html", status=413)
        return get_response(request)

    return handle


def stated_length(request: HttpRequest) -> int:
    """The body's length as the client states it; the server reads no further than that."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def failed(request: HttpRequest) -> HttpResponse:
    """500, or 503 with Retry-After where the database can't be reached; without the context of a broken request."""
    error = sys.exc_info()[1]
    if isinstance(error, (OperationalError, InterfaceError)):
        return HttpResponse(render_to_string("503.html"), status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    return HttpResponse(render_to_string("500.html"), status=500)
