"""What the gateway calls: authorize, capture, void, charge and reported usage. One network round trip each.

A refusal is a result, not an exception: the row lock is gone with the call, and nothing was changed but the mark that
a reload is due. The functions refuse to run inside an open transaction, because the account would stay locked for as
long as the caller likes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, NamedTuple

from billing.credits.hot_answers import batch_columns, result_columns
from billing.credits.hot_calls import HotCall
from billing.errors import InvalidUsage
from billing.models import Surface, TokenClass

QUANTITY_MAX = 1_000_000_000
TOKEN_CLASSES_MAX = 32
REQUEST_CLASS = "request"
HOLD_SECONDS_DEFAULT = 600
HOLD_SECONDS_MAX = 3_600
EVENTS_PER_CALL_MAX = 1_000

Quantities = Mapping[str, int]

# Looked up once: an enum makes its list of values anew each time it is asked.
_SURFACES = frozenset(Surface.values)
# What the gate takes: printable ASCII, so that no text of one event can spoil the statement that carries them all.
_KEY = re.compile(r"[\x20-\x7e]{1,255}\Z")
_KEY_REF = re.compile(r"[\x20-\x7e]{0,64}\Z")
_MODEL = re.compile(r"[\x21-\x7e]{1,64}\Z")
_KNOWN_CLASSES = frozenset(TokenClass.values)
# The functions take the units of these as numbers, and multiply them without looking into JSON.
_OWN_PARAMETER = frozenset({"input", "output", "cache_write", "cache_read"})
_TOKEN_CLASS = re.compile(r"[-a-zA-Z0-9_]{1,32}\Z")


class Outcome(StrEnum):
    """How an operation ended. The first four changed or confirmed something, the others refused."""

    AUTHORIZED = "authorized"
    CHARGED = "charged"
    VOIDED = "voided"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    INSUFFICIENT = "insufficient"
    PRICE_MISSING = "price_missing"
    ORGANIZATION_UNKNOWN = "organization_unknown"
    ORGANIZATION_SUSPENDED = "organization_suspended"
    USAGE_STOPPED = "usage_stopped"
    HOLD_UNKNOWN = "hold_unknown"
    ALREADY_CAPTURED = "already_captured"
    ALREADY_VOIDED = "already_voided"
    OCCURRED_AT_OUT_OF_RANGE = "occurred_at_out_of_range"


# Looked up, because an enum takes ten times as long to find its member.
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request uses or used. ``key_ref`` names the customer's API key, if the gateway tells it."""

    model: str
    quantities: Quantities
    surface: str = Surface.API
    key_ref: str = ""

    def __post_init__(self) -> None:
        if not _MODEL.match(self.model):
            raise InvalidUsage("A model has a name of at most 64 printable characters.", field="model")
        if self.key_ref and not _KEY_REF.match(self.key_ref):
            raise InvalidUsage("An API key is named in at most 64 printable characters.", field="key_ref")
        if self.surface not in _SURFACES:
            raise InvalidUsage("The surface is api, workbench or claude_code.", field="surface")
        check_quantities(self.quantities)


class Result(NamedTuple):
    """The answer to one operation. Amounts in nano-USD.

    ``amount_nano`` is what was held or charged, or what was asked for where that was refused; ``debt_nano`` the part
    that no credit covered; ``available_nano`` what a new request may use afterwards. ``detail`` names what has no
    price. ``is_newly_low``: a reload became due by this operation, and nobody has been told yet.

    A tuple and no dataclass: a batch makes a thousand of them, and a frozen one takes four times as long to make.
    """

    outcome: Outcome
    hold_id: int | None
    charge_id: int | None
    amount_nano: int | None
    debt_nano: int | None
    available_nano: int | None
    expires_at: datetime | None
    is_newly_low: bool
    detail: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One charge of a batch. ``occurred_at`` is when the request began; it picks the price and the day of usage.

    With ``operation="usage"`` it reports work that was served already, as :func:`report_usage` does.
    """

    organization_id: int
    key: str
    usage: Usage
    occurred_at: datetime | None = None
    operation: Literal["charge", "usage"] = "charge"

    def __post_init__(self) -> None:
        check_key(self.key)


def check_key(key: str) -> None:
    """Refuse an idempotency key that is empty, longer than 255 characters or not printable ASCII.

    Raises:
        InvalidUsage: it is.
    """
    if not _KEY.match(key):
        raise InvalidUsage("A key has 1 to 255 printable characters.", field="idempotency_key")


def check_quantities(quantities: Quantities) -> None:
    """Refuse quantities that no request can have.

    Raises:
        InvalidUsage: not a mapping of at most 32 token classes to integers from 0 to 10**9, or one that names the
            fee of a request, which the price list adds by itself.
    """
    if len(quantities) > TOKEN_CLASSES_MAX:
        raise InvalidUsage(f"At most {TOKEN_CLASSES_MAX} token classes can be given.", field="quantities")
    if REQUEST_CLASS in quantities:
        raise InvalidUsage(f"{REQUEST_CLASS} is the fee of a request and added by itself.", field="quantities")
    for token_class, units in quantities.items():
        if token_class not in _KNOWN_CLASSES and not _TOKEN_CLASS.match(token_class):
            raise InvalidUsage("A token class has 1 to 32 letters, digits, - or _.", field="quantities")
        if type(units) is not int or not 0 <= units <= QUANTITY_MAX:
            raise InvalidUsage(f"{token_class} must be an integer from 0 to {QUANTITY_MAX}.", field="quantities")


def authorize(*, organization_id: int, key: str, usage: Usage, ttl_seconds: int = HOLD_SECONDS_DEFAULT) -> Result:
    """Hold credit for a request that is about to be served: its worst case, at the price of now."""
    check_key(key)
    if not 1 <= ttl_seconds <= HOLD_SECONDS_MAX:
        raise InvalidUsage(f"A hold lasts from 1 to {HOLD_SECONDS_MAX} seconds.", field="ttl_seconds")
    row = _AUTHORIZE(
        organization_id,
        key,
        usage.model,
        usage.surface,
        usage.key_ref,
        _others(usage.quantities),
        ttl_seconds,
        *_usual_units(usage.quantities),
    )
    return _result(row)


def capture(*, organization_id: int, hold_id: int, key: str, quantities: Quantities) -> Result:
    """Charge what a held request really used, at the price of its start, and give back what is over."""
    check_key(key)
    check_quantities(quantities)
    return _result(_CAPTURE(organization_id, hold_id, key, _others(quantities), *_usual_units(quantities)))


def void(*, organization_id: int, hold_id: int) -> Result:
    """Give a hold back whole: a failed request costs nothing."""
    return _result(_VOID(organization_id, hold_id))


def charge(*, organization_id: int, key: str, usage: Usage, occurred_at: datetime | None = None) -> Result:
    """Charge at once, or refuse when credit lacks."""
    return _charge("charge", organization_id, key, usage, occurred_at)


def report_usage(*, organization_id: int, key: str, usage: Usage, occurred_at: datetime | None = None) -> Result:
    """Charge work that was served already, in full: what no credit covers becomes debt."""
    return _charge("usage", organization_id, key, usage, occurred_at)


def charge_many(events: Sequence[Event]) -> list[Result]:
    """Charge up to 1,000 events, of any organizations, in one round trip. Each has its own result, in their order."""
    if len(events) > EVENTS_PER_CALL_MAX:
        raise InvalidUsage(f"A call takes at most {EVENTS_PER_CALL_MAX} events.", field="events")
    if not events:
        return []
    order = sorted(range(len(events)), key=lambda place: events[place].organization_id)
    answers = _CHARGE_MANY(*_columns([events[place] for place in order]))
    results = [
        Result(Outcome.CHARGED, None, charge_id, amount_nano, 0, available_nano, None, False, None)
        for charge_id, amount_nano, available_nano in zip(
            answers.charge_ids, answers.amounts_nano, answers.availables_nano, strict=True
        )
    ]
    for place, row in answers.others.items():
        results[place - 1] = _result(row)
    in_place = sorted(zip(order, results, strict=True))
    return [result for _, result in in_place]


_AUTHORIZE = HotCall("credits_authorize", parameters=11, read=result_columns)
_CHARGE = HotCall("credits_charge", parameters=12, read=result_columns)
_CHARGE_MANY = HotCall("credits_charge_many", parameters=12, read=batch_columns)
_CAPTURE = HotCall("credits_capture", parameters=8, read=result_columns)
_VOID = HotCall("credits_void", parameters=2, read=result_columns)


def _charge(operation: str, organization_id: int, key: str, usage: Usage, occurred_at: datetime | None) -> Result:
    check_key(key)
    row = _CHARGE(
        organization_id,
        operation,
        key,
        usage.model,
        usage.surface,
        usage.key_ref,
        _others(usage.quantities),
        occurred_at.isoformat() if occurred_at else None,
        *_usual_units(usage.quantities),
    )
    return _result(row)


def _usual_units(quantities: Quantities) -> tuple[int | None, int | None, int | None, int | None]:
    """The units of the classes that have a parameter of their own; None where one isn't used."""
    units = quantities.get
    return units("input"), units("output"), units("cache_write"), units("cache_read")


def _others(quantities: Quantities) -> str | None:
    """Units of all other classes as JSON; None where there are none.

    The units are known to be integers; an encoder made anew for each call costs more.
    """
    if quantities.keys() <= _OWN_PARAMETER:
        return None
    others = [(name, units) for name, units in quantities.items() if name not in _OWN_PARAMETER]
    return "{" + ",".join([f"{encode_basestring_ascii(name)}:{units}" for name, units in others]) + "}"


def _columns(events: Sequence[Event]) -> tuple[str, ...]:
    """The events as the function reads them: an array for each of their parts, as PostgreSQL writes arrays.

    Their texts were looked at when they were made. In quotes they are what they would be in JSON: printable ASCII, with
    a backslash before quotes and backslashes.
    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    """
    quoted = encode_basestring_ascii
    usages = [event.usage for event in events]
    texts = (
        [quoted(event.operation) for event in events],
        [quoted(event.key) for event in events],
        [quoted(usage.model) for usage in usages],
        [quoted(usage.surface) for usage in usages],
        [quoted(usage.key_ref) for usage in usages],
    )
    others = [_others(usage.quantities) for usage in usages]
    starts = [event.occurred_at for event in events]
    units = zip(*[_usual_units(usage.quantities) for usage in usages], strict=True)
    return (
        "{" + ",".join([f"{event.organization_id:d}" for event in events]) + "}",
        *("{" + ",".join(column) + "}" for column in texts),
        _sparse(others, quoted),
        _sparse(starts, lambda start: f'"{start.isoformat()}"'),
        *(_sparse(column, str) for column in units),
    )


def _sparse(elements: Sequence[Any], written: Callable[[Any], str]) -> str:
    """An array most of whose elements may be nothing. Where all are, it is empty: that reads the same, and faster."""
    if elements.count(None) == len(elements):
        return "{}"
    return "{" + ",".join(["NULL" if element is None else written(element) for element in elements]) + "}"


def _result(row: tuple[Any, ...]) -> Result:
    return Result(_OUTCOMES[row[0]], *row[1:])
