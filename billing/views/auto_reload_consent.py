"""Auto-reload, beside its settings: agreeing to them anew, confirming unusual usage, and the history of both."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import Refused
from billing.forms import ShownTextForm, UsageConfirmationForm, add_refusal, id_from_text
from billing.models import AutoReload, AutoReloadConsent
from billing.payments import auto_reload as reloads
from billing.views.overview import overview_context

ROWS_ON_PAGE: Final = 20
_LABELS: Final = {1: "For 24 hours", 7: "For 7 days"}


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A consent as its reader sees it; ``badge_kind`` as of badges."""

    consent: AutoReloadConsent
    words: str
    badge_kind: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """One way of confirming: for how many days, and the sentence that says so."""

    days: int
    label: str
    sentence: str
    is_chosen: bool


@requires(Permission.AUTO_RELOAD_EDIT, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def auto_reload_consent(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Show the sentence that auto-reload rests on, and agree to it in the place of whoever did."""
    form = ShownTextForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            reloads.renew_consent(
                organization=organization,
                actor=request.user,
                shown_text=form.cleaned_data["shown_text"],
                at=timezone.now(),
                request=request,
            )
        except Refused as refusal:
            add_refusal(form, refusal)
        else:
            messages.success(request, "Auto-reload rests on your word now. Nothing else has changed.")
            return redirect("billing:overview", slug=organization.slug)
    context = overview_context(request, organization)
    context.update(form=form, sentence=reloads.consent_sentence(organization=organization))
    return render(request, "billing/auto_reload_consent.html", context, status=_status(request))


@requires(Permission.AUTO_RELOAD_EDIT, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def auto_reload_usage(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Ask whether usage far above the usual is wanted, and let auto-reload go on."""
    form = UsageConfirmationForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            reloads.confirm_usage(
                organization=organization,
                actor=request.user,
                allowance=timedelta(days=form.days),
                shown_text=form.shown_text,
                at=timezone.now(),
                request=request,
            )
        except Refused as refusal:
            add_refusal(form, refusal)
        else:
            messages.success(request, "Auto-reload goes on. A reload that is due comes within seconds.")
            return redirect("billing:overview", slug=organization.slug)
    context = overview_context(request, organization)
    settings = context["reload"].settings
    context.update(form=form, choices=_allowances(settings, chosen=form.days) if settings else [])
    return render(request, "billing/auto_reload_usage.html", context, status=_status(request))


@requires(Permission.BILLING_VIEW)
@require_safe
def auto_reload_history(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Everything that was agreed to about auto-reload, newest first."""
    before_id = id_from_text(request.GET.get("before", ""))
    found = reloads.history(organization=organization, before_id=before_id, limit=ROWS_ON_PAGE + 1)
    context = {
        "organization": organization,
        "rows": [history_row(consent) for consent in found[:ROWS_ON_PAGE]],
        "older_id": found[ROWS_ON_PAGE - 1].pk if len(found) > ROWS_ON_PAGE else None,
        "is_newest": before_id is None,
    }
    return render(request, "billing/auto_reload_history.html", context)


def history_row(consent: AutoReloadConsent) -> HistoryRow:
    """What a consent was, in words."""
    if consent.kind == AutoReloadConsent.Kind.SAVED:
        return HistoryRow(consent, *(("Switched on, or changed", "ok") if consent.is_enabled else ("Off", "off")))
    return HistoryRow(consent, str(AutoReloadConsent.Kind(consent.kind).label), "info")


def _allowances(settings: AutoReload, *, chosen: int) -> list[Allowance]:
    return [
        Allowance(
            allowance.days,
            _LABELS[allowance.days],
            reloads.usage_sentence(settings, allowance=allowance),
            allowance.days == chosen,
        )
        for allowance in reloads.BRAKE_ALLOWANCES
    ]


def _status(request: HttpRequest) -> int:
    return 422 if request.method == "POST" else 200
