"""What a template asks about second factors."""

from typing import Any

from django import template

from accounts import second_factors
from accounts.second_factors import Demand

register = template.Library()


@register.simple_tag(takes_context=True)
def second_factor_demands(context: dict[str, Any]) -> list[Demand]:
    """Who asks a second factor of the person at the page."""
    return second_factors.demands_on(user=context["user"])
