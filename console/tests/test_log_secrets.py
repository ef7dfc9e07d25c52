"""No log line carries what opens something or names a person, whoever wrote it and however."""

import logging
import sys

import pytest
from django.test import Client

from accounts.tests import cast
from console.middleware import SecretsFilter

# Each with what may still be read of it.
LINES = {
    "Stripe's key": ("calling with sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_[hidden]"),
    "a webhook secret": ("whsec_9f8e7d6c5b4a39281706 is wrong", "whsec_[hidden] is wrong"),
    "a gate key": ("Bearer ck_live_AbCdEfGh_01234567890123456789abcdef", "[hidden]"),
    "a client secret": ("pi_3Nabc_secret_9f8e7d6c5b4a", "_secret_[hidden]"),
    "an invitation": ("GET /invitations/Zm9vYmFy-Zm9vYmFyZm9vYmFy/ 302", "GET /invitations/[hidden]/ 302"),
    "a reset link": ("GET /accounts/password/reset/key/3-cq7x1k-0123456789abcdef/ 302", "/key/[hidden]/ 302"),
    "a confirmation": ("GET /accounts/confirm-email/MQ:1vABCd:0123456789abcdef/ 200", "/confirm-email/[hidden]/ 200"),
    "a session's cookie": ("cookies: __Host-session=k3j4h5k3j4h5k3j4; theme=1", "__Host-session=[hidden]; theme=1"),
    "a session in a dictionary": ("{'session': 'k3j4h5k3j4h5k3j4', 'a': 1}", "{'session': '[hidden]', 'a': 1}"),
    "a token of a form": ("csrfmiddlewaretoken=abcdefABCDEF0123&x=1", "csrfmiddlewaretoken=[hidden]&x=1"),
    "a typed password": ("{'password1': 'correct-horse'}", "{'password1': '[hidden]'}"),
    "a password in a pair": ("[('password', 'correct-horse')]", "[('password', '[hidden]')]"),
    "a header": ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic [hidden]"),
    "the database's password": ("postgresql://console_app:hunter22@db/console", "postgresql://console_app:[hidden]@db"),
    "the broker's password": ("rediss://:hunter22@cache:6379/0", "rediss://:[hidden]@cache"),
    "an address of a person": ("mail to ada.admin+x@acme.example bounced", "mail to [hidden]@acme.example bounced"),
}
HARMLESS = (
    "the session is over, a token was missing and the password was wrong",
    "req_0123456789abcdef 42 rows, purchase 7 at 10:00:00",
    "GET /o/acme/settings/billing/?month=2026-01 200",
    "token: none, code: price_missing",
)


def told(message, *args, error=False):
    record = logging.LogRecord("x", logging.INFO, __file__, 1, message, args, sys.exc_info() if error else None)
    assert SecretsFilter().filter(record)
    return logging.Formatter().format(record)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("way", ["message", "argument", "exception", "cause"])
def test_a_secret_is_blanked_and_the_line_still_says_what_happened(name, way):
    line, rest = LINES[name]
    if way == "message":
        text = told(line.replace("%", "%%"))
    elif way == "argument":
        text = told("said: %s", line)
    else:
        try:
            try:
                raise ValueError(line)
            except ValueError as cause:
                if way == "exception":
                    raise
                raise RuntimeError("failed") from cause
        except (ValueError, RuntimeError):
            text = told("failed", error=True)
    assert rest in text
    # The source line that raised is in the traceback, but never the value.
    for secret in (
        "4eC39",
        "9f8e7d",
        "0123456789ab",
        "k3j4h5",
        "abcdefABC",
        "correct-horse",
        "dXNlcj",
        "hunter22",
        "ada.ad",
    ):
        assert secret not in text


@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_no_secret_stays_as_it_is(line):
    assert told(line) == line


@pytest.mark.django_db
def test_a_failed_sign_in_leaves_neither_password_nor_address_in_the_log(caplog):
    cast.person("maya@acme.example")
    with caplog.at_level(logging.DEBUG):
        Client().post("/accounts/login/", {"login": "maya@acme.example", "password": "tried-in-vain-77"})
    assert "tried-in-vain-77" not in caplog.text
