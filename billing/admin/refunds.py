"""Refunds, disputes and early fraud warnings, to look at; and the form with which staff refund a purchase."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from billing.admin.lists import HistoryAdmin
from billing.models import Clawback, Dispute, EarlyFraudWarning, Purchase, Refund
from billing.money import credit_text, dollars_text
from billing.payments import clawbacks


class ClawbackAdmin(HistoryAdmin):
    """Rows of money that went back, newest first, with the credit that went with it."""

    list_select_related = ("organization",)

    @admin.display(description="amount")
    def amount(self, row: Any) -> str:
        return dollars_text(row.amount_cents)

    @admin.display(description="purchase")
    def of_purchase(self, row: Any) -> str:
        return purchase_link(row.purchase_id)

    @admin.display(description="credit taken back")
    def taken(self, row: Any) -> str:
        return taken_text(row)


@admin.register(Refund)
class RefundAdmin(ClawbackAdmin):
    """Refunds by staff and from Stripe's dashboard."""

    list_display = ("id", "organization", "of_purchase", "state", "amount", "origin", "failure_code", "created_at")
    list_filter = ("state", "origin", "created_at")
    exact_search_fields: ClassVar = ("stripe_refund_id",)
    search_help_text = "The slug of an organization, a refund at Stripe (re_...), or a number of this list."
    fields = (
        "organization", "of_purchase", "state", "amount", "origin", "taken", "may_owe", "reason", "actor",
        "stripe_refund_id", "failure_code", "refund_key", "created_at", "sent_at", "checked_at", "settled_at",
    )  # fmt: skip


class DisputeFilter(SimpleListFilter):
    """Disputes that wait for an answer or a decision."""

    title = "state"
    parameter_name = "is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(closed_at=None) if self.value() == "open" else queryset


@admin.register(Dispute)
class DisputeAdmin(ClawbackAdmin):
    """Disputes and inquiries. They are answered in Stripe's dashboard."""

    list_display = ("id", "organization", "of_purchase", "status", "amount", "reason", "evidence_due_at", "opened_at")
    list_filter = (DisputeFilter, "status", "opened_at")
    exact_search_fields: ClassVar = ("stripe_dispute_id",)
    search_help_text = "The slug of an organization, a dispute at Stripe (du_...), or a number of this list."
    fields = (
        "organization", "of_purchase", "status", "amount", "reason", "taken", "stripe_dispute_id", "evidence_due_at",
        "opened_at", "seen_at", "closed_at",
    )  # fmt: skip


@admin.register(EarlyFraudWarning)
class EarlyFraudWarningAdmin(HistoryAdmin):
    """What card issuers have warned of."""

    list_display = ("id", "organization", "of_purchase", "fraud_type", "is_actionable", "warned_at")
    list_select_related = ("organization",)
    list_filter = ("is_actionable", "warned_at")
    exact_search_fields: ClassVar = ("stripe_warning_id",)
    search_help_text = "The slug of an organization, a warning at Stripe (issfr_...), or a number of this list."
    fields = (
        "organization", "of_purchase", "fraud_type", "is_actionable", "stripe_warning_id", "warned_at", "seen_at",
    )  # fmt: skip

    @admin.display(description="purchase")
    def of_purchase(self, row: EarlyFraudWarning) -> str:
        return purchase_link(row.purchase_id)


def purchase_link(purchase_id: int) -> str:
    """A purchase's number, as a link to its page."""
    return format_html('<a href="{}">{}</a>', reverse("admin:billing_purchase_change", args=[purchase_id]), purchase_id)


def taken_text(cause: Refund | Dispute) -> str:
    """What a refund or dispute has taken, and whether it stands."""
    taken_nano, debt_nano = clawbacks.taken_nano(cause)
    if not taken_nano + debt_nano:
        return "nothing"
    debt = f", of it {credit_text(debt_nano, is_owed=True)} as debt" if debt_nano else ""
    is_standing = Clawback.objects.filter(
        **{"refund" if isinstance(cause, Refund) else "dispute": cause}, undone_at=None
    ).exists()
    return f"{credit_text(taken_nano + debt_nano)}{debt}{'' if is_standing else ', given back since'}"


def refund_url(purchase: Purchase) -> str:
    """Where a purchase is refunded; empty where nothing of it can be."""
    if purchase.state != Purchase.State.SUCCEEDED or not clawbacks.left_cents(purchase):
        return ""
    return reverse("admin:billing_billingaccount_refund", args=[purchase.organization_id, purchase.pk])
