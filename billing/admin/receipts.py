"""Receipts and credit notes for staff: to find by their number and to look at. Nobody changes a document."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.staff_lists import row_number
from billing.admin.lists import HistoryAdmin
from billing.models import CreditNote, Receipt
from billing.models.receipts import Document
from billing.money import credit_text, dollars_text


class DocumentAdmin(HistoryAdmin):
    """Documents newest first, found by "R-000042", by "42", or by the slug of an organization."""

    prefix: ClassVar[str]
    list_select_related: ClassVar[tuple[str, ...]] = ("organization",)
    list_filter = ("issued_at",)
    search_help_text = "The slug of an organization, or the number of a document, such as R-000042 or CN-000007."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By the number that is printed, which is not the row's."""
        number = row_number(search_term.strip().upper().removeprefix(f"{self.prefix}-"))
        if number is not None:
            return queryset.filter(number=number), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description="number")
    def printed_number(self, document: Document) -> str:
        return document.number_text

    @admin.display(description="net")
    def net(self, document: Document) -> str:
        return dollars_text(document.net_cents)

    @admin.display(description="tax")
    def tax(self, document: Document) -> str:
        return dollars_text(document.tax_cents)

    @admin.display(description="total")
    def total(self, document: Document) -> str:
        return dollars_text(document.total_cents)


PARTIES = (
    "platform_name", "seller_name", "seller_address", "seller_tax_id", "seller_email", "buyer_name", "buyer_address",
    "buyer_tax_id", "reference",
)  # fmt: skip


@admin.register(Receipt)
class ReceiptAdmin(DocumentAdmin):
    """What was bought."""

    prefix = Receipt.PREFIX
    list_display = ("printed_number", "organization", "buyer_name", "total", "tax", "purchase", "issued_at")
    list_select_related = ("organization", "purchase")
    fields = (
        "printed_number", "organization", "purchase", "purchase_kind", "issued_at", *PARTIES, "card_brand",
        "card_last4", "net", "tax_text", "tax", "total", "credit", "debt_paid", "expires_at", "terms_version",
    )  # fmt: skip

    @admin.display(description="credit")
    def credit(self, receipt: Receipt) -> str:
        return str(credit_text(receipt.credit_nano))

    @admin.display(description="of it paid debt")
    def debt_paid(self, receipt: Receipt) -> str:
        return str(credit_text(receipt.debt_paid_nano))


@admin.register(CreditNote)
class CreditNoteAdmin(DocumentAdmin):
    """What was taken back, and why."""

    prefix = CreditNote.PREFIX
    list_display = ("printed_number", "organization", "total", "tax", "receipt", "cause_kind", "cancels", "issued_at")
    list_select_related = ("organization", "receipt", "cancels")
    fields = (
        "printed_number", "organization", "receipt", "cause_kind", "cause_id", "cancels", "issued_at", *PARTIES, "net",
        "tax_text", "tax", "total",
    )  # fmt: skip
