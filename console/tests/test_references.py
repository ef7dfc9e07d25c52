"""The reference of a request: on its answer, its events, its log lines and the page that says what failed."""

import logging

from django.conf import settings
from django.test import RequestFactory

from accounts import current_request
from console.middleware import ReferenceFilter


def test_log_lines_carry_the_reference_of_their_request():
    request = RequestFactory().get("/")
    request.request_id = "req_9"  # type: ignore[attr-defined]
    formatter = logging.Formatter(settings.LOGGING["formatters"]["line"]["format"], style="{")
    line = logging.LogRecord("billing", logging.WARNING, "x.py", 1, "Told.", None, None)
    with current_request.answering(request):
        assert ReferenceFilter().filter(line)
    assert " req_9 billing Told." in formatter.format(line)
    assert ReferenceFilter().filter(line)
    assert " - billing Told." in formatter.format(line)
    assert settings.LOGGING["handlers"]["stderr"]["filters"][0] == "reference"
