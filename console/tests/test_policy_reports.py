"""What browsers tell of the content policy: little is believed, and the log can't be flooded."""

import json
import logging

import pytest
from django.test import Client

from console import policy_reports

URL = "/policy-reports/"
OLD = {
    "csp-report": {
        "document-uri": "https://console.example/o/acme/?secret=1",
        "effective-directive": "script-src-elem",
        "blocked-uri": "inline",
    }
}
NEW = [{"type": "csp-violation", "body": {"documentURL": "/a", "effectiveDirective": "img-src", "blockedURL": "x:y"}}]


@pytest.fixture(autouse=True)
def _new_notebook(monkeypatch):
    monkeypatch.setattr(policy_reports, "notebook", policy_reports.Notebook())


def send(body, content_type="application/csp-report"):
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return Client(enforce_csrf_checks=True).post(URL, data=text, content_type=content_type)


@pytest.mark.parametrize("body", [OLD, NEW])
def test_both_forms_of_a_report_are_written_down(body, caplog):
    with caplog.at_level(logging.WARNING, logger="console.policy_reports"):
        assert send(body).status_code == 204
    assert len(caplog.records) == 1


def test_a_query_string_is_never_written_down(caplog):
    send(OLD)
    assert "https://console.example/o/acme/" in caplog.text
    assert "secret" not in caplog.text


def test_the_same_violation_is_written_down_once(caplog):
    for _ in range(5):
        send(OLD)
    assert len(caplog.records) == 1


def test_many_different_ones_fill_no_log(caplog):
    for number in range(80):
        send({"csp-report": {"effective-directive": f"directive-{number}", "blocked-uri": "x", "document-uri": "y"}})
    assert len(caplog.records) == policy_reports.LINES_PER_WINDOW_MAX


def test_after_the_window_it_is_written_down_again():
    notebook, violation = policy_reports.Notebook(), ("script-src", "inline", "/")
    assert notebook.is_new(violation, at_seconds=1000.0)
    assert not notebook.is_new(violation, at_seconds=1000.0 + policy_reports.WINDOW_SECONDS - 1)
    assert notebook.is_new(violation, at_seconds=1000.0 + policy_reports.WINDOW_SECONDS)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        b"\xff\xfe",
        "[" * 20_000,
        "null",
        "7",
        '"x"',
        "[7]",
        '{"csp-report": 7}',
        '{"body": {"documentURL": 7}}',
    ],
)
def test_what_is_no_report_is_no_error(body):
    assert send(body).status_code in (204, 400, 413)


def test_a_large_report_is_refused():
    assert send("x" * (policy_reports.BODY_BYTES_MAX + 1)).status_code == 413


def test_a_report_is_sent_and_never_fetched():
    assert Client().get(URL).status_code == 405
