"""What people see when something is wrong before a view runs, or in spite of it."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, OperationalError
from django.test import Client

from console import views

LOGIN = "/accounts/login/"


@pytest.mark.django_db
def test_a_body_larger_than_any_form_is_refused_unread(settings):
    answer = Client().post(LOGIN, {"login": "x" * settings.PAGE_BODY_BYTES_MAX})
    assert answer.status_code == 413
    assert b"That was too large" in answer.content
    assert "X-Request-Id" in answer.headers


@pytest.mark.django_db
def test_more_fields_than_any_form_has_are_refused(settings):
    fields = {f"field{number}": "1" for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)}
    assert Client().post(LOGIN, fields).status_code == 400


@pytest.mark.django_db
def test_no_page_takes_a_file():
    answer = Client().post(LOGIN, {"login": SimpleUploadedFile("a.txt", b"hello")})
    assert answer.status_code == 400
    assert b"not understood" in answer.content


@pytest.mark.parametrize(
    ("error", "status"),
    [(OperationalError("host db1"), 503), (DatabaseError("table t1"), 500), (ValueError("value v1"), 500)],
)
def test_a_database_that_is_away_is_told_from_a_fault_of_ours(monkeypatch, error, status):
    class Broken:
        def cursor(self):
            raise error

    monkeypatch.setattr(views, "connection", Broken())
    answer = Client(raise_request_exception=False).get("/healthz")
    assert answer.status_code == status
    assert b"Traceback" not in answer.content
    assert str(error).encode() not in answer.content
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
