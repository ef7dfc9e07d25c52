"""From a request to its answer: key, route, fault, idempotency, parameters, effect, expansion. No sockets here."""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sandbox.stripe import API_VERSION, expansion, form_encoding, idempotency, intents, parameters, routing
from sandbox.stripe.call import Call, Credential
from sandbox.stripe.credentials import AcceptedKeys, secret_key_required
from sandbox.stripe.errors import ApiError, Fields, Reply
from sandbox.stripe.events import Events
from sandbox.stripe.faults import Fault, Faults
from sandbox.stripe.form_encoding import Tree
from sandbox.stripe.journal import Journal
from sandbox.stripe.routing import Operation
from sandbox.stripe.semantics import Semantic, Semantics
from sandbox.stripe.state import State, new_id

REQUESTS_REMEMBERED = 1000

BEFORE_EFFECT = ("refuse", "cut_before")


@dataclass(frozen=True)
class Request:
    """One HTTP request. `headers` has lower-case names."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to send. `fault` is one that strikes the connection rather than the content."""

    reply: Reply
    fault: Fault | None = None


class Api:
    """The API of one stand-in."""

    def __init__(
        self,
        *,
        state: State,
        events: Events,
        journal: Journal,
        faults: Faults,
        keys: AcceptedKeys,
        semantics: Semantics,
        base_url: str,
    ) -> None:
        self._state = state
        self._events = events
        self._journal = journal
        self._faults = faults
        self._keys = keys
        self._semantics = semantics
        self._base_url = base_url
        self._idempotency = idempotency.IdempotencyKeys(state, semantics=semantics)
        self._is_stopped = False
        self._requests: deque[Fields] = deque(maxlen=REQUESTS_REMEMBERED)

    def requests(self) -> list[Fields]:
        """The last requests, oldest first: what was asked and what was answered, without parameters."""
        return list(self._requests)

    def stop(self) -> None:
        """Requests that still run when the state is closed end quietly."""
        self._is_stopped = True

    def own_call(self, *, is_from_outside: bool = True) -> Call:
        """A call that the stand-in makes itself: for the world outside, or for the card holder in the browser."""
        call = self._call(
            Request("POST", "", "", {}, b""),
            credential="secret" if is_from_outside else "publishable",
            request_id=new_id("req", length=14),
        )
        return replace(call, is_from_outside=is_from_outside)

    def answer(self, request: Request) -> Answer:
        """Answer one request to /v1/."""
        request_id = new_id("req", length=14)
        try:
            answer = self._answer(request, request_id=request_id)
        except ApiError as error:
            answer = Answer(error.reply())
        except Exception:
            if self._is_stopped:
                return Answer(Reply(status=503, body={}))
            traceback.print_exc(file=sys.stderr)
            failure = ApiError("The stand-in has a fault of its own; see its log.", status=500, type="api_error")
            answer = Answer(failure.reply())
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION} | answer.reply.headers
        self._requests.append(
            {
                "at": self._state.now(),
                "method": request.method,
                "path": request.path,
                "status": answer.reply.status,
                "idempotency_key": request.headers.get("idempotency-key"),
                "is_replayed": "Idempotent-Replayed" in headers,
                "fault": answer.fault.kind if answer.fault else None,
                "request": request_id,
            }
        )
        return replace(answer, reply=replace(answer.reply, headers=headers))

    def _answer(self, request: Request, *, request_id: str) -> Answer:
        pairs = self._pairs(request)
        given = form_encoding.tree(pairs)
        key_parameter = given.get("key")
        credential = self._keys.identify(
            authorization=request.headers.get("authorization"),
            key_parameter=key_parameter if isinstance(key_parameter, str) else None,
        )
        self._check_headers(request)
        operation, ids = routing.find(request.method, request.path)
        if credential == "publishable" and operation.browser_shape is None:
            raise secret_key_required()
        fault = self._faults.take(method=request.method, path=request.path, parameters=dict(pairs))
        if fault is not None and fault.kind in BEFORE_EFFECT:
            return Answer(Reply(status=0, body={}), fault)
        if fault is not None and fault.kind in ("rate_limited", "lock_timeout"):
            return Answer(_too_many(fault), fault)
        if fault is not None and fault.kind == "status":
            return Answer(_of_status(fault.status), fault)
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        if key is None:
            return self._execute(
                request, operation, ids, given=given, credential=credential, request_id=request_id, fault=fault
            )
        fingerprint = idempotency.fingerprint(path=request.path, pairs=pairs)
        kept = self._idempotency.begin(scope=credential, key=key, request=fingerprint)
        if kept is not None:
            return Answer(kept, fault)
        try:
            return self._execute(
                request,
                operation,
                ids,
                given=given,
                credential=credential,
                request_id=request_id,
                fault=fault,
                keep_as=(key, fingerprint),
            )
        finally:
            self._idempotency.release(scope=credential, key=key)

    def _execute(
        self,
        request: Request,
        operation: Operation,
        ids: tuple[str, ...],
        *,
        given: Tree,
        credential: Credential,
        request_id: str,
        fault: Fault | None,
        keep_as: tuple[str, str] | None = None,
    ) -> Answer:
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.delay_seconds)
        call = self._call(request, credential=credential, request_id=request_id)

        def keep(reply: Reply) -> None:
            if keep_as is not None:
                key, fingerprint = keep_as
                self._idempotency.keep(
                    scope=credential, key=key, request=fingerprint, reply=reply, request_id=request_id
                )

        try:
            call = replace(call, parameters=_parameters(call, operation, given))
            with self._state.transaction():
                reply = operation.action(call, *ids)
                paths = call.parameters.get("expand") or []
                if not call.has(Semantic.LATEST_CHARGE_IS_AN_ID) and "latest_charge" in reply.body:
                    paths = [*paths, "latest_charge"]
                body = expansion.expand(self._state, reply.body, paths=paths)
                if call.is_from_browser:
                    body = intents.for_browser(body)
                reply = replace(reply, body=body)
                if fault is not None and fault.kind == "error_500_after_effect":
                    reply = _internal_error()
                keep(reply)
        except ApiError as error:
            reply = error.reply()
            if call.is_from_browser:
                reply = replace(reply, body=intents.for_browser(reply.body))
            if error.is_stored or not call.has(Semantic.REFUSALS_LEAVE_THE_KEY_FREE):
                with self._state.transaction():
                    keep(reply)
        return Answer(reply, fault)

    def _call(self, request: Request, *, credential: Credential, request_id: str) -> Call:
        return Call(
            state=self._state,
            events=self._events,
            journal=self._journal,
            at=int(self._state.now()),
            credential=credential,
            parameters={},
            request_id=request_id,
            idempotency_key=request.headers.get("idempotency-key"),
            base_url=self._base_url,
            user_agent=request.headers.get("user-agent", ""),
            client_user_agent=request.headers.get("x-stripe-client-user-agent", ""),
            semantics=self._semantics,
        )

    def _pairs(self, request: Request) -> list[tuple[str, str]]:
        if request.method == "GET":
            return form_encoding.pairs(request.query)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if request.body and content_type != "application/x-www-form-urlencoded":
            raise ApiError(
                "Invalid request: the API takes form-encoded bodies "
                f"(Content-Type: application/x-www-form-urlencoded), not '{content_type}'."
            )
        try:
            text = request.body.decode()
        except UnicodeDecodeError as error:
            raise ApiError("Invalid request: the body isn't UTF-8.") from error
        return form_encoding.pairs(request.query) + form_encoding.pairs(text)

    def _check_headers(self, request: Request) -> None:
        version = request.headers.get("stripe-version")
        if version not in (None, API_VERSION) and self._semantics.has(Semantic.ONE_VERSION):
            raise ApiError(f"Invalid Stripe API version: {version}. The stand-in speaks {API_VERSION} only.")
        if request.headers.get("stripe-account") or request.headers.get("stripe-context"):
            raise ApiError("The stand-in does not cover connected accounts.", code="stand_in_not_covered")


def _parameters(call: Call, operation: Operation, given: Tree) -> Fields:
    semantics = call.semantics
    if call.is_from_browser or operation.shape is None:
        shape = operation.browser_shape
        if shape is None:
            raise secret_key_required()
        read = parameters.read(given, shape=shape, covered=frozenset(parameters.accepted(shape)), semantics=semantics)
        return {name: value for name, value in read.items() if name != "key"}
    return parameters.read(given, shape=operation.shape, covered=operation.covered, semantics=semantics)


def _internal_error() -> Reply:
    error = ApiError(
        "An unknown error occurred.", status=500, type="api_error", headers={"Stripe-Should-Retry": "false"}
    )
    return error.reply()


def _of_status(status: int) -> Reply:
    return ApiError("The server can't answer at the moment.", status=status, type="api_error").reply()


def _too_many(fault: Fault) -> Reply:
    if fault.kind == "lock_timeout":
        return ApiError(
            "This object cannot be accessed right now because another API request or Stripe process is currently "
            "accessing it. If you see this error intermittently, retry the request.",
            status=429,
            code="lock_timeout",
            headers={"Stripe-Should-Retry": "true"},
        ).reply()
    return ApiError(
        "Request rate limit exceeded. You can learn more about rate limits here https://docs.stripe.com/rate-limits.",
        status=429,
        code="rate_limit",
        headers={"Stripe-Should-Retry": "false"},
    ).reply()
