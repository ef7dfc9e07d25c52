"""API keys of organizations: made, changed, rotated, stopped and revoked. What they may spend is billing's.

A key belongs to its organization, not to whoever created it: it goes on to work when that person leaves. Its text is
shown once. Each change is audited in its transaction and told to the Admins and the billing contacts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts import audit, key_text, notices
from accounts.models import ApiKey, Organization, User

NAME_LENGTH_MAX: Final = 80
# How long the old key of a rotation may go on to work.
OVERLAPS: Final = (timedelta(0), timedelta(hours=1), timedelta(hours=24), timedelta(days=7))


class KeyEnded(Exception):
    """The key was revoked, has expired or was rotated already, so it can't be changed."""


class AlreadyMade(Exception):
    """The same form was sent before: ``api_key`` was made then, and its text was in that answer only."""

    def __init__(self, api_key: ApiKey) -> None:
        super().__init__(str(api_key))
        self.api_key = api_key


@dataclass(frozen=True, kw_only=True)
class IssuedApiKey:
    """A new key with its full text, which is never available again."""

    api_key: ApiKey
    key_text: str = field(repr=False)


def create(
    *,
    organization: Organization,
    name: str,
    surface: ApiKey.Surface,
    expires_at: datetime | None,
    attempt_key: UUID | None = None,
    actor: User | None,
    request: HttpRequest | None = None,
) -> IssuedApiKey:
    """Make a key. The caller shows ``key_text`` once and keeps it nowhere.

    Raises:
        AlreadyMade: the organization has a key of this ``attempt_key``, which may have been made a moment ago.
    """
    try:
        with transaction.atomic():
            issued = _insert(
                organization=organization,
                name=name,
                surface=surface,
                expires_at=expires_at,
                attempt_key=attempt_key,
                rotated_from=None,
                actor=actor,
            )
            _tell("created", issued.api_key, actor, request, after=_settings(issued.api_key))
    except IntegrityError as error:
        made = (
            ApiKey.objects.filter(organization=organization, attempt_key=attempt_key).first() if attempt_key else None
        )
        if made is None:
            raise
        raise AlreadyMade(made) from error
    return issued


def edit(
    *,
    api_key: ApiKey,
    name: str,
    expires_at: datetime | None,
    at: datetime,
    actor: User | None,
    request: HttpRequest | None = None,
) -> bool:
    """Change name and end; False when both are as they were.

    Raises:
        KeyEnded: it doesn't work any more, or was rotated: its end is the end of the overlap.
    """
    with transaction.atomic():
        current = _locked(api_key)
        if _has_ended(current, at=at) or hasattr(current, "replacement"):
            raise KeyEnded
        before = _settings(current)
        current.name, current.expires_at = name.strip(), expires_at
        after = _settings(current)
        if before == after:
            return False
        current.save(update_fields=["name", "expires_at"])
        _tell("changed", current, actor, request, before=before, after=after)
    return True


def rotate(
    *,
    api_key: ApiKey,
    overlap: timedelta,
    at: datetime,
    actor: User | None,
    request: HttpRequest | None = None,
) -> IssuedApiKey:
    """Make a key with the same settings, and let the old one work for ``overlap`` more, but not beyond its own end.

    Raises:
        KeyEnded: it doesn't work any more, or was rotated before.
        ValueError: an overlap that is none of ``OVERLAPS``.
    """
    if overlap not in OVERLAPS:
        raise ValueError("no such overlap")
    with transaction.atomic():
        current = _locked(api_key)
        if _has_ended(current, at=at) or hasattr(current, "replacement"):
            raise KeyEnded
        before = _settings(current)
        issued = _insert(
            organization=current.organization,
            name=current.name,
            surface=ApiKey.Surface(current.surface),
            expires_at=current.expires_at,
            rotated_from=current,
            actor=actor,
        )
        # A key whose end is its own creation would have had no life at all, which the table refuses.
        ends_at = max(at + overlap, current.created_at + timedelta(microseconds=1))
        current.expires_at = min(ends_at, current.expires_at or ends_at)
        current.save(update_fields=["expires_at"])
        after = {**_settings(current), "replacement": issued.api_key.prefix}
        _tell("rotated", current, actor, request, before=before, after=after)
    return issued


def stop(*, api_key: ApiKey, at: datetime, actor: User | None, request: HttpRequest | None = None) -> bool:
    """Refuse all that is asked with the key until :func:`resume`; False when it was stopped or revoked before."""
    return _mark(
        "stopped",
        api_key,
        ApiKey.objects.filter(stopped_at=None, revoked_at=None),
        {"stopped_at": at, "stopped_by": actor},
        actor=actor,
        request=request,
    )


def resume(*, api_key: ApiKey, actor: User | None, request: HttpRequest | None = None) -> bool:
    """Let a stopped key work again; False when it was not stopped, or has been revoked."""
    return _mark(
        "resumed",
        api_key,
        ApiKey.objects.filter(stopped_at__isnull=False, revoked_at=None),
        {"stopped_at": None, "stopped_by": None},
        actor=actor,
        request=request,
    )


def revoke(*, api_key: ApiKey, at: datetime, actor: User | None, request: HttpRequest | None = None) -> bool:
    """End a key for good; False when it had been revoked before."""
    return _mark(
        "revoked",
        api_key,
        ApiKey.objects.filter(revoked_at=None),
        {"revoked_at": at, "revoked_by": actor},
        actor=actor,
        request=request,
    )


def verify(*, prefix: str, key_sha256: str) -> ApiKey | None:
    """The key with this public part whose whole text has this digest, in whatever state; one time for every no."""
    api_key = ApiKey.objects.select_related("organization").filter(prefix=prefix).first()
    is_genuine = key_text.is_same(stored=api_key.key_sha256 if api_key is not None else None, given=key_sha256)
    return api_key if is_genuine else None


def key_of(*, organization: Organization, key_id: int) -> ApiKey | None:
    """One key of the organization, or None where it has no such key."""
    people = ("created_by", "stopped_by", "revoked_by")
    return (
        ApiKey.objects.select_related("organization", "rotated_from", "replacement", *people)
        .filter(organization=organization, pk=key_id)
        .first()
    )


def mark_used(*, prefixes: Iterable[str], at: datetime) -> None:
    """Note that keys were used at ``at``; for batches, as :func:`accounts.service_keys.mark_used`."""
    ApiKey.objects.filter(prefix__in=list(prefixes)).update(last_used_at=at)


def _insert(
    *,
    organization: Organization,
    name: str,
    surface: ApiKey.Surface,
    expires_at: datetime | None,
    rotated_from: ApiKey | None,
    actor: User | None,
    attempt_key: UUID | None = None,
) -> IssuedApiKey:
    key = key_text.make(beginning=key_text.API_KEY)
    api_key = ApiKey.objects.create(
        organization=organization,
        name=name.strip(),
        prefix=key.prefix,
        key_sha256=key_text.digest(key.text),
        surface=surface,
        expires_at=expires_at,
        rotated_from=rotated_from,
        attempt_key=attempt_key,
        created_by=actor,
    )
    return IssuedApiKey(api_key=api_key, key_text=key.text)


def _locked(api_key: ApiKey) -> ApiKey:
    return ApiKey.objects.select_for_update(no_key=True, of=("self",)).select_related("organization").get(pk=api_key.pk)


def _has_ended(api_key: ApiKey, *, at: datetime) -> bool:
    return api_key.state(at=at) in (ApiKey.State.REVOKED, ApiKey.State.EXPIRED)


def _mark(
    done: str,
    api_key: ApiKey,
    keys: Any,
    columns: dict[str, Any],
    *,
    actor: User | None,
    request: HttpRequest | None,
) -> bool:
    """Set ``columns`` if the key is among ``keys`` at this moment, and tell of it."""
    with transaction.atomic():
        if not keys.filter(pk=api_key.pk).update(**columns):
            return False
        api_key.refresh_from_db(fields=list(columns))
        _tell(done, api_key, actor, request)
    return True


def _settings(api_key: ApiKey) -> dict[str, Any]:
    return {
        "name": api_key.name,
        "prefix": api_key.prefix,
        "surface": str(api_key.surface),
        "expires_at": api_key.expires_at.isoformat() if api_key.expires_at else None,
    }


def _tell(
    done: str,
    api_key: ApiKey,
    actor: User | None,
    request: HttpRequest | None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write the audit event of a change, and mail to those who should know of it."""
    organization = api_key.organization
    event = audit.record(
        organization=organization,
        actor=actor,
        action=f"api_key.{done}",
        target=f"api_key:{api_key.pk}",
        before=before,
        after=after if after is not None else {"prefix": api_key.prefix},
        request=request,
    )
    who = actor.get_full_name() if actor is not None else "the platform"
    notices.tell_people(
        organization=organization,
        actor=actor,
        kind="key",
        subject=f"An API key of {organization} was {_DONE[done]}",
        body=f"The API key {api_key.name} ({api_key.prefix}...) of {organization} was {_DONE[done]} by {who}.\n\n"
        "If that is not right, stop the key or all usage, and ask whoever did it:\n"
        # Another app serves the page, and mail is written by processes without pages too.
        f"{settings.SITE_URL}/o/{organization.slug}/keys/\n",
        key=f"event:{event.pk}",
    )


_DONE: Final = {
    "created": "created",
    "changed": "changed",
    "rotated": "replaced",
    "stopped": "stopped",
    "resumed": "let work again",
    "revoked": "revoked",
}
