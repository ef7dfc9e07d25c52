"""What the gate reads. Numbers are strict integers with bounds, texts are printable ASCII, unknown fields are refused.

JSON itself is read strictly too: Python's parser would take NaN, turn 1e400 into infinity, keep the last of two equal
names and pass NUL and lone surrogates on to the database, which fails on them.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NoReturn

from django.http import HttpRequest
from ninja.parser import Parser
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, StringConstraints
from pydantic.json_schema import WithJsonSchema

from billing.credits import metering
from billing.models import Surface

BODY_BYTES_MAX = 64 * 1024
BATCH_BYTES_MAX = 2 * 1024 * 1024
DEPTH_MAX = 6

_INSTANT = re.compile(
    r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)


class BodyRefused(Exception):
    """A body that is no acceptable JSON, whatever its fields. ``code`` is the answer's."""

    def __init__(self, message: str, *, code: str = "invalid") -> None:
        super().__init__(message)
        self.code = code


class StrictParser(Parser):
    """Reads JSON as RFC 8259 means it, within bounds of size and depth."""

    def parse_body(self, request: HttpRequest) -> Any:
        """The value in the body. Raises BodyRefused."""
        bytes_max = BATCH_BYTES_MAX if request.path.endswith("/charge_many") else BODY_BYTES_MAX
        if len(request.body) > bytes_max:
            raise BodyRefused(f"The body is larger than {bytes_max} bytes.", code="too_large")
        return read_json(request.body)


def read_json(body: bytes) -> Any:
    """The value in ``body``. Raises BodyRefused."""
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object_without_repetition
        )
        check_depth(value)
    except UnicodeDecodeError:
        raise BodyRefused("The body is not UTF-8.")
    except RecursionError:
        raise BodyRefused(f"The body is nested deeper than {DEPTH_MAX} levels.")
    except ValueError:
        raise BodyRefused("The body is not JSON.")
    return value


def check_depth(value: Any, *, levels: int = DEPTH_MAX) -> None:
    """Raise BodyRefused for a value that is nested deeper than ``levels``."""
    if not isinstance(value, dict | list):
        return
    if levels == 0:
        raise BodyRefused(f"The body is nested deeper than {DEPTH_MAX} levels.")
    for part in value.values() if isinstance(value, dict) else value:
        check_depth(part, levels=levels - 1)


def _refuse_constant(name: str) -> NoReturn:
    raise BodyRefused(f"{name} is not JSON.")


def _object_without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BodyRefused("A name stands twice in one object.")
    return result


def _instant(value: object) -> datetime:
    """An instant as RFC 3339 writes it, with its zone, in UTC. Digits after the microsecond are cut."""
    if not isinstance(value, str) or not _INSTANT.match(value):
        raise ValueError("an instant is written as 2026-01-31T12:00:00Z, with its zone")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such instant")


OrganizationSlug = Annotated[
    str, StringConstraints(pattern=r"^[-a-zA-Z0-9_]{1,60}$"), Field(description="The organization's slug.")
]
IdempotencyKey = Annotated[
    str,
    StringConstraints(pattern=r"^[\x20-\x7e]{1,255}$"),
    Field(description="The same key with the same content gives the first result again, for ever."),
]
ModelName = Annotated[
    str, StringConstraints(pattern=r"^[\x21-\x7e]{1,64}$"), Field(description="The model, as the price list names it.")
]
KeyRef = Annotated[
    str,
    StringConstraints(pattern=r"^[\x20-\x7e]{0,64}$"),
    Field(description="The customer's API key, as the gateway calls it; never the key itself."),
]


def _token_class(name: str) -> str:
    """Refuse the fee of a request: the price list adds it by itself, once to each request."""
    if name == metering.REQUEST_CLASS:
        raise ValueError("this is the fee of a request; the price list adds it by itself")
    return name


TokenClassName = Annotated[str, StringConstraints(pattern=r"^[-a-zA-Z0-9_]{1,32}$"), AfterValidator(_token_class)]
Units = Annotated[int, Field(strict=True, ge=0, le=metering.QUANTITY_MAX)]
Quantities = Annotated[
    dict[TokenClassName, Units],
    Field(
        min_length=1,
        max_length=metering.TOKEN_CLASSES_MAX,
        description="Units by token class as the price list names them, each unit in one class: input, output, ...",
    ),
]
SurfaceName = Annotated[Literal["api", "workbench", "claude_code"], Field(description="Where the usage came from.")]
HoldId = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    Field(description="When the request began: it picks the price and the day of usage. At most 35 days ago."),
]

assert set(Surface.values) == {"api", "workbench", "claude_code"}


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    organization: OrganizationSlug


class _UsageBody(_Body):
    idempotency_key: IdempotencyKey
    model: ModelName
    surface: SurfaceName
    key_ref: KeyRef = ""
    quantities: Quantities

    def usage(self) -> metering.Usage:
        """The domain's value of it."""
        return metering.Usage(model=self.model, quantities=self.quantities, surface=self.surface, key_ref=self.key_ref)


class AuthorizeBody(_UsageBody):
    """The worst case of a request that is about to be served."""

    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=metering.HOLD_SECONDS_MAX)] = metering.HOLD_SECONDS_DEFAULT


class CaptureBody(_Body):
    """What a held request really used."""

    hold_id: HoldId
    idempotency_key: IdempotencyKey
    quantities: Quantities


class VoidBody(_Body):
    """A held request that failed."""

    hold_id: HoldId


class ChargeBody(_UsageBody):
    """Usage to be charged at once."""

    occurred_at: Instant | None = None


class EventBody(ChargeBody):
    """One event of a batch."""

    operation: Annotated[
        Literal["charge", "usage"],
        Field(description="charge: refused when credit lacks. usage: served already, charged in full."),
    ] = "charge"


class VerifyBody(BaseModel):
    """A customer's key as its public part and the digest of its whole text; the text itself stays at the gateway."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prefix: Annotated[
        str,
        StringConstraints(pattern=r"^ck_live_[A-Za-z0-9]{8}$"),
        Field(description="The first 16 characters of the key."),
    ]
    key_sha256: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9a-f]{64}$"),
        Field(description="SHA-256 of the key's whole text, in lower-case hexadecimal."),
    ]


class ChargeManyBody(BaseModel):
    """Up to 1,000 events. Each is checked by itself, so a bad one has its own answer and spoils no other."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    events: Annotated[
        list[Annotated[EventBody, SkipValidation]], Field(min_length=1, max_length=metering.EVENTS_PER_CALL_MAX)
    ]
