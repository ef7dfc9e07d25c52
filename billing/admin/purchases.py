"""Purchases and what came from Stripe, to look at; and reading Stripe again, which is all that staff can do to them."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from accounts.admin import staff_of
from billing.admin.lists import HistoryAdmin
from billing.admin.refunds import refund_url
from billing.errors import BillingError
from billing.models import AutoReloadConsent, CardSetup, Purchase, StripeEvent
from billing.money import credit_text, dollars_text
from billing.payments import attention, clawbacks

READ_AGAIN_AT_ONCE_MAX = 20
LOOKED_AT_ON_PAGE = 100

READ_AGAIN = "billing.change_purchase"
WORK_AGAIN = "billing.change_stripeevent"
REFUND = "billing.add_refund"


class AttentionFilter(SimpleListFilter):
    """Purchases that need a look."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("needed", "Needs a look")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(attention.any_of_these(at=timezone.now())) if self.value() == "needed" else queryset


@admin.register(Purchase)
class PurchaseAdmin(HistoryAdmin):
    """Attempts at charging a card, newest first."""

    change_list_template = "admin/billing/purchase/change_list.html"
    change_form_template = "admin/billing/purchase/change_form.html"
    list_display = ("id", "organization", "kind", "state", "amount", "failure", "created_at", "settled_at")
    list_select_related = ("organization",)
    list_filter = (AttentionFilter, "state", "kind", "created_at")
    exact_search_fields: ClassVar = ("payment_intent_id",)
    search_help_text = "The slug of an organization, a PaymentIntent (pi_...), or a purchase's number."
    fields = (
        "organization", "kind", "state", "paid_back", "amount", "credit", "payment_method", "payment_intent",
        "failure_code", "decline_code", "actor", "terms_version", "terms_accepted_at", "attempt_key", "created_at",
        "sent_at", "sent_by", "checked_at", "settled_at",
    )  # fmt: skip
    actions = ("read_again",)

    @admin.display(description="amount")
    def amount(self, purchase: Purchase) -> str:
        return dollars_text(purchase.amount_cents)

    @admin.display(description="paid back")
    def paid_back(self, purchase: Purchase) -> str:
        return ", ".join(clawbacks.words(clawbacks.paid_back([purchase])[purchase.pk], purchase)) or "nothing"

    @admin.display(description="credit")
    def credit(self, purchase: Purchase) -> str:
        return str(credit_text(purchase.credit_nano))

    @admin.display(description="failure")
    def failure(self, purchase: Purchase) -> str:
        return purchase.decline_code or purchase.failure_code

    @admin.display(description="PaymentIntent")
    def payment_intent(self, purchase: Purchase) -> str:
        return payment_intent_link(purchase)

    def has_read_again_permission(self, request: HttpRequest) -> bool:
        """Reading Stripe again may end a purchase and grant its credits."""
        return bool(request.user.has_perm(READ_AGAIN))

    @admin.action(description="Read again from Stripe", permissions=["read_again"])
    def read_again(self, request: HttpRequest, queryset: QuerySet[Purchase]) -> None:
        chosen = list(queryset.order_by("-id")[: READ_AGAIN_AT_ONCE_MAX + 1])
        if len(chosen) > READ_AGAIN_AT_ONCE_MAX:
            text = f"Choose at most {READ_AGAIN_AT_ONCE_MAX} purchases: each is a call to Stripe."
            self.message_user(request, text, messages.ERROR)
            return
        for purchase in chosen:
            self._read_again(request, purchase.pk)

    def get_urls(self) -> list[URLPattern]:
        attention_view = self.admin_site.admin_view(self.attention_view)
        read_again_view = self.admin_site.admin_view(require_POST(self.read_again_view))
        return [
            path("attention/", attention_view, name="billing_purchase_attention"),
            path("<int:purchase_id>/read-again/", read_again_view, name="billing_purchase_read_again"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The purchase, with the button that reads Stripe again for those who may."""
        purchase = self.get_object(request, object_id) if request.user.has_perm(REFUND) else None
        context = {
            **(extra_context or {}),
            "may_read_again": self.has_read_again_permission(request),
            "refund_url": refund_url(purchase) if purchase is not None else "",
        }
        return super().change_view(request, object_id, form_url, context)

    def attention_view(self, request: HttpRequest) -> HttpResponse:
        """Payments that need a look, and Stripe's events whose effect doesn't stand."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        at = timezone.now()
        sections = [
            ("Differs from Stripe", "Nothing was granted for what differs.", attention.mismatched()),
            ("Open for more than 30 minutes", "The outcome should be known by now.", attention.open_too_long(at=at)),
            (
                "Waiting for the customer for more than a day",
                "The bank asks for a confirmation that the customer has not given.",
                attention.waiting_for_customer(at=at),
            ),
        ]
        may_see_events = request.user.has_perm("billing.view_stripeevent")
        events = attention.waiting_events(at=at)[:LOOKED_AT_ON_PAGE] if may_see_events else []
        may_refund = request.user.has_perm(REFUND)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Payments that need a look",
            "refunds": attention.troubled_refunds(at=at)[:LOOKED_AT_ON_PAGE],
            "disputes": attention.open_disputes()[:LOOKED_AT_ON_PAGE],
            "warnings": attention.fraud_warnings(limit=LOOKED_AT_ON_PAGE),
            "refused_events": list(attention.refused_events(at=at)[:LOOKED_AT_ON_PAGE]) if may_see_events else [],
            "may_refund": may_refund,
            "sections": [(title, help_text, list(found[:LOOKED_AT_ON_PAGE])) for title, help_text, found in sections],
            "events": list(events),
            "may_read_again": self.has_read_again_permission(request),
            "may_work_again": request.user.has_perm(WORK_AGAIN),
        }
        return TemplateResponse(request, "admin/billing/purchase/attention.html", context)

    def read_again_view(self, request: HttpRequest, purchase_id: int) -> HttpResponse:
        """Read one purchase again and go back to where the button was."""
        if not (self.has_view_permission(request) and self.has_read_again_permission(request)):
            raise PermissionDenied
        if not Purchase.objects.filter(pk=purchase_id).exists():
            raise Http404("There is no such purchase.")
        self._read_again(request, purchase_id)
        if request.POST.get("from") == "attention":
            return HttpResponseRedirect(reverse("admin:billing_purchase_attention"))
        return HttpResponseRedirect(reverse("admin:billing_purchase_change", args=[purchase_id]))

    def _read_again(self, request: HttpRequest, purchase_id: int) -> None:
        try:
            purchase = attention.read_again(
                purchase_id=purchase_id, actor=staff_of(request), at=timezone.now(), request=request
            )
        except BillingError as error:
            self.message_user(request, f"Purchase {purchase_id} could not be read: {error}", messages.ERROR)
            return
        state = purchase.get_state_display().lower()
        if purchase.failure_code.startswith("mismatch_"):
            text = f"Purchase {purchase_id} differs from Stripe ({purchase.failure_code}). It is {state}."
            self.message_user(request, text, messages.WARNING)
        else:
            self.message_user(request, f"Purchase {purchase_id} was read again. It is {state}.", messages.SUCCESS)


def payment_intent_link(purchase: Purchase) -> str:
    """The PaymentIntent's id, as a link into Stripe's dashboard where there is one."""
    intent_id = purchase.payment_intent_id
    if intent_id is None:
        return "none yet"
    if settings.STRIPE_API_BASE:
        return intent_id
    mode = "" if settings.STRIPE_SECRET_KEY.startswith(("sk_live", "rk_live")) else "test/"
    return format_html(
        '<a href="https://dashboard.stripe.com/{}payments/{}" rel="noreferrer">{}</a>', mode, intent_id, intent_id
    )


class EventFilter(SimpleListFilter):
    """Events by what became of them."""

    title = "state"
    parameter_name = "is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waiting"), ("late", "Needs a look"), ("ignored", "Ignored"), ("refused", "Refused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "waiting":
            return queryset.filter(processed_at__isnull=True)
        if self.value() == "late":
            return queryset.filter(pk__in=attention.waiting_events(at=timezone.now()).order_by().values("pk"))
        if self.value() in ("ignored", "refused"):
            return queryset.filter(outcome__startswith=f"{self.value()}:")
        return queryset


@admin.register(StripeEvent)
class StripeEventAdmin(HistoryAdmin):
    """The inbox of webhooks. The payload isn't shown: it may hold what only the customer's browser may know."""

    list_display = ("id", "type", "object_id", "received_at", "processed_at", "attempts", "outcome")
    list_filter = (EventFilter, "received_at")
    has_organization: ClassVar = False
    search_fields = ("stripe_event_id",)
    exact_search_fields: ClassVar = ("stripe_event_id", "object_id")
    search_help_text = "An event (evt_...), its object (pi_...), or a number of this list."
    fields = (
        "stripe_event_id", "type", "object_id", "api_version", "received_at", "processed_at", "attempts", "outcome",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("payload")

    def get_urls(self) -> list[URLPattern]:
        work_again = self.admin_site.admin_view(require_POST(self.work_again_view))
        name = "billing_stripeevent_work_again"
        return [path("<int:event_id>/work-again/", work_again, name=name), *super().get_urls()]

    def work_again_view(self, request: HttpRequest, event_id: int) -> HttpResponse:
        """Work on one event now and go back to the payments that need a look."""
        if not (self.has_view_permission(request) and request.user.has_perm(WORK_AGAIN)):
            raise PermissionDenied
        if not StripeEvent.objects.filter(pk=event_id).exists():
            raise Http404("There is no such event.")
        event = attention.work_again(event_id=event_id, actor=staff_of(request), at=timezone.now(), request=request)
        level = messages.SUCCESS if event.processed_at else messages.ERROR
        self.message_user(request, f"{event.stripe_event_id}: {event.outcome or 'not processed'}", level)
        return HttpResponseRedirect(reverse("admin:billing_purchase_attention"))


@admin.register(CardSetup)
class CardSetupAdmin(HistoryAdmin):
    """Openings of the card form and the consent that was shown."""

    list_display = ("id", "organization", "state", "actor", "failures", "consent_version", "created_at", "finished_at")
    list_select_related = ("organization", "actor")
    list_filter = ("state",)
    exact_search_fields: ClassVar = ("stripe_setup_intent_id",)
    search_help_text = "The slug of an organization, a SetupIntent (seti_...), or a number of this list."
    fields = (
        "organization", "stripe_setup_intent_id", "state", "actor", "failures", "failure_code", "decline_code",
        "consent_version", "consent_text", "created_at", "finished_at",
    )  # fmt: skip


@admin.register(AutoReloadConsent)
class AutoReloadConsentAdmin(HistoryAdmin):
    """Every version of an organization's consent to auto-reload, as it was shown."""

    list_display = (
        "id",
        "organization",
        "actor",
        "kind",
        "is_enabled",
        "minimum",
        "target",
        "monthly_cap",
        "consented_at",
    )
    list_select_related = ("organization", "actor")
    fields = (
        "organization", "actor", "kind", "is_enabled", "minimum", "target", "monthly_cap", "consent_version",
        "consent_text", "consented_at",
    )  # fmt: skip

    @admin.display(description="line")
    def minimum(self, consent: AutoReloadConsent) -> str:
        return dollars_text(consent.minimum_cents)

    @admin.display(description="reload to")
    def target(self, consent: AutoReloadConsent) -> str:
        return dollars_text(consent.target_cents)

    @admin.display(description="monthly cap")
    def monthly_cap(self, consent: AutoReloadConsent) -> str:
        return dollars_text(consent.monthly_cap_cents)
