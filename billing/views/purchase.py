"""One purchase whose outcome is open: waiting for the processor, or for the customer's word to the bank.

Reading the page changes nothing. It loads itself again until a webhook, the sweep or a POST from here has settled the
purchase.
"""

from datetime import timedelta

from django.contrib import messages
from django.http import Http404, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import BillingError, PaymentProcessorUnavailable
from billing.models import ProblemReport, Purchase
from billing.payments import problem_reports, purchases
from billing.views.buy import answer_to
from billing.views.overview import overview_context, purchase_row
from billing.views.processor_page import render_with_processor

PROCESSOR_AWAY = "The payment processor could not be reached. Nothing has changed; please try again in a moment."

# Payments by card end within seconds. After this it is said that something is out of the ordinary.
SLOW_AFTER = timedelta(minutes=2)


@requires(Permission.CREDITS_BUY)
@require_http_methods(["GET", "HEAD", "POST"])
def purchase(request: MemberRequest, organization: Organization, *, purchase_id: int) -> HttpResponseBase:
    """Show how a purchase stands; ask the processor again, confirm it with the bank or cancel it by POST."""
    own = Purchase.objects.select_related("payment_method", "actor", "receipt").filter(organization=organization)
    found = own.filter(pk=purchase_id).first()
    if found is None:
        raise Http404
    if request.method != "POST":
        return _page(request, organization, found)
    action = request.POST.get("action", "")
    if action == "confirm":
        return _client_secret(request, organization, found)
    try:
        if action == "cancel":
            found = purchases.cancel(
                organization=organization, purchase_id=found.pk, actor=request.user, at=timezone.now()
            )
        else:
            found = purchases.refresh(purchase_id=found.pk, at=timezone.now())
    except PaymentProcessorUnavailable:
        messages.warning(request, PROCESSOR_AWAY)
    except BillingError as refusal:
        messages.error(request, str(refusal))
    return answer_to(request, organization, found)


def _client_secret(request: MemberRequest, organization: Organization, found: Purchase) -> JsonResponse:
    """What the browser needs to ask the bank; it never stands in a page or an address. Empty: nothing is left to ask.

    A reload that needs the customer is first tried again, now that one is present.
    """
    try:
        if found.state == Purchase.State.NEEDS_CUSTOMER:
            found = purchases.confirm(
                organization=organization, purchase_id=found.pk, actor=request.user, at=timezone.now()
            )
        return JsonResponse({"client_secret": purchases.client_secret(purchase=found)})
    except PaymentProcessorUnavailable:
        return JsonResponse({"error": PROCESSOR_AWAY}, status=503)
    except BillingError as refusal:
        return JsonResponse({"error": str(refusal)}, status=409)


def _page(request: MemberRequest, organization: Organization, found: Purchase) -> HttpResponseBase:
    needs_customer = found.state in (Purchase.State.REQUIRES_ACTION, Purchase.State.NEEDS_CUSTOMER)
    context = overview_context(request, organization)
    context.update(
        purchase=found,
        row=purchase_row(found),
        receipt=getattr(found, "receipt", None),
        needs_customer=needs_customer,
        is_waiting=found.state in (Purchase.State.CREATED, Purchase.State.PROCESSING),
        is_slow=context["summary"].counted_at - found.created_at > SLOW_AFTER,
        is_reported=any(report.state == ProblemReport.State.OPEN for report in problem_reports.of_purchase(found)),
    )
    if needs_customer:
        return render_with_processor(request, "billing/purchase.html", context)
    return render(request, "billing/purchase.html", context)
