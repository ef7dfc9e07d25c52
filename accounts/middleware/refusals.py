"""Refusals of the administration, which answers by itself and tells nobody."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from accounts import audit
from accounts.access import METHOD_LENGTH
from accounts.models import User


def refusals(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Keep in history who was refused a page of staff. Pages of organizations tell theirs themselves."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        match = request.resolver_match
        is_refused = response.status_code == 403 and match is not None and match.app_name == "admin"
        if is_refused and isinstance(request.user, User):
            audit.record_once(
                organization=None,
                actor=request.user,
                action="access.staff_refused",
                occasion=audit.occasion_of(request),
                at=timezone.now(),
                after={"page": audit.occasion_of(request), "method": str(request.method)[:METHOD_LENGTH]},
                request=request,
            )
        return response

    return handle
