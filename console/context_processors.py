"""What every page's shell shows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import queries
from console import navigation


def shell(request: HttpRequest) -> dict[str, Any]:
    """The platform's name, whether this is the demo with its mailbox, and the side bar.

    ``membership`` is there on pages of an organization only. The lists are read when a template first asks for them,
    so pages without the side bar pay nothing.
    """
    membership = getattr(request, "membership", None)
    user = getattr(request, "user", None)
    return {
        "platform_name": settings.PLATFORM_NAME,
        "is_demo": bool(settings.DEMO_FOLDER),
        "is_sign_up_open": settings.SIGN_UP_IS_OPEN,
        "membership": membership,
        "navigation": SimpleLazyObject(lambda: navigation.groups_for(membership, path=request.path))
        if membership
        else [],
        "memberships": SimpleLazyObject(lambda: queries.memberships_of(user=user)) if user is not None else [],
    }
