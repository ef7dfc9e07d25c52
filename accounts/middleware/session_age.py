"""Ends sessions that are too old or were idle for too long, and marks those in use, once a minute at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from accounts import sessions
from accounts.models import User


def session_age(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Stand behind the middlewares of sessions, people and messages."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        user = request.user
        if isinstance(user, User):
            at = timezone.now()
            if sessions.is_over(request.session, at=at):
                sessions.end(request.session)
                request.user = AnonymousUser()
                messages.info(request, "You were signed out, because your session was too old. Please sign in again.")
            else:
                sessions.mark(request, user=user, at=at)
        return get_response(request)

    return handle


def begin_session(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Receive Django's ``user_logged_in``."""
    sessions.begin(request, user=user, at=timezone.now())


def end_others_after_new_password(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Receive allauth's signals for a password that was changed, set or reset: whoever knew the old one is out."""
    is_theirs = request.user == user
    kept_key = request.session.session_key if is_theirs else None
    sessions.end_others(user=user, kept_key=kept_key, actor=user if is_theirs else None, request=request)
    if is_theirs:
        sessions.carry_on(request, user=user, at=timezone.now())
