"""What surrounds every answer of the gate: the id of the exchange, JSON where Django answers by itself, no cache."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts import current_request
from billing.api import answers


def envelope(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """The gate's only middleware of its own: echo X-Request-Id, forbid caching, say 405 in the gate's shape."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        request.request_id = answers.request_id(request)  # type: ignore[attr-defined]
        with current_request.answering(request):
            response = get_response(request)
        if response.status_code == 405:
            allow = response.headers.get("Allow", "")
            response = answers.refuse(request, "method_not_allowed")
            response.headers["Allow"] = allow
        response.headers["X-Request-Id"] = answers.request_id(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return handle


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404 in the gate's process, which has no templates to show."""
    return answers.refuse(request, "not_found")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400 in the gate's process."""
    return answers.refuse(request, "bad_request")


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500 in the gate's process."""
    return answers.refuse(request, "internal")
