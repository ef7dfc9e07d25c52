"""The routes of the gate. Each reads a body, calls one operation and writes its result; nothing is decided here."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import pydantic
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Query
from ninja.security import HttpBearer

from accounts import api_keys
from accounts.models import ApiKey, Scope, ServiceKey
from billing.api import answers, failures
from billing.api.bodies import (
    AuthorizeBody,
    CaptureBody,
    ChargeBody,
    ChargeManyBody,
    EventBody,
    StrictParser,
    VerifyBody,
    VoidBody,
)
from billing.api.key_states import Asked, KeyRefusal, key_states
from billing.api.known import keys, organization_ids
from billing.api.nudges import nudges
from billing.credits import key_limits, metering, queries, usage_blocks
from billing.credits.key_limits import KnownKey
from billing.credits.metering import Outcome, Result


class ServiceKeyBearer(HttpBearer):
    """`Authorization: Bearer ck_gate_...`: the key of the platform's gateway, good for every organization."""

    # What the description of the gate calls it, whatever scope it needs.
    openapi_name = "ServiceKeyBearer"

    def __init__(self, scope: Scope | None = None) -> None:
        super().__init__()
        self._scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> ServiceKey | None:
        """The key, or None when it is unknown or revoked.

        Raises:
            ScopeMissing: it is neither, but may not do what the route does.
        """
        found = keys.find(token)
        if found is not None and self._scope is not None and not found.may(self._scope):
            raise failures.ScopeMissing
        return found


service_key = ServiceKeyBearer()
may_meter, may_read, may_know_keys = (ServiceKeyBearer(scope) for scope in (Scope.METER, Scope.READ, Scope.KEYS))


def needs_service_key(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The same door for the description of the gate, which ninja serves beside its operations."""

    def guarded(request: HttpRequest, **parameters: Any) -> HttpResponse:
        try:
            is_known = service_key(request) is not None
        except Exception as error:
            return gate.on_exception(request, error)
        return view(request, **parameters) if is_known else failures.no_key(request)

    return guarded


gate = NinjaAPI(
    title="Credit gate",
    version="1",
    description="Authorize before a request, capture after success, void after failure, report usage in batches.",
    docs_url=None,
    docs_decorator=needs_service_key,
    auth=service_key,
    parser=StrictParser(),
)
failures.install(gate)

UNKNOWN_ORGANIZATION = Result(Outcome.ORGANIZATION_UNKNOWN, None, None, None, None, None, None, False, None)

_REFUSALS = dict.fromkeys((401, 402, 403, 404, 409, 413, 422, 503), answers.Refusal)
_RESPONSES: dict[int, Any] = {200: answers.Answer, 201: answers.Answer, **_REFUSALS}


@gate.post("/authorize", auth=may_meter, response=_RESPONSES, summary="Hold credit before a request is served")
def authorize(request: HttpRequest, body: AuthorizeBody) -> HttpResponse:
    """Holds the worst case at the price of now: input as known, output at its ceiling. Serve only after a 2xx."""

    def operate(organization_id: int) -> Result:
        return metering.authorize(
            organization_id=organization_id, key=body.idempotency_key, usage=body.usage(), ttl_seconds=body.ttl_seconds
        )

    return _operation(request, body.organization, operate, done=Outcome.AUTHORIZED, model=body.model, asks=body)


@gate.post("/capture", auth=may_meter, response=_RESPONSES, summary="Charge what a held request used")
def capture(request: HttpRequest, body: CaptureBody) -> HttpResponse:
    """Charges the real quantities and gives the rest of the hold back. A stream that broke off is captured with what
    was delivered. Works after the hold has lapsed, too."""

    def operate(organization_id: int) -> Result:
        return metering.capture(
            organization_id=organization_id, hold_id=body.hold_id, key=body.idempotency_key, quantities=body.quantities
        )

    return _operation(request, body.organization, operate, done=Outcome.CHARGED, is_served=True)


@gate.post("/void", auth=may_meter, response=_RESPONSES, summary="Give a hold back")
def void(request: HttpRequest, body: VoidBody) -> HttpResponse:
    """A failed request costs nothing. Voiding twice is voiding once."""

    def operate(organization_id: int) -> Result:
        return metering.void(organization_id=organization_id, hold_id=body.hold_id)

    return _operation(request, body.organization, operate, done=Outcome.VOIDED)


@gate.post("/charge", auth=may_meter, response=_RESPONSES, summary="Charge at once")
def charge(request: HttpRequest, body: ChargeBody) -> HttpResponse:
    """For requests whose cost is known before they are served. Refused when credit lacks."""
    return _charge(request, body, metering.charge, is_served=False)


@gate.post("/usage", auth=may_meter, response=_RESPONSES, summary="Report usage that was served already")
def usage(request: HttpRequest, body: ChargeBody) -> HttpResponse:
    """Charged in full, also without credit: what no credit covers becomes debt, which blocks new authorizations."""
    return _charge(request, body, metering.report_usage, is_served=True)


@gate.post(
    "/charge_many",
    auth=may_meter,
    response={200: answers.ChargeManyAnswer, **_REFUSALS},
    summary="Charge up to 1,000 events in one call",
)
def charge_many(request: HttpRequest, body: ChargeManyBody) -> HttpResponse:
    """As single charges, or reports of usage, in the given order. Each event has its own status; the call's is 200."""
    results: list[dict[str, Any]] = [{} for _ in body.events]
    charges: list[tuple[int, EventBody]] = []
    for index, raw in enumerate(body.events):
        try:
            charges.append((index, EventBody.model_validate(raw)))
        except pydantic.ValidationError as error:
            results[index] = {"status": 422, "result": None, "error": answers.invalid(error)}
    bodies = [charge for _, charge in charges]
    outcomes = failures.once_more_if_disconnected(lambda: _charge_many(bodies))
    named = [(body.organization, outcome) for body, outcome in zip(bodies, outcomes, strict=True)]
    if _forget_strays((slug, outcome) for slug, outcome in named if isinstance(outcome, Result)):
        outcomes = failures.once_more_if_disconnected(lambda: _charge_many(bodies))
    for (index, charge), outcome in zip(charges, outcomes, strict=True):
        results[index] = _event_answer(outcome, charge)
    return answers.respond(request, 200, {"results": results})


@gate.get(
    "/balance",
    auth=may_read,
    response={200: answers.BalanceAnswer, **_REFUSALS},
    summary="What an organization has",
)
def balance(
    request: HttpRequest, organization: Annotated[str, Query(pattern=r"^[-a-zA-Z0-9_]{1,60}$")]
) -> HttpResponse:
    """Live credit, what holds have reserved of it, debt, and what a new request may use, all at one instant."""

    def read() -> queries.Summary | None:
        ids = organization_ids.by_slug([organization])
        return queries.summary(organization_id=ids[organization]) if ids else None

    summary = failures.once_more_if_disconnected(read)
    if summary is None:
        return _respond(request, UNKNOWN_ORGANIZATION, organization, done=Outcome.CHARGED)
    return answers.respond(request, 200, answers.balance(summary, slug=organization))


@gate.post(
    "/keys/verify",
    auth=may_know_keys,
    response={200: answers.KeyAnswer, **_REFUSALS},
    summary="Learn whose a customer's key is",
)
def verify_key(request: HttpRequest, body: VerifyBody) -> HttpResponse:
    """By the key's public part and the digest of its text. A key that doesn't exist and a wrong digest are one answer,
    404 key_unknown. Whose a key is never changes; its state is looked at again by authorize and charge."""

    def read() -> tuple[ApiKey | None, KnownKey | None]:
        found = api_keys.verify(prefix=body.prefix, key_sha256=body.key_sha256)
        return found, key_limits.known_keys([body.prefix]).get(body.prefix)

    found, known = failures.once_more_if_disconnected(read)
    if found is None or known is None:
        return answers.refuse(request, "key_unknown")
    return answers.respond(request, 200, answers.key(found, known))


def _charge(
    request: HttpRequest, body: ChargeBody, charge_function: Callable[..., Result], *, is_served: bool
) -> HttpResponse:
    def operate(organization_id: int) -> Result:
        return charge_function(
            organization_id=organization_id, key=body.idempotency_key, usage=body.usage(), occurred_at=body.occurred_at
        )

    return _operation(
        request,
        body.organization,
        operate,
        done=Outcome.CHARGED,
        model=body.model,
        is_served=is_served,
        asks=None if is_served else body,
    )


def _operation(
    request: HttpRequest,
    slug: str,
    operate: Callable[[int], Result],
    *,
    done: Outcome,
    model: str | None = None,
    is_served: bool = False,
    asks: AuthorizeBody | ChargeBody | None = None,
) -> HttpResponse:
    """Run one operation for an organization and answer with its result. ``is_served``: the work was done before.

    ``asks``: the request is still to be served, so its key has to be able to pay for it.
    """

    def attempt() -> Result | KeyRefusal:
        ids = organization_ids.by_slug([slug])
        if not ids:
            return UNKNOWN_ORGANIZATION
        if asks is not None:
            (refused,) = _key_refusals([(ids[slug], asks)], operation=done)
            if refused is not None:
                return refused
        (result,) = _with_reasons([(ids[slug], operate(ids[slug]))])
        return result

    result = failures.once_more_if_disconnected(attempt)
    if isinstance(result, Result) and _forget_strays([(slug, result)]):
        result = failures.once_more_if_disconnected(attempt)
    if isinstance(result, KeyRefusal):
        return answers.respond_problem(request, *answers.key_refusal(result, slug=slug))
    if result.is_newly_low:
        nudges.tell()
    return _respond(request, result, slug, done=done, model=model, is_served=is_served)


def _key_refusals(
    asking: Sequence[tuple[int, AuthorizeBody | ChargeBody]], *, operation: Outcome
) -> list[KeyRefusal | None]:
    """Why the keys of these requests can't pay for them.

    What was done already under an idempotency key is answered as it was, whatever has become of the customer's key.
    """
    refusals = key_states.refusals(
        [Asked(organization_id, body.key_ref, body.surface) for organization_id, body in asking]
    )
    if not any(refusals):
        return refusals
    refused = [
        (organization_id, body.idempotency_key)
        for (organization_id, body), refusal in zip(asking, refusals, strict=True)
        if refusal is not None
    ]
    done = queries.done_before(refused, is_hold=operation is Outcome.AUTHORIZED)
    return [
        None if (organization_id, body.idempotency_key) in done else refusal
        for (organization_id, body), refusal in zip(asking, refusals, strict=True)
    ]


def _with_reasons(results: Sequence[tuple[int, Result]]) -> list[Result]:
    """The same results, those of organizations that an Admin has stopped telling so. Only a refusal asks."""
    suspended = {of for of, result in results if result.outcome is Outcome.ORGANIZATION_SUSPENDED}
    stopped = usage_blocks.stopped_by_customer(organization_ids=suspended) if suspended else set()
    return [
        result._replace(outcome=Outcome.USAGE_STOPPED)
        if of in stopped and result.outcome is Outcome.ORGANIZATION_SUSPENDED
        else result
        for of, result in results
    ]


def _forget_strays(results: Iterable[tuple[str, Result]]) -> bool:
    """Forget remembered ids that lead nowhere, as after the database was restored. Whether there were any."""
    strays = [
        slug
        for slug, result in results
        if result.outcome is Outcome.ORGANIZATION_UNKNOWN and result is not UNKNOWN_ORGANIZATION
    ]
    for slug in strays:
        organization_ids.forget(slug)
    return bool(strays)


def _respond(
    request: HttpRequest,
    result: Result,
    slug: str,
    *,
    done: Outcome,
    model: str | None = None,
    is_served: bool = False,
) -> HttpResponse:
    if result.outcome in answers.REFUSALS:
        return answers.respond_problem(request, *answers.refusal(result, slug=slug, model=model, is_served=is_served))
    return answers.respond(request, answers.status_of(result, done=done), answers.answer(result, done=done))


def _event_answer(result: Result | KeyRefusal, charge: EventBody) -> dict[str, Any]:
    if isinstance(result, KeyRefusal):
        status, problem = answers.key_refusal(result, slug=charge.organization)
        return {"status": status, "result": None, "error": problem}
    if result.outcome in answers.REFUSALS:
        status, problem = answers.refusal(
            result, slug=charge.organization, model=charge.model, is_served=charge.operation == "usage"
        )
        return {"status": status, "result": None, "error": problem}
    status = answers.status_of(result, done=Outcome.CHARGED)
    return {"status": status, "result": answers.answer(result, done=Outcome.CHARGED), "error": None}


def _charge_many(charges: list[EventBody]) -> list[Result | KeyRefusal]:
    """Charge those whose organization exists and whose key can pay, in one call; the others get their own result."""
    ids = organization_ids.by_slug({charge.organization for charge in charges})
    asking = [charge for charge in charges if charge.organization in ids and charge.operation == "charge"]
    refusals = iter(_key_refusals([(ids[one.organization], one) for one in asking], operation=Outcome.CHARGED))
    results: list[Result | KeyRefusal | None] = []
    for charge in charges:
        if charge.organization not in ids:
            results.append(UNKNOWN_ORGANIZATION)
        else:
            results.append(next(refusals) if charge.operation == "charge" else None)
    events = [
        metering.Event(
            ids[charge.organization], charge.idempotency_key, charge.usage(), charge.occurred_at, charge.operation
        )
        for charge, result in zip(charges, results, strict=True)
        if result is None
    ]
    done = metering.charge_many(events) if events else []
    if any(result.is_newly_low for result in done):
        nudges.tell()
    outcomes = iter(_with_reasons([(event.organization_id, one) for event, one in zip(events, done, strict=True)]))
    return [next(outcomes) if result is None else result for result in results]
