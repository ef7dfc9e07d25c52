"""What every kind of answer carries: one table of headers; bounds of bodies; hosts and proxies that can't be forged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import django.db
import pytest
from django.contrib.auth import get_user
from django.contrib.auth.decorators import login_not_required
from django.core import mail
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from accounts.permissions import Role
from accounts.tests import cast
from billing.api import envelope
from billing.tests.documents import paid
from console import failures, urls
from console.local import environment

pytestmark = pytest.mark.django_db

CHECKOUT = Path(__file__).resolve().parents[2]
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STRICT = {"default-src", "object-src", "base-uri", "frame-ancestors"}


def directives(response):
    """The policy of an answer, by directive."""
    parts = (part.strip().partition(" ") for part in response.headers["Content-Security-Policy"].split(";"))
    return {name: value.split() for name, _, value in parts if name}


@login_not_required
def broken(request):
    raise RuntimeError("select secret from inside")


@login_not_required
def without_database(request):
    raise django.db.OperationalError("connection to server at 10.0.0.7 failed")


@login_not_required
def huge_form(request):
    return HttpResponse(str(len(request.POST)))


class Broken:
    """The URLconf of the console with pages that fail."""

    urlpatterns = [
        path("broken/", broken),
        path("away/", without_database),
        path("form/", huge_form),
        *urls.urlpatterns,
    ]
    handler400 = urls.handler400
    handler500 = urls.handler500


@pytest.fixture
def pages(settings):
    settings.ROOT_URLCONF = Broken
    return Client(raise_request_exception=False)


def admin_of(client):
    acme = cast.organization("Acme")
    ada = cast.member(acme, role=Role.ADMIN)
    client.force_login(ada.user)
    return acme


def test_every_kind_of_answer_carries_the_headers(pages):
    staff = Client()
    staff.force_login(cast.person(is_staff=True, is_superuser=True))
    acme = admin_of(pages)
    forms = {"content_type": "application/x-www-form-urlencoded"}
    answers = {
        "a page signed out": (Client().get("/accounts/login/"), 200),
        "a page signed in": (pages.get(f"/o/{acme.slug}/settings/roles/"), 200),
        "a page of the admin": (staff.get("/admin/"), 200),
        "a list of the admin": (staff.get("/admin/accounts/user/"), 200),
        "a form of the admin": (staff.get("/admin/accounts/organization/add/"), (200, 403)),
        "a redirect": (Client().get("/"), 302),
        "a file": (Client().get("/static/console/console.css"), (200, 404)),
        "a missing file": (Client().get("/static/console/missing.js"), 404),
        "a download": (pages.get(f"/o/{acme.slug}/settings/audit-log/file/"), (200, 405)),
        "health": (Client().get("/healthz"), 200),
        "a report": (Client().post("/policy-reports/", b" ", content_type="application/csp-report"), 400),
        "400": (pages.get("/", headers={"Host": "evil.example"}), 400),
        "403 without a token": (Client(enforce_csrf_checks=True).post("/accounts/login/"), 403),
        "404": (pages.get("/nowhere/"), 404),
        "405": (pages.get("/webhooks/stripe/"), 405),
        "413": (pages.post("/form/", "a=" + "b" * failures.FORM_BODY_BYTES_MAX, **forms), 413),
        "500": (pages.get("/broken/"), 500),
        "503": (pages.get("/away/"), 503),
    }
    for kind, (answer, status) in answers.items():
        assert answer.status_code in (status if isinstance(status, tuple) else (status,)), kind
        carried = {name: answer.headers.get(name) for name in EVERYWHERE}
        assert carried == EVERYWHERE, kind
        policy = directives(answer)
        assert all(policy[name] == ["'none'"] for name in STRICT), kind
        assert policy["form-action"] == ["'self'"], kind
        assert policy["script-src"] == policy["style-src"] == ["'self'"], kind
        assert policy["report-uri"] == ["/policy-reports/"], kind
        assert "camera=()" in answer.headers["Permissions-Policy"], kind
        assert answer.headers["X-Request-Id"].startswith("req_"), kind
        if kind != "a file":
            assert "no-store" in answer.headers["Cache-Control"], kind


def test_a_receipt_as_pdf_carries_the_policy_too(client):
    acme = cast.organization("Acme")
    ada = cast.member(acme, role=Role.ADMIN)
    receipt = paid(acme, by=ada.user)
    client.force_login(ada.user)
    answer = client.get(f"/o/{acme.slug}/settings/billing/receipts/{receipt.number}/pdf/")
    assert answer.headers["Content-Type"] == "application/pdf"
    assert directives(answer)["default-src"] == ["'none'"]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("path_", "status", "words"),
    [
        ("/nowhere/", 404, "Nothing at this address"),
        ("/webhooks/stripe/", 405, "be done at this address"),
        ("/broken/", 500, "Something failed on our side"),
        ("/away/", 503, "away for a moment"),
    ],
)
def test_an_error_has_a_page_with_a_reference_and_nothing_of_the_inside(pages, path_, status, words):
    answer = pages.get(path_)
    text = answer.content.decode().replace("&#x27;", "'")
    assert answer.status_code == status
    assert words in text
    for inside in ("Traceback", "RuntimeError", "select secret", "10.0.0.7", "console/tests"):
        assert inside not in text
    if status != 404:
        assert answer.headers["X-Request-Id"] in text


def test_while_the_database_is_away_one_is_told_when_to_come_back(pages):
    assert pages.get("/away/").headers["Retry-After"] == str(failures.RETRY_AFTER_SECONDS)


def test_a_page_with_a_lost_connection_answers_503_with_all_headers(pages, monkeypatch):
    pages.force_login(cast.person())

    def gone(*_, **__):
        raise django.db.OperationalError("server closed the connection")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", gone)
    answer = pages.get("/accounts/profile/")
    assert answer.status_code == 503
    assert directives(answer)["default-src"] == ["'none'"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_405_says_what_is_allowed(pages):
    assert pages.get("/webhooks/stripe/").headers["Allow"] == "POST"


# --- Bodies


@pytest.mark.parametrize(
    ("route", "size"),
    [("/accounts/login/", 64 * 1024), ("/policy-reports/", 16 * 1024), ("/webhooks/stripe/", 256 * 1024)],
)
def test_a_body_above_its_routes_bound_is_refused_unread(pages, route, size):
    kind = "application/csp-report"
    assert failures.body_bytes_max(route) == size
    assert pages.post(route, b"x" * (size + 1), content_type=kind).status_code == 413
    assert pages.post(route, b"x" * size, content_type=kind).status_code != 413


@pytest.mark.parametrize("length", ["-1", "1e9", "٣", "9" * 400, "12a"])
def test_a_length_that_is_no_length_is_refused(length):
    request = RequestFactory().post("/")
    request.META["CONTENT_LENGTH"] = length
    answer = failures.body_cap(lambda _: HttpResponse("read"))(request)
    assert answer.status_code in (400, 413)


def test_files_are_refused_everywhere(pages):
    answer = pages.post("/form/", {"a": "b", "file": open(__file__, "rb")})  # noqa: SIM115
    assert answer.status_code == 400


def test_too_many_fields_are_refused(pages, settings):
    assert (
        pages.post(
            "/form/", {f"f{number}": "x" for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)}
        ).status_code
        == 400
    )
    assert pages.post("/form/", {f"f{number}": "x" for number in range(200)}).content == b"200"


# --- Hosts and proxies


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost@evil.example", "localhost/", ""])
def test_another_host_is_refused(pages, host):
    assert pages.get("/accounts/login/", headers={"Host": host}).status_code == 400


def test_a_forwarded_host_is_not_believed(pages):
    answer = pages.get("/", headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "8"})
    assert "evil" not in answer["Location"]


def test_links_in_mails_never_come_from_the_request(settings):
    settings.ALLOWED_HOSTS = ["*"]
    cast.person("maya@acme.example")
    Client().post("/accounts/password/reset/", {"email": "maya@acme.example"}, headers={"Host": "evil.example"})
    from accounts.models import OutboxMessage

    texts = [message.body for message in mail.outbox] + [str(one.__dict__) for one in OutboxMessage.objects.all()]
    assert any("/accounts/password/reset/key/" in text for text in texts)
    assert not any("evil.example" in text for text in texts)


PRODUCTION = """
import json, sys
import django
django.setup()
from django.test import Client
asked = json.load(sys.stdin)
answers = []
for extra in asked:
    # Neither the database nor a template is needed to refuse this.
    answer = Client().post("/policy-reports/", "x", content_type="text/plain", **extra)
    answers.append([answer.status_code, dict(answer.headers)])
print(json.dumps(answers))
"""


def production(*asked, changes=()):
    """Ask a process with production's settings; its database doesn't answer."""
    variables = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "console.settings"}
    variables |= environment.for_production_checks() | dict(changes)
    result = subprocess.run(
        [sys.executable, "-c", PRODUCTION],
        cwd=CHECKOUT,
        env=variables,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


def test_production_says_hsts_and_where_reports_go_and_believes_its_own_proxy_only():
    host = {"HTTP_HOST": "console.example.com"}
    plain, forwarded = production(host, host | {"HTTP_X_FORWARDED_PROTO": "https"})
    assert plain[0] == 301
    assert plain[1]["Location"] == "https://console.example.com/policy-reports/"
    assert forwarded[0] == 400
    assert forwarded[1]["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert "report-uri /policy-reports/" in forwarded[1]["Content-Security-Policy"]
    (unbelieved,) = production(host | {"HTTP_X_FORWARDED_PROTO": "https"}, changes={"TRUSTED_PROXY_COUNT": "0"}.items())
    assert unbelieved[0] == 301


# --- Sign-out


def test_signing_out_clears_the_browser_and_ends_the_session(client, settings):
    settings.IS_TLS = True
    client.force_login(cast.person())
    key = client.session.session_key
    answer = client.post("/accounts/logout/")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert answer.cookies[settings.SESSION_COOKIE_NAME]["max-age"] == 0
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    request = RequestFactory().get("/")
    request.session = client.session
    assert not get_user(request).is_authenticated
    assert "Clear-Site-Data" not in client.get("/accounts/login/").headers


def test_cookies_are_for_this_host_and_no_script(client, settings):
    cast.person("maya@acme.example")
    client.get("/accounts/login/")
    answer = client.post("/accounts/login/", {"login": "maya@acme.example", "password": cast.PASSWORD})
    assert settings.SESSION_COOKIE_NAME in answer.cookies
    for name, cookie in answer.cookies.items():
        assert cookie["httponly"], name
        assert cookie["samesite"] == "Lax", name
        assert cookie["path"] == "/", name
        assert not cookie["domain"], name


# --- The gate


def answer_of_gate(request):
    return envelope.envelope(lambda _: HttpResponse("{}"))(request)


def test_the_gates_answers_are_for_no_browser(settings):
    answer = answer_of_gate(RequestFactory().get("/v1/balance"))
    assert directives(answer) == {
        name: ["'none'"] for name in ("default-src", "base-uri", "form-action", "frame-ancestors")
    }
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "django.middleware.security.SecurityMiddleware" in settings.GATE_MIDDLEWARE


def test_the_gate_refuses_plain_http_and_never_leads_on(settings):
    settings.IS_TLS = True
    refused = answer_of_gate(RequestFactory().post("/v1/authorize"))
    assert refused.status_code == 403
    assert json.loads(refused.content)["error"]["code"] == "tls_required"
    assert answer_of_gate(RequestFactory().post("/v1/authorize", secure=True)).status_code == 200
    assert answer_of_gate(RequestFactory().get("/healthz")).status_code == 200
