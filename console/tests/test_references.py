"""The reference of a request: on its answer, its events, its log lines and the page that says what failed."""

import logging

import pytest
from django.conf import settings
from django.template.loader import render_to_string
from django.test import RequestFactory

from accounts import current_request
from accounts.models import AuditEvent
from accounts.tests import cast
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


@pytest.mark.parametrize("template", ["400.html", "403_csrf.html", "404.html", "500.html"])
def test_a_page_that_says_what_failed_shows_the_reference(template):
    request = RequestFactory().get("/")
    request.request_id = "req_5"  # type: ignore[attr-defined]
    with current_request.answering(request):
        assert "give this reference: <code>req_5</code>" in render_to_string(template)
    assert "this reference" not in render_to_string(template)


@pytest.mark.django_db
def test_the_reference_on_the_page_is_the_one_of_the_answer_and_of_history(client, monkeypatch):
    person = cast.person()
    client.force_login(person)
    missing = client.get("/o/nowhere/")
    assert f"<code>{missing['X-Request-Id']}</code>" in missing.content.decode()
    assert AuditEvent.objects.get(action="access.not_found").request_id == missing["X-Request-Id"]
    client.raise_request_exception = False

    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr("console.navigation.queries.memberships_of", fail)
    failed = client.get("/")
    assert failed.status_code == 500
    assert f"<code>{failed['X-Request-Id']}</code>" in failed.content.decode()
