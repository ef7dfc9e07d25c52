"""Settings > Billing > Receipts: receipts and credit notes, as a page made for print and as a PDF."""

import re
from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing import documents
from billing.documents import Printed
from billing.errors import BillingError
from billing.models import CreditNote, Receipt
from billing.payments import receipts as use_cases
from billing.pdf import pdf_of

DOCUMENTS_ON_PAGE = 50

_BEFORE = re.compile(r"\A(?P<receipt>[0-9]{1,19})-(?P<note>[0-9]{1,19})\Z", re.ASCII)


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def receipts(request: MemberRequest, organization: Organization) -> HttpResponse:
    """All receipts and credit notes, newest first. The number of queries doesn't grow with them."""
    before = _before(request)
    page = use_cases.page_of(organization=organization, before=before, limit=DOCUMENTS_ON_PAGE)
    context = {
        "organization": organization,
        "rows": [_row(organization, document) for document in page.documents],
        "before": before,
        "older": "-".join(map(str, page.older)) if page.older else "",
    }
    return render(request, "billing/receipts.html", context)


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def receipt(request: MemberRequest, organization: Organization, *, number: int) -> HttpResponse:
    """One receipt, and what has been taken back of it since."""
    found = _receipt(organization, number)
    notes = use_cases.credit_notes_of(receipt=found)
    context = {
        "organization": organization,
        "receipt": found,
        "printed": documents.receipt_in_words(found),
        "credit_notes": [note for note in notes if note.cancels is None],
        "canceled_ids": {note.cancels_id for note in notes if note.cancels is not None},
    }
    return render(request, "billing/receipt.html", context)


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def receipt_pdf(request: MemberRequest, organization: Organization, *, number: int) -> HttpResponse:
    """The same as a file."""
    printed = documents.receipt_in_words(_receipt(organization, number))
    return _file(printed, path=reverse("billing:receipt", args=[organization.slug, number]))


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def receipt_at_processor(request: MemberRequest, organization: Organization, *, number: int) -> HttpResponseBase:
    """Lead to the payment processor's own receipt. Its address is asked for now: it changes, and opens for anyone."""
    found = _receipt(organization, number)
    try:
        url = use_cases.processors_url(receipt=found)
    except BillingError:
        url = ""
    if url:
        return redirect(url)
    messages.warning(request, "The payment processor does not show its receipt right now. Please try again later.")
    return redirect("billing:receipt", slug=organization.slug, number=number)


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def credit_note(request: MemberRequest, organization: Organization, *, number: int) -> HttpResponse:
    """One credit note."""
    found = _credit_note(organization, number)
    context = {
        "organization": organization,
        "note": found,
        "printed": documents.credit_note_in_words(found),
        "canceled_by": getattr(found, "canceled_by", None),
    }
    return render(request, "billing/credit_note.html", context)


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def credit_note_pdf(request: MemberRequest, organization: Organization, *, number: int) -> HttpResponse:
    """The same as a file."""
    printed = documents.credit_note_in_words(_credit_note(organization, number))
    return _file(printed, path=reverse("billing:credit_note", args=[organization.slug, number]))


@dataclass(frozen=True, slots=True)
class Row:
    """A document as the list shows it. The amount is signed: what was paid is added, what went back is not."""

    document: Receipt | CreditNote
    text: str
    amount_cents: int
    url: str
    pdf_url: str


def _row(organization: Organization, document: Receipt | CreditNote) -> Row:
    kind = "receipt" if isinstance(document, Receipt) else "credit_note"
    if isinstance(document, Receipt):
        is_reload = document.purchase_kind == "auto_reload"
        text, amount_cents = "Auto-reload" if is_reload else "Credit purchase", document.total_cents
    elif document.cancels is not None:
        text, amount_cents = f"Cancels {document.cancels.number_text}", document.total_cents
    else:
        cause = "Refund" if document.cause_kind == CreditNote.Cause.REFUND else "Dispute"
        text, amount_cents = f"{cause}, for {document.receipt.number_text}", -document.total_cents
    return Row(
        document=document,
        text=text,
        amount_cents=amount_cents,
        url=reverse(f"billing:{kind}", args=[organization.slug, document.number]),
        pdf_url=reverse(f"billing:{kind}_pdf", args=[organization.slug, document.number]),
    )


def _receipt(organization: Organization, number: int) -> Receipt:
    found = use_cases.receipt_of(organization=organization, number=number)
    if found is None:
        raise Http404
    return found


def _credit_note(organization: Organization, number: int) -> CreditNote:
    found = use_cases.credit_note_of(organization=organization, number=number)
    if found is None:
        raise Http404
    return found


def _file(printed: Printed, *, path: str) -> HttpResponse:
    return HttpResponse(
        pdf_of(printed, page_url=settings.SITE_URL + path),
        content_type="application/pdf",
        headers={"Content-Disposition": f'attachment; filename="{printed.file_name}"'},
    )


def _before(request: HttpRequest) -> tuple[int, int] | None:
    match = _BEFORE.match(request.GET.get("before", ""))
    return (int(match["receipt"]), int(match["note"])) if match else None
