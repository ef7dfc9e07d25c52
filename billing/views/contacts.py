"""Settings > Billing > Billing contacts, and the two pages that links in mails lead to, signed out."""

from datetime import datetime

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import MemberRequest, public, requires
from accounts.models import Organization
from accounts.permissions import Permission
from accounts.queries import members_of
from billing import contacts as use_cases
from billing.errors import Refused
from billing.forms import BillingContactForm, add_refusal
from billing.models import BillingContact


@requires(Permission.BILLING_DETAILS_EDIT)
@require_http_methods(["GET", "HEAD", "POST"])
def contacts(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Who gets the mails, and a form to add an address."""
    if request.method != "POST":
        return _page(request, organization, BillingContactForm())
    form = BillingContactForm(request.POST)
    if not form.is_valid():
        return _page(request, organization, form, status=422)
    try:
        contact = use_cases.add(
            organization=organization, **form.cleaned_data, actor=request.user, at=timezone.now(), request=request
        )
    except Refused as refusal:
        add_refusal(form, refusal)
        return _page(request, organization, form, status=422)
    messages.success(request, f"{contact.email} gets a mail with a link. It counts once the link is followed.")
    return redirect("billing:contacts", slug=organization.slug)


@requires(Permission.BILLING_DETAILS_EDIT)
@require_POST
def contact_send(request: MemberRequest, organization: Organization, *, contact_id: int) -> HttpResponse:
    """Send the link again."""
    contact = _contact(organization, contact_id)
    try:
        is_sent = use_cases.ask_again(contact=contact, actor=request.user, at=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        words = f"{contact.email} gets a new link." if is_sent else f"{contact.email} is confirmed already."
        messages.success(request, words)
    return redirect("billing:contacts", slug=organization.slug)


@requires(Permission.BILLING_DETAILS_EDIT)
@require_POST
def contact_remove(request: MemberRequest, organization: Organization, *, contact_id: int) -> HttpResponse:
    """Remove an address."""
    contact = _contact(organization, contact_id)
    use_cases.remove(contact=contact, actor=request.user, request=request)
    messages.success(request, f"{contact.email} gets no more billing mail.")
    return redirect("billing:contacts", slug=organization.slug)


@public("a secret link from a mail guards it")
@require_http_methods(["GET", "HEAD", "POST"])
def contact_confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Confirm one's address by a button: a mail scanner that follows the link confirms nothing."""
    if request.method == "POST":
        contact = use_cases.confirm(token=token, at=timezone.now(), request=request)
        state = "confirmed"
    else:
        contact = use_cases.asked(token=token, at=timezone.now())
        state = "asking"
    if contact is None:
        return render(request, "billing/contact_link.html", {"state": "gone"}, status=404)
    return render(request, "billing/contact_link.html", {"state": state, "contact": contact})


@public("a signed link from a mail guards it")
@require_http_methods(["GET", "HEAD", "POST"])
def contact_stop(request: HttpRequest, token: str) -> HttpResponse:
    """End the mails to one's address by a button."""
    contact = use_cases.stopping(token=token)
    if contact is None:
        return render(request, "billing/contact_link.html", {"state": "gone"}, status=404)
    if request.method != "POST":
        return render(request, "billing/contact_link.html", {"state": "stopping", "contact": contact})
    use_cases.remove(contact=contact, actor=None, request=request)
    return render(request, "billing/contact_link.html", {"state": "stopped", "contact": contact})


def _contact(organization: Organization, contact_id: int) -> BillingContact:
    contact = use_cases.find(organization=organization, contact_id=contact_id)
    if contact is None:
        raise Http404
    return contact


def _page(
    request: MemberRequest, organization: Organization, form: BillingContactForm, *, status: int = 200
) -> HttpResponse:
    known = use_cases.of(organization=organization)
    at = timezone.now()
    context = {
        "organization": organization,
        "form": form,
        "members": [member for member in members_of(organization=organization) if member.role in use_cases.ROLES],
        "contacts": [(contact, _is_expired(contact, at=at)) for contact in known],
        "is_full": len(known) >= use_cases.CONTACTS_MAXIMUM,
        "maximum": use_cases.CONTACTS_MAXIMUM,
    }
    return render(request, "billing/contacts.html", context, status=status)


def _is_expired(contact: BillingContact, *, at: datetime) -> bool:
    return contact.token_expires_at is not None and contact.token_expires_at <= at
