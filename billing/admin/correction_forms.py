"""What staff type to put credit right. Each form has a key of its own: one form, one correction (case 116)."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, TypeVar

from django import forms

from billing.admin.forms import DayField, ParsedField
from billing.credits import reasons
from billing.forms import DollarsField
from billing.models import CreditAccount
from billing.money import nano_from_text, plain_usd

GIVEN_LASTS: Final = timedelta(days=365)

Form = TypeVar("Form", bound="CorrectionForm")


class UsdField(ParsedField):
    """Dollars with up to nine decimals, cleaned to nano-USD: corrections hit what was charged to the last nano."""

    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    default_error_messages = {"invalid": "Write dollars with at most nine decimals, like 12.50 or 0.0045."}

    def parse(self, text: str) -> int:
        return nano_from_text(text)


class CorrectionForm(forms.Form):
    """Why something is put right. ``key`` is made when the form is rendered."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    label = forms.CharField(
        label="Label", max_length=reasons.LABEL_LENGTH_MAX, help_text="The customer reads this in their history."
    )
    reason = forms.CharField(
        label="Reason",
        min_length=reasons.REASON_LENGTH_MIN,
        max_length=reasons.REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Why, with the number of the ticket. Staff only.",
    )

    @classmethod
    def fresh(cls: type[Form], initial: Mapping[str, Any], **kwargs: Any) -> Form:
        """An unsent form with a key of its own."""
        return cls(initial={"key": uuid.uuid4(), **initial}, **kwargs)

    @property
    def correction(self) -> dict[str, Any]:
        """The cleaned form as the use case takes it."""
        return dict(self.cleaned_data)


class GiveCreditForm(CorrectionForm):
    """Credit to give, and until when."""

    amount_nano = UsdField(label="Amount in dollars")
    last_day = DayField(label="Last day of use", help_text="The credit ends with this day, at midnight UTC.")
    field_order = ("key", "amount_nano", "last_day", "label", "reason")

    @classmethod
    def starting(cls, *, at: datetime) -> "GiveCreditForm":
        """An unsent form; what is given lasts as long as what is bought."""
        return cls.fresh({"last_day": (at + GIVEN_LASTS).astimezone(UTC).date(), "label": "Correction"})

    @property
    def correction(self) -> dict[str, Any]:
        """The cleaned form, its last day as the instant that ends it."""
        cleaned = super().correction
        last_day = cleaned.pop("last_day")
        return cleaned | {"expires_at": datetime.combine(last_day + timedelta(days=1), time.min, tzinfo=UTC)}


class TakeCreditForm(CorrectionForm):
    """Credit to take, and whether what is missing may be owed."""

    amount_nano = UsdField(label="Amount in dollars")
    may_owe = forms.BooleanField(
        label="What credit does not cover becomes debt",
        required=False,
        help_text="Debt blocks requests and is paid by the next credit. Without this, too little credit is refused.",
    )
    field_order = ("key", "amount_nano", "may_owe", "label", "reason")


class ReverseForm(CorrectionForm):
    """How much of it to give back."""

    amount_nano = UsdField(label="Amount in dollars", required=False, help_text="Empty: all that is left of it.")
    field_order = ("key", "amount_nano", "label", "reason")


class TakeBackForm(CorrectionForm):
    """How much of a lot to take back."""

    amount_nano = UsdField(label="Amount in dollars")
    rest_as_debt = forms.BooleanField(
        label="What was spent already becomes debt",
        required=False,
        help_text="Without this, only what is left of the lot is taken.",
    )
    field_order = ("key", "amount_nano", "rest_as_debt", "label", "reason")


class RefundForm(CorrectionForm):
    """How much of a purchase to pay back to its card."""

    label = None  # type: ignore[assignment]
    amount_cents = DollarsField(label="Amount in dollars")
    may_owe = forms.BooleanField(
        label="Credit that was spent already becomes debt",
        required=False,
        help_text="Debt blocks requests and is paid by the next credit. Without this, such a refund is refused.",
    )
    field_order = ("key", "amount_cents", "may_owe", "reason")


class SettleForm(CorrectionForm):
    """What usage without a price is to cost: an amount, or a version of prices to compute it by."""

    price_version = forms.ChoiceField(label="Compute it by", required=False)
    amount_nano = UsdField(
        label="Or an amount in dollars", required=False, help_text="Fill in one of the two: prices, or an amount."
    )
    may_owe = forms.BooleanField(
        label="What credit does not cover becomes debt", required=False, help_text="The work was served already."
    )
    is_again = forms.BooleanField(
        label="Charge it again", required=False, help_text="It was settled before, and a second time is meant."
    )
    field_order = ("key", "price_version", "amount_nano", "may_owe", "is_again", "label", "reason")

    def __init__(self, *args: Any, versions: Sequence[tuple[str, str]], is_settled: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_settled:
            del self.fields["is_again"]
        chosen = self.fields["price_version"]
        assert isinstance(chosen, forms.ChoiceField)
        chosen.choices = [("", "None: write an amount"), *versions]

    def clean(self) -> dict[str, Any]:
        """Refuse both ways to an amount, and none."""
        cleaned = super().clean() or {}
        if {"amount_nano", "price_version"} & set(self.errors):
            return cleaned
        has_amount, has_version = cleaned.get("amount_nano") is not None, bool(cleaned.get("price_version"))
        if has_amount and has_version:
            self.add_error("amount_nano", "Choose prices or write an amount, not both.")
        elif not has_amount and not has_version:
            self.add_error("amount_nano", "Choose prices, or write an amount.")
        return cleaned


class StateForm(forms.Form):
    """Another state of the account, and why."""

    state = forms.ChoiceField(label="State", widget=forms.RadioSelect)
    reason = forms.CharField(
        label="Reason",
        min_length=reasons.REASON_LENGTH_MIN,
        max_length=reasons.REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Why, with the number of the ticket. Staff only.",
    )

    def __init__(self, *args: Any, now: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        state = self.fields["state"]
        assert isinstance(state, forms.ChoiceField)
        state.choices = [(value, text) for value, text in _STATES if value != now]


class SuspensionForm(forms.Form):
    """Why an organization is suspended, for staff and for its members; or why that is lifted."""

    reason = forms.CharField(
        label="Reason",
        min_length=reasons.REASON_LENGTH_MIN,
        max_length=reasons.REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Why, with the number of the ticket. Staff, and the organization's audit log.",
    )
    notice = forms.CharField(
        label="Notice",
        max_length=300,
        help_text="One line that all members read on every page, and Admins, Billing members and contacts in a mail.",
    )

    def __init__(self, *args: Any, is_lifting: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if is_lifting:
            del self.fields["notice"]


_STATES: Final = (
    (CreditAccount.State.OPEN.value, "Open: requests are let through while there is credit"),
    (CreditAccount.State.FROZEN.value, "Frozen: new requests are refused until it is opened again"),
    (CreditAccount.State.CLOSED.value, "Closed: new requests are refused for ever"),
)


def typed(amount_nano: int) -> str:
    """An amount as an input field begins with it."""
    return plain_usd(amount_nano)
