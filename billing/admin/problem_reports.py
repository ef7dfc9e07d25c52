"""Reports about charges: the queue of staff, the facts of the moment, and the answer."""

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts.admin import staff_of
from billing.admin.lists import HistoryAdmin
from billing.errors import Refused
from billing.models import ProblemReport, RefusedAttempt
from billing.money import dollars_text
from billing.payments import problem_reports

ANSWER = "billing.change_problemreport"


class AnswerForm(forms.Form):
    """What the customer reads, and whether that ends it."""

    state = forms.ChoiceField(
        label="Afterwards it is",
        choices=[(ProblemReport.State.ANSWERED, "Answered"), (ProblemReport.State.CLOSED, "Closed")],
        widget=forms.RadioSelect,
    )
    answer = forms.CharField(
        label="Answer",
        max_length=4_000,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text="The customer gets it by mail and reads it beside the purchase.",
    )


@admin.register(ProblemReport)
class ProblemReportAdmin(HistoryAdmin):
    """What customers report, open ones first to be found by the filter."""

    change_form_template = "admin/billing/problemreport/change_form.html"
    list_display = ("id", "organization", "state", "category", "amount", "actor", "reported_at", "handled_at")
    list_select_related = ("organization", "purchase", "actor")
    list_filter = ("state", "category", "reported_at")
    search_help_text = "The slug of an organization, or a number of this list."
    fields = (
        "organization", "purchase", "state", "category", "text", "actor", "reported_at", "facts_of_the_moment",
        "answer", "handled_by", "handled_at",
    )  # fmt: skip

    @admin.display(description="amount")
    def amount(self, report: ProblemReport) -> str:
        return dollars_text(report.purchase.amount_cents)

    @admin.display(description="facts of the moment")
    def facts_of_the_moment(self, report: ProblemReport) -> str:
        return json.dumps(report.facts, indent=2)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.answer_view)
        return [path("<int:report_id>/answer/", view, name="billing_problemreport_answer"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The report, with the way to its answer for those who may."""
        context = {**(extra_context or {}), "may_answer": request.user.has_perm(ANSWER)}
        return super().change_view(request, object_id, form_url, context)

    def answer_view(self, request: HttpRequest, report_id: int) -> HttpResponse:
        """Answer a report, or close it."""
        if not (self.has_view_permission(request) and request.user.has_perm(ANSWER)):
            raise PermissionDenied
        back = reverse("admin:billing_problemreport_change", args=[report_id])
        report = ProblemReport.objects.select_related("organization", "purchase", "actor").filter(pk=report_id).first()
        if report is None:
            return HttpResponseRedirect(reverse("admin:billing_problemreport_changelist"))
        form = AnswerForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                problem_reports.answer(
                    report_id=report_id,
                    actor=staff_of(request),
                    state=form.cleaned_data["state"],
                    text=form.cleaned_data["answer"],
                    at=timezone.now(),
                    request=request,
                )
            except Refused as refusal:
                form.add_error(None, str(refusal))
            else:
                self.message_user(request, f"Report {report_id} is {form.cleaned_data['state']}.", messages.SUCCESS)
                return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Answer a report",
            "report": report,
            "form": form,
            "back": back,
        }
        return TemplateResponse(request, "admin/billing/problemreport/answer.html", context)


@admin.register(RefusedAttempt)
class RefusedAttemptAdmin(HistoryAdmin):
    """Attempts with a card that were refused here: who is over the limits."""

    list_display = ("id", "organization", "kind", "actor", "code", "attempted_at")
    list_select_related = ("organization", "actor")
    list_filter = ("kind", "code", "attempted_at")
    exact_search_fields: ClassVar = ()
    search_help_text = "The slug of an organization, or a number of this list."
    fields = ("organization", "kind", "actor", "payment_method", "amount_cents", "code", "reason", "attempted_at")
