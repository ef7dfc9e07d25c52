"""Receipts of purchases and credit notes of what was paid back: written once, in the transaction of what they tell.

A number is taken by inserting the row, from a counter that stays locked until the transaction ends. So the account's
lock comes first, everything else that the transaction has to do comes before the document, and the transaction ends
soon after it. A transaction that is rolled back gives its number back.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, TypeVar

from django.conf import settings
from django.db.models import Sum

from accounts.models import Organization
from billing import countries, emails
from billing.credits import queries
from billing.models import BillingDetails, CreditLot, CreditNote, Purchase, Receipt
from billing.models.receipts import ADDRESS_LENGTH
from billing.payments import stripe_gateway
from billing.payments.taxes import tax_for, tax_share_cents

CauseKind = Literal["refund", "dispute"]
# Above every id.
MOST = 2**63 - 1
D = TypeVar("D", Receipt, CreditNote)


@dataclass(frozen=True, slots=True)
class _Seller:
    """Who sells, by the settings of now. Cut to what a row holds: a long setting must not stop a payment."""

    platform_name: str
    seller_name: str
    seller_address: str
    seller_tax_id: str
    seller_email: str


@dataclass(frozen=True, slots=True)
class _Buyer:
    """Who buys, by the billing details of now; the organization's own name where there are none yet."""

    buyer_name: str
    buyer_address: str
    buyer_tax_id: str


def issue(*, purchase: Purchase, at: datetime) -> Receipt:
    """The receipt of a purchase that has been granted: written now, or the one that stands already.

    For a transaction that holds the account's lock; ``at`` is the instant of the grant. It refuses nothing, because
    the money has been taken.
    """
    known = Receipt.objects.filter(purchase=purchase).first()
    if known is not None:
        return known
    organization = purchase.organization
    lot = CreditLot.objects.get(organization=organization, purchase=purchase)
    details = BillingDetails.objects.filter(organization=organization).first()
    tax = tax_for(purchase=purchase)
    receipt = Receipt(
        organization=organization,
        purchase=purchase,
        purchase_kind=purchase.kind,
        issued_at=at,
        time_zone=organization.time_zone,
        **asdict(_seller()),
        **asdict(_buyer(organization.name, details)),
        reference=_reference(purchase, details),
        card_brand=purchase.payment_method.brand_name,
        card_last4=purchase.payment_method.last4,
        net_cents=purchase.amount_cents - tax.amount_cents,
        tax_text=tax.rate_text,
        tax_cents=tax.amount_cents,
        total_cents=purchase.amount_cents,
        credit_nano=purchase.credit_nano,
        debt_paid_nano=queries.debt_paid_by_grant_nano(organization_id=organization.pk, lot_id=lot.pk),
        expires_at=lot.expires_at,
        terms_version=purchase.terms_version,
    )
    return _numbered(receipt)


def issue_credit_note(
    *, purchase: Purchase, amount_cents: int, cause_kind: CauseKind, cause_id: int, at: datetime
) -> CreditNote | None:
    """The credit note of one refund or lost dispute: written now and mailed, or the one that stands already.

    For a transaction that holds the account's lock; ``cause_id`` is the id of the refund's or dispute's row here.
    Notes never credit more than was paid: beyond that the amount is cut, and with nothing left there is no note (a
    bank may take a whole payment of which a part was refunded before).
    """
    known = CreditNote.objects.filter(cause_kind=cause_kind, cause_id=cause_id, cancels=None).first()
    if known is not None:
        return known
    receipt = issue(purchase=purchase, at=purchase.settled_at or at)
    standing = CreditNote.objects.filter(receipt=receipt, cancels=None, canceled_by=None)
    sums = standing.aggregate(total=Sum("total_cents", default=0), tax=Sum("tax_cents", default=0))
    cents = min(amount_cents, receipt.total_cents - sums["total"])
    if cents <= 0:
        return None
    tax_cents = tax_share_cents(
        tax_cents=receipt.tax_cents,
        total_cents=receipt.total_cents,
        credited_cents=sums["total"],
        credited_tax_cents=sums["tax"],
        cents=cents,
    )
    note = _numbered(_note(receipt, cause_kind, cause_id, total_cents=cents, tax_cents=tax_cents, at=at))
    emails.credit_note_issued(note=note)
    return note


def cancel_credit_note(*, cause_kind: CauseKind, cause_id: int, at: datetime) -> CreditNote | None:
    """Undo the credit note of a refund that failed after all, or of a dispute that was won in the end, by another one.

    The same again, or without a credit note, changes nothing. For a transaction that holds the account's lock.
    """
    note = CreditNote.objects.select_related("receipt__organization").filter(
        cause_kind=cause_kind, cause_id=cause_id, cancels=None
    )
    canceled = note.first()
    if canceled is None:
        return None
    known = CreditNote.objects.filter(cancels=canceled).first()
    if known is not None:
        return known
    undoing = _note(
        canceled.receipt,
        cause_kind,
        cause_id,
        total_cents=canceled.total_cents,
        tax_cents=canceled.tax_cents,
        at=at,
    )
    undoing.cancels = canceled
    _numbered(undoing)
    emails.credit_note_issued(note=undoing)
    return undoing


@dataclass(frozen=True, slots=True)
class Page:
    """Documents of both kinds, newest first, and after which ids of each kind the next page begins; None at the end."""

    documents: list[Receipt | CreditNote]
    older: tuple[int, int] | None


def page_of(*, organization: Organization, before: tuple[int, int] | None = None, limit: int = 50) -> Page:
    """The organization's receipts and credit notes. ``before`` is the ``older`` of the page above."""
    receipts = Receipt.objects.filter(organization=organization)
    notes = CreditNote.objects.select_related("receipt", "cancels").filter(organization=organization)
    if before is not None:
        receipts, notes = receipts.filter(pk__lt=before[0]), notes.filter(pk__lt=before[1])
    found: list[Receipt | CreditNote] = [*receipts.order_by("-id")[: limit + 1], *notes.order_by("-id")[: limit + 1]]
    # Within a kind ids and times rise together, because documents are written under the account's lock.
    found.sort(key=lambda document: (document.issued_at, isinstance(document, CreditNote), document.pk), reverse=True)
    shown = found[:limit]
    if len(found) <= limit:
        return Page(documents=shown, older=None)
    floor = before or (MOST, MOST)
    last_receipt = min((d.pk for d in shown if isinstance(d, Receipt)), default=floor[0])
    last_note = min((d.pk for d in shown if isinstance(d, CreditNote)), default=floor[1])
    return Page(documents=shown, older=(last_receipt, last_note))


def receipt_of(*, organization: Organization, number: int) -> Receipt | None:
    """The organization's receipt of this number, with its purchase; None for any other number."""
    return Receipt.objects.select_related("purchase").filter(organization=organization, number=number).first()


def credit_note_of(*, organization: Organization, number: int) -> CreditNote | None:
    """The organization's credit note of this number, with what it takes back; None for any other number."""
    notes = CreditNote.objects.select_related("receipt", "cancels", "canceled_by")
    return notes.filter(organization=organization, number=number).first()


def credit_notes_of(*, receipt: Receipt) -> list[CreditNote]:
    """The credit notes that take back the receipt, oldest first."""
    return list(CreditNote.objects.select_related("cancels").filter(receipt=receipt).order_by("id"))


def processors_url(*, receipt: Receipt) -> str:
    """Where the payment processor's own receipt is now; it shows refunds too. Empty where there is none.

    Raises:
        PaymentProcessorUnavailable: try again.
    """
    intent_id = receipt.purchase.payment_intent_id
    return stripe_gateway.receipt_url(payment_intent_id=intent_id) if intent_id else ""


def _note(
    receipt: Receipt, cause_kind: CauseKind, cause_id: int, *, total_cents: int, tax_cents: int, at: datetime
) -> CreditNote:
    """A note of the same parties, in the words of the receipt that it takes back."""
    return CreditNote(
        organization=receipt.organization,
        receipt=receipt,
        cause_kind=cause_kind,
        cause_id=cause_id,
        issued_at=at,
        time_zone=receipt.time_zone,
        platform_name=receipt.platform_name,
        seller_name=receipt.seller_name,
        seller_address=receipt.seller_address,
        seller_tax_id=receipt.seller_tax_id,
        seller_email=receipt.seller_email,
        buyer_name=receipt.buyer_name,
        buyer_address=receipt.buyer_address,
        buyer_tax_id=receipt.buyer_tax_id,
        reference=receipt.reference,
        net_cents=total_cents - tax_cents,
        tax_text=receipt.tax_text,
        tax_cents=tax_cents,
        total_cents=total_cents,
    )


def _numbered(document: D) -> D:
    """Keep the document and learn which number the database gave it."""
    document.save(force_insert=True)
    document.refresh_from_db(fields=["number"])
    return document


def _reference(purchase: Purchase, details: BillingDetails | None) -> str:
    """A form offers the usual reference and takes another, or none; nobody is there to choose one for a reload."""
    if purchase.reference or purchase.kind == Purchase.Kind.MANUAL or details is None:
        return purchase.reference
    return details.reference


def _seller() -> _Seller:
    return _Seller(
        platform_name=settings.PLATFORM_NAME[:200],
        seller_name=(settings.SELLER_NAME or settings.PLATFORM_NAME)[:200],
        seller_address=settings.SELLER_ADDRESS[:ADDRESS_LENGTH],
        seller_tax_id=settings.SELLER_TAX_ID[:64],
        seller_email=settings.SELLER_EMAIL[:254],
    )


def _buyer(organization_name: str, details: BillingDetails | None) -> _Buyer:
    if details is None:
        return _Buyer(buyer_name=organization_name, buyer_address="", buyer_tax_id="")
    place = " ".join(part for part in (details.postal_code, details.city) if part)
    lines = (
        details.address_line1,
        details.address_line2,
        place,
        details.region,
        countries.name_of(details.country),
    )
    return _Buyer(
        buyer_name=details.legal_name,
        buyer_address="\n".join(line for line in lines if line),
        buyer_tax_id=details.tax_id,
    )
