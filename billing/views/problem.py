"""Report a problem with a charge."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import Refused
from billing.forms import ProblemForm, add_refusal
from billing.models import Purchase
from billing.payments import problem_reports
from billing.views.overview import overview_context, purchase_row


@requires(Permission.BILLING_VIEW)
@require_http_methods(["GET", "HEAD", "POST"])
def problem(request: MemberRequest, organization: Organization, *, purchase_id: int) -> HttpResponse:
    """The form, and keeping what was sent. Reports that exist are listed below it with their answers."""
    purchase = (
        Purchase.objects.select_related("payment_method", "actor")
        .filter(organization=organization, pk=purchase_id)
        .first()
    )
    if purchase is None:
        raise Http404
    form = ProblemForm(request.POST) if request.method == "POST" else ProblemForm.fresh()
    if request.method == "POST" and form.is_valid():
        try:
            problem_reports.report(
                organization=organization,
                actor=request.user,
                purchase_id=purchase.pk,
                report_key=form.cleaned_data["report_key"],
                category=form.cleaned_data["category"],
                text=form.cleaned_data["text"],
                at=timezone.now(),
                request=request,
            )
        except Refused as refusal:
            add_refusal(form, refusal)
        else:
            messages.success(
                request, "Thank you. Your report was sent, with the facts of this moment. We answer by mail."
            )
            return redirect("billing:problem", slug=organization.slug, purchase_id=purchase.pk)
    context = overview_context(request, organization)
    context.update(
        form=form, purchase=purchase, row=purchase_row(purchase), reports=problem_reports.of_purchase(purchase)
    )
    return render(request, "billing/problem.html", context, status=422 if form.errors else 200)
