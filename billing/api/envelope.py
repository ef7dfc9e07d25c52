"""The gate's only middleware of its own: every answer carries the id of the exchange and is JSON."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from billing.api import answers

_BY_STATUS = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address doesn't take this method."),
}
_BAD_REQUEST = ("bad_request", "The request can't be read.")
_SERVER_FAILED = ("internal", "The gate failed. The same request with the same key is safe to send again.")


def envelope(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Echo X-Request-Id, forbid caching, and write errors that Django made by itself in the gate's shape."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if response.status_code >= 400 and not response.headers.get("Content-Type", "").startswith("application/json"):
            code, message = _BY_STATUS.get(
                response.status_code, _SERVER_FAILED if response.status_code >= 500 else _BAD_REQUEST
            )
            allow = response.headers.get("Allow")
            response = answers.refuse(request, response.status_code, code, message)
            if allow:
                response.headers["Allow"] = allow
        response.headers["X-Request-Id"] = answers.request_id(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return handle
