"""Secrets of second factors in the database: encrypted, and brought under a new key without anybody noticing."""

from io import StringIO

import pytest
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import encryption
from accounts.tests import cast

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def _one_key(settings):
    settings.MFA_ENCRYPTION_KEYS = [OLD]


def test_a_secret_is_readable_with_any_of_the_keys_and_with_no_other(settings):
    kept = encryption.encrypt("secret")
    assert "secret" not in kept
    assert kept != encryption.encrypt("secret")
    settings.MFA_ENCRYPTION_KEYS = [NEW, OLD]
    assert encryption.decrypt(kept) == "secret"
    settings.MFA_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(encryption.NotReadable):
        encryption.decrypt(kept)


@pytest.mark.parametrize("text", ["", "JBSWY3DPEHPK3PXP", "ä", "gAAAAA"])
def test_a_text_that_was_never_encrypted_is_not_taken_for_a_secret(text):
    with pytest.raises(encryption.NotReadable):
        encryption.decrypt(text)


@pytest.mark.django_db
def test_a_new_key_takes_over_everything_and_the_old_one_may_go(settings):
    user = cast.person("maya@acme.example")
    cast.second_factor(user)
    codes = cast.recovery_codes(user)
    settings.MFA_ENCRYPTION_KEYS = [NEW, OLD]
    out = StringIO()
    call_command("encrypt_second_factors", stdout=out)
    assert "2 secrets" in out.getvalue()
    settings.MFA_ENCRYPTION_KEYS = [NEW]
    assert cast.recovery_codes(user) == codes
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": cast.PASSWORD})
    client.post("/accounts/2fa/authenticate/", {"code": cast.code()})
    assert "_auth_user_id" in client.session


@pytest.mark.django_db
def test_a_key_that_went_too_early_is_reported_and_the_rest_is_done(settings):
    lost, kept = cast.person(), cast.person()
    cast.second_factor(lost)
    settings.MFA_ENCRYPTION_KEYS = [NEW]
    cast.second_factor(kept)
    with pytest.raises(CommandError, match="2 can't be read"):
        call_command("encrypt_second_factors", stdout=StringIO())
    app = Authenticator.objects.get(user=kept, type="totp")
    assert encryption.decrypt(app.data["secret"]) == cast.TOTP_SECRET


@pytest.mark.django_db
def test_where_the_key_is_missing_the_second_step_says_what_to_do_and_lets_nobody_in(settings):
    user = cast.person("maya@acme.example")
    cast.second_factor(user)
    settings.MFA_ENCRYPTION_KEYS = [NEW]
    cache.clear()
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": cast.PASSWORD})
    page = client.post("/accounts/2fa/authenticate/", {"code": cast.code()})
    assert page.status_code == 200
    assert "check codes" in page.content.decode()
    assert "_auth_user_id" not in client.session
