"""API keys together with their money: what each may spend in a month, what it has spent, and whether it works now.

A month is a UTC calendar month, as usage days are. A limit is reached when what was charged to the key this month has
come to it; credit that is held for requests under way doesn't count, because it is a worst case that mostly is given
back. Reversed charges count no more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.http import HttpRequest

from accounts import api_keys, audit, notices
from accounts.api_keys import IssuedApiKey
from accounts.models import ApiKey, Organization, User
from billing.errors import Refused
from billing.models import KeyLimit
from billing.money import dollars_text

# A limit above this is a typing error; no limit is the way to have none.
LIMIT_MAXIMUM_CENTS: Final = 10**9


class KeyState(StrEnum):
    """Whether a key works; the first reason that stops it, the most final first."""

    ACTIVE = "active"
    REVOKED = "revoked"
    EXPIRED = "expired"
    STOPPED = "stopped"
    LIMIT_REACHED = "limit_reached"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What the gate has to know of a key. ``resets_at`` is when the next month begins."""

    organization_id: int
    surface: str
    state: KeyState
    resets_at: datetime


def create_key(
    *,
    organization: Organization,
    name: str,
    surface: ApiKey.Surface,
    expires_at: datetime | None,
    limit_cents: int | None,
    attempt_key: UUID | None = None,
    actor: User | None,
    request: HttpRequest | None = None,
) -> IssuedApiKey:
    """Make a key with its limit.

    Raises:
        Refused: no such limit (``limit``).
        AlreadyMade: by the same form, sent before.
    """
    _check_limit(limit_cents)
    with transaction.atomic():
        issued = api_keys.create(
            organization=organization,
            name=name,
            surface=surface,
            expires_at=expires_at,
            attempt_key=attempt_key,
            actor=actor,
            request=request,
        )
        _write_limit(issued.api_key, limit_cents)
        if limit_cents is not None:
            _record(issued.api_key, before=None, after=limit_cents, actor=actor, request=request)
    return issued


def rotate_key(
    *, api_key: ApiKey, overlap: timedelta, at: datetime, actor: User | None, request: HttpRequest | None = None
) -> IssuedApiKey:
    """Rotate a key; its successor has the same limit, counted from nothing.

    Raises:
        KeyEnded: it doesn't work any more, or was rotated before.
    """
    with transaction.atomic():
        issued = api_keys.rotate(api_key=api_key, overlap=overlap, at=at, actor=actor, request=request)
        limit_cents = limit_of(api_key)
        _write_limit(issued.api_key, limit_cents)
        if limit_cents is not None:
            _record(issued.api_key, before=None, after=limit_cents, actor=actor, request=request)
    return issued


def edit_key(
    *,
    api_key: ApiKey,
    name: str,
    expires_at: datetime | None,
    limit_cents: int | None,
    at: datetime,
    actor: User | None,
    request: HttpRequest | None = None,
) -> bool:
    """Change name, end and limit; False when all are as they were.

    Raises:
        Refused: no such limit (``limit``).
        KeyEnded: it doesn't work any more, or was rotated.
    """
    _check_limit(limit_cents)
    with transaction.atomic():
        # Locks the key's row, so two that change the limit come one after the other.
        is_changed = api_keys.edit(
            api_key=api_key, name=name, expires_at=expires_at, at=at, actor=actor, request=request
        )
        before = limit_of(api_key)
        if before != limit_cents:
            _write_limit(api_key, limit_cents)
            _record(api_key, before=before, after=limit_cents, actor=actor, request=request, is_told=True)
    return is_changed or before != limit_cents


def limit_of(api_key: ApiKey) -> int | None:
    """The limit in cents, or None."""
    return KeyLimit.objects.filter(api_key=api_key).values_list("amount_cents", flat=True).first()


def known_keys(prefixes: Collection[str]) -> dict[str, KnownKey]:
    """What the gate has to know of these keys, those that don't exist left out; one query, however many they are."""
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_KEYS, [list(prefixes)])
        return {
            prefix: KnownKey(organization_id, surface, KeyState(state), resets_at)
            for prefix, organization_id, surface, state, resets_at in cursor.fetchall()
        }


def spent_nano(*, organization_id: int, prefixes: Collection[str], at: datetime) -> Mapping[str, int]:
    """What was charged to each of these keys in the month of ``at``; keys without usage are left out."""
    with connection.cursor() as cursor:
        cursor.execute(_SPENT, [organization_id, list(prefixes), at])
        return dict(cursor.fetchall())


def _check_limit(limit_cents: int | None) -> None:
    if limit_cents is not None and not 0 < limit_cents <= LIMIT_MAXIMUM_CENTS:
        raise Refused(
            f"A limit is more than nothing and at most {dollars_text(LIMIT_MAXIMUM_CENTS)}. Leave it empty for none.",
            code="limit",
            field="limit_cents",
        )


def _write_limit(api_key: ApiKey, limit_cents: int | None) -> None:
    if limit_cents is None:
        KeyLimit.objects.filter(api_key=api_key).delete()
    else:
        KeyLimit.objects.update_or_create(api_key=api_key, defaults={"amount_cents": limit_cents})


def _record(
    api_key: ApiKey,
    *,
    before: int | None,
    after: int | None,
    actor: User | None,
    request: HttpRequest | None,
    is_told: bool = False,
) -> None:
    event = audit.record(
        organization=api_key.organization,
        actor=actor,
        action="api_key.limit_changed",
        target=f"api_key:{api_key.pk}",
        before={"limit_cents": before},
        after={"limit_cents": after},
        request=request,
    )
    if not is_told:
        return
    limits = [dollars_text(limit) if limit is not None else "no limit" for limit in (before, after)]
    who = actor.get_full_name() if actor is not None else "the platform"
    notices.tell_people(
        organization=api_key.organization,
        actor=actor,
        kind="key",
        subject=f"The spend limit of an API key of {api_key.organization} was changed",
        body=f"The monthly limit of the API key {api_key.name} ({api_key.prefix}...) was changed from {limits[0]} to"
        f" {limits[1]} by {who}.\n",
        key=f"event:{event.pk}",
    )


# A month's usage of one key is found by the index usage_day_of_key. Only keys with a limit pay for it.
_KNOWN_KEYS: Final = """
select k.prefix, k.organization_id, k.surface,
  case
    when k.revoked_at is not null then 'revoked'
    when k.expires_at <= clock.at then 'expired'
    when k.stopped_at is not null then 'stopped'
    when l.amount_cents * 10000000 <= (
      select coalesce(sum(d.amount_nano - d.reversed_nano), 0) from billing_usageday d
      where d.organization_id = k.organization_id and d.key_ref = k.prefix and d.day >= clock.month_at::date
    ) then 'limit_reached'
    else 'active'
  end,
  (clock.month_at + interval '1 month') at time zone 'UTC'
from (
  select now.at, date_trunc('month', now.at at time zone 'UTC') as month_at from (select credits_clock() as at) now
) clock
cross join accounts_apikey k
left join billing_keylimit l on l.api_key_id = k.id
where k.prefix = any(%s)
"""
_SPENT: Final = """
select key_ref, sum(amount_nano - reversed_nano)::bigint from billing_usageday
where organization_id = %s and key_ref = any(%s)
  and day >= date_trunc('month', %s::timestamptz at time zone 'UTC')::date
group by key_ref
"""
