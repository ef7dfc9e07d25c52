"""A code works once, also for two requests at once, and though no cache remembers anything."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts import used_codes
from accounts.models import AuditEvent, UsedCode, User
from accounts.tasks import forget_used_codes
from accounts.tests import cast

pytestmark = pytest.mark.django_db(transaction=True)

SECOND_STEP = "/accounts/2fa/authenticate/"


@pytest.fixture
def maya(settings: Any) -> User:
    # allauth notes used codes in the cache, too; what is shown here holds without.
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    maya = cast.person("maya@acme.example")
    cast.second_factor(maya)
    return maya


def half_signed_in() -> Client:
    """A browser that has given the password."""
    client = Client()
    client.post("/accounts/login/", {"login": "maya@acme.example", "password": cast.PASSWORD})
    return client


def present_at_once(code: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Two browsers give the same code, both found right before either is used up; how many get in."""
    both_checked = threading.Barrier(2)
    spend: Callable[..., bool] = used_codes.spend

    def spend_together(**values: Any) -> bool:
        both_checked.wait(timeout=30)
        return spend(**values)

    monkeypatch.setattr(used_codes, "spend", spend_together)
    clients = [half_signed_in(), half_signed_in()]

    def give(client: Client) -> None:
        try:
            client.post(SECOND_STEP, {"code": code})
        finally:
            connections.close_all()

    threads = [threading.Thread(target=give, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum("_auth_user_id" in client.session for client in clients)


def test_of_two_requests_with_one_code_exactly_one_gets_in(maya, monkeypatch):
    assert present_at_once(cast.code(), monkeypatch) == 1
    assert UsedCode.objects.filter(user=maya).count() == 1
    assert AuditEvent.objects.filter(action="second_factor.refused").count() == 1


def test_without_the_row_both_get_in(maya, monkeypatch):
    """The control: this test's race is a real one, and nothing else would refuse the second."""
    monkeypatch.setattr(used_codes, "spend", lambda **_values: True)
    assert present_at_once(cast.code(), monkeypatch) == 2


def test_of_two_requests_with_one_recovery_code_exactly_one_gets_in(maya):
    code = cast.recovery_codes(maya)[0]
    clients = [half_signed_in(), half_signed_in()]
    at_once = threading.Barrier(2)

    def give(client: Client) -> None:
        try:
            at_once.wait(timeout=30)
            client.post(SECOND_STEP, {"code": code})
        finally:
            connections.close_all()

    threads = [threading.Thread(target=give, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("_auth_user_id" in client.session for client in clients) == 1
    assert len(cast.recovery_codes(maya)) == 9
    assert AuditEvent.objects.filter(action="recovery_code.used").count() == 1


def test_a_code_is_spent_per_person():
    first, second = cast.person(), cast.person()
    code = cast.code()
    assert used_codes.spend(user=first, secret=cast.TOTP_SECRET, code=code)
    assert used_codes.spend(user=second, secret=cast.TOTP_SECRET, code=code)
    assert not used_codes.spend(user=first, secret=cast.TOTP_SECRET, code=f" {code[:3]}-{code[3:]}")


def test_a_code_that_has_run_out_since_it_was_looked_at_is_not_taken():
    assert not used_codes.spend(user=cast.person(), secret=cast.TOTP_SECRET, code=cast.code(periods_ago=1))
    assert not UsedCode.objects.exists()


def test_old_notes_are_forgotten_and_young_ones_kept():
    old, young = cast.person(), cast.person()
    for user in (old, young):
        used_codes.spend(user=user, secret=cast.TOTP_SECRET, code=cast.code())
    UsedCode.objects.filter(user=old).update(used_at=timezone.now() - timedelta(days=1, minutes=1))
    forget_used_codes()
    assert list(UsedCode.objects.values_list("user", flat=True)) == [young.pk]
