"""Update payment method: a dialog with the processor's own card element. No card number ever comes here.

The browser first asks for a SetupIntent by POST, since reading a page writes nothing, confirms it with the processor,
and then sends its id; the server reads the SetupIntent itself and believes nothing that the browser says about it.
"""

from django.contrib import messages
from django.http import JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts import reauthentication
from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import BillingError, PaymentProcessorUnavailable
from billing.forms import CardForm
from billing.payments import payment_methods
from billing.terms import CARD_CONSENT
from billing.views.overview import overview_context
from billing.views.processor_page import render_with_processor

PROCESSOR_AWAY = "The payment processor could not be reached. Your card was not changed; please try again in a moment."

# Where to go on from here: names, not addresses, so that no link can lead away from this console.
NEXT_PAGES = {"buy": "billing:buy", "auto-reload": "billing:auto_reload"}


@requires(Permission.CARD_EDIT, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def card(request: MemberRequest, organization: Organization) -> HttpResponseBase:
    """Begin by POST ``action=begin``, ask by ``action=refused`` why a card was declined (both answer JSON), and finish
    by POST of the SetupIntent's id.
    """
    if request.method != "POST":
        # What one types into the processor's form can't be kept, so the proof comes before it.
        reauthentication.require_recent_to_look(request)
        return _page(request, organization, CardForm())
    if request.POST.get("action") == "begin":
        return _begin(request, organization)
    if request.POST.get("action") == "refused":
        return _words(request, organization)
    form = CardForm(request.POST)
    if form.is_valid():
        try:
            saved = payment_methods.finish_setup(
                organization=organization,
                actor=request.user,
                setup_intent_id=form.cleaned_data["setup_intent_id"],
                at=timezone.now(),
            )
        except PaymentProcessorUnavailable:
            form.add_error(None, PROCESSOR_AWAY)
        except BillingError as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"{saved} is now your payment method.")
            return redirect(NEXT_PAGES.get(_next(request), "billing:overview"), slug=organization.slug)
    return _page(request, organization, form, status=422)


def _begin(request: MemberRequest, organization: Organization) -> JsonResponse:
    try:
        begun = payment_methods.begin_setup(organization=organization, actor=request.user)
    except PaymentProcessorUnavailable:
        return JsonResponse({"error": PROCESSOR_AWAY}, status=503)
    except BillingError as refusal:
        return JsonResponse({"error": str(refusal)}, status=409)
    return JsonResponse({"setup_intent_id": begun.setup_intent_id, "client_secret": begun.client_secret})


def _words(request: MemberRequest, organization: Organization) -> JsonResponse:
    """Why the card that was just typed was refused, in the words of our one table; the browser's are not believed."""
    form = CardForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"error": "This card form is not known."}, status=409)
    try:
        words = payment_methods.failure_words(
            organization=organization, actor=request.user, setup_intent_id=form.cleaned_data["setup_intent_id"]
        )
    except PaymentProcessorUnavailable:
        return JsonResponse({"error": PROCESSOR_AWAY}, status=503)
    except BillingError as refusal:
        return JsonResponse({"error": str(refusal)}, status=409)
    return JsonResponse({"error": words})


def _page(request: MemberRequest, organization: Organization, form: CardForm, *, status: int = 200) -> HttpResponseBase:
    context = overview_context(request, organization)
    context.update(form=form, consent=CARD_CONSENT, next=_next(request))
    return render_with_processor(request, "billing/card.html", context, status=status)


def _next(request: MemberRequest) -> str:
    """The page to go on to, or nothing: only the names of NEXT_PAGES are taken."""
    asked = request.POST.get("next", request.GET.get("next", ""))
    return asked if asked in NEXT_PAGES else ""
