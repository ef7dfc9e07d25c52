"""How long a session lasts, and ending it from elsewhere.

A session ends SESSION_LIFETIME after the sign-in whatever happens, and before that after SESSION_IDLE without a request
(SESSION_IDLE_REMEMBERED where the person asked to stay signed in). Its times stand in the session itself, so that a
request costs no further statement; the row beside it is for the person to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.audit import USER_AGENT_LENGTH, client_address
from accounts.browsers import browser_words
from accounts.models import BrowserSession, User

SIGNED_IN_AT: Final = "signed_in_at"
SEEN_AT: Final = "seen_at"
# How exact the last activity is: a page is read without writing, but for once in this time.
MARKED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class OwnSession:
    """A session as its person sees it."""

    browser: str
    address: str
    signed_in_at: datetime
    seen_at: datetime
    is_current: bool


def begin(request: HttpRequest, *, user: User, at: datetime) -> None:
    """Note that ``user`` has just signed in with this request's session."""
    request.session[SIGNED_IN_AT] = request.session[SEEN_AT] = int(at.timestamp())
    if not request.session.session_key:
        request.session.save()
    _note(request, user=user, signed_in_at=at, at=at)


def mark(request: HttpRequest, *, user: User, at: datetime) -> None:
    """Note that the session is in use, once in MARKED_EVERY; a session from before this was kept begins here."""
    session = request.session
    signed_in_at, seen_at = _time(session, SIGNED_IN_AT), _time(session, SEEN_AT)
    if signed_in_at is None or seen_at is None:
        begin(request, user=user, at=at)
    elif at - seen_at >= MARKED_EVERY:
        session[SEEN_AT] = int(at.timestamp())
        _note(request, user=user, signed_in_at=signed_in_at, at=at)


def is_over(session: SessionBase, *, at: datetime) -> bool:
    """Whether the session is too old, or was idle for too long."""
    signed_in_at, seen_at = _time(session, SIGNED_IN_AT), _time(session, SEEN_AT)
    if signed_in_at is None or seen_at is None:
        return False
    is_remembered = not session.get_expire_at_browser_close()
    idle = settings.SESSION_IDLE_REMEMBERED if is_remembered else settings.SESSION_IDLE
    return at >= signed_in_at + settings.SESSION_LIFETIME or at >= seen_at + idle


def end(session: SessionBase) -> None:
    """End the session for good."""
    BrowserSession.objects.filter(session_key=session.session_key).delete()
    session.flush()


def carry_on(request: HttpRequest, *, user: User, at: datetime) -> None:
    """Keep the list true after the session got another key, as it does with a new password."""
    if request.session.session_key:
        _note(request, user=user, signed_in_at=_time(request.session, SIGNED_IN_AT) or at, at=at)


def sessions_of(*, user: User, current_key: str | None, at: datetime) -> Sequence[OwnSession]:
    """The sessions in which ``user`` is signed in, this one first, then the last used."""
    since = at - settings.SESSION_IDLE_REMEMBERED
    rows = BrowserSession.objects.filter(
        user=user,
        session_key__in=Session.objects.filter(expire_date__gt=at).values("session_key"),
        seen_at__gt=since,
        signed_in_at__gt=at - settings.SESSION_LIFETIME,
    ).order_by("-seen_at", "-pk")
    found = [
        OwnSession(
            browser=browser_words(row.user_agent),
            address=row.ip_address or "unknown",
            signed_in_at=row.signed_in_at,
            seen_at=row.seen_at,
            is_current=row.session_key == current_key,
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: not one.is_current)


def end_others(*, user: User, kept_key: str | None, actor: User | None, request: HttpRequest | None = None) -> int:
    """End all sessions of ``user`` but the one with ``kept_key``; their next request is nobody's. How many ended."""
    with transaction.atomic():
        others = BrowserSession.objects.filter(user=user).exclude(session_key=kept_key or "")
        keys = list(others.values_list("session_key", flat=True))
        count = Session.objects.filter(session_key__in=keys).delete()[0]
        others.filter(session_key__in=keys).delete()
        if count:
            audit.record(
                organization=None,
                actor=actor,
                action="session.others_ended",
                target=f"user:{user.pk}",
                after={"count": count},
                request=request,
            )
    return count


def remove_ended(*, at: datetime) -> int:
    """Delete sessions that nobody can use any more, with the rows beside them; how many of those there were."""
    Session.objects.filter(expire_date__lt=at).delete()
    ended = BrowserSession.objects.exclude(session_key__in=Session.objects.values("session_key"))
    return ended.delete()[0]


def _note(request: HttpRequest, *, user: User, signed_in_at: datetime, at: datetime) -> None:
    values = {
        "user": user,
        "ip_address": client_address(request),
        "user_agent": request.headers.get("User-Agent", "").replace("\x00", "")[:USER_AGENT_LENGTH],
        "signed_in_at": signed_in_at,
        "seen_at": at,
    }
    BrowserSession.objects.update_or_create(session_key=request.session.session_key, defaults=values)


def _time(session: SessionBase, name: str) -> datetime | None:
    seconds = session.get(name)
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) else None
