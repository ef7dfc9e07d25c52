"""Settings: an unsafe start stops with a text that says what to change; a safe one carries the right headers."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

from console.local import environment
from console.middleware import SecretsFilter

CHECKOUT = Path(__file__).resolve().parents[2]
BASE = {"PATH": os.environ["PATH"]}


def start(changes, *, code="import console.settings"):
    """Read the settings in a process of its own, since a process reads them once."""
    variables = BASE | environment.for_production_checks() | changes
    return subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=False
    )


READ_EACH = """
import json, os, runpy, sys
answers = {}
for name, variables in json.load(sys.stdin).items():
    os.environ.clear()
    os.environ.update(variables)
    try:
        runpy.run_path("console/settings.py")
    except Exception as error:
        answers[name] = [type(error).__name__, str(error)]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def refusals():
    """What each unsafe change of production's variables is answered with; one process reads them one by one."""
    production = BASE | environment.for_production_checks()
    variables = {name: production | changes for name, (changes, _) in UNSAFE.items()}
    answers = subprocess.run(
        [sys.executable, "-c", READ_EACH],
        cwd=CHECKOUT,
        env=BASE,
        input=json.dumps(variables | {"nothing": production}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answers.stdout)


UNSAFE = {
    "no key for second factors": ({"MFA_ENCRYPTION_KEYS": ""}, "MFA_ENCRYPTION_KEYS"),
    "a short key for second factors": ({"MFA_ENCRYPTION_KEYS": f"{environment.encryption_key()},abc"}, "key 2"),
    "no secret key": ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
    "a short secret key": ({"SECRET_KEY": "Zk3-x9_Qa7" * 4}, "SECRET_KEY is weak"),
    "a monotonous secret key": ({"SECRET_KEY": "ab" * 40}, "SECRET_KEY is weak"),
    "Django's generated key": ({"SECRET_KEY": "django-insecure-" + "aZ4_kQ9-xW" * 6}, "SECRET_KEY is weak"),
    "a placeholder key": ({"SECRET_KEY": "changeme-" + "aZ4_kQ9-xW" * 6}, "SECRET_KEY is weak"),
    "debug on": ({"DEBUG": "true"}, "DEBUG is on"),
    "debug on behind a public address": ({"DEBUG": "true", "ALLOWED_HOSTS": "localhost"}, "DEBUG is on and SITE_URL"),
    "no database": ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
    "no hosts": ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is empty"),
    "no TLS": ({"SITE_URL": "http://console.example.com"}, "needs https"),
    "a live key at a stand-in": ({"STRIPE_API_BASE": "http://127.0.0.1:8420"}, "is a live key and STRIPE_API_BASE"),
    "a live restricted key at a stand-in": (
        {"STRIPE_API_BASE": "http://127.0.0.1:8420", "STRIPE_SECRET_KEY": "rk_live_1234567890"},
        "is a live key and STRIPE_API_BASE",
    ),
    "a stand-in elsewhere": (
        {
            "STRIPE_API_BASE": "https://stripe.example.com",
            "STRIPE_SECRET_KEY": "sk_test_1234567890",
            "STRIPE_PUBLISHABLE_KEY": "pk_test_1234567890",
        },
        "runs on this machine only",
    ),
    "card data to another host": ({"STRIPE_JS_URL": "https://js.example.com/stripe.js"}, "https://js.stripe.com only"),
    "card data without TLS": ({"STRIPE_JS_URL": "http://js.stripe.com/endive/stripe.js"}, "https://js.stripe.com only"),
    "a live and a test key": ({"STRIPE_PUBLISHABLE_KEY": "pk_test_1234567890"}, "one is live and one is for tests"),
    "no webhook secret": ({"STRIPE_WEBHOOK_SECRET": ""}, "STRIPE_WEBHOOK_SECRET are needed"),
    "the demo's mailbox for everyone": ({"DEMO_FOLDER": "/tmp/demo"}, "runs on localhost only"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_start_is_refused_and_the_text_says_what_to_change(refusals, name):
    kind, text = refusals[name]
    assert kind == "ImproperlyConfigured"
    assert UNSAFE[name][1] in text


def test_without_a_change_nothing_is_refused(refusals):
    assert "nothing" not in refusals


def test_a_refusal_never_shows_a_secret():
    refused = start({"STRIPE_API_BASE": "http://127.0.0.1:8420"})
    assert "sk_live_0" not in refused.stderr


def test_production_cookies_are_bound_to_host_and_tls():
    shown = start(
        {},
        code="from console import settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME,"
        " s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS)",
    )
    assert shown.stdout.split() == ["__Host-session", "__Host-csrf", "True", "True", "True", "31536000"]


def test_every_variable_stands_in_the_example():
    text = (CHECKOUT / "console" / "settings.py").read_text()
    read = set(re.findall(r'(?:env\.\w+|env|required)\(\s*"([A-Z_]+)"', text)) - {"IS_OWNER_COMMAND"}
    listed = set(re.findall(r"^([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), flags=re.MULTILINE))
    assert read - listed == set()
    # What manage.py reads and no setting does.
    assert listed - read == {"MIGRATE_DATABASE_URL"}


@pytest.mark.django_db
def test_pages_carry_a_policy_without_inline_code():
    answer = Client().get("/accounts/login/")
    policy = answer.headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";") if part.strip())
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["form-action"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == directives["object-src"] == "'none'"
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "camera=()" in answer.headers["Permissions-Policy"]


@pytest.mark.django_db
def test_signed_in_pages_are_stored_in_no_cache(django_user_model):
    client = Client()
    client.force_login(django_user_model.objects.create_user("ada@acme.example", is_email_verified=True))
    assert "no-store" in client.get("/").headers["Cache-Control"]


@pytest.mark.parametrize(
    "secret",
    [
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
        "rk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "whsec_9f8e7d6c5b4a39281706",
        "ck_live_AbCdEfGh_0123456789012345678901234567890123456789abc",
        "pi_3Nabc_secret_9f8e7d6c5b4a",
    ],
)
def test_log_lines_never_carry_a_secret(secret):
    for message, arguments in ((f"calling with {secret}", ()), ("calling with %s", (secret,))):
        record = logging.LogRecord("console", logging.INFO, __file__, 1, message, arguments, None)
        assert SecretsFilter().filter(record)
        text = record.getMessage()
        assert secret not in text
        assert text.startswith("calling with ")
        assert text.endswith("[hidden]")


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x00", "\u2028"])
def test_a_line_break_in_a_value_begins_no_log_line(character):
    arguments = (f"/o/acme{character}2026-01-01 INFO forged",)
    record = logging.LogRecord("console", logging.WARNING, __file__, 1, "Not found: %s", arguments, None)
    assert SecretsFilter().filter(record)
    text = record.getMessage()
    assert character not in text
    assert text.startswith("Not found: /o/acme\\")


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/password/reset/key/1b-cabcdefghijkl-0123456789abcdef/",
        "/accounts/confirm-email/MQ:1abcde:abcdefghijklmnop/",
        "/invitations/abcdefghijklmnopqrstuvwxyz/",
    ],
)
def test_a_secret_link_is_cut_in_log_lines(path):
    record = logging.LogRecord("console", logging.INFO, __file__, 1, "GET %s", (path,), None)
    assert SecretsFilter().filter(record)
    assert record.getMessage() == f"GET {path.rstrip('/').rpartition('/')[0]}/[hidden]/"


def test_a_secret_in_a_traceback_is_hidden():
    try:
        raise ValueError("sk_test_4eC39HqLyjWDarjtT1zdp7dc")
    except ValueError:
        record = logging.LogRecord("console", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    SecretsFilter().filter(record)
    assert "4eC39" not in logging.Formatter().format(record)


def test_the_secret_of_an_invitations_link_stays_out_of_the_log():
    secret = "Zm9vYmFy-Zm9vYmFy_Zm9vYmFyZm9vYmFyZm9vYmFyZ"  # pragma: allowlist secret
    args = (f"/invitations/{secret}/",)
    record = logging.LogRecord("django.server", logging.INFO, __file__, 1, '"GET %s HTTP/1.1" 302 0', args, None)
    SecretsFilter().filter(record)
    assert record.getMessage() == '"GET /invitations/[hidden]/ HTTP/1.1" 302 0'
