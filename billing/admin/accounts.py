"""Billing accounts: what an organization has, why, and what happens next; giving promotional credit; corrections."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts.admin import staff_of
from accounts.models import Organization, User
from billing import suspensions
from billing.admin.correction_forms import SuspensionForm
from billing.admin.corrections import CORRECTIONS, SET_STATE, Correction, correction_view, state_view
from billing.admin.forms import PromotionalCreditForm
from billing.admin.lists import HistoryAdmin
from billing.credits import promotions, queries
from billing.errors import Refused
from billing.forms import id_from_text
from billing.models import BillingAccount, Hold, LedgerEntry, Reversal, StripeCustomer, UnpricedUsage
from billing.money import cents_down_from_nano, credit_text, dollars_text
from billing.payments import auto_reload, payment_methods, purchases

ENTRIES_ON_PAGE = 25
ENDED_LOTS_ON_PAGE = 10
PURCHASES_ON_PAGE = 10
CONSENTS_ON_PAGE = 10
HOLDS_ON_PAGE = 50
UNPRICED_ON_PAGE = 10
SERVED = (UnpricedUsage.Operation.USAGE, UnpricedUsage.Operation.CAPTURE)

GIVE = "billing.give_promotional_credit"
# The arguments of the use case that have another name in the form.
_FIELD_OF_REFUSAL = {"expires_at": "last_day"}


class CreditFilter(SimpleListFilter):
    """Organizations that staff look for."""

    title = "credit"
    parameter_name = "credit"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("debt", "In debt"),
            ("low", "Reload due"),
            ("paused", "Auto-reload paused"),
            ("not_open", "Frozen or closed"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "debt":
                return queryset.filter(creditaccount__debt_nano__gt=0)
            case "low":
                return queryset.filter(creditaccount__low_at__isnull=False)
            case "paused":
                return queryset.filter(auto_reload__is_enabled=True).exclude(auto_reload__suspension="")
            case "not_open":
                return queryset.filter(creditaccount__state__in=["frozen", "closed"])
        return queryset


@admin.register(BillingAccount)
class BillingAccountAdmin(HistoryAdmin):
    """Every organization with its credit, newest first. Nothing is edited here; credit is moved by forms of its own."""

    list_display = ("name", "slug", "balance", "available", "debt", "state", "created_at")
    list_filter = (CreditFilter,)
    search_fields = ("name", "slug")
    search_help_text = "A part of the name or of the slug."
    actions = None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By name or slug, as the admin searches elsewhere."""
        return admin.ModelAdmin.get_search_results(self, request, queryset, search_term)

    def prepare_page(self, rows: list[Any]) -> None:
        """Read the credit of all organizations of the page in one statement."""
        found = queries.summaries(organization_ids=[row.pk for row in rows])
        for row in rows:
            row.summary = found[row.pk]

    @admin.display(description="balance")
    def balance(self, account: Any) -> str:
        return str(credit_text(account.summary.balance_nano))

    @admin.display(description="available")
    def available(self, account: Any) -> str:
        return str(credit_text(account.summary.available_nano))

    @admin.display(description="debt")
    def debt(self, account: Any) -> str:
        nano = account.summary.debt_nano
        return str(credit_text(nano, is_owed=True)) if nano else ""

    @admin.display(description="state")
    def state(self, account: Any) -> str:
        summary = account.summary
        return f"{summary.state}, reload due" if summary.low_at else str(summary.state)

    def get_urls(self) -> list[URLPattern]:
        own = "billing_billingaccount"
        give, state, suspend = (
            self.admin_site.admin_view(view)
            for view in (self.promotional_credit_view, self.account_state_view, self.suspension_view)
        )
        return [
            path("<int:organization_id>/promotional-credit/", give, name=f"{own}_promotional_credit"),
            path("<int:organization_id>/state/", state, name=f"{own}_state"),
            path("<int:organization_id>/suspension/", suspend, name=f"{own}_suspension"),
            *(
                path(
                    f"<int:organization_id>/{address}",
                    self.admin_site.admin_view(self.correction_view),
                    kwargs={"make": make},
                    name=f"{own}_{name}",
                )
                for name, (address, make) in CORRECTIONS.items()
            ),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The organization's credit on one page. Looking only, so it takes no POST."""
        organization_id = id_from_text(object_id)
        organization = self._found(request, organization_id)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        context = {**self._context(request, organization), **account_page(organization, request.GET.get)}
        return TemplateResponse(request, "admin/billing/billingaccount/account.html", context)

    def promotional_credit_view(self, request: HttpRequest, organization_id: int) -> HttpResponse:
        """Form, the same again to confirm, credit. The form's key makes a repeated last step harmless."""
        organization = self._found(request, organization_id)
        if not request.user.has_perm(GIVE):
            raise PermissionDenied
        if request.method != "POST":
            form = PromotionalCreditForm.fresh(at=timezone.now())
            return self._promotion_form(request, organization, form)
        form = PromotionalCreditForm(request.POST)
        if not form.is_valid() or request.POST.get("step") == "change":
            return self._promotion_form(request, organization, form)
        try:
            promotions.check(**form.promotion, at=timezone.now())
            if request.POST.get("step") != "give":
                return self._promotion_form(request, organization, form, is_asking=True)
            granted = promotions.give_promotional_credit(
                organization=organization,
                **form.promotion,
                grant_key=form.cleaned_data["grant_key"],
                actor=staff_of(request),
                request=request,
            )
        except Refused as refusal:
            add_refusal(form, refusal)
            return self._promotion_form(request, organization, form)
        amount = dollars_text(form.cleaned_data["amount_cents"])
        if granted.is_replay:
            self.message_user(request, f"This form has given {amount} already, once (lot {granted.lot_id}).")
        else:
            self.message_user(request, f"{amount} given to {organization} (lot {granted.lot_id}).", messages.SUCCESS)
        return HttpResponseRedirect(_page_of(organization))

    def correction_view(
        self, request: HttpRequest, organization_id: int, make: Callable[..., Correction], **target: Any
    ) -> HttpResponse:
        """One kind of correction: form, its numbers to confirm, done."""
        organization = self._found(request, organization_id)
        # Before the target is looked for, so that those who may not correct learn nothing of it.
        if not request.user.has_perm(make.permission):  # type: ignore[attr-defined]
            raise PermissionDenied
        context = self._context(request, organization)
        return correction_view(request, make(organization, **target), context, _page_of(organization))

    def account_state_view(self, request: HttpRequest, organization_id: int) -> HttpResponse:
        """Freeze, open or close the account."""
        organization = self._found(request, organization_id)
        return state_view(request, organization, self._context(request, organization), _page_of(organization))

    def suspension_view(self, request: HttpRequest, organization_id: int) -> HttpResponse:
        """Suspend the organization, or lift that. One form: the reason, and what members read."""
        organization = self._found(request, organization_id)
        if not request.user.has_perm(SET_STATE):
            raise PermissionDenied
        suspension = suspensions.standing(organization_id=organization.pk)
        form = SuspensionForm(request.POST if request.method == "POST" else None, is_lifting=suspension is not None)
        if request.method == "POST" and form.is_valid():
            try:
                self._change_suspension(request, organization, form, is_lifting=suspension is not None)
            except Refused as refusal:
                form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))
            else:
                return HttpResponseRedirect(_page_of(organization))
        context = self._context(request, organization, title=f"Suspension of {organization}")
        context |= {"form": form, "suspension": suspension, "back": _page_of(organization)}
        return TemplateResponse(request, "admin/billing/billingaccount/suspension.html", context)

    def _change_suspension(
        self, request: HttpRequest, organization: Organization, form: SuspensionForm, *, is_lifting: bool
    ) -> None:
        known: dict[str, Any] = {"organization": organization, "actor": staff_of(request), "request": request}
        if is_lifting:
            suspensions.lift(reason=form.cleaned_data["reason"], **known)
            self.message_user(request, f"The suspension of {organization} is lifted.", messages.SUCCESS)
        else:
            suspensions.suspend(reason=form.cleaned_data["reason"], notice=form.cleaned_data["notice"], **known)
            self.message_user(request, f"{organization} is suspended.", messages.SUCCESS)

    def _promotion_form(
        self, request: HttpRequest, organization: Organization, form: PromotionalCreditForm, *, is_asking: bool = False
    ) -> HttpResponse:
        context = self._context(request, organization, title=f"Give promotional credit to {organization}")
        context |= {"form": form, "is_asking": is_asking}
        if is_asking:
            summary = queries.summary(organization_id=organization.pk)
            context |= {"promotion": form.promotion, "summary": summary}
        return TemplateResponse(request, "admin/billing/billingaccount/promotional_credit.html", context)

    def _found(self, request: HttpRequest, organization_id: int | None) -> Organization:
        if not self.has_view_permission(request):
            raise PermissionDenied
        organization = Organization.objects.filter(pk=organization_id).first() if organization_id is not None else None
        if organization is None:
            raise Http404("There is no such organization.")
        return organization

    def _context(self, request: HttpRequest, organization: Organization, *, title: str = "") -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "organization": organization,
            "title": title or organization.name,
            "may_give": request.user.has_perm(GIVE),
        }


def account_page(organization: Organization, asked_for: Callable[[str, str], Any]) -> dict[str, Any]:
    """Everything that the page of one organization shows, as of one instant; the number of queries is fixed."""
    summary = queries.summary(organization_id=organization.pk)
    at = summary.counted_at
    lots = queries.live_lots(organization_id=organization.pk, at=at)
    ended = queries.ended_lots(
        organization_id=organization.pk,
        at=at,
        before_id=id_from_text(asked_for("lots_before", "")),
        limit=ENDED_LOTS_ON_PAGE + 1,
    )
    entries = entries_of(organization, before_seq=id_from_text(asked_for("entries_before", "")))
    bought = purchases.recent(
        organization=organization,
        before_id=id_from_text(asked_for("purchases_before", "")),
        limit=PURCHASES_ON_PAGE + 1,
    )
    reload = auto_reload.status(organization=organization, at=at)
    consents = auto_reload.history(
        organization=organization,
        before_id=id_from_text(asked_for("consents_before", "")),
        limit=CONSENTS_ON_PAGE + 1,
    )
    return {
        "summary": summary,
        "reversible": Reversal.Cause.values,
        "available_cents": cents_down_from_nano(summary.available_nano),
        "lots": lots,
        "ended_lots": ended[:ENDED_LOTS_ON_PAGE],
        "ended_older_id": ended[ENDED_LOTS_ON_PAGE - 1].id if len(ended) > ENDED_LOTS_ON_PAGE else None,
        "entries": with_actors(entries[:ENTRIES_ON_PAGE]),
        "entries_older_seq": entries[ENTRIES_ON_PAGE - 1].seq if len(entries) > ENTRIES_ON_PAGE else None,
        "holds": open_holds_of(organization),
        "unpriced": unsettled_of(organization),
        "purchases": bought[:PURCHASES_ON_PAGE],
        "purchases_older_id": bought[PURCHASES_ON_PAGE - 1].pk if len(bought) > PURCHASES_ON_PAGE else None,
        "card": payment_methods.default_card(organization=organization),
        "customer": StripeCustomer.objects.filter(organization=organization).first(),
        "reload": reload,
        "brake": auto_reload.usage_now(reload=reload.settings, at=at) if reload.settings else None,
        "brake_factor": settings.AUTO_RELOAD_BRAKE_FACTOR,
        "consents": consents[:CONSENTS_ON_PAGE],
        "consents_older_id": consents[CONSENTS_ON_PAGE - 1].pk if len(consents) > CONSENTS_ON_PAGE else None,
    }


def entries_of(organization: Organization, *, before_seq: int | None) -> list[LedgerEntry]:
    """One page of entries and one more, newest first."""
    entries = LedgerEntry.objects.filter(organization=organization)
    if before_seq is not None:
        entries = entries.filter(seq__lt=before_seq)
    return list(entries.order_by("-seq")[: ENTRIES_ON_PAGE + 1])


def with_actors(entries: list[LedgerEntry]) -> list[tuple[LedgerEntry, User | None]]:
    """Entries with the person who caused them, where that is known and the person is not erased."""
    actors = User.objects.in_bulk({entry.actor_id for entry in entries if entry.actor_id is not None})
    return [(entry, actors.get(entry.actor_id) if entry.actor_id is not None else None) for entry in entries]


def open_holds_of(organization: Organization) -> list[Hold]:
    """Open holds, those that end soonest first; lapsed ones among them count as given back already."""
    holds = Hold.objects.filter(organization=organization, state=Hold.State.OPEN)
    return list(holds.select_related("price_version__priced_model").order_by("expires_at")[:HOLDS_ON_PAGE])


def unsettled_of(organization: Organization) -> list[UnpricedUsage]:
    """Work that was served without a price and that no correction has charged, newest first."""
    served = UnpricedUsage.objects.filter(organization=organization, operation__in=SERVED)
    return list(served.filter(adjustments__isnull=True).order_by("-id")[:UNPRICED_ON_PAGE])


def _page_of(organization: Organization) -> str:
    return reverse("admin:billing_billingaccount_change", args=[organization.pk])


def add_refusal(form: PromotionalCreditForm, refusal: Refused) -> None:
    """Show what the use case refused at its field, or above the form."""
    field = _FIELD_OF_REFUSAL.get(refusal.field, refusal.field)
    form.add_error(field if field in form.fields else None, str(refusal))
