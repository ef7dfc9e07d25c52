"""Models and the versions of their prices. A version is published, never edited: what was charged keeps its price."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts import audit
from accounts.admin import ReadOnly, staff_of
from accounts.staff_lists import PlainIdAdmin
from billing.admin.forms import NewPricesForm
from billing.admin.lists import HistoryAdmin
from billing.credits import prices
from billing.errors import Refused
from billing.models import PricedModel, PriceVersion

PUBLISH = "billing.add_priceversion"


def written_prices(version: PriceVersion) -> str:
    """All prices of a version in one line; its prices are loaded."""
    rates = prices.rates_of(version)
    return ", ".join(f"{name} {prices.price_text(name, rates[name])}" for name in prices.in_order(rates))


class VersionsOfModelInline(ReadOnly, admin.TabularInline):
    """The versions of one model, newest first."""

    model = PriceVersion
    fields = ("effective_at", "superseded_at", "prices_a_million", "actor_id", "reason")
    readonly_fields = fields
    ordering = ("-effective_at",)
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("prices")

    @admin.display(description="prices a million")
    def prices_a_million(self, version: PriceVersion) -> str:
        return written_prices(version)


@admin.register(PricedModel)
class PricedModelAdmin(PlainIdAdmin):
    """Models that can be used. Without a version of prices in force, requests for a model are refused."""

    change_form_template = "admin/billing/pricedmodel/change_form.html"
    list_display = ("name", "slug", "in_force")
    search_fields = ("name", "slug")
    ordering = ("name",)
    inlines = (VersionsOfModelInline,)

    @admin.display(description="prices in force, a million")
    def in_force(self, model: PricedModel) -> str:
        now = timezone.now()
        in_force = [version for version in model.versions.all() if _is_in_force(version, at=now)]
        return written_prices(in_force[0]) if in_force else "none"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("versions__prices")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        # Charges and requests name a model by its slug.
        return () if obj is None else ("slug",)

    def get_inlines(self, request: HttpRequest, obj: Model | None) -> Any:
        return () if obj is None else self.inlines

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: PricedModel, form: Any, change: bool) -> None:
        """Save in the same transaction as the audit event."""
        before = {"name": PricedModel.objects.get(pk=obj.pk).name} if change else None
        super().save_model(request, obj, form, change)
        audit.record(
            organization=None,
            actor=staff_of(request),
            action="priced_model.changed" if change else "priced_model.added",
            target=f"priced_model:{obj.pk}",
            before=before,
            after={"slug": obj.slug, "name": obj.name},
            request=request,
        )

    def get_urls(self) -> list[URLPattern]:
        publish = self.admin_site.admin_view(self.publish_view)
        return [path("<int:model_id>/publish/", publish, name="billing_pricedmodel_publish"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The model with its versions, and the way to publish a new one for those who may."""
        context = {**(extra_context or {}), "may_publish": request.user.has_perm(PUBLISH)}
        return super().change_view(request, object_id, form_url, context)

    def publish_view(self, request: HttpRequest, model_id: int) -> HttpResponse:
        """Form, the changes to confirm, version. The same start is refused a second time, so a repeat does nothing."""
        if not (self.has_view_permission(request) and request.user.has_perm(PUBLISH)):
            raise PermissionDenied
        model = PricedModel.objects.filter(pk=model_id).first()
        if model is None:
            raise Http404("There is no such model.")
        newest = prices.newest(model=model)
        current = prices.rates_of(newest) if newest else {}
        if request.method != "POST":
            initial = {"effective_at": next_start(at=timezone.now())}
            return self._publish_form(request, model, newest, NewPricesForm(initial=initial, current=current))
        form = NewPricesForm(request.POST, current=current)
        if not form.is_valid() or request.POST.get("step") == "change":
            return self._publish_form(request, model, newest, form)
        try:
            prices.check(
                model=model,
                prices_nano_per_million=form.prices_nano_per_million,
                effective_at=form.cleaned_data["effective_at"],
                reason=form.cleaned_data["reason"],
                at=timezone.now(),
            )
            if request.POST.get("step") != "publish":
                return self._publish_form(request, model, newest, form, is_asking=True)
            prices.announce(
                model=model,
                prices_nano_per_million=form.prices_nano_per_million,
                effective_at=form.cleaned_data["effective_at"],
                reason=form.cleaned_data["reason"],
                actor=staff_of(request),
                at=timezone.now(),
                request=request,
            )
        except Refused as refusal:
            add_refusal(form, refusal)
            return self._publish_form(request, model, newest, form)
        start = form.cleaned_data["effective_at"]
        self.message_user(request, f"New prices of {model} from {start:%Y-%m-%d %H:%M} UTC.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:billing_pricedmodel_change", args=[model.pk]))

    def _publish_form(
        self,
        request: HttpRequest,
        model: PricedModel,
        newest: PriceVersion | None,
        form: NewPricesForm,
        *,
        is_asking: bool = False,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"New prices of {model}",
            "model": model,
            "newest": newest,
            "form": form,
            "is_asking": is_asking,
        }
        return TemplateResponse(request, "admin/billing/pricedmodel/publish.html", context)


@admin.register(PriceVersion)
class PriceVersionAdmin(HistoryAdmin):
    """All versions, newest first. A new one is published from its model's page."""

    has_organization = False
    list_display = ("id", "priced_model", "effective_at", "superseded_at", "prices_a_million", "actor_id", "reason")
    list_select_related = ("priced_model",)
    list_filter = ("priced_model",)
    search_fields = ("priced_model__slug",)
    exact_search_fields = ("priced_model__slug",)
    search_help_text = "The slug of a model, or a version's number."
    fields = (
        "priced_model", "effective_at", "superseded_at", "prices_a_million", "actor_id", "reason", "created_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("prices")

    @admin.display(description="prices a million")
    def prices_a_million(self, version: PriceVersion) -> str:
        return written_prices(version)


def next_start(*, at: datetime) -> datetime:
    """The next full hour in UTC that is at least half an hour ahead: time to announce it, and to confirm the form."""
    later = at.astimezone(UTC) + timedelta(minutes=90)
    return later.replace(minute=0, second=0, microsecond=0)


def add_refusal(form: NewPricesForm, refusal: Refused) -> None:
    """Show what the use case refused at its field, or above the form."""
    names = (refusal.field, f"price_{refusal.field}")
    other = "other_price" if refusal.field and refusal.field == form.cleaned_data.get("other_class") else None
    form.add_error(next((name for name in names if name in form.fields), other), str(refusal))


def _is_in_force(version: PriceVersion, *, at: datetime) -> bool:
    return version.effective_at <= at and (version.superseded_at is None or version.superseded_at > at)
