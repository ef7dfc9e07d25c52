"""Pages on which the payment processor's script runs. Only they may load it, and only they know its key."""

from typing import Any

from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render


def render_with_processor(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponseBase:
    """Render ``template`` with the script's address and key, and widen the content security policy by its origins."""
    context["stripe_js_url"] = settings.STRIPE_JS_URL
    context["stripe_publishable_key"] = settings.STRIPE_PUBLISHABLE_KEY
    response = render(request, template, context, status=status)
    return csp_update(settings.STRIPE_CSP)(lambda _: response)(request)
