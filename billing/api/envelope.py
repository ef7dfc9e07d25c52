"""What surrounds every answer of the gate: the id of the exchange, JSON where Django answers by itself, no cache."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts import current_request
from billing.api import answers

# Nothing of an answer is for a browser to run, frame or hand to another site's page.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Load balancers ask it from inside, and no key comes with the question.
WITHOUT_TLS = "/healthz"


def envelope(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """The gate's only middleware of its own: echo X-Request-Id, forbid caching and framing, refuse plain HTTP, say 405
    in the gate's shape."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        request.request_id = answers.request_id(request)  # type: ignore[attr-defined]
        with current_request.answering(request):
            response = _plain_http_refused(request) or get_response(request)
        if response.status_code == 405:
            allow = response.headers.get("Allow", "")
            response = answers.refuse(request, "method_not_allowed")
            response.headers["Allow"] = allow
        response.headers["X-Request-Id"] = answers.request_id(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return handle


def _plain_http_refused(request: HttpRequest) -> HttpResponse | None:
    """403 where TLS is expected and missing. A redirect would hide that a key has just been sent in clear."""
    if not settings.IS_TLS or request.is_secure() or request.path == WITHOUT_TLS:
        return None
    return answers.refuse(request, "tls_required")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404 in the gate's process, which has no templates to show."""
    return answers.refuse(request, "not_found")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400 in the gate's process."""
    if isinstance(exception, RequestDataTooBig):
        return answers.refuse(request, "too_large")
    return answers.refuse(request, "bad_request")


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500 in the gate's process."""
    return answers.refuse(request, "internal")
