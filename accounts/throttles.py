"""How often something may be tried, counted in the database: a restart, or a flush of cache or broker, forgets nothing.

A try is one statement, so that parallel tries can't pass by reading the same count. A window begins with its first try
and is not pushed on by refused ones: whoever is refused knows when to come back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, QuerySet
from django.utils.crypto import salted_hmac

from accounts.models import ThrottleCounter

REMOVED_AT_ONCE_MAX = 10_000

# A refused try changes nothing, so that the row returned is exactly a try that was allowed.
_TAKE = """
    INSERT INTO accounts_throttlecounter AS counter (action, key_digest, window_seconds, tries, ends_at)
    VALUES (%(action)s, %(digest)s, %(window)s, 1, %(ends_at)s)
    ON CONFLICT (action, key_digest, window_seconds) DO UPDATE
    SET tries = CASE WHEN counter.ends_at <= %(at)s THEN 1 ELSE counter.tries + 1 END,
        ends_at = CASE WHEN counter.ends_at <= %(at)s THEN EXCLUDED.ends_at ELSE counter.ends_at END
    WHERE counter.ends_at <= %(at)s OR counter.tries < %(limit)s
    RETURNING tries
"""


def allow(*, action: str, key: str, limit: int, window: timedelta, at: datetime) -> bool:
    """Count one try of ``action`` by or against ``key``; False when ``limit`` tries were counted in this window.

    ``action`` and ``window`` name the counter: the same two with another ``limit`` look at the same count. Call it
    outside a transaction, because a rollback would forget the try.
    """
    if limit < 1:
        return False
    values: dict[str, str | int | datetime] = {
        "action": action,
        "digest": _digest(action, key),
        "window": _seconds(window),
        "ends_at": at + window,
        "at": at,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, values)
        return cursor.fetchone() is not None


def give_back(*, action: str, key: str, window: timedelta, at: datetime) -> None:
    """Uncount one try, where only failures count and this one was none."""
    _counters(action=action, key=key, window=window).filter(ends_at__gt=at, tries__gt=0).update(tries=F("tries") - 1)


def wait_seconds(*, action: str, key: str, window: timedelta, at: datetime) -> int:
    """Seconds until the counter's window ends, at least 1; what a refusal says in Retry-After."""
    ends_at = _counters(action=action, key=key, window=window).values_list("ends_at", flat=True).first()
    if ends_at is None or ends_at <= at:
        return 1
    whole, rest = divmod(ends_at - at, timedelta(seconds=1))
    return whole + bool(rest)


def clear(*, action: str, key: str) -> None:
    """Forget all tries, in every window of ``action``."""
    ThrottleCounter.objects.filter(action=action, key_digest=_digest(action, key)).delete()


def remove_ended(*, at: datetime) -> int:
    """Delete counters whose window is over, a batch at a time; how many there were."""
    ended = ThrottleCounter.objects.filter(ends_at__lte=at).order_by("ends_at").values("pk")[:REMOVED_AT_ONCE_MAX]
    # The condition stands twice: a counter that began anew meanwhile stays.
    return ThrottleCounter.objects.filter(pk__in=ended, ends_at__lte=at).delete()[0]


def _counters(*, action: str, key: str, window: timedelta) -> QuerySet[ThrottleCounter]:
    return ThrottleCounter.objects.filter(
        action=action, key_digest=_digest(action, key), window_seconds=_seconds(window)
    )


def _digest(action: str, key: str) -> str:
    """The key so that the table tells nothing without SECRET_KEY, and two actions can't be matched by it."""
    return salted_hmac(f"accounts.throttles:{action}", key, algorithm="sha256").hexdigest()


def _seconds(window: timedelta) -> int:
    return window // timedelta(seconds=1)
