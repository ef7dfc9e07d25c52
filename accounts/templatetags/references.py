"""The reference of the request at hand, for pages that say that something went wrong."""

from django import template

from accounts import current_request

register = template.Library()


@register.simple_tag
def request_reference() -> str:
    """What staff find in the log and in history. Needs no context, because error pages are rendered without one."""
    return current_request.reference()
