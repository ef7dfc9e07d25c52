"""What a receipt or a credit note says, in words: the same for the page and for the PDF.

Everything comes from the document's own row, and from the receipt that a credit note takes back.
"""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from accounts.moments import day_text, moment_text
from billing.models import CreditNote, Receipt
from billing.models.receipts import Document
from billing.money import dollars_text, exact_text


@dataclass(frozen=True, slots=True)
class Party:
    """Who sells or buys: name, lines of the address, and what else identifies or reaches them."""

    role: str
    name: str
    address: tuple[str, ...]
    tax_id: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Something and what it is: a label with its text. ``detail`` is smaller print below the label."""

    label: str
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Printed:
    """A document in words. ``sums`` ends with the total; ``credit`` is a receipt's: what became of the credit."""

    title: str
    number: str
    issued_at: datetime
    seller: Party
    buyer: Party
    facts: tuple[Line, ...]
    item: Line
    sums: tuple[Line, ...]
    credit: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def parties(self) -> tuple[Party, Party]:
        """Both of them, the seller first."""
        return self.seller, self.buyer

    @property
    def file_name(self) -> str:
        """The name of its PDF."""
        return f"{self.number}.pdf"


def receipt_in_words(receipt: Receipt) -> Printed:
    """The receipt of one purchase."""
    zone = ZoneInfo(receipt.time_zone)
    is_reload = receipt.purchase_kind == "auto_reload"
    return Printed(
        title="Receipt",
        number=receipt.number_text,
        issued_at=receipt.issued_at,
        seller=_seller(receipt),
        buyer=_buyer(receipt),
        facts=(
            Line("Receipt number", receipt.number_text),
            Line("Paid on", moment_text(receipt.issued_at, zone)),
            Line("Paid with", f"{receipt.card_brand} ending in {receipt.card_last4}"),
            *_reference(receipt),
        ),
        item=Line(
            f"Prepaid usage credits for {receipt.platform_name}",
            dollars_text(receipt.net_cents),
            "Bought by auto-reload" if is_reload else "Credit purchase",
        ),
        sums=_sums(receipt, total="Total paid"),
        credit=_credit(receipt, zone),
        notes=(
            "Paid in full, in US dollars. Credits are used up by usage at the price list in force and are not "
            f"refunded: Credit Terms of {receipt.terms_version}.",
        ),
    )


def credit_note_in_words(note: CreditNote) -> Printed:
    """A credit note, with the receipt that it takes back loaded; or one that undoes another, loaded as ``cancels``."""
    zone = ZoneInfo(note.time_zone)
    receipt = note.receipt
    card = f"{receipt.card_brand} ending in {receipt.card_last4}"
    is_refund = note.cause_kind == CreditNote.Cause.REFUND
    if note.cancels is not None:
        title, item, total = "Cancellation of a credit note", "Credit note canceled", "Total charged again"
        cause = "The refund could not be made." if is_refund else "The dispute was decided for the seller after all."
        text = f"{cause} Credit note {note.cancels.number_text} is void; the receipt stands as before it."
    elif is_refund:
        title, item, total = "Credit note", "Refund of prepaid usage credits", "Total credited"
        text = f"The amount goes back to {card}. Banks take some days to show it."
    else:
        title, item, total = "Credit note", "Payment taken back after a dispute", "Total credited"
        text = f"The card's bank has returned the amount to {card}."
    canceled = (Line("Cancels credit note", note.cancels.number_text),) if note.cancels is not None else ()
    return Printed(
        title=title,
        number=note.number_text,
        issued_at=note.issued_at,
        seller=_seller(note),
        buyer=_buyer(note),
        facts=(
            Line("Number", note.number_text),
            Line("Date", moment_text(note.issued_at, zone)),
            Line("For receipt", f"{receipt.number_text} of {day_text(receipt.issued_at, zone)}"),
            *canceled,
            *_reference(note),
        ),
        item=Line(item, dollars_text(note.net_cents), f"Prepaid usage credits for {note.platform_name}"),
        sums=_sums(note, total=total),
        credit=(),
        notes=(f"{text} All amounts are in US dollars.",),
    )


def _seller(document: Document) -> Party:
    return Party(
        role="From",
        name=document.seller_name,
        address=tuple(document.seller_address.splitlines()),
        tax_id=document.seller_tax_id,
        email=document.seller_email,
    )


def _buyer(document: Document) -> Party:
    return Party(
        role="To",
        name=document.buyer_name,
        address=tuple(document.buyer_address.splitlines()),
        tax_id=document.buyer_tax_id,
    )


def _reference(document: Document) -> tuple[Line, ...]:
    return (Line("Your reference", document.reference),) if document.reference else ()


def _sums(document: Document, *, total: str) -> tuple[Line, ...]:
    return (
        Line("Net", dollars_text(document.net_cents)),
        Line(document.tax_text or "Tax (none charged)", dollars_text(document.tax_cents)),
        Line(total, dollars_text(document.total_cents)),
    )


def _credit(receipt: Receipt, zone: tzinfo) -> tuple[Line, ...]:
    end = Line("Expires", moment_text(receipt.expires_at, zone))
    if not receipt.debt_paid_nano:
        return Line("Credit to spend", str(exact_text(receipt.credit_nano))), end
    return (
        Line("Credit bought", str(exact_text(receipt.credit_nano))),
        Line("Paid off what was owed", str(exact_text(-receipt.debt_paid_nano))),
        Line("Left to spend", str(exact_text(receipt.spendable_nano))),
        end,
    )
