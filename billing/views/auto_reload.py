"""Auto-reload: a dialog over the billing page. What is stored is what the consent sentence on the page said."""

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.forms import AutoReloadForm, add_refusal
from billing.models import AutoReload, PaymentMethod, ReloadState
from billing.money import credit_text, dollars_text
from billing.payments import auto_reload as reloads
from billing.payments.reload_back_test import Settings, back_test
from billing.terms import reload_sentence
from billing.views.overview import overview_context

_WORKS = (ReloadState.ARMED, ReloadState.CHARGING, ReloadState.COOLING_DOWN)
# Shown in the form before anything was saved; auto-reload itself is off until somebody switches it on.
SUGGESTED = {"is_enabled": False, "minimum": 1_000, "target": 5_000, "monthly_cap": 20_000}


@requires(Permission.AUTO_RELOAD_EDIT, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def auto_reload(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Show and save the settings. Switching on needs a sentence on the page that had the amounts that were sent."""
    initial = _initial(AutoReload.objects.filter(organization=organization).first())
    if request.method != "POST":
        return _page(request, organization, AutoReloadForm(initial=initial))
    form = AutoReloadForm(request.POST, initial=initial)
    is_check = request.POST.get("step") == "check"
    if is_check:
        # Trying amounts is for switching on, whatever stands in the switch now.
        form.needs_amounts = True
    if not form.is_valid():
        return _page(request, organization, form, status=422)
    if is_check:
        return _page(request, organization, form)
    is_enabled: bool = form.cleaned_data["is_enabled"]
    if is_enabled and not form.has_current_consent:
        return _page(request, organization, form, asks_again=True)
    minimum_cents, target_cents, monthly_cap_cents = form.amounts_cents
    try:
        reloads.save(
            organization=organization,
            actor=request.user,
            is_enabled=is_enabled,
            minimum_cents=minimum_cents,
            target_cents=target_cents,
            monthly_cap_cents=monthly_cap_cents,
            at=timezone.now(),
            request=request,
        )
    except Refused as refusal:
        add_refusal(form, refusal)
        return _page(request, organization, form, status=422)
    except PaymentProcessorUnavailable:
        form.add_error(None, "The payment processor could not be reached. Nothing was saved; please try again.")
        return _page(request, organization, form, status=503)
    _say_saved(request, organization, is_enabled=is_enabled)
    return redirect("billing:overview", slug=organization.slug)


def _say_saved(request: MemberRequest, organization: Organization, *, is_enabled: bool) -> None:
    """What saving has led to: that it is on doesn't mean that nothing stands in its way."""
    if not is_enabled:
        messages.success(request, "Auto-reload is off. No charge comes by itself.")
        return
    state = reloads.status(organization=organization, at=timezone.now()).state
    if state in _WORKS:
        messages.success(request, "Auto-reload is on.")
    else:
        messages.warning(request, f"Saved. Auto-reload is on, but charges nothing now: {state.label.lower()}.")


@requires(Permission.AUTO_RELOAD_EDIT)
@require_safe
def auto_reload_back_test(request: MemberRequest, organization: Organization) -> HttpResponse:
    """What the amounts in the query would have done, as a part of the page, while they are typed."""
    form = AutoReloadForm(request.GET, initial=dict(SUGGESTED))
    form.needs_amounts = True
    form.is_valid()
    context = {"organization": organization, **_back_test(organization, form)}
    return render(request, "billing/back_test.html", context, status=200 if context["back_test"] else 422)


def _back_test(organization: Organization, form: AutoReloadForm) -> dict[str, Any]:
    """What the amounts of the form would have done, or why that can't be said."""
    if form.is_bound and any(form.errors.get(name) for name in form.AMOUNTS):
        return {"back_test": None, "back_test_problem": "They are tried as soon as all three are amounts."}
    numbers = Settings(*form.amounts_cents)
    try:
        reloads.check_numbers(**asdict(numbers))
    except Refused as refusal:
        return {"back_test": None, "back_test_problem": str(refusal)}
    result = back_test(organization_id=organization.pk, numbers=numbers, at=timezone.now())
    return {"back_test": result, "back_test_problem": ""}


def _initial(settings: AutoReload | None) -> dict[str, Any]:
    if settings is None:
        return dict(SUGGESTED)
    return {
        "is_enabled": settings.is_enabled,
        "minimum": settings.minimum_cents,
        "target": settings.target_cents,
        "monthly_cap": settings.monthly_cap_cents,
    }


def _page(
    request: MemberRequest,
    organization: Organization,
    form: AutoReloadForm,
    *,
    asks_again: bool = False,
    status: int = 200,
) -> HttpResponse:
    context = overview_context(request, organization)
    form.fields["minimum"].help_text = f"You have {credit_text(context['summary'].available_nano).main} now"
    form.fields["target"].help_text = "What you have afterwards"
    spent_text = dollars_text(context["reload"].spent_this_month_cents)
    form.fields["monthly_cap"].help_text = f"{spent_text} used in {context['month']:%B}"
    context.update(form=form, asks_again=asks_again, **_sentence(form, context["card"]))
    context.update(_back_test(organization, form))
    return render(request, "billing/auto_reload.html", context, status=status)


def _sentence(form: AutoReloadForm, card: PaymentMethod | None) -> dict[str, str]:
    """The sentence to agree to and the key that names its amounts; without a card there is nothing to agree to.

    ``consent_template`` is the same sentence with places for the amounts, for the page to fill in while they are typed.
    """
    if card is None:
        return {}
    minimum_cents, target_cents, monthly_cap_cents = form.amounts_cents
    sentence = reload_sentence(
        minimum_cents=minimum_cents, target_cents=target_cents, monthly_cap_cents=monthly_cap_cents, card=str(card)
    )
    # Amounts that no other part of the sentence has.
    template = reload_sentence(minimum_cents=1, target_cents=2, monthly_cap_cents=3, card=str(card))
    for cents, name in enumerate(AutoReloadForm.AMOUNTS, start=1):
        template = template.replace(dollars_text(cents), f"{{{name}}}")
    return {"consent_sentence": sentence, "consent_key": form.consent_key, "consent_template": template}
