"""Every page and mail of allauth that can be met is this product's own, in its look and voice."""

from pathlib import Path
from typing import Any

import allauth
import pytest
from django.conf import settings
from django.template.loader import get_template
from django.test import Client
from django.urls import get_resolver, reverse

from accounts.access import routes_of
from accounts.tests import cast

pytestmark = pytest.mark.django_db

OURS = settings.BASE_DIR / "templates"
STOCK = Path(allauth.__file__).parent / "templates" / "account"
# Mails of ways in that are off: codes by mail, and mail to addresses without an account.
OFF = {"login_code", "password_reset_code", "unknown_account", "email_confirm", "base"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "account_confirm_email": {"key": "no-such-key"},
    "account_reset_password_from_key": {"uidb36": "1", "key": "no-such-key"},
}


def names() -> list[str]:
    routes = routes_of(get_resolver().url_patterns)
    return sorted({route.name for route in routes if route.name.startswith("account_")})


@pytest.mark.parametrize("is_signed_in", [False, True])
def test_no_page_is_a_stock_one(is_signed_in, settings):
    settings.SIGN_UP_IS_OPEN = True
    seen = set()
    for name in names():
        client = Client()
        if is_signed_in:
            client.force_login(cast.person())
        response: Any = client.get(reverse(name, kwargs=ARGUMENTS.get(name)))
        if response.status_code in (200, 404) and response.templates:
            path = Path(response.templates[0].origin.name)
            assert OURS in path.parents, name
            seen.add(path.name)
    assert len(seen) >= (5 if is_signed_in else 7)


def test_no_mail_is_a_stock_one():
    prefixes = {path.name.rpartition("_")[0] for path in (STOCK / "email").glob("*.txt")} - OFF
    assert len(prefixes) >= 8
    for prefix in prefixes:
        for part in ("subject", "message"):
            template: Any = get_template(f"account/email/{prefix}_{part}.txt")
            assert OURS in Path(template.origin.name).parents, prefix
