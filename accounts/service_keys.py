"""Keys with which the platform's gateway speaks to ``/v1/``. A key is shown once; only its digest stays.

Their text begins with ``ck_gate_`` (:mod:`accounts.key_text`). Keys from before that began like API keys do now,
``ck_live_``, and had no checksum; they go on to work until they are revoked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.http import HttpRequest

from accounts import audit, key_text
from accounts.models import Scope, ServiceKey, User

_FORMER_SHAPE = re.compile(
    rf"({key_text.API_KEY}[A-Za-z0-9]{{{key_text.PUBLIC_LENGTH}}})_([A-Za-z0-9]{{{key_text.SECRET_LENGTH}}})",
    flags=re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A new key with its full text, which is never available again."""

    service_key: ServiceKey
    key_text: str = field(repr=False)


def issue(
    *,
    name: str,
    actor: User | None,
    scopes: Collection[Scope] = tuple(Scope),
    request: HttpRequest | None = None,
) -> IssuedKey:
    """Make a key that may do what ``scopes`` say. The caller shows ``key_text`` once and keeps it nowhere.

    Raises:
        ValueError: no scope, so that the key could do nothing.
    """
    if not scopes:
        raise ValueError("a service key needs at least one scope")
    key = key_text.make(beginning=key_text.SERVICE_KEY)
    held = sorted({scope.value for scope in scopes})
    with transaction.atomic():
        service_key = ServiceKey.objects.create(
            name=name.strip(), prefix=key.prefix, secret_sha256=key_text.digest(key.secret), scopes=held
        )
        audit.record(
            organization=None,
            actor=actor,
            action="service_key.issued",
            target=f"service_key:{service_key.pk}",
            after={"prefix": key.prefix, "scopes": held},
            request=request,
        )
    return IssuedKey(key_text=key.text, service_key=service_key)


def find(*, key_text: str) -> ServiceKey | None:
    """The key that ``key_text`` is, if it was issued and not revoked. Says nothing about why not, in text or time."""
    parts = _parts(key_text)
    if parts is None:
        return None
    prefix, secret = parts
    service_key = ServiceKey.objects.filter(prefix=prefix).first()
    is_genuine = _is_genuine(service_key, secret)
    if service_key is None or not is_genuine or service_key.is_revoked:
        return None
    return service_key


def public_part(text: str) -> str:
    """The part of a key's text that tells which key it is and opens nothing; empty for what is no key's text."""
    parts = _parts(text)
    return parts[0] if parts is not None else ""


def issued_as(*, prefix: str) -> ServiceKey | None:
    """The key that was issued with this public part, revoked or not."""
    return ServiceKey.objects.filter(prefix=prefix).first() if prefix else None


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


def _parts(text: str) -> tuple[str, str] | None:
    """Prefix and secret of a key's text."""
    key = key_text.parse(text, beginning=key_text.SERVICE_KEY)
    if key is not None:
        return key.prefix, key.secret
    former = _FORMER_SHAPE.fullmatch(text)
    return (former[1], former[2]) if former else None


def _is_genuine(service_key: ServiceKey | None, secret: str) -> bool:
    stored = service_key.secret_sha256 if service_key is not None else None
    return key_text.is_same(stored=stored, given=key_text.digest(secret))
