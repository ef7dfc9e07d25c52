"""Rows of the ledger, to look at. Nobody adds, changes or deletes them here: a correction is a new entry."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from accounts.staff_lists import row_number
from billing.admin import corrections
from billing.admin.lists import HistoryAdmin
from billing.credits import prices
from billing.models import (
    Charge,
    CreditEvent,
    CreditLot,
    DebitAdjustment,
    Hold,
    LedgerEntry,
    Reversal,
    TakeBack,
    UnpricedUsage,
    UsageDay,
)
from billing.money import exact_usd


def usd(amount_nano: int) -> str:
    """An amount to the last nano, as proofs write it."""
    return f"${exact_usd(amount_nano)}" if amount_nano >= 0 else f"−${exact_usd(-amount_nano)}"


def written_units(quantities: dict[str, int]) -> str:
    """Units by token class in one line."""
    return ", ".join(f"{quantities[name]:,} {name}" for name in prices.in_order(quantities))


class CorrectableAdmin(HistoryAdmin):
    """Rows whose own page leads to the form that puts them right, for those who may."""

    change_form_template = "admin/billing/correctable_change_form.html"
    correction_permission: ClassVar[str]
    correction_title: ClassVar[str]

    def correction_url(self, row: Any) -> str:
        """Where the row is put right; empty where there is nothing to do."""
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The row, with the way to its correction."""
        row = self.get_object(request, object_id) if request.user.has_perm(self.correction_permission) else None
        more = {"correction_url": self.correction_url(row) if row else "", "correction_title": self.correction_title}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})


def _reversal_url(kind: Reversal.Cause, row: Any) -> str:
    return reverse("admin:billing_billingaccount_reverse", args=[row.organization_id, kind.value, row.pk])


@admin.register(CreditLot)
class CreditLotAdmin(CorrectableAdmin):
    """Lots as the ledger has them: remainders without what holds have reserved, booked or not."""

    list_display = ("id", "organization", "kind", "label", "granted", "remaining", "effective_at", "expires_at")
    list_filter = ("kind",)
    fields = (
        "organization", "kind", "granted", "remaining", "effective_at", "expires_at", "purchase", "label", "reason",
        "actor_id", "grant_key",
    )  # fmt: skip
    correction_permission = corrections.TAKE_BACK
    correction_title = "Take back"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditLot]:
        """Lots with their accounts, in one statement: what is left of a lot is in one of the two."""
        return super().get_queryset(request).select_related("organization__creditaccount")

    def correction_url(self, row: CreditLot) -> str:
        return reverse("admin:billing_billingaccount_take_back", args=[row.organization_id, row.pk])

    @admin.display(description="granted")
    def granted(self, lot: CreditLot) -> str:
        return usd(lot.granted_nano)

    @admin.display(description="remaining")
    def remaining(self, lot: CreditLot) -> str:
        return usd(lot.left_nano)


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
        is_number = row_number(search_term.strip()) is not None
        return (found if is_number else found.filter(state=Hold.State.OPEN)), may_repeat

    @admin.display(description="amount")
    def amount(self, hold: Hold) -> str:
        return usd(hold.amount_nano)


@admin.register(Charge)
class ChargeAdmin(CorrectableAdmin):
    """What requests cost, newest first; of one organization by key, which is the only index they have there.

    Newest first, an organization's charges are in its entries.
    """

    keys_in_organization: ClassVar = ("idempotency_key",)
    list_display = (
        "id", "organization", "idempotency_key", "operation", "amount", "debt", "surface", "started_at", "charged_at",
    )  # fmt: skip
    list_select_related = ("organization",)
    search_help_text = "The slug of an organization, then, if known, a blank and the key of a request; or a number."
    fields = (
        "organization", "idempotency_key", "operation", "hold", "price_version", "surface", "key_ref", "quantities",
        "cost", "amount", "debt", "given_back", "available_after", "started_at", "charged_at",
    )  # fmt: skip
    correction_permission = corrections.REVERSE
    correction_title = "Reverse"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Charge], search_term: str
    ) -> tuple[QuerySet[Charge], bool]:
        """A request's key is known within its organization only."""
        slug, _, key = search_term.strip().partition(" ")
        found, may_repeat = super().get_search_results(request, queryset, slug if key else search_term)
        return (found.filter(idempotency_key=key.strip()) if key else found), may_repeat

    def correction_url(self, row: Charge) -> str:
        return _reversal_url(Reversal.Cause.CHARGE, row)

    @admin.display(description="cost by class")
    def cost(self, charge: Charge) -> SafeString:
        """The lines of the bill, whose amounts sum to what was taken (case 77)."""
        rates = prices.rates_of(charge.price_version)
        lines = prices.cost_lines(rates=rates, quantities=charge.quantities)
        return format_html_join(
            "",
            "{} {} at {}: {}<br>",
            (
                (
                    f"{line.units:,}",
                    line.token_class,
                    prices.price_text(line.token_class, line.price_nano_per_million),
                    usd(line.amount_nano),
                )
                for line in lines
            ),
        )

    @admin.display(description="given back")
    def given_back(self, charge: Charge) -> str:
        mine = Reversal.objects.filter(
            organization_id=charge.organization_id, cause_kind=Reversal.Cause.CHARGE, cause_id=charge.pk
        )
        return usd(sum(mine.values_list("amount_nano", flat=True)))

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
        "organization", "seq", "kind", "lot", "amount", "balance_after", "cause", "reverses_seq", "actor_id",
        "value_at", "booked_at", "hash_in_hex",
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


@admin.register(Reversal)
class ReversalAdmin(HistoryAdmin):
    """What was given back of charges, corrections and take-backs."""

    list_display = ("id", "organization", "cause", "amount", "label", "actor_id", "reversed_at")
    list_select_related = ("organization",)
    list_filter = ("cause_kind",)
    fields = (
        "organization", "cause", "amount", "asked", "label", "reason", "actor_id", "reversed_at", "reversal_key",
    )  # fmt: skip

    @admin.display(description="cause")
    def cause(self, reversal: Reversal) -> str:
        return f"{reversal.get_cause_kind_display()} {reversal.cause_id}"

    @admin.display(description="amount")
    def amount(self, reversal: Reversal) -> str:
        return usd(reversal.amount_nano)

    @admin.display(description="asked for")
    def asked(self, reversal: Reversal) -> str:
        return "all that was left" if reversal.asked_nano is None else usd(reversal.asked_nano)


@admin.register(DebitAdjustment)
class DebitAdjustmentAdmin(CorrectableAdmin):
    """Credit that staff took to put something right."""

    list_display = ("id", "organization", "amount", "debt", "label", "unpriced_usage", "actor_id", "adjusted_at")
    list_select_related = ("organization", "unpriced_usage")
    fields = (
        "organization", "amount", "debt", "unpriced_usage", "label", "reason", "actor_id", "adjusted_at",
        "adjustment_key",
    )  # fmt: skip
    correction_permission = corrections.REVERSE
    correction_title = "Reverse"

    def correction_url(self, row: DebitAdjustment) -> str:
        return _reversal_url(Reversal.Cause.ADJUSTMENT, row)

    @admin.display(description="amount")
    def amount(self, adjustment: DebitAdjustment) -> str:
        return usd(adjustment.amount_nano)

    @admin.display(description="of it debt")
    def debt(self, adjustment: DebitAdjustment) -> str:
        return usd(adjustment.debt_nano)


@admin.register(TakeBack)
class TakeBackAdmin(CorrectableAdmin):
    """Lots that were taken back, wholly or in part."""

    list_display = ("id", "organization", "lot", "taken_amount", "debt", "label", "actor_id", "taken_back_at")
    list_select_related = ("organization", "lot")
    fields = (
        "organization", "lot", "asked_amount", "is_rest_owed", "taken_amount", "debt", "label", "reason", "actor_id",
        "taken_back_at", "take_back_key",
    )  # fmt: skip
    correction_permission = corrections.REVERSE
    correction_title = "Reverse"

    def correction_url(self, row: TakeBack) -> str:
        return _reversal_url(Reversal.Cause.TAKE_BACK, row)

    @admin.display(description="asked for")
    def asked_amount(self, take_back: TakeBack) -> str:
        return usd(take_back.asked_nano)

    @admin.display(description="taken")
    def taken_amount(self, take_back: TakeBack) -> str:
        return usd(take_back.taken_nano)

    @admin.display(description="became debt")
    def debt(self, take_back: TakeBack) -> str:
        return usd(take_back.debt_nano)


class ServedFilter(SimpleListFilter):
    """Usage without a price by what can be done about it."""

    title = "state"
    parameter_name = "is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("served", "Served"), ("unsettled", "Served and not settled"), ("refused", "Refused before")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        served = (UnpricedUsage.Operation.USAGE, UnpricedUsage.Operation.CAPTURE)
        match self.value():
            case "served":
                return queryset.filter(operation__in=served)
            case "unsettled":
                return queryset.filter(operation__in=served, adjustments__isnull=True)
            case "refused":
                return queryset.exclude(operation__in=served)
        return queryset


@admin.register(UnpricedUsage)
class UnpricedUsageAdmin(CorrectableAdmin):
    """Usage that had no price. What was served can be charged by a correction, once."""

    list_display = (
        "id", "organization", "operation", "model", "without_a_price", "attempts", "started_at", "last_at", "settled",
    )  # fmt: skip
    list_select_related = ("organization",)
    list_filter = (ServedFilter, "operation")
    fields = (
        "organization", "operation", "idempotency_key", "model", "without_a_price", "units", "surface", "key_ref",
        "started_at", "attempts", "first_at", "last_at", "settled",
    )  # fmt: skip
    correction_permission = corrections.DEBIT
    correction_title = "Charge it"

    def correction_url(self, row: UnpricedUsage) -> str:
        if not row.was_served:
            return ""
        return reverse("admin:billing_billingaccount_settle", args=[row.organization_id, row.pk])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("adjustments")

    @admin.display(description="without a price")
    def without_a_price(self, usage: UnpricedUsage) -> str:
        return usage.token_class or "the model"

    @admin.display(description="units")
    def units(self, usage: UnpricedUsage) -> str:
        return written_units(usage.quantities)

    @admin.display(description="settled by")
    def settled(self, usage: UnpricedUsage) -> str:
        return ", ".join(f"{adjustment}: {usd(adjustment.amount_nano)}" for adjustment in usage.adjustments.all())


class HandledFilter(SimpleListFilter):
    """Events by whether anybody has heard of them."""

    title = "state"
    parameter_name = "is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waiting")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(handled_at__isnull=True) if self.value() == "waiting" else queryset


@admin.register(CreditEvent)
class CreditEventAdmin(HistoryAdmin):
    """What the ledger told others: written with the credit that changed, handled after it."""

    list_display = ("id", "organization", "kind", "occurred_at", "handled_at")
    list_select_related = ("organization",)
    list_filter = (HandledFilter, "kind")
    fields = ("organization", "kind", "occurred_at", "handled_at")


@admin.register(UsageDay)
class UsageDayAdmin(HistoryAdmin):
    """Usage by day (UTC), surface, model and key: sums that are kept with each charge."""

    keys_in_organization: ClassVar = ("day", "id")
    list_display = (
        "id", "organization", "day", "surface", "priced_model", "key_ref", "requests", "amount", "reversed_amount",
    )  # fmt: skip
    list_select_related = ("organization", "priced_model")
    list_filter = ("surface",)
    fields = (
        "organization", "day", "surface", "priced_model", "key_ref", "requests", "amount", "reversed_amount", "units",
    )  # fmt: skip

    @admin.display(description="amount")
    def amount(self, day: UsageDay) -> str:
        return usd(day.amount_nano)

    @admin.display(description="given back")
    def reversed_amount(self, day: UsageDay) -> str:
        return usd(day.reversed_nano)

    @admin.display(description="units")
    def units(self, day: UsageDay) -> str:
        usual = {
            "input": day.input_units,
            "output": day.output_units,
            "cache_write": day.cache_write_units,
            "cache_read": day.cache_read_units,
        }
        return written_units({name: count for name, count in {**usual, **day.other_units}.items() if count})
