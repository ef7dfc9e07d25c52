"""Keys with which the platform's gateway speaks to ``/v1/``. A key is shown once; only its digest stays.

A key is ``ck_live_<8 public characters>_<43 secret characters>``, all base 62. The secret carries 256 random bits, so
one round of SHA-256 is enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import ServiceKey, User

BEGINNING = "ck_live_"
PUBLIC_LENGTH = 8
SECRET_LENGTH = 43
ALPHABET = string.ascii_letters + string.digits

_SHAPE = re.compile(rf"({BEGINNING}[A-Za-z0-9]{{{PUBLIC_LENGTH}}})_([A-Za-z0-9]{{{SECRET_LENGTH}}})", flags=re.ASCII)
# Compared with when there is no such key, so that an unknown prefix takes as long as a wrong secret.
_NO_DIGEST = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A new key with its full text, which is never available again."""

    service_key: ServiceKey
    key_text: str = field(repr=False)


def issue(*, name: str, actor: User | None, request: HttpRequest | None = None) -> IssuedKey:
    """Make a key. The caller shows ``key_text`` once and keeps it nowhere."""
    prefix = BEGINNING + _random_text(PUBLIC_LENGTH)
    secret = _random_text(SECRET_LENGTH)
    with transaction.atomic():
        service_key = ServiceKey.objects.create(name=name.strip(), prefix=prefix, secret_sha256=_digest(secret))
        audit.record(
            organization=None,
            actor=actor,
            action="service_key.issued",
            target=f"service_key:{service_key.pk}",
            after={"prefix": prefix},
            request=request,
        )
    return IssuedKey(key_text=f"{prefix}_{secret}", service_key=service_key)


def find(*, key_text: str) -> ServiceKey | None:
    """The key that ``key_text`` is, if it was issued and not revoked. Says nothing about why not, in text or time."""
    match = _SHAPE.fullmatch(key_text)
    if match is None:
        return None
    prefix, secret = match.groups()
    service_key = ServiceKey.objects.filter(prefix=prefix).first()
    stored = service_key.secret_sha256 if service_key else _NO_DIGEST
    is_genuine = hmac.compare_digest(stored, _digest(secret))
    if service_key is None or not is_genuine or service_key.is_revoked:
        return None
    return service_key


def revoke(*, service_key: ServiceKey, at: datetime, actor: User | None, request: HttpRequest | None = None) -> bool:
    """End a key for good; False when it had ended before.

    A process that keeps a copy notices when it re-reads.
    """
    with transaction.atomic():
        if not ServiceKey.objects.filter(pk=service_key.pk, revoked_at=None).update(revoked_at=at):
            return False
        audit.record(
            organization=None,
            actor=actor,
            action="service_key.revoked",
            target=f"service_key:{service_key.pk}",
            request=request,
        )
    return True


def mark_used(*, ids: Iterable[int], at: datetime) -> None:
    """Note that keys were used at ``at``. For batches: a mark at each request would be a write at each request."""
    ServiceKey.objects.filter(pk__in=list(ids)).update(last_used_at=at)


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
