"""A code of an authenticator app works once.

RFC 6238, section 5.2: the verifier must not take a code a second time. allauth notes used codes in the cache, which may
be flushed; here each is a row that can exist once, so that of two requests with one code, at once or not, one gets in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time

from accounts.models import UsedCode, User

# Far longer than any code is valid; until then a row costs nothing and tells staff when a code was used.
KEPT_FOR: Final = timedelta(days=1)


def spend(*, user: User, secret: str, code: str) -> bool:
    """Use up the code; False where it was used before, or has run out since it was looked at."""
    counter = _counter_of(secret=secret, code=code)
    if counter is None:
        return False
    _row, is_first = UsedCode.objects.get_or_create(user=user, counter=counter)
    return is_first


def forget(*, at: datetime) -> int:
    """Delete the rows that no valid code can meet any more; returns how many there were."""
    count, _by_model = UsedCode.objects.filter(used_at__lt=at - KEPT_FOR).delete()
    return count


def _counter_of(*, secret: str, code: str) -> int | None:
    """The period whose code this is, of those that are valid now."""
    counters: Iterator[int] = yield_hotp_counters_from_time()
    for counter in counters:
        if compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, counter))):
            return counter
    return None
