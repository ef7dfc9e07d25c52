"""Changes that matter need a person who has proved a moment ago who they are: a stolen session alone makes none.

A form that comes too late is kept in the session, the person gives password, code or passkey, and allauth sends the
form on, so nothing typed is lost.
"""

from __future__ import annotations

import time

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from django.http import HttpRequest, JsonResponse

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def require_recent(request: HttpRequest) -> None:
    """Let looking pass, and changes within ACCOUNT_REAUTHENTICATION_TIMEOUT seconds of a proof.

    Raises:
        ReauthenticationRequired: the proof is older; allauth's middleware leads to the page that asks for a new one.
        ImmediateHttpResponse: the same for a script, which can't be led anywhere: 401 with the page's address as JSON.
    """
    if request.method in SAFE_METHODS or is_recent(request):
        return
    if request.headers.get("Accept") == "application/json":
        raise ImmediateHttpResponse(_answer_for_script(request))
    raise ReauthenticationRequired


def require_recent_to_look(request: HttpRequest) -> None:
    """Ask for the proof before a page is shown whose form can't be kept while one proves it. Raises as above."""
    if not is_recent(request):
        raise ReauthenticationRequired


def _answer_for_script(request: HttpRequest) -> JsonResponse:
    """The script leads to the page by itself, adding where to come back to."""
    methods = get_adapter().get_reauthentication_methods(request.user)
    answer = {"error": "Confirm that it is you first.", "reauthenticate_url": methods[0]["url"] if methods else "/"}
    return JsonResponse(answer, status=401)


def is_recent(request: HttpRequest) -> bool:
    """Whether the person behind the session signed in, or proved again who they are, just now.

    allauth's own question counts repeated proofs only; whoever has just signed in need not do it twice.
    """
    if not request.user.is_authenticated:
        return False
    records = get_authentication_records(request, request.user)
    proved_at = max((record["at"] for record in records), default=0.0)
    return bool(0 <= time.time() - proved_at < app_settings.REAUTHENTICATION_TIMEOUT)
