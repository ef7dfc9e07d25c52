"""Rows of the ledger, to look at. Nobody adds, changes or deletes them here: a correction is a new entry."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from billing.admin.lists import HistoryAdmin
from billing.models import Charge, CreditLot, Hold, LedgerEntry
from billing.money import exact_usd


def usd(amount_nano: int) -> str:
    """An amount to the last nano, as proofs write it."""
    return f"${exact_usd(amount_nano)}" if amount_nano >= 0 else f"−${exact_usd(-amount_nano)}"


@admin.register(CreditLot)
class CreditLotAdmin(HistoryAdmin):
    """Lots as the ledger has them: remainders without what holds have reserved, booked or not."""

    list_display = ("id", "organization", "kind", "label", "granted", "remaining", "effective_at", "expires_at")
    list_select_related = ("organization",)
    list_filter = ("kind",)
    fields = (
        "organization", "kind", "granted", "remaining", "effective_at", "expires_at", "purchase", "label", "reason",
        "actor_id", "grant_key",
    )  # fmt: skip

    @admin.display(description="granted")
    def granted(self, lot: CreditLot) -> str:
        return usd(lot.granted_nano)

    @admin.display(description="remaining")
    def remaining(self, lot: CreditLot) -> str:
        return usd(lot.remaining_nano)


@admin.register(Hold)
class HoldAdmin(HistoryAdmin):
    """Open holds. Those that have ended are found by their number, or by way of their charge."""

    list_display = ("id", "organization", "state", "amount", "surface", "authorized_at", "expires_at")
    list_select_related = ("organization",)
    fields = (
        "organization", "idempotency_key", "state", "amount", "lot_ids", "lot_amounts_nano", "price_version",
        "surface", "key_ref", "quantities", "started_at", "authorized_at", "expires_at", "settled_at",
    )  # fmt: skip
    search_help_text = "The slug of an organization, for its open holds, or the number of any hold."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Hold], search_term: str
    ) -> tuple[QuerySet[Hold], bool]:
        """Only open holds have an index, and no other is asked for in numbers."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        is_number = search_term.strip().isdigit()
        return (found if is_number else found.filter(state=Hold.State.OPEN)), may_repeat

    @admin.display(description="amount")
    def amount(self, hold: Hold) -> str:
        return usd(hold.amount_nano)


@admin.register(Charge)
class ChargeAdmin(HistoryAdmin):
    """What requests cost, newest first."""

    keys_in_organization: ClassVar = ("started_at", "id")
    list_display = ("id", "organization", "operation", "amount", "debt", "surface", "started_at", "charged_at")
    list_select_related = ("organization",)
    fields = (
        "organization", "idempotency_key", "operation", "hold", "price_version", "surface", "key_ref", "quantities",
        "amount", "debt", "available_after", "started_at", "charged_at",
    )  # fmt: skip

    @admin.display(description="amount")
    def amount(self, charge: Charge) -> str:
        return usd(charge.amount_nano)

    @admin.display(description="of it debt")
    def debt(self, charge: Charge) -> str:
        return usd(charge.debt_nano)

    @admin.display(description="available afterwards")
    def available_after(self, charge: Charge) -> str:
        return usd(charge.available_after_nano)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(HistoryAdmin):
    """Every movement of credit, with the hash that chains it to the one before."""

    keys_in_organization: ClassVar = ("seq",)
    list_display = ("id", "organization", "seq", "kind", "amount", "balance_after", "cause", "value_at", "booked_at")
    list_select_related = ("organization",)
    fields = (
        "organization", "seq", "kind", "lot", "amount", "balance_after", "cause", "actor_id", "value_at", "booked_at",
        "hash_in_hex",
    )  # fmt: skip

    @admin.display(description="amount")
    def amount(self, entry: LedgerEntry) -> str:
        return usd(entry.amount_nano)

    @admin.display(description="balance after")
    def balance_after(self, entry: LedgerEntry) -> str:
        return usd(entry.balance_after_nano)

    @admin.display(description="cause")
    def cause(self, entry: LedgerEntry) -> str:
        return f"{entry.get_cause_kind_display()} {entry.cause_id}"

    @admin.display(description="hash")
    def hash_in_hex(self, entry: LedgerEntry) -> str:
        return bytes(entry.hash).hex()
