"""What staff type on the pages of billing. Forms clean; the use cases decide and save."""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError

from billing.credits import reasons
from billing.credits.prices import in_order, price_text
from billing.forms import DollarsField
from billing.models import TokenClass
from billing.money import UNITS_PER_PRICE, nano_from_text, plain_usd

PROMOTION_LASTS: Final = timedelta(days=90)
_TOKEN_CLASS = re.compile(r"\A[a-z0-9_]{1,32}\Z", re.ASCII)
# Not the year 9999: the day after a last day must be a date too.
_DAY = re.compile(r"\A(?!9999)[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_MINUTE = re.compile(r"\A(?!9999)[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:00)?\Z", re.ASCII)


class ParsedField(forms.CharField):
    """A text that is cleaned to something else; empty is None.

    Django's own number and date fields also take digits of other scripts.
    """

    def parse(self, text: str) -> Any:
        """What the text means. Raises ``ValueError`` when it means nothing."""
        raise NotImplementedError

    def to_python(self, value: Any) -> Any:
        """Parse what was typed, whatever it is; a text that means nothing is an error of this field."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            return self.parse(text)
        except ValueError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def run_validators(self, value: Any) -> None:
        """Skip the text validators of CharField: the value is no text by now."""


class DayField(ParsedField):
    """A day of the UTC calendar, cleaned to a date."""

    widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    default_error_messages = {"invalid": "Choose a day, like 2027-01-31."}

    def parse(self, text: str) -> date:
        return date.fromisoformat(_matching(_DAY, text))


class MinuteField(ParsedField):
    """A minute in UTC, cleaned to an aware time."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    default_error_messages = {"invalid": "Choose a day and a time in UTC, like 2027-01-31 08:00."}

    def parse(self, text: str) -> datetime:
        return datetime.fromisoformat(_matching(_MINUTE, text)).replace(tzinfo=UTC)


class PriceField(ParsedField):
    """Dollars for a million units with up to nine decimals, cleaned to nano-USD; empty is None: no price."""

    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    default_error_messages = {"invalid": "Write dollars with at most nine decimals, like 3 or 0.30."}

    def parse(self, text: str) -> int:
        return nano_from_text(text)


class RequestFeeField(PriceField):
    """Dollars for one request with up to nine decimals, cleaned to nano-USD for a million, as prices are kept."""

    def parse(self, text: str) -> int:
        return nano_from_text(text) * UNITS_PER_PRICE


class PromotionalCreditForm(forms.Form):
    """What to give, until when, and why. ``grant_key`` is made when the form is rendered: one key, one lot."""

    grant_key = forms.UUIDField(widget=forms.HiddenInput)
    amount_cents = DollarsField(label="Amount in dollars")
    last_day = DayField(label="Last day of use", help_text="The credit ends with this day, at midnight UTC.")
    label = forms.CharField(
        label="Label", max_length=reasons.LABEL_LENGTH_MAX, help_text="The customer reads this beside the credit."
    )
    reason = forms.CharField(
        label="Reason",
        min_length=reasons.REASON_LENGTH_MIN,
        max_length=reasons.REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Why it is given. Staff only.",
    )

    @classmethod
    def fresh(cls, *, at: datetime) -> "PromotionalCreditForm":
        """An unsent form with a key of its own."""
        return cls(
            initial={
                "grant_key": uuid.uuid4(),
                "last_day": (at + PROMOTION_LASTS).astimezone(UTC).date(),
                "label": "Promotional credit",
            }
        )

    @property
    def promotion(self) -> dict[str, Any]:
        """The cleaned form as the use case takes it."""
        cleaned = self.cleaned_data
        return {
            "amount_cents": cleaned["amount_cents"],
            "expires_at": datetime.combine(cleaned["last_day"] + timedelta(days=1), time.min, tzinfo=UTC),
            "label": cleaned["label"],
            "reason": cleaned["reason"],
        }


class NewPricesForm(forms.Form):
    """A new version of one model's prices: a field for each token class, and room for one more class."""

    effective_at = MinuteField(label="From (UTC)", help_text="Requests that begin from then on cost the new prices.")
    reason = forms.CharField(
        label="Reason",
        min_length=reasons.REASON_LENGTH_MIN,
        max_length=reasons.REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    other_class = forms.CharField(
        label="Another token class", required=False, max_length=32, help_text="Such as audio_input; seldom needed."
    )
    other_price = PriceField(label="Price of it, a million", required=False)

    def __init__(self, *args: Any, current: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.current = current
        self.token_classes = in_order({*TokenClass.values, *current})
        names = dict(TokenClass.choices)
        for token_class in self.token_classes:
            name = names.get(token_class, token_class)
            price = current.get(token_class)
            if token_class == TokenClass.REQUEST:
                self.fields["price_request"] = RequestFeeField(
                    label=f"{name}, in dollars for one",
                    required=False,
                    initial="" if price is None else plain_usd(price // UNITS_PER_PRICE),
                    help_text="Added to each request, whatever it used. Empty or 0: no fee.",
                )
                continue
            self.fields[f"price_{token_class}"] = PriceField(
                label=f"{name}, a million",
                required=False,
                initial="" if price is None else plain_usd(price),
                help_text="Empty: no price, so requests that use it are refused. 0: free.",
            )
        self.order_fields(
            ["effective_at", *(f"price_{name}" for name in self.token_classes), "other_class", "other_price", "reason"]
        )

    def clean_other_class(self) -> str:
        name: str = self.cleaned_data["other_class"]
        if name and not _TOKEN_CLASS.match(name):
            raise ValidationError("Use small letters, digits and underscores, like audio_input.")
        if name in self.token_classes:
            raise ValidationError("This class has a field of its own above.")
        return name

    def clean(self) -> dict[str, Any]:
        """Refuse half of the pair for another class, and a version without any price."""
        cleaned = super().clean() or {}
        has_name, has_price = bool(cleaned.get("other_class")), cleaned.get("other_price") is not None
        if has_name and not has_price and "other_price" not in self.errors:
            self.add_error("other_price", "Write its price.")
        if has_price and not has_name and "other_class" not in self.errors:
            self.add_error("other_class", "Write the name of its class.")
        return cleaned

    @property
    def prices_nano_per_million(self) -> dict[str, int]:
        """The cleaned prices by token class, without those that were left empty."""
        found = {name: self.cleaned_data.get(f"price_{name}") for name in self.token_classes}
        found[self.cleaned_data["other_class"]] = self.cleaned_data["other_price"]
        return {name: price for name, price in found.items() if name and price is not None}

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """Token class, price so far and price to come, for the page that asks again."""
        after = self.prices_nano_per_million
        return [
            (name, _written(name, self.current.get(name)), _written(name, after.get(name)))
            for name in in_order({*self.current, *after})
        ]


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.match(text):
        raise ValueError(text)
    return text


def _written(token_class: str, price: int | None) -> str:
    return "no price" if price is None else price_text(token_class, price)
