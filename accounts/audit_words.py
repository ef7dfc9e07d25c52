"""History in words: who did what to what, and what became of it. For the audit log, its file and staff's list.

Names are looked up when somebody reads, since an event holds ids. People who were deleted are told by number, staff of
the platform by what they are: whoever reads is the customer, and who of the staff it was is between staff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from accounts.audit_actions import ACTIONS
from accounts.models import AuditEvent, User
from accounts.moments import moment_text
from accounts.permissions import Permission, Role

STAFF: Final = "staff"
MACHINE_NAME: Final = "The platform"
STAFF_NAME: Final = "Platform staff"
VALUE_LENGTH: Final = 300

# How a whole number reads whose name ends in a unit; apps that know units add theirs when they are loaded.
UNITS: Final[dict[str, Callable[[int], str]]] = {}

# The target's own person is in the sentence; why staff did something is noted for staff.
_UNTOLD: Final = frozenset({"user", "reason"})
_KINDS: Final[Mapping[str, str]] = {
    "lot": "lot of credit",
    "user": "person",
    "membership": "member",
    "auto_reload_consent": "consent to auto-reload",
    "stripe_event": "event of the payment processor",
    "api_key": "API key",
}
_NAMES: Final[Mapping[str, str]] = {"is_enabled": "on", "is_active": "may sign in", "is_staff": "staff"}


@dataclass(frozen=True, slots=True)
class Change:
    """One value: what it was, what it became. One side is None where only the other is known."""

    name: str
    before: str | None
    after: str | None

    @property
    def text(self) -> str:
        """ "role: Billing → Admin"."""
        told = [side for side in (self.before, self.after) if side is not None]
        return f"{self.name}: {' → '.join(told)}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in words. ``ip_address`` and ``browser`` are empty where none was noted or is nobody's business."""

    id: int
    at: datetime
    who: str
    role: str
    words: str
    changes: tuple[Change, ...]
    action: str
    target: str
    ip_address: str
    browser: str
    request_id: str

    @property
    def sentence(self) -> str:
        """Who did what."""
        return f"{self.who} {self.words}"


def people_in(events: Iterable[AuditEvent]) -> dict[int, User]:
    """Everybody whom the events name, with one query; whoever was deleted is missing."""
    ids = {person_id for event in events for person_id in (event.actor_id, _person_in(event)) if person_id}
    return User.objects.in_bulk(ids) if ids else {}


def entry(event: AuditEvent, *, people: Mapping[int, User], zone: tzinfo) -> Entry:
    """The event in words; times in ``zone``. Its origin, if any, must be loaded with it."""
    origin = getattr(event, "origin", None) if event.role != STAFF else None
    return Entry(
        id=event.pk,
        at=event.at,
        who=_who(event, people),
        role=_role(event.role),
        words=_words(event, people),
        changes=tuple(_changes(event, people, zone)),
        action=event.action,
        target=target_text(event.target),
        ip_address=(origin.ip_address or "") if origin else "",
        browser=origin.user_agent if origin else "",
        request_id=event.request_id,
    )


def target_text(target: str) -> str:
    """ "purchase 12" for ``purchase:12``."""
    kind, _, number = target.partition(":")
    return f"{_KINDS.get(kind, kind.replace('_', ' '))} {number}".strip()


def target_from_text(text: str) -> str:
    """The target that somebody means by ``purchase 12``, ``Purchase #12`` or ``purchase:12``."""
    words = text.lower().replace(":", " ").replace("#", " ").split()
    kind, number = " ".join(words[:-1]), words[-1] if words else ""
    known = {words: name for name, words in _KINDS.items()}
    return f"{known.get(kind, kind.replace(' ', '_'))}:{number}" if kind else number


def person_text(person_id: int, people: Mapping[int, User]) -> str:
    """A person's name as it is now, or what is left of one who was deleted."""
    person = people.get(person_id)
    return person.get_full_name() if person is not None else f"Deleted person {person_id}"


def _who(event: AuditEvent, people: Mapping[int, User]) -> str:
    if event.role == STAFF:
        return STAFF_NAME
    return MACHINE_NAME if event.actor_id is None else person_text(event.actor_id, people)


def _role(role: str) -> str:
    if role == STAFF:
        return "Staff"
    return str(Role(role).label) if role in Role.values else ""


def _words(event: AuditEvent, people: Mapping[int, User]) -> str:
    action = ACTIONS.get(event.action)
    if action is None:
        # Written by an older version of this program.
        return f"{event.action} {target_text(event.target)}".strip()
    permission = (event.after or {}).get("permission", "")
    return action.words.format(target=_target(event, people), permission=_permission(permission))


def _target(event: AuditEvent, people: Mapping[int, User]) -> str:
    person_id = _person_in(event)
    if person_id is not None:
        return person_text(person_id, people)
    return target_text(event.target) or "somebody unknown"


def _person_in(event: AuditEvent) -> int | None:
    """The id of the person to whom it was done, if any."""
    for values in (event.after, event.before):
        if isinstance(values, dict) and isinstance(values.get("user"), int):
            return int(values["user"])
    kind, _, number = event.target.partition(":")
    return int(number) if kind == "user" and number.isdigit() else None


def _changes(event: AuditEvent, people: Mapping[int, User], zone: tzinfo) -> Iterable[Change]:
    before, after = event.before or {}, event.after or {}
    for name in dict.fromkeys([*before, *after]):
        if name in _UNTOLD or not _is_news(event, name, before, after):
            continue
        yield Change(
            name=_name(name),
            before=_value(name, before[name], zone) if name in before else None,
            after=_value(name, after[name], zone) if name in after else None,
        )


def _is_news(event: AuditEvent, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a value says something that neither its former self nor the sentence has said."""
    if name in before:
        return name not in after or before[name] != after[name]
    is_empty = after[name] is None or after[name] in ("", [], {})
    is_in_sentence = name == "permission" and event.action == "access.refused"
    return not (is_empty or is_in_sentence or (name == "role" and after[name] == event.role))


def _name(name: str) -> str:
    for unit in UNITS:
        name = name.removesuffix(unit)
    for ending in ("_id", "_at"):
        name = name.removesuffix(ending)
    return _NAMES.get(name, name.removeprefix("is_").replace("_", " "))


def _value(name: str, value: Any, zone: tzinfo) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return next((words(value) for unit, words in UNITS.items() if name.endswith(unit)), str(value))
        case list():
            text = ", ".join(_value(name, one, zone) for one in value)
        case dict():
            text = ", ".join(f"{_name(str(key))}: {_value(str(key), one, zone)}" for key, one in value.items())
        case _:
            text = _text(name, str(value), zone)
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 1]}…"


def _text(name: str, text: str, zone: tzinfo) -> str:
    if name == "role":
        return _role(text) or text
    if name == "permission":
        return _permission(text)
    if name.endswith(("_at", "until")):
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return text
        return moment_text(at, zone) if at.tzinfo is not None else text
    return text


def _permission(text: str) -> str:
    try:
        return Permission(text).label
    except ValueError:
        return text
