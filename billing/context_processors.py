"""What billing adds to every page's shell."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import Membership
from billing import suspensions
from billing.models import UsageBlock
from billing.purse import purse_for


def purse(request: HttpRequest) -> dict[str, Any]:
    """The credit in the side bar, on pages of an organization; read when a template first asks for it."""
    membership = getattr(request, "membership", None)
    if membership is None:
        return {"purse": None, "suspension": None}
    purse = SimpleLazyObject(lambda: purse_for(membership))
    return {"purse": purse, "suspension": SimpleLazyObject(lambda: _suspension(membership, purse))}


def _suspension(membership: Membership, purse: Any) -> UsageBlock | None:
    """The suspension that all members read of. Where the purse says that nothing is frozen, nothing is asked."""
    if purse and not purse.is_frozen:
        return None
    return suspensions.standing(organization_id=membership.organization_id)
