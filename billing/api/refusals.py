"""Service keys that the gate refused, in history: once a minute for each key, whatever hammers at the door.

Which key it was is told by its public beginning. All keys that were never issued count as one, since whoever has none
can make up any number of them.
"""

import logging
import threading

import django.db
from django.http import HttpRequest
from django.utils import timezone

from accounts import audit, service_keys

REMEMBERED_MAX = 1_000

logger = logging.getLogger(__name__)


class RefusedKeys:
    """What this process has told during the last minute, so that it asks the database no more about it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = ""
        self._told: set[str] = set()

    def note(self, request: HttpRequest) -> None:
        """Keep that the key of this request was refused; a database that is away doesn't change the answer."""
        _, _, key_text = request.headers.get("Authorization", "").partition(" ")
        prefix, at = service_keys.public_part(key_text.strip()), timezone.now()
        try:
            if self._is_news(prefix, minute=f"{at:%Y-%m-%dT%H:%M}"):
                known = service_keys.issued_as(prefix=prefix)
                audit.record_once(
                    organization=None,
                    actor=None,
                    action="service_key.refused",
                    occasion=f"key {known.pk}" if known is not None else "",
                    at=at,
                    target=f"service_key:{known.pk}" if known is not None else "",
                    after={"is_revoked": known.is_revoked} if known is not None else None,
                    request=request,
                )
        except django.db.Error:
            logger.warning("A refused service key could not be noted.", exc_info=True)

    def _is_news(self, prefix: str, *, minute: str) -> bool:
        with self._lock:
            if minute != self._minute:
                self._minute, self._told = minute, set()
            if prefix in self._told or len(self._told) >= REMEMBERED_MAX:
                return False
            self._told.add(prefix)
            return True


refused_keys = RefusedKeys()
