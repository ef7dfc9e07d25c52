"""What billing adds to every page's shell."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import Membership
from billing.credits import usage_blocks
from billing.models import UsageBlock
from billing.purse import purse_for


def purse(request: HttpRequest) -> dict[str, Any]:
    """The credit in the side bar, on pages of an organization; read when a template first asks for it."""
    membership = getattr(request, "membership", None)
    if membership is None:
        return {"purse": None, "suspension": None, "is_usage_stopped": False}
    purse = SimpleLazyObject(lambda: purse_for(membership))
    blocks = SimpleLazyObject(lambda: _blocks(membership, purse))
    return {
        "purse": purse,
        "suspension": SimpleLazyObject(lambda: blocks.get(UsageBlock.Kind.SUSPENSION)),
        "is_usage_stopped": SimpleLazyObject(lambda: UsageBlock.Kind.STOP in blocks),
    }


def _blocks(membership: Membership, purse: Any) -> dict[str, UsageBlock]:
    """What stops the organization, of which all members read, by kind. Where nothing is frozen, nothing is asked."""
    if purse and not purse.is_frozen:
        return {}
    standing = usage_blocks.standing(organization_id=membership.organization_id)
    return {block.kind: block for block in standing}
