"""The last attempts with a card, and removing the card."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import Refused
from billing.forms import ShownCardForm, add_refusal
from billing.payments import attempts, card_removal
from billing.views.overview import overview_context


@requires(Permission.BILLING_VIEW)
@require_safe
def card_attempts(request: MemberRequest, organization: Organization) -> HttpResponse:
    """The last ten attempts, those that never reached the bank included, in words."""
    context = {
        "organization": organization,
        "attempts": attempts.last(organization=organization, at=timezone.now()),
        "shown": attempts.SHOWN,
    }
    return render(request, "billing/card_attempts.html", context)


@requires(Permission.CARD_EDIT, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def card_remove(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Say what goes with the card, and let it go by POST."""
    context = overview_context(request, organization)
    if context["card"] is None and request.method != "POST":
        messages.info(request, "There is no card to remove.")
        return redirect("billing:overview", slug=organization.slug)
    form = ShownCardForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            removed = card_removal.remove(
                organization=organization,
                actor=request.user,
                payment_method_id=form.cleaned_data["payment_method_id"],
                at=timezone.now(),
                request=request,
            )
        except Refused as refusal:
            add_refusal(form, refusal)
        else:
            messages.success(request, f"{removed} was removed. It is charged no more.")
            return redirect("billing:overview", slug=organization.slug)
    context["form"] = form
    status = 422 if request.method == "POST" else 200
    return render(request, "billing/card_remove.html", context, status=status)
