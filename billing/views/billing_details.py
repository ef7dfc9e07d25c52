"""Who buys: a dialog over the billing page with what receipts print from now on."""

from dataclasses import fields

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import Refused
from billing.forms import BillingDetailsForm, add_refusal
from billing.payments import billing_details as use_cases
from billing.payments.billing_details import Details
from billing.views.overview import overview_context


@requires(Permission.BILLING_DETAILS_EDIT)
@require_http_methods(["GET", "HEAD", "POST"])
def billing_details(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Show and save the details."""
    if request.method != "POST":
        known = use_cases.details_of(organization=organization)
        names = [field.name for field in fields(Details)]
        initial = {name: getattr(known, name) for name in names} if known else {"legal_name": organization.name}
        return _page(request, organization, BillingDetailsForm(initial=initial))
    form = BillingDetailsForm(request.POST)
    if not form.is_valid():
        return _page(request, organization, form, status=422)
    try:
        use_cases.save(
            organization=organization, actor=request.user, details=Details(**form.cleaned_data), at=timezone.now()
        )
    except Refused as refusal:
        add_refusal(form, refusal)
        return _page(request, organization, form, status=422)
    messages.success(request, "Billing details saved. They are printed on receipts from now on.")
    return redirect("billing:overview", slug=organization.slug)


def _page(
    request: MemberRequest, organization: Organization, form: BillingDetailsForm, *, status: int = 200
) -> HttpResponse:
    context = overview_context(request, organization)
    context["form"] = form
    return render(request, "billing/billing_details.html", context, status=status)
