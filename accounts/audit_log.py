"""An organization's history, newest first, by person, kind, time and target. Reads only what is shown.

A page begins below an event (keyset over ``at`` and ``id``): events of one instant are neither skipped nor repeated.
Each filter has an index that begins with it and ends in that order, and a group of actions is read action by action and
merged, so nothing is read that is far from being shown; see docs/decisions/0132.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import Q, QuerySet

from accounts import audit_words, queries
from accounts.audit_actions import Group, actions_in
from accounts.models import AuditEvent, Organization, User

BATCH_SIZE: Final = 1_000
ACTORS_MAX: Final = 500
_REFERENCE_START: Final = "req_"


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What to read. ``who`` is a user's id, ``staff``, ``system`` or empty; ``until`` doesn't count.

    ``about`` is a target such as ``purchase 12``, or the reference of a request.
    """

    who: str = ""
    group: Group | None = None
    since: datetime | None = None
    until: datetime | None = None
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Events in words, newest first. The next page begins below ``older_id``; it is None at the end."""

    entries: Sequence[audit_words.Entry]
    older_id: int | None


def page(*, organization: Organization, filters: Filters, before_id: int | None, limit: int) -> Page:
    """One page, below the event ``before_id``; from the newest where there is no such event in this organization."""
    events = _events(organization, filters, below=_position(organization, before_id), limit=limit + 1)
    shown = events[:limit]
    return Page(
        entries=_in_words(shown, organization), older_id=shown[-1].pk if len(events) > limit and shown else None
    )


def entries(*, organization: Organization, filters: Filters, before_id: int) -> Iterator[audit_words.Entry]:
    """All of them below the event ``before_id``, read in batches as they are asked for."""
    below = _position(organization, before_id)
    while below is not None:
        events = _events(organization, filters, below=below, limit=BATCH_SIZE)
        yield from _in_words(events, organization)
        below = (events[-1].at, events[-1].pk) if len(events) == BATCH_SIZE else None


def actors_of(*, organization: Organization) -> list[tuple[int, str]]:
    """Who can be asked for, by name: members, and whoever else did something here other than as staff."""
    members = {member.user_id: member.user for member in queries.members_of(organization=organization)}
    others = User.objects.in_bulk([actor for actor in _actor_ids(organization) if actor not in members])
    people = [(pk, user.get_full_name()) for pk, user in members.items()]
    former = [(pk, f"{user.get_full_name()} (no member)") for pk, user in others.items()]
    return sorted(people, key=lambda one: one[1].lower()) + sorted(former, key=lambda one: one[1].lower())


def _in_words(events: Sequence[AuditEvent], organization: Organization) -> list[audit_words.Entry]:
    people = audit_words.people_in(events)
    return [audit_words.entry(event, people=people, zone=organization.zone) for event in events]


def _position(organization: Organization, event_id: int | None) -> tuple[datetime, int] | None:
    if event_id is None:
        return None
    return AuditEvent.objects.filter(organization=organization, pk=event_id).values_list("at", "pk").first()


def _events(
    organization: Organization, filters: Filters, *, below: tuple[datetime, int] | None, limit: int
) -> list[AuditEvent]:
    ids = [event_id for event_id, _ in positions(organization, filters, below=below, limit=limit)]
    return list(AuditEvent.objects.select_related("origin").filter(pk__in=ids).order_by("-at", "-id"))


def positions(
    organization: Organization, filters: Filters, *, below: tuple[datetime, int] | None, limit: int
) -> QuerySet[AuditEvent, tuple[int, datetime]]:
    """The query behind a page: ids and times of its events, newest first."""
    events = AuditEvent.objects.filter(_who(filters.who), _about(filters.about), organization=organization)
    if filters.since is not None:
        events = events.filter(at__gte=filters.since)
    if filters.until is not None:
        events = events.filter(at__lt=filters.until)
    if below is not None:
        at, event_id = below
        # The redundant first condition is what the index can begin with.
        events = events.filter(Q(at__lte=at) & (Q(at__lt=at) | Q(pk__lt=event_id)))
    found = events.order_by("-at", "-id").values_list("pk", "at")
    if filters.group is None:
        return found[:limit]
    # One index scan for each action of the group, each ended by the limit: an IN would sort all that it finds.
    first, *more = [found.filter(action=action)[:limit] for action in actions_in(filters.group)]
    return first.union(*more, all=True).order_by("-at", "-id")[:limit]


def _who(who: str) -> Q:
    if who == "staff":
        return Q(role="staff")
    if who == "system":
        return Q(actor=None) & ~Q(role="staff")
    return Q(actor_id=int(who)) & ~Q(role="staff") if who else Q()


def _about(about: str) -> Q:
    if not about:
        return Q()
    if about.startswith(_REFERENCE_START):
        return Q(request_id=about) & ~Q(request_id="")
    return Q(target=audit_words.target_from_text(about))


def _actor_ids(organization: Organization) -> list[int]:
    """Everybody who ever acted other than as staff. One step through the index for each of them, not for each event."""
    step = """
        SELECT actor_id FROM accounts_auditevent
        WHERE organization_id = %s AND actor_id > {after} AND NOT (role = 'staff')
        ORDER BY actor_id LIMIT 1
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE actors AS (
                SELECT ({step.format(after="0")}) AS actor_id
                UNION ALL
                SELECT ({step.format(after="actors.actor_id")}) FROM actors WHERE actors.actor_id IS NOT NULL
            )
            SELECT actor_id FROM actors WHERE actor_id IS NOT NULL LIMIT %s
            """,
            [organization.pk, organization.pk, ACTORS_MAX],
        )
        return [row[0] for row in cursor.fetchall()]
