"""Staff have a second factor before they get anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import second_factors
from accounts.access import second_factor_first
from accounts.models import User

# What one needs to get a factor, and to leave: allauth's routes, by the beginning of their names.
OWN_ACCOUNT: Final = ("account_", "mfa_", "second_factor_required")


class StaffNeedASecondFactor:
    """Lead staff without a second factor to setting one up, whatever they ask for but that and their own account.

    Here and not on the views, because the administration is one door with many routes, and because what staff may do
    elsewhere (as members, say) is guarded with it. A session from before somebody became staff meets it too.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponseBase], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Answer in the view's place where a factor is missing."""
        user, match = request.user, request.resolver_match
        if not isinstance(user, User) or not user.is_staff or match is None:
            return None
        is_admin = "admin" in match.app_names
        is_own_account = (match.url_name or "").startswith(OWN_ACCOUNT)
        if not is_admin and (is_own_account or not getattr(view, "login_required", True)):
            return None
        return None if second_factors.has_factor(user=user) else second_factor_first(request)
