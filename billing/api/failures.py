"""What happens when something is wrong with the request, the database or this program: refused, and never let through.

Whether a database error is worth another try is decided by its SQLSTATE: Django's exception classes don't tell, since
a failover to read-only is an InternalError like a corrupted index.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import django.db
from django.core.exceptions import RequestDataTooBig
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from billing.api import answers
from billing.api.bodies import BodyRefused
from billing.api.refusals import refused_keys
from billing.errors import InvalidUsage


class ScopeMissing(Exception):
    """The service key doesn't hold the scope of the route."""


logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Connection lost, insufficient resources, operator intervention, system error: classes of SQLSTATE, appendix A of the
# PostgreSQL manual. Then: read-only after a failover, serialization, deadlock, lock timeout, idle timeout.
_PASSING_CLASSES = ("08", "53", "57", "58")
_PASSING_STATES = frozenset({"25006", "25P03", "40001", "40P01", "55P03"})


def is_passing(error: django.db.Error) -> bool:
    """Whether the same request may succeed a moment later."""
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    if sqlstate is None:
        # No answer came from a server: the connection failed or broke.
        return isinstance(error, django.db.OperationalError | django.db.InterfaceError)
    return sqlstate.startswith(_PASSING_CLASSES) or sqlstate in _PASSING_STATES


def once_more_if_disconnected(call: Callable[[], Result]) -> Result:
    """Call again, once, when the connection that this process had kept is gone, as after a restart of the database.

    Right for idempotent calls only, and every operation of the gate is: a first call whose answer was lost is found by
    its key.
    """
    had_connection = connection.connection is not None
    try:
        return call()
    except django.db.Error as error:
        if not had_connection or not _is_disconnection(error):
            raise
        connection.close()
        return call()


def _is_disconnection(error: django.db.Error) -> bool:
    """Whether the server ended the connection: by its last words (57P01 to 57P03), or without any."""
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    is_closed = connection.connection is not None and bool(connection.connection.closed)
    return is_closed or (sqlstate is not None and sqlstate.startswith(("08", "57P")))


def install(gate: NinjaAPI) -> None:
    """Make every failure an answer in the gate's own shape."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        ValidationError: _invalid,
        InvalidUsage: _invalid_usage,
        ScopeMissing: lambda request, _: scope_missing(request),
        HttpError: _refused_by_framework,
        RequestDataTooBig: _too_large,
        UnreadablePostError: _unreadable,
        django.db.Error: _database_failed,
        Exception: _failed,
    }
    for kind, handler in handlers.items():
        gate.add_exception_handler(kind, handler)


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    detail = error.errors[0]
    # ("body", "body", field...) and ("query", field): the source and the parameter's name are not the caller's words.
    skip = 2 if detail["loc"][0] == "body" else 1
    return answers.respond_problem(request, 422, answers.invalid_field(detail, skip=skip))


def _invalid_usage(request: HttpRequest, error: InvalidUsage) -> HttpResponse:
    return answers.respond_problem(request, 422, answers.problem("invalid", str(error), field=error.field))


def _refused_by_framework(request: HttpRequest, error: HttpError) -> HttpResponse:
    if error.status_code == 401:
        return no_key(request)
    refused = error.__cause__
    if isinstance(refused, BodyRefused):
        return answers.refuse(request, refused.code, str(refused))
    return answers.refuse(request, "bad_request")


def no_key(request: HttpRequest) -> HttpResponse:
    """401: no key, an unknown one or a revoked one; which of them is nobody's business."""
    refused_keys.note(request)
    response = answers.refuse(request, "service_key_invalid")
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def scope_missing(request: HttpRequest) -> HttpResponse:
    """403: the key is good, but not for this."""
    refused_keys.note(request)
    return answers.refuse(request, "scope_missing")


def _too_large(request: HttpRequest, _: Exception) -> HttpResponse:
    return answers.refuse(request, "too_large")


def _unreadable(request: HttpRequest, _: Exception) -> HttpResponse:
    return answers.refuse(request, "bad_request", "The body ended early.")


def _database_failed(request: HttpRequest, error: django.db.Error) -> HttpResponse:
    if not is_passing(error):
        return _failed(request, error)
    logger.warning("request %s: the database is unavailable: %s", answers.request_id(request), type(error).__name__)
    # Nothing is known to have been done; the same request with the same key is safe to send again.
    response = answers.refuse(request, "unavailable")
    response.headers["Retry-After"] = str(answers.RETRY_AFTER_SECONDS)
    return response


def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("request %s failed", answers.request_id(request), exc_info=error)
    return answers.refuse(request, "internal")
