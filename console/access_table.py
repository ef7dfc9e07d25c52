"""Who may reach the routes of libraries, which can't declare it on their views; and the check that none is forgotten.

Routes of this product declare their access where they are written (accounts.access). This table holds the rest: each of
allauth's by name, so that a new version with a new page stops the start until somebody has decided about it; the admin
and the gate by their prefix, as each guards all its routes at one door.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from django.conf import settings
from django.core import checks

from accounts.access import Access, Audience, Route, declared_access, routes_of

GATE_URLCONF: Final = "console.gateway_urls"

_STAFF: Final = Access(audience=Audience.STAFF)
_SERVICE_KEY: Final = Access(audience=Audience.SERVICE_KEY)
_SIGNED_IN: Final = Access(audience=Audience.SIGNED_IN)


def _public(reason: str) -> Access:
    return Access(audience=Audience.PUBLIC, reason=reason)


BY_PREFIX: Final[Mapping[str, Access]] = MappingProxyType({"admin/": _STAFF, "v1/": _SERVICE_KEY})

BY_NAME: Final[Mapping[str, Access]] = MappingProxyType(
    {
        "health": _public("load balancers ask it, and it says nothing about the data"),
        "account_login": _public("the way in"),
        "account_logout": _public("without a session it only leads to the way in"),
        "account_inactive": _public("a fixed text for people who may not sign in any more"),
        "account_signup": _public("for people without an account; closed by a setting, it shows a fixed text"),
        "account_reauthenticate": _SIGNED_IN,
        "account_email": _SIGNED_IN,
        "account_email_verification_sent": _public("a fixed text"),
        "account_confirm_email": _public("a secret link from a mail guards it"),
        "account_change_password": _SIGNED_IN,
        "account_set_password": _SIGNED_IN,
        "account_reset_password": _public("for people who can't sign in"),
        "account_reset_password_done": _public("a fixed text"),
        "account_reset_password_from_key": _public("a secret link from a mail guards it"),
        "account_reset_password_from_key_done": _public("a fixed text"),
        "mfa_index": _SIGNED_IN,
        "mfa_authenticate": _public("the second step of signing in; without the first it leads to the way in"),
        "mfa_reauthenticate": _SIGNED_IN,
        "mfa_activate_totp": _SIGNED_IN,
        "mfa_deactivate_totp": _SIGNED_IN,
        "mfa_view_recovery_codes": _SIGNED_IN,
        "mfa_generate_recovery_codes": _SIGNED_IN,
        "mfa_download_recovery_codes": _SIGNED_IN,
        "mfa_list_webauthn": _SIGNED_IN,
        "mfa_add_webauthn": _SIGNED_IN,
        "mfa_reauthenticate_webauthn": _SIGNED_IN,
        "mfa_remove_webauthn": _SIGNED_IN,
        "mfa_edit_webauthn": _SIGNED_IN,
        "mfa_login_webauthn": _public("the way in by passkey"),
        "account_confirm_login_code": _public("sign-in by code is off: it only leads to the way in"),
    }
)


def access_of(route: Route) -> Access | None:
    """What is declared about a route, on its view or here; None when nobody has decided."""
    by_prefix = next((access for prefix, access in BY_PREFIX.items() if route.pattern.startswith(prefix)), None)
    return declared_access(route.view) or by_prefix or BY_NAME.get(route.name)


def all_routes() -> Iterator[Route]:
    """Every route of both processes, pages and gate."""
    for urlconf in (settings.ROOT_URLCONF, GATE_URLCONF):
        yield from routes_of(import_module(urlconf).urlpatterns)


@checks.register(checks.Tags.urls)
def check_access_is_declared(**_: Any) -> list[checks.CheckMessage]:
    """Refuse a route about whose access nobody has decided."""
    return [
        checks.Error(
            f"The route {route.name or 'without a name'} ({route.pattern}) doesn't declare who may reach it.",
            hint="Decorate its view with accounts.access.requires, any_member, signed_in or public; a library's route "
            "gets a line in console.access_table.",
            obj=route.view,
            id="console.E010",
        )
        for route in all_routes()
        if access_of(route) is None
    ]
