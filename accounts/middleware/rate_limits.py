"""How often each way in may be tried. One table by route, counted in accounts.throttles; allauth's own limits are off.

A try counts before it is looked at, so that parallel guesses can't outrun the count, and is given back when it was
right: only failures add up. Three limits stand before a password: for an address from one network or one known browser,
for a network as a whole, and for an address as a whole. The last two don't apply to a browser in which that person has
signed in before, so that nobody can lock somebody else out by guessing wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from types import MappingProxyType
from typing import Any, Final

from allauth.account.internal.stagekit import unstash_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from accounts import throttles
from accounts.audit import client_address
from accounts.devices import known_device

# What one customer's line gets from its provider; addresses within it cost nothing.
IPV6_PREFIX: Final = 64


@dataclass(frozen=True, kw_only=True)
class Rule:
    """At most ``limit`` tries in ``window`` for each key; the rule doesn't apply where ``key`` gives an empty text."""

    action: str
    key: Callable[[HttpRequest], str]
    limit: int
    window: timedelta
    is_for_failures: bool = False


@dataclass(frozen=True, kw_only=True)
class Try:
    """One counted try."""

    rule: Rule
    key: str

    def give_back(self, *, at: datetime) -> None:
        throttles.give_back(action=self.rule.action, key=self.key, window=self.rule.window, at=at)


def network(request: HttpRequest) -> str:
    """The client's address, for IPv6 its customer's network; all clients whose address is unknown share one."""
    address = client_address(request)
    if address is None:
        return "unknown"
    if isinstance(ip_address(address), IPv6Address):
        return str(ip_network(f"{address}/{IPV6_PREFIX}", strict=False))
    return address


def person(request: HttpRequest) -> str:
    """The address whose password is tried: the typed one, or that of whoever is signed in."""
    if request.user.is_authenticated:
        return str(request.user.email)
    return (request.POST.get("login") or request.POST.get("email") or "").strip().lower()


def person_and_source(request: HttpRequest) -> str:
    """A person's known browser, or the person from this network."""
    who = person(request)
    device = known_device(request, email=who)
    return f"{who} device {device}" if device else f"{who} network {network(request)}"


def unknown_network(request: HttpRequest) -> str:
    return "" if known_device(request, email=person(request)) else network(request)


def person_from_unknown(request: HttpRequest) -> str:
    who = person(request)
    return "" if known_device(request, email=who) else who


def account(request: HttpRequest) -> str:
    """The signed-in person, or the one who has given the right password and owes the second factor."""
    if request.user.is_authenticated:
        return str(request.user.pk)
    login = unstash_login(request, peek=True)
    return str(login.user.pk) if login is not None and login.user is not None else ""


MINUTES_5: Final = timedelta(minutes=5)
HOUR: Final = timedelta(hours=1)

PASSWORD: Final = (
    Rule(action="password", key=person_and_source, limit=5, window=MINUTES_5, is_for_failures=True),
    Rule(action="password by network", key=unknown_network, limit=20, window=MINUTES_5, is_for_failures=True),
    Rule(action="password by address", key=person_from_unknown, limit=50, window=HOUR, is_for_failures=True),
)
# Who tries codes has the password already. By account alone: changing networks must not buy more guesses.
SECOND_FACTOR: Final = (
    Rule(action="second factor", key=account, limit=5, window=MINUTES_5, is_for_failures=True),
    Rule(action="second factor", key=account, limit=20, window=HOUR, is_for_failures=True),
)
OWN_ACCOUNT: Final = (Rule(action="own account", key=account, limit=20, window=HOUR),)

RULES: Final[Mapping[str, tuple[Rule, ...]]] = MappingProxyType(
    {
        "account_login": PASSWORD,
        "account_reauthenticate": PASSWORD,
        "account_change_password": PASSWORD,
        "account_signup": (
            Rule(action="sign-up by network", key=network, limit=20, window=HOUR),
            Rule(action="sign-up", key=person, limit=5, window=HOUR),
        ),
        "account_resend_confirmation": (Rule(action="resend", key=network, limit=20, window=HOUR),),
        "account_reset_password": (
            Rule(action="reset by network", key=network, limit=20, window=HOUR),
            Rule(action="reset", key=person, limit=5, window=HOUR),
        ),
        "account_reset_password_from_key": (Rule(action="reset link", key=network, limit=30, window=HOUR),),
        "account_confirm_email": (Rule(action="confirmation link", key=network, limit=60, window=HOUR),),
        "account_email": OWN_ACCOUNT,
        "invitation": (Rule(action="invitation", key=network, limit=30, window=HOUR),),
        "account_set_password": OWN_ACCOUNT,
        "mfa_authenticate": SECOND_FACTOR,
        "mfa_reauthenticate": SECOND_FACTOR,
        "mfa_reauthenticate_webauthn": SECOND_FACTOR,
        "mfa_activate_totp": SECOND_FACTOR,
        "mfa_login_webauthn": (Rule(action="passkey", key=network, limit=30, window=MINUTES_5, is_for_failures=True),),
    }
)


class RateLimits:
    """Refuses what was tried too often with 429, before the view looks at it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponseBase], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Count the try. Looking at a form is none."""
        match = request.resolver_match
        if request.method != "POST" or match is None:
            return None
        at = timezone.now()
        counted: list[Try] = []
        for rule in RULES.get(match.view_name, ()):
            key = rule.key(request)
            if not key:
                continue
            if not throttles.allow(action=rule.action, key=key, limit=rule.limit, window=rule.window, at=at):
                for other in counted:
                    other.give_back(at=at)
                return too_many(
                    request, seconds=throttles.wait_seconds(action=rule.action, key=key, window=rule.window, at=at)
                )
            counted.append(Try(rule=rule, key=key))
        request.counted_failures = [one for one in counted if one.rule.is_for_failures]  # type: ignore[attr-defined]
        return None


def give_back_tries(sender: object, request: HttpRequest | None = None, **_: Any) -> None:
    """Receive allauth's and Django's signals for a password, code or passkey that was right."""
    at = timezone.now()
    for one in getattr(request, "counted_failures", ()):
        one.give_back(at=at)
    if request is not None:
        request.counted_failures = []  # type: ignore[attr-defined]


def forget_failures(sender: object, user: Any = None, **_: Any) -> None:
    """Receive allauth's signal for a password chosen by a link from a mail: failures with the old one are past."""
    if user is not None:
        throttles.clear(action="password by address", key=user.email)


def too_many(request: HttpRequest, *, seconds: int) -> HttpResponse:
    """The page that says how long to wait; the same whoever is meant, so that it tells nothing about an account."""
    minutes = -(-seconds // 60)
    response = render(request, "429.html", {"minutes": minutes}, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response
