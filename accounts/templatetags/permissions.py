"""What the member at hand may do, for showing or not showing a way to it. The view behind it decides by itself."""

from typing import Any

from django import template

from accounts.models import Membership
from accounts.permissions import Permission

register = template.Library()


@register.simple_tag(takes_context=True)
def may(context: dict[str, Any], permission: str) -> bool:
    """``{% may "credits.buy" as may_buy %}``; False where no membership is at hand. A name that is none is an error."""
    wanted = Permission(permission)
    membership = context.get("membership")
    return isinstance(membership, Membership) and membership.may(wanted)
