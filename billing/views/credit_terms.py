"""The Credit Terms, for everyone to read."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import public
from billing.terms import CREDIT_TERMS


@public("what credits are sold under must be readable before signing up")
@require_safe
def credit_terms(request: HttpRequest) -> HttpResponse:
    """The text that every purchase refers to, with its version."""
    return render(request, "billing/credit_terms.html", {"terms": CREDIT_TERMS})
