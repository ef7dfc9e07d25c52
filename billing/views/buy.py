"""Buy credits: a dialog over the billing page. One rendering of the form is one purchase, however often it is sent."""

from datetime import datetime, timedelta

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.errors import Refused
from billing.forms import SUGGESTED_CENTS, BuyForm, add_refusal
from billing.models import BillingDetails, Purchase, Receipt
from billing.money import credit_text, dollars_text, nano_from_cents
from billing.payments import purchases
from billing.terms import CREDIT_TERMS
from billing.views.overview import anniversary_of, overview_context

JUST_NOW = timedelta(minutes=10)
# Longer than the clicks of one impatience: what comes later is a page that was gone back to.
SENT_AGAIN_AFTER = timedelta(seconds=30)


@requires(Permission.CREDITS_BUY)
@require_http_methods(["GET", "HEAD", "POST"])
def buy(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Charge the saved card once for each rendered form, and say at the form why it was declined."""
    if request.method != "POST":
        return _page(request, organization, BuyForm.fresh(terms=CREDIT_TERMS, reference=_usual_reference(organization)))
    form = BuyForm(request.POST, terms=CREDIT_TERMS)
    if not form.is_valid():
        if form.errors.keys() & {"attempt_key", "__all__"}:
            form.renew()
        return _page(request, organization, form, status=422)
    amount_cents: int = form.cleaned_data["amount_cents"]
    at = timezone.now()
    try:
        purchase = purchases.buy(
            organization=organization,
            actor=request.user,
            amount_cents=amount_cents,
            attempt_key=form.cleaned_data["attempt_key"],
            terms_version=form.cleaned_data["terms_version"],
            reference=form.cleaned_data["reference"],
            at=at,
        )
    except Refused as refusal:
        if refusal.code != "conflict":
            return _again(request, organization, form, refusal, status=422)
        used = Refused(
            "This form was sent before with another amount, and that purchase stands in the list of purchases. Nothing "
            f"more was charged. To buy {dollars_text(amount_cents)} as well, send it again."
        )
        return _again(request, organization, form, used, status=409)
    if purchase.state in (Purchase.State.FAILED, Purchase.State.CANCELED):
        text = purchases.failure_text(purchase) or "This purchase was canceled. Nothing was charged."
        return _again(request, organization, form, Refused(text), status=402)
    if at - purchase.created_at > SENT_AGAIN_AFTER and purchase.state == Purchase.State.SUCCEEDED:
        # Back and "Buy" again, or a tab that was restored: the same form is the same purchase.
        messages.info(request, f"{_paid(purchase)} This form was sent before: nothing more was charged now.")
        return redirect("billing:overview", slug=organization.slug)
    return answer_to(request, organization, purchase)


def answer_to(request: MemberRequest, organization: Organization, purchase: Purchase) -> HttpResponse:
    """Lead on from a purchase: to the balance when it is paid, else to the page that says how it stands."""
    if purchase.state == Purchase.State.SUCCEEDED:
        messages.success(request, _paid(purchase))
        return redirect("billing:overview", slug=organization.slug)
    return redirect("billing:purchase", slug=organization.slug, purchase_id=purchase.pk)


def _paid(purchase: Purchase) -> str:
    """What was bought, and what of it has paid debt and can't be spent."""
    bought = dollars_text(purchase.amount_cents)
    receipt = Receipt.objects.filter(purchase=purchase).first()
    if receipt is None or not receipt.debt_paid_nano:
        return f"{bought} of credit bought, spendable now."
    left_nano = purchase.credit_nano - receipt.debt_paid_nano
    owed = credit_text(receipt.debt_paid_nano, is_owed=True)
    if left_nano <= 0:
        return f"{bought} of credit bought. All of it paid off debt; nothing of it is left to spend."
    return f"{bought} of credit bought: {owed} paid off debt, {credit_text(left_nano)} is left to spend."


def _again(
    request: MemberRequest, organization: Organization, form: BuyForm, refusal: Refused, *, status: int
) -> HttpResponse:
    """The form once more with what was typed, the reason, and a key of its own: a new try is a new purchase."""
    form.renew()
    add_refusal(form, refusal)
    return _page(request, organization, form, status=status)


def _just_bought(organization: Organization, at: datetime) -> Purchase | None:
    """What somebody bought a moment ago, perhaps in another tab: said, since two forms are two purchases."""
    lately = Purchase.objects.select_related("actor").filter(
        organization=organization,
        kind=Purchase.Kind.MANUAL,
        created_at__gt=at - JUST_NOW,
        state__in=(*Purchase.OPEN_STATES, Purchase.State.SUCCEEDED),
    )
    return lately.order_by("-id").first()


def _usual_reference(organization: Organization) -> str:
    details = BillingDetails.objects.filter(organization=organization).first()
    return details.reference if details is not None else ""


def _page(request: MemberRequest, organization: Organization, form: BuyForm, *, status: int = 200) -> HttpResponse:
    context = overview_context(request, organization)
    debt_nano: int = context["summary"].debt_nano
    context.update(
        form=form,
        terms=CREDIT_TERMS,
        expires_at=anniversary_of(context["summary"].counted_at),
        left_after_debt=[(cents, max(nano_from_cents(cents) - debt_nano, 0)) for cents in SUGGESTED_CENTS if debt_nano],
        just_bought=_just_bought(organization, context["summary"].counted_at),
    )
    return render(request, "billing/buy.html", context, status=status)
