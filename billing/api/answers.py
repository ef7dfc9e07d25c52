"""What the gate writes: results, refusals and failures in one shape each, with amounts as integers and exact decimals.

A refusal says by a stable code why, what is missing, and who can do something about it where. Nothing that the
database or Python says about an error ever stands in a body.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid4

import pydantic
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel, Field

from accounts.models import ApiKey
from accounts.permissions import Permission, roles_with
from billing.api.key_states import KeyRefusal
from billing.credits.key_limits import KeyState, KnownKey
from billing.credits.metering import Outcome, Result
from billing.credits.queries import Summary
from billing.money import exact_usd

FIELD_LENGTH_MAX = 100
RETRY_AFTER_SECONDS = 1
STAFF = "staff"

_REQUEST_ID = re.compile(r"\A[\x21-\x7e]{1,128}\Z")

REFUSALS: Mapping[Outcome, tuple[int, str, str]] = {
    Outcome.INSUFFICIENT: (
        402,
        "credit_exhausted",
        "The organization's credit does not cover this request. An Admin or Billing member can buy credits.",
    ),
    Outcome.CONFLICT: (409, "conflict", "This idempotency key stands for another request. Nothing was changed."),
    Outcome.ALREADY_CAPTURED: (409, "already_captured", "The hold was captured before, by another key."),
    Outcome.ALREADY_VOIDED: (409, "already_voided", "The hold was voided before; there is nothing to capture."),
    Outcome.PRICE_MISSING: (
        422,
        "price_missing",
        "There is no price for {detail}, so the request must not be served. It is recorded as unpriced.",
    ),
    Outcome.ORGANIZATION_UNKNOWN: (404, "organization_unknown", "There is no such organization."),
    Outcome.ORGANIZATION_SUSPENDED: (403, "organization_suspended", "The organization is suspended by the platform."),
    Outcome.USAGE_STOPPED: (
        403,
        "usage_stopped",
        "An Admin of the organization has stopped all usage. An Admin can let it go on.",
    ),
    Outcome.HOLD_UNKNOWN: (404, "hold_unknown", "The organization has no such hold."),
    Outcome.OCCURRED_AT_OUT_OF_RANGE: (
        422,
        "occurred_at_out_of_range",
        "occurred_at is more than 35 days ago or in the future.",
    ),
}
# Work that was done already can't be refused any more: it is kept for staff, who can charge it later.
PRICE_MISSING_WHEN_SERVED = (
    "There is no price for {detail}, so nothing was charged. The usage is recorded as unpriced; staff can charge it."
)
# Why a customer's key can't pay for a request that is still to be served.
KEY_REFUSALS: Mapping[str, str] = {
    "key_unknown": "The organization has no API key with this public part.",
    "key_revoked": "The API key was revoked. Another one has to be used.",
    "key_expired": "The API key has expired. Another one has to be used.",
    "key_stopped": "The API key is stopped. Who manages the organization's keys can let it work again.",
    "key_limit_reached": "The API key has reached its spend limit of this month. Who manages keys can raise it.",
    "key_surface_mismatch": "The API key is for another surface.",
}
# What is wrong before an operation begins, or instead of one.
FAILURES: Mapping[str, tuple[int, str]] = {
    "invalid": (422, "The body is wrong."),
    "bad_request": (400, "The request can't be read."),
    "tls_required": (403, "The gate answers over HTTPS only. Replace this key: it was sent in clear."),
    "service_key_invalid": (401, "A valid service key is needed: Authorization: Bearer ck_gate_..."),
    "scope_missing": (403, "The service key may not do this. Staff can issue one that may."),
    "key_unknown": (404, "There is no such API key."),
    "not_found": (404, "There is nothing at this address."),
    "method_not_allowed": (405, "This address doesn't take this method."),
    "too_large": (413, "The body is too large."),
    "internal": (500, "The gate failed. The same request with the same key is safe to send again."),
    "unavailable": (503, "The gate can't reach its database. Send the same request again in a moment."),
}
FIXED_BY_STAFF = frozenset({"price_missing", "organization_suspended"})


class Done(BaseModel):
    """The result of one operation. A replayed key gives the same ids and amounts as the first time."""

    outcome: str = Field(description="authorized, charged or voided")
    is_replay: bool = Field(description="Whether it had been done before, so that nothing was changed now.")
    hold_id: int | None
    charge_id: int | None
    amount_nano: int = Field(description="Held or charged, in nano-USD (1 USD = 10^9).")
    amount_usd: str = Field(description="The same as an exact decimal.")
    debt_nano: int = Field(description="The part of a charge that no credit covered.")
    available_nano: int = Field(description="What a new request may use after it.")
    available_usd: str
    expires_at: str | None = Field(description="When the hold lapses.")


class Answer(Done):
    """The body of every answer below 400 to a single operation."""

    request_id: str


class Problem(BaseModel):
    """Why something was refused."""

    code: str = Field(description="Stable: programs decide by it, never by the message.")
    message: str
    field: str | None = Field(description="The field of the body that is wrong.")
    needed_nano: int | None
    needed_usd: str | None
    available_nano: int | None
    available_usd: str | None
    who_can_fix: list[str] = Field(description="Roles in the organization, or staff of the platform.")
    console_url: str | None = Field(description="The page where they can.")
    resets_at: str | None = Field(description="When it resolves by itself, if it does.")


class Refusal(BaseModel):
    """The body of every answer from 400 on."""

    error: Problem
    request_id: str


class EventAnswer(BaseModel):
    """What happened to one event of a batch: the status and body that a single call would have had."""

    status: int
    result: Done | None
    error: Problem | None


class ChargeManyAnswer(BaseModel):
    """One result for each event, in their order."""

    results: list[EventAnswer]
    request_id: str


class KeyAnswer(BaseModel):
    """Whose a customer's key is."""

    organization: str
    key_ref: str = Field(description="What names the key in authorize, charge and usage: its public part.")
    surface: str = Field(description="The surface that the key is for: api, workbench or claude_code.")
    state: str = Field(description="active, stopped, expired, revoked or limit_reached. Serve only active ones.")
    expires_at: str | None
    resets_at: str | None = Field(description="When the limit of the month ends, if it is reached.")
    request_id: str


class BalanceAnswer(BaseModel):
    """What an organization has now. available = balance - held - debt."""

    organization: str
    balance_nano: int
    balance_usd: str
    held_nano: int
    open_holds: int
    debt_nano: int
    available_nano: int
    available_usd: str
    is_blocked: bool = Field(description="Whether new requests are refused for lack of credit.")
    state: str
    counted_at: str
    console_url: str
    request_id: str


def request_id(request: HttpRequest) -> str:
    """The id of this exchange: the caller's X-Request-Id when it is printable, else a new one."""
    known: str | None = getattr(request, "gate_request_id", None)
    if known is None:
        given = request.headers.get("X-Request-Id", "")
        known = given if _REQUEST_ID.match(given) else uuid4().hex
        request.gate_request_id = known  # type: ignore[attr-defined]
    return known


@cache
def who_can_buy() -> tuple[str, ...]:
    """The roles that can end a lack of credit."""
    return tuple(role.value for role in roles_with(Permission.CREDITS_BUY))


@cache
def who_manages_keys() -> tuple[str, ...]:
    """The roles that can do something about a key."""
    return tuple(role.value for role in roles_with(Permission.KEYS_MANAGE))


@cache
def who_stops_usage() -> tuple[str, ...]:
    """The roles that can let usage go on."""
    return tuple(role.value for role in roles_with(Permission.USAGE_STOP))


def keys_url(slug: str) -> str:
    """The API keys of an organization."""
    return f"{settings.SITE_URL}/o/{slug}/keys/"


def key_refusal(refusal: KeyRefusal, *, slug: str) -> tuple[int, dict[str, Any]]:
    """Status and problem for a request whose key can't pay for it."""
    body = problem(
        refusal.code,
        KEY_REFUSALS[refusal.code],
        field="surface" if refusal.code == "key_surface_mismatch" else "key_ref",
        who_can_fix=who_manages_keys(),
        url=keys_url(slug),
        resets_at=instant_text(refusal.resets_at),
    )
    return 403, body


def console_url(slug: str) -> str:
    """The Billing page of an organization. Another process serves it, so there is no URLconf here to ask."""
    return f"{settings.SITE_URL}/o/{slug}/settings/billing/"


def answer(result: Result, *, done: Outcome) -> dict[str, Any]:
    """The body for a result that is not a refusal. ``done`` is what the operation does when it is not a replay."""
    return {
        "outcome": done.value,
        "is_replay": result.outcome is Outcome.REPLAYED,
        "hold_id": result.hold_id,
        "charge_id": result.charge_id,
        "amount_nano": result.amount_nano,
        "amount_usd": _usd(result.amount_nano),
        "debt_nano": result.debt_nano or 0,
        "available_nano": result.available_nano,
        "available_usd": _usd(result.available_nano),
        "expires_at": instant_text(result.expires_at),
    }


def status_of(result: Result, *, done: Outcome) -> int:
    """201 for a new hold or charge, 200 for a replay or a void."""
    return 200 if result.outcome is Outcome.REPLAYED or done is Outcome.VOIDED else 201


def refusal(
    result: Result, *, slug: str, model: str | None = None, is_served: bool = False
) -> tuple[int, dict[str, Any]]:
    """Status and problem for a refused result. ``is_served``: the work that it is about was done already."""
    status, code, message = REFUSALS[result.outcome]
    field = None
    who_can_fix: tuple[str, ...] = ()
    if result.outcome is Outcome.PRICE_MISSING:
        field = "model" if result.detail == model else f"quantities.{result.detail}"
        message = (PRICE_MISSING_WHEN_SERVED if is_served else message).format(detail=result.detail)
    elif result.outcome is Outcome.OCCURRED_AT_OUT_OF_RANGE:
        field = "occurred_at"
    if result.outcome is Outcome.INSUFFICIENT:
        who_can_fix = who_can_buy()
    elif result.outcome is Outcome.USAGE_STOPPED:
        who_can_fix = who_stops_usage()
    elif code in FIXED_BY_STAFF:
        who_can_fix = (STAFF,)
    is_known = result.outcome is not Outcome.ORGANIZATION_UNKNOWN
    return status, problem(
        code,
        message,
        field=field,
        needed_nano=result.amount_nano if result.outcome is Outcome.INSUFFICIENT else None,
        available_nano=result.available_nano if result.outcome is Outcome.INSUFFICIENT else None,
        who_can_fix=who_can_fix,
        url=_url_for(result.outcome, slug) if is_known else None,
    )


def _url_for(outcome: Outcome, slug: str) -> str:
    return keys_url(slug) if outcome is Outcome.USAGE_STOPPED else console_url(slug)


def problem(
    code: str,
    message: str,
    *,
    field: str | None = None,
    needed_nano: int | None = None,
    available_nano: int | None = None,
    who_can_fix: tuple[str, ...] = (),
    url: str | None = None,
    resets_at: str | None = None,
) -> dict[str, Any]:
    """The one shape of a problem."""
    return {
        "code": code,
        "message": message,
        "field": field,
        "needed_nano": needed_nano,
        "needed_usd": _usd(needed_nano),
        "available_nano": available_nano,
        "available_usd": _usd(available_nano),
        "who_can_fix": list(who_can_fix),
        "console_url": url,
        # Lack of credit, a missing price and a suspension end by what somebody does; a key's limit ends with the month.
        "resets_at": resets_at,
    }


def invalid(error: pydantic.ValidationError, *, skip: int = 0) -> dict[str, Any]:
    """The problem for a body whose fields are wrong: the first of them, by name. The value itself is not repeated."""
    return invalid_field(error.errors(include_url=False, include_context=False, include_input=False)[0], skip=skip)


def invalid_field(detail: Mapping[str, Any], *, skip: int = 0) -> dict[str, Any]:
    """The problem for one entry of pydantic's list of errors, ``skip`` parts of its location left out."""
    path = ".".join(str(part) for part in detail["loc"][skip:] if part != "[key]")
    field = path.encode("ascii", "backslashreplace").decode("ascii")[:FIELD_LENGTH_MAX] or None
    message = str(detail["msg"]).removeprefix("Value error, ")
    return problem("invalid", f"{field or 'The body'}: {message}", field=field)


def key(found: ApiKey, known: KnownKey) -> dict[str, Any]:
    """The body of a key that is known."""
    return {
        "organization": found.organization.slug,
        "key_ref": found.prefix,
        "surface": known.surface,
        "state": known.state.value,
        "expires_at": instant_text(found.expires_at),
        "resets_at": instant_text(known.resets_at) if known.state is KeyState.LIMIT_REACHED else None,
    }


def balance(summary: Summary, *, slug: str) -> dict[str, Any]:
    """The body of the balance."""
    return {
        "organization": slug,
        "balance_nano": summary.balance_nano,
        "balance_usd": _usd(summary.balance_nano),
        "held_nano": summary.held_nano,
        "open_holds": summary.open_holds,
        "debt_nano": summary.debt_nano,
        "available_nano": summary.available_nano,
        "available_usd": _usd(summary.available_nano),
        "is_blocked": summary.is_blocked,
        "state": summary.state,
        "counted_at": instant_text(summary.counted_at),
        "console_url": console_url(slug),
    }


def respond(request: HttpRequest, status: int, body: dict[str, Any]) -> HttpResponse:
    """An HTTP answer with the id of the exchange in its body."""
    content = json.dumps(body | {"request_id": request_id(request)}, separators=(",", ":"))
    return HttpResponse(content, status=status, content_type="application/json")


def respond_problem(request: HttpRequest, status: int, body: dict[str, Any]) -> HttpResponse:
    """An HTTP answer that says what is wrong."""
    return respond(request, status, {"error": body})


def refuse(request: HttpRequest, code: str, message: str = "") -> HttpResponse:
    """An HTTP answer for one of FAILURES, with a message of its own where there is more to say."""
    status, usual_message = FAILURES[code]
    return respond_problem(request, status, problem(code, message or usual_message))


def instant_text(at: datetime | None) -> str | None:
    """An instant as RFC 3339 writes it, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def _usd(amount_nano: int | None) -> str | None:
    return None if amount_nano is None else exact_usd(amount_nano)
