"""What a process remembers so that an operation is one round trip: service keys and the ids of organizations.

A key is read again after a second, so a revoked key works for at most that long; a key that was not found is never
remembered. Ids of organizations are kept, because a slug never changes its organization.
"""

import hashlib
import threading
import time
from collections.abc import Collection

from django.utils import timezone

from accounts import service_keys
from accounts.models import Organization, ServiceKey

KEY_SECONDS_MAX = 1.0
MARK_SECONDS_MIN = 30.0
KEYS_MAX = 1_000
ORGANIZATIONS_MAX = 100_000


class KeyRing:
    """Service keys that were found during the last second, and which keys were used since the marks were written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at: dict[bytes, tuple[float, ServiceKey]] = {}
        self._used_ids: set[int] = set()
        self._marked_at = -MARK_SECONDS_MIN

    def find(self, key_text: str) -> ServiceKey | None:
        """The key, if it was issued and was not revoked a second ago."""
        digest = hashlib.sha256(key_text.encode("utf-8", "surrogateescape")).digest()
        now = time.monotonic()
        known = self._read_at.get(digest)
        if known is not None and now - known[0] < KEY_SECONDS_MAX:
            return known[1]
        service_key = service_keys.find(key_text=key_text)
        if service_key is None:
            self._read_at.pop(digest, None)
            return None
        if len(self._read_at) >= KEYS_MAX:
            self._read_at.clear()
        # The age counts from before the read, so that the read's own time is inside the second.
        self._read_at[digest] = (now, service_key)
        self._mark(service_key.pk, now=now)
        return service_key

    def _mark(self, key_id: int, *, now: float) -> None:
        """Note a use; write all notes of this process at most twice a minute."""
        with self._lock:
            self._used_ids.add(key_id)
            if now - self._marked_at < MARK_SECONDS_MIN:
                return
            used_ids, self._used_ids, self._marked_at = self._used_ids, set(), now
        service_keys.mark_used(ids=used_ids, at=timezone.now())


class OrganizationIds:
    """Ids by slug. Organizations that don't exist are asked for each time, so that a new one works at once."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def by_slug(self, slugs: Collection[str]) -> dict[str, int]:
        """The ids of those organizations that exist, with at most one query."""
        missing = {slug for slug in slugs if slug not in self._ids}
        if missing:
            if len(self._ids) + len(missing) > ORGANIZATIONS_MAX:
                self._ids.clear()
            self._ids.update(Organization.objects.filter(slug__in=missing).values_list("slug", "pk"))
        known = self._ids
        return {slug: known[slug] for slug in slugs if slug in known}

    def forget(self, slug: str) -> None:
        """Read the organization again next time: its row was not there any more."""
        self._ids.pop(slug, None)


keys = KeyRing()
organization_ids = OrganizationIds()
