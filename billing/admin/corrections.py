"""The pages on which staff put credit right: a form, the same again with what it will do in numbers, the correction.

The numbers of the second step are no estimate: the correction is made and taken back in one transaction. The key of
the form makes a repeated last step harmless.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.admin import staff_of
from accounts.models import Organization
from billing.admin.correction_forms import (
    CorrectionForm,
    GiveCreditForm,
    RefundForm,
    ReverseForm,
    SettleForm,
    StateForm,
    TakeBackForm,
    TakeCreditForm,
    typed,
)
from billing.credits import corrections, prices, queries, usage_blocks
from billing.credits.corrections import Rehearsal
from billing.errors import Refused
from billing.models import CreditAccount, CreditLot, PriceVersion, Purchase, Refund, Reversal, UnpricedUsage, UsageBlock
from billing.money import credit_text, dollars_text
from billing.payments import clawbacks, refunds

GIVE = "billing.add_creditlot"
DEBIT = "billing.add_debitadjustment"
REVERSE = "billing.add_reversal"
TAKE_BACK = "billing.add_takeback"
SET_STATE = "billing.change_creditaccount"
REFUND = "billing.add_refund"

VERSIONS_OFFERED = 100
# The arguments of the use cases that have another name in their form.
_FIELDS = {"expires_at": "last_day"}


@dataclass(frozen=True, slots=True)
class Done:
    """What a correction says of itself. ``is_replay``: the form had been sent before."""

    text: str
    is_replay: bool = False


class Correction(ABC):
    """One kind of correction: who may make it, its form, and the use case behind it."""

    permission: ClassVar[str]
    help_text: ClassVar[str] = ""

    def __init__(self, organization: Organization) -> None:
        self.organization = organization

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is, as a heading."""

    @abstractmethod
    def unsent(self) -> CorrectionForm:
        """The form as it is shown first."""

    @abstractmethod
    def sent(self, data: Any) -> CorrectionForm:
        """The form with what was sent."""

    @abstractmethod
    def make(self, form: CorrectionForm, request: HttpRequest) -> Done:
        """Make the correction."""

    def rehearse(self, form: CorrectionForm, request: HttpRequest) -> Done:
        """Do what the correction does to credit, in a transaction that is taken back."""
        return self.make(form, request)

    def facts(self) -> list[tuple[str, str]]:
        """What staff should know of it at every step."""
        return []

    def who(self, form: CorrectionForm, request: HttpRequest) -> dict[str, Any]:
        """The arguments that every use case takes."""
        return {"actor": staff_of(request), "request": request, **form.correction}


class GiveCredit(Correction):
    permission = GIVE
    help_text = "For a mistake of the platform. A gift without one is promotional credit."

    @property
    def title(self) -> str:
        return f"Give correction credit to {self.organization}"

    def unsent(self) -> CorrectionForm:
        return GiveCreditForm.starting(at=timezone.now())

    def sent(self, data: Any) -> CorrectionForm:
        return GiveCreditForm(data)

    def make(self, form: CorrectionForm, request: HttpRequest) -> Done:
        granted = corrections.give_credit(organization=self.organization, **self.who(form, request))
        amount = credit_text(form.cleaned_data["amount_nano"])
        return Done(f"{amount} given to {self.organization} (lot {granted.lot_id}).", granted.is_replay)


class TakeCredit(Correction):
    permission = DEBIT
    help_text = "Taken from live credit in the order in which it burns, whatever lot that is."

    @property
    def title(self) -> str:
        return f"Take credit from {self.organization}"

    def unsent(self) -> CorrectionForm:
        return TakeCreditForm.fresh({"label": "Correction"})

    def sent(self, data: Any) -> CorrectionForm:
        return TakeCreditForm(data)

    def make(self, form: CorrectionForm, request: HttpRequest) -> Done:
        adjusted = corrections.take_credit(organization=self.organization, **self.who(form, request))
        return Done(
            _taken(form.cleaned_data["amount_nano"], adjusted.debt_nano, f"correction {adjusted.adjustment_id}"),
            adjusted.is_replay,
        )


class Reverse(Correction):
    permission = REVERSE
    help_text = (
        "Credit goes back to the lots that it came from; what comes back to a lot past its end expires at once."
        " Debt goes away, and payments of it go back to their lots."
    )

    def __init__(self, organization: Organization, *, cause_kind: str, cause_id: int) -> None:
        super().__init__(organization)
        if cause_kind not in Reversal.Cause.values:
            raise Http404("There is nothing of this kind to reverse.")
        self.cause_kind, self.cause_id = Reversal.Cause(cause_kind), cause_id
        left_nano = corrections.left_to_reverse_nano(
            organization=organization, cause_kind=self.cause_kind, cause_id=cause_id
        )
        if left_nano is None:
            raise Http404("The organization has nothing like this to reverse.")
        self.left_nano = left_nano

    @property
    def title(self) -> str:
        return f"Reverse {self.cause_kind.label.lower()} {self.cause_id} of {self.organization}"

    def unsent(self) -> CorrectionForm:
        return ReverseForm.fresh({"label": "Given back"})

    def sent(self, data: Any) -> CorrectionForm:
        return ReverseForm(data)

    def facts(self) -> list[tuple[str, str]]:
        return [("Left to give back", str(credit_text(self.left_nano)))]

    def make(self, form: CorrectionForm, request: HttpRequest) -> Done:
        done = corrections.reverse(
            organization=self.organization,
            cause_kind=self.cause_kind,
            cause_id=self.cause_id,
            **self.who(form, request),
        )
        expired = f" Of it {credit_text(done.expired_nano)} expired at once." if done.expired_nano else ""
        text = f"{credit_text(done.amount_nano)} given back (reversal {done.reversal_id}).{expired}"
        return Done(text, done.is_replay)


class TakeBack(Correction):
    permission = TAKE_BACK
    help_text = "Of this lot only what no request has reserved can be taken. All take-backs together never exceed it."

    def __init__(self, organization: Organization, *, lot_id: int) -> None:
        super().__init__(organization)
        lots = CreditLot.objects.select_related("organization__creditaccount")
        lot = lots.filter(organization=organization, pk=lot_id).first()
        if lot is None:
            raise Http404("The organization has no such lot.")
        self.lot = lot

    @property
    def title(self) -> str:
        return f"Take back lot {self.lot.pk} of {self.organization}"

    def unsent(self) -> CorrectionForm:
        left_nano = self.lot.left_nano if self.lot.expires_at > timezone.now() else 0
        return TakeBackForm.fresh({"label": "Taken back", "amount_nano": typed(left_nano) if left_nano else ""})

    def sent(self, data: Any) -> CorrectionForm:
        return TakeBackForm(data)

    def facts(self) -> list[tuple[str, str]]:
        return [
            ("The lot was", f"{credit_text(self.lot.granted_nano)}, {self.lot.get_kind_display().lower()}"),
            ("Left of it", str(credit_text(self.lot.left_nano))),
        ]

    def make(self, form: CorrectionForm, request: HttpRequest) -> Done:
        taken = corrections.take_back(organization=self.organization, lot_id=self.lot.pk, **self.who(form, request))
        whole_nano = taken.taken_nano + taken.debt_nano
        return Done(_taken(whole_nano, taken.debt_nano, f"take-back {taken.take_back_id}"), taken.is_replay)


class SettleUnpriced(Correction):
    permission = DEBIT
    help_text = "Charges work that was served without a price, once, by a correction that names it."

    def __init__(self, organization: Organization, *, usage_id: int) -> None:
        super().__init__(organization)
        usage = UnpricedUsage.objects.filter(organization=organization, pk=usage_id).first()
        if usage is None or not usage.was_served:
            raise Http404("The organization has no such usage to settle.")
        self.usage = usage

    @property
    def title(self) -> str:
        return f"Charge unpriced usage {self.usage.pk} of {self.organization}"

    def unsent(self) -> CorrectionForm:
        return SettleForm.fresh(
            {"label": f"Usage of {self.usage.model}"[:80], "may_owe": True},
            versions=self._versions(),
            is_settled=bool(corrections.settled_by(self.usage)),
        )

    def sent(self, data: Any) -> CorrectionForm:
        is_settled = bool(corrections.settled_by(self.usage))
        return SettleForm(data, versions=self._versions(), is_settled=is_settled)

    def facts(self) -> list[tuple[str, str]]:
        used = ", ".join(f"{units:,} {name}" for name, units in self.usage.quantities.items())
        settled = corrections.settled_by(self.usage)
        return [
            ("Used", f"{self.usage.model}: {used}"),
            ("Without a price", self.usage.token_class or "the model"),
            ("Began", f"{self.usage.started_at:%Y-%m-%d %H:%M} UTC"),
            *([("Settled already", f"It {settled}.")] if settled else []),
        ]

    def make(self, form: CorrectionForm, request: HttpRequest) -> Done:
        arguments = self.who(form, request)
        version_id = arguments.pop("price_version")
        if version_id:
            arguments["amount_nano"] = self._computed_nano(int(version_id))
        adjusted = corrections.settle_unpriced(usage=self.usage, **arguments)
        name = f"correction {adjusted.adjustment_id}"
        return Done(_taken(arguments["amount_nano"], adjusted.debt_nano, name), adjusted.is_replay)

    def _versions(self) -> list[tuple[str, str]]:
        """The newest versions, those of the model itself first."""
        newest = PriceVersion.objects.select_related("priced_model").prefetch_related("prices").order_by("-pk")
        found = sorted(newest[:VERSIONS_OFFERED], key=lambda version: version.priced_model.slug != self.usage.model)
        return [
            (str(version.pk), f"{version.priced_model}, from {version.effective_at:%Y-%m-%d %H:%M} UTC")
            for version in found
        ]

    def _computed_nano(self, version_id: int) -> int:
        version = corrections.price_version(version_id=version_id)
        try:
            return prices.cost_nano(rates=prices.rates_of(version), quantities=self.usage.quantities)
        except Refused as refusal:
            raise Refused(f"{refusal} Choose another version, or write an amount.", field="price_version") from refusal


class RefundPurchase(Correction):
    permission = REFUND
    help_text = (
        "The money goes back to the card. Its credit is taken back from the lot that it bought, before the payment"
        " processor is asked; it is given back if the refund fails."
    )

    def __init__(self, organization: Organization, *, purchase_id: int) -> None:
        super().__init__(organization)
        found = Purchase.objects.select_related("payment_method").filter(organization=organization, pk=purchase_id)
        purchase = found.first()
        if purchase is None or purchase.state != Purchase.State.SUCCEEDED:
            raise Http404("The organization has no such purchase that was paid.")
        self.purchase = purchase

    @property
    def title(self) -> str:
        return f"Refund purchase {self.purchase.pk} of {self.organization}"

    def unsent(self) -> CorrectionForm:
        return RefundForm.fresh({"amount_cents": clawbacks.left_cents(self.purchase) or ""})

    def sent(self, data: Any) -> CorrectionForm:
        return RefundForm(data)

    def facts(self) -> list[tuple[str, str]]:
        lots = CreditLot.objects.select_related("organization__creditaccount")
        lot = lots.get(organization=self.organization, purchase=self.purchase)
        left_nano = lot.left_nano if lot.expires_at > timezone.now() else 0
        is_warned = self.purchase.fraud_warnings.filter(is_actionable=True).exists()
        return [
            ("Paid", f"{dollars_text(self.purchase.amount_cents)} with {self.purchase.payment_method}"),
            ("Can be refunded", dollars_text(clawbacks.left_cents(self.purchase))),
            ("Left of its credit", str(credit_text(left_nano))),
            *([("Warning", "The card's issuer reports fraud. The refund says so to Stripe.")] if is_warned else []),
        ]

    def rehearse(self, form: CorrectionForm, request: HttpRequest) -> Done:
        is_replay = self._is_known(form)
        refund = refunds.plan(purchase_id=self.purchase.pk, at=timezone.now(), **self.who(form, request))
        return Done(self._text(refund), is_replay)

    def make(self, form: CorrectionForm, request: HttpRequest) -> Done:
        is_replay = self._is_known(form)
        refund = refunds.refund(purchase_id=self.purchase.pk, at=timezone.now(), **self.who(form, request))
        if refund.state == Refund.State.FAILED:
            raise Refused(
                f"Stripe refused the refund ({refund.failure_code}). No money moved, and its credit was given back.",
                code="failed",
            )
        return Done(self._text(refund), is_replay)

    def _is_known(self, form: CorrectionForm) -> bool:
        return Refund.objects.filter(organization=self.organization, refund_key=form.cleaned_data["key"]).exists()

    @staticmethod
    def _text(refund: Refund) -> str:
        amount = dollars_text(refund.amount_cents)
        if refund.state == Refund.State.SUCCEEDED:
            return f"{amount} refunded (refund {refund.pk})."
        return f"Refund {refund.pk} of {amount} is on its way: Stripe has not told its outcome yet."


def correction_view(request: HttpRequest, correction: Correction, context: dict[str, Any], back: str) -> HttpResponse:
    """Form, the numbers to confirm, correction. ``back`` is where it leads to; the right to it was asked for before."""
    context = context | {"title": correction.title, "help_text": correction.help_text, "back": back}
    if request.method != "POST":
        form = correction.unsent()
        return _page(request, context | {"form": form, "facts": correction.facts()})
    form = correction.sent(request.POST)
    if not form.is_valid() or request.POST.get("step") == "change":
        return _page(request, context | {"form": form, "facts": correction.facts()})
    try:
        if request.POST.get("step") != "make":
            rehearsal = corrections.rehearse(
                organization=correction.organization, correct=lambda: correction.rehearse(form, request)
            )
            if not rehearsal.result.is_replay:
                return _page(request, context | _asking(correction, form, rehearsal))
            done = rehearsal.result
        else:
            done = correction.make(form, request)
    except Refused as refusal:
        add_refusal(form, refusal)
        return _page(request, context | {"form": form, "facts": correction.facts()})
    if done.is_replay:
        messages.info(request, f"This form has done that already, once: {done.text}")
    else:
        messages.success(request, done.text)
    return HttpResponseRedirect(back)


def state_view(request: HttpRequest, organization: Organization, context: dict[str, Any], back: str) -> HttpResponse:
    """Freeze, open or close the account: form, what it means, done."""
    if not request.user.has_perm(SET_STATE):
        raise PermissionDenied
    summary = queries.summary(organization_id=organization.pk)
    blocks = usage_blocks.standing(organization_id=organization.pk)
    # Staff end their own block only, so they are offered to freeze an account that an Admin has stopped.
    is_frozen_by_staff = any(block.kind == UsageBlock.Kind.STAFF for block in blocks)
    now = CreditAccount.State.FROZEN if is_frozen_by_staff else CreditAccount.State.OPEN
    others = [block for block in blocks if block.kind != UsageBlock.Kind.STAFF]
    context = context | {"title": f"Account of {organization}", "back": back, "summary": summary, "blocks": others}
    if summary.state == CreditAccount.State.CLOSED:
        messages.error(request, "The account is closed, which is final.")
        return HttpResponseRedirect(back)
    if request.method != "POST":
        return _state_page(request, context | {"form": StateForm(now=now)})
    form = StateForm(request.POST, now=now)
    if not form.is_valid() or request.POST.get("step") == "change":
        return _state_page(request, context | {"form": form})
    if request.POST.get("step") != "make":
        return _state_page(request, context | {"form": form, "is_asking": True, **_state_facts(form)})
    try:
        corrections.set_state(
            organization=organization,
            state=CreditAccount.State(form.cleaned_data["state"]),
            reason=form.cleaned_data["reason"],
            actor=staff_of(request),
            request=request,
        )
    except Refused as refusal:
        add_refusal(form, refusal)
        return _state_page(request, context | {"form": form})
    messages.success(request, f"The account of {organization} is {_now(organization)}.")
    return HttpResponseRedirect(back)


CORRECTIONS: dict[str, tuple[str, Callable[..., Correction]]] = {
    "correction_credit": ("correction-credit/", GiveCredit),
    "debit": ("debit/", TakeCredit),
    "reverse": ("reverse/<slug:cause_kind>/<int:cause_id>/", Reverse),
    "take_back": ("take-back/<int:lot_id>/", TakeBack),
    "refund": ("refund/<int:purchase_id>/", RefundPurchase),
    "settle": ("settle/<int:usage_id>/", SettleUnpriced),
}


def add_refusal(form: forms.Form, refusal: Refused) -> None:
    """Show what the use case refused at its field, or above the form."""
    field = _FIELDS.get(refusal.field, refusal.field)
    form.add_error(field if field in form.fields else None, str(refusal))


def _asking(correction: Correction, form: CorrectionForm, rehearsal: Rehearsal[Done]) -> dict[str, Any]:
    before, after = rehearsal.before, rehearsal.after
    lots = CreditLot.objects.filter(pk__in={entry.lot_id for entry in rehearsal.entries if entry.lot_id})
    return {
        "form": form,
        "facts": correction.facts(),
        "is_asking": True,
        "numbers": [
            ("Balance", before.balance_nano, after.balance_nano),
            ("Available", before.available_nano, after.available_nano),
            ("Debt", before.debt_nano, after.debt_nano),
        ],
        "entries": rehearsal.entries,
        # A lot of the rehearsal itself is gone again, and its number with it.
        "known_lots": set(lots.values_list("pk", flat=True)),
        "blocks": after.is_blocked and not before.is_blocked,
        "unblocks": before.is_blocked and not after.is_blocked,
    }


def _state_facts(form: StateForm) -> dict[str, Any]:
    state = form.cleaned_data["state"]
    return {"becomes": state, "is_closing": state == CreditAccount.State.CLOSED}


def _now(organization: Organization) -> str:
    """The account's state, with what keeps it frozen."""
    blocks = usage_blocks.standing(organization_id=organization.pk)
    why = ", ".join(block.get_kind_display().lower() for block in blocks if block.kind != UsageBlock.Kind.STAFF)
    state = queries.summary(organization_id=organization.pk).state
    return f"{state}: {why}" if why and state == CreditAccount.State.FROZEN else state


def _taken(amount_nano: int, debt_nano: int, name: str) -> str:
    debt = f", of it {credit_text(debt_nano, is_owed=True)} as debt" if debt_nano else ""
    return f"{credit_text(amount_nano)} taken ({name}){debt}."


def _page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, "admin/billing/billingaccount/correction.html", context)


def _state_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, "admin/billing/billingaccount/state.html", context)
