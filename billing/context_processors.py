"""What billing adds to every page's shell."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from billing.purse import purse_for


def purse(request: HttpRequest) -> dict[str, Any]:
    """The credit in the side bar, on pages of an organization; read when a template first asks for it."""
    membership = getattr(request, "membership", None)
    return {"purse": SimpleLazyObject(lambda: purse_for(membership)) if membership is not None else None}
