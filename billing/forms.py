"""What people type on the billing pages, cleaned. Forms clean and explain; they never save and decide no rule.

Amounts leave a form as integer cents. Rules about amounts that need the organization's state are in the use cases;
their refusals come back to the field they name by :func:`add_refusal`.
"""

import re
import unicodedata
import uuid
from datetime import UTC, datetime, tzinfo
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from billing import countries, tax_ids
from billing.errors import Refused
from billing.models import ProblemReport
from billing.money import cents_from_text, dollars_text, plain_dollars
from billing.terms import Terms

AMOUNT_LENGTH_MAX = 32
SUGGESTED_CENTS = (2_500, 5_000, 10_000, 25_000)

_MONTH = re.compile(r"\A(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])\Z", re.ASCII)
_MINUTE = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:00)?\Z", re.ASCII)
_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9]){12,18}", re.ASCII)
# Controls, formats (among them those that turn the direction of text), surrogates, private and unassigned ones, breaks.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ID = re.compile(r"\A[0-9]{1,18}\Z", re.ASCII)


class DollarsField(forms.CharField):
    """An amount in dollars as a person types it, cleaned to integer cents; empty is None."""

    default_error_messages = {
        "required": "Write an amount in dollars, like 25 or 25.50.",
        "not_an_amount": "Write an amount in dollars, like 25 or 25.50.",
    }

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> Any:
        """Cents, or None for an empty field. What is no amount is refused in the customer's words."""
        text = str(value or "").strip()
        if not text:
            return None
        if len(text) > AMOUNT_LENGTH_MAX:
            raise ValidationError(self.error_messages["not_an_amount"], code="not_an_amount")
        try:
            return cents_from_text(text)
        except ValueError:
            raise ValidationError(self.error_messages["not_an_amount"], code="not_an_amount") from None

    def run_validators(self, value: Any) -> None:
        """Skip the text validators of CharField: the value is a number by now."""

    def prepare_value(self, value: Any) -> Any:
        """Show cents as dollars, and what was typed as it was typed."""
        return plain_dollars(value) if isinstance(value, int) else value


class BuyForm(forms.Form):
    """Buy credits: an amount, suggested or typed, and the accepted Credit Terms.

    ``attempt_key`` is made when the form is rendered, so that a form that is sent twice buys once.
    """

    attempt_key = forms.UUIDField(widget=forms.HiddenInput)
    terms_version = forms.CharField(widget=forms.HiddenInput, max_length=32)
    amount = forms.ChoiceField(
        required=False,
        label="Amount",
        widget=forms.RadioSelect,
        choices=[(plain_dollars(cents), f"${plain_dollars(cents)}") for cents in SUGGESTED_CENTS],
        error_messages={"invalid_choice": "Choose one of the amounts, or write another one."},
    )
    other_amount = DollarsField(required=False, label="Other amount")
    reference = forms.CharField(
        required=False,
        label="Your reference",
        max_length=64,
        help_text="Optional, such as a PO number. It is printed on the receipt.",
        error_messages={"max_length": "A reference has at most 64 characters."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    terms = forms.BooleanField(
        error_messages={"required": "Accept the Credit Terms to buy credits."},
    )

    def __init__(self, *args: Any, terms: Terms, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.credit_terms = terms
        least, most = dollars_text(settings.PURCHASE_MINIMUM_CENTS), dollars_text(settings.PURCHASE_MAXIMUM_CENTS)
        self.fields["other_amount"].help_text = f"{least} to {most}. If filled in, it counts instead."

    @classmethod
    def fresh(cls, *, terms: Terms, reference: str = "") -> "BuyForm":
        """An unsent form with a key of its own, and the organization's usual reference."""
        initial = {
            "amount": plain_dollars(SUGGESTED_CENTS[0]),
            "attempt_key": uuid.uuid4(),
            "terms_version": terms.version,
            "reference": reference,
        }
        return cls(initial=initial, terms=terms)

    def renew(self) -> None:
        """Give a sent form a key of its own and the terms in force, so that sending it again is a new purchase.

        What was typed stays. Terms that have changed have to be accepted anew.
        """
        data = {name: self.data.get(name) for name in self.data}
        if data.get("terms_version") != self.credit_terms.version:
            data.pop("terms", None)
        data["attempt_key"] = str(uuid.uuid4())
        data["terms_version"] = self.credit_terms.version
        self.data = data

    def clean(self) -> dict[str, Any]:
        """Settle on one amount: the typed one wins over the suggested one, which is always pre-selected."""
        cleaned = super().clean() or {}
        if "attempt_key" not in cleaned:
            self.add_error(None, "This page was out of date. Nothing was charged. Check the amount and send it again.")
        if cleaned.get("terms_version") != self.credit_terms.version:
            self.add_error(None, "The Credit Terms have changed since this page was opened. Nothing was charged.")
        if "other_amount" not in cleaned or "amount" not in cleaned:
            return cleaned
        typed_cents = cleaned["other_amount"]
        suggested = cleaned["amount"]
        if typed_cents is None and not suggested:
            self.add_error("other_amount", self.fields["other_amount"].error_messages["required"])
            return cleaned
        amount_cents = typed_cents if typed_cents is not None else cents_from_text(suggested)
        if amount_cents < settings.PURCHASE_MINIMUM_CENTS:
            self.add_error("other_amount", f"The smallest purchase is {dollars_text(settings.PURCHASE_MINIMUM_CENTS)}.")
        elif amount_cents > settings.PURCHASE_MAXIMUM_CENTS:
            self.add_error(
                "other_amount", f"The largest purchase at once is {dollars_text(settings.PURCHASE_MAXIMUM_CENTS)}."
            )
        else:
            cleaned["amount_cents"] = amount_cents
        return cleaned


class AutoReloadForm(forms.Form):
    """Auto-reload: the switch, the line, the amount to reload to and the most in a month.

    ``consent_for`` names the amounts in the consent sentence that was on the page. Switching off needs no valid
    amounts, so that nothing stands between a customer and the end of charges; the amounts in force are kept then.
    """

    is_enabled = forms.BooleanField(
        required=False,
        label="Reload automatically",
        widget=forms.CheckboxInput(attrs={"class": "switch", "role": "switch", "aria-describedby": "reload-card"}),
    )
    minimum = DollarsField(label="Minimum balance")
    target = DollarsField(label="Reload to")
    monthly_cap = DollarsField(label="At most a month")
    consent_for = forms.CharField(required=False, widget=forms.HiddenInput, max_length=100)

    AMOUNTS = ("minimum", "target", "monthly_cap")
    needs_amounts = False

    def clean(self) -> dict[str, Any]:
        """When it is off, put the amounts in force in the place of those that are no amounts."""
        cleaned = super().clean() or {}
        if not cleaned.get("is_enabled") and not self.needs_amounts:
            for name in self.AMOUNTS:
                if self.errors.pop(name, None) is not None or name not in cleaned:
                    cleaned[name] = self.initial[name]
        return cleaned

    @property
    def amounts_cents(self) -> tuple[int, int, int]:
        """Line, target and monthly limit: the sent ones where they are amounts, else those in force."""
        sent = getattr(self, "cleaned_data", {})
        amounts = [self.initial[name] if sent.get(name) is None else sent[name] for name in self.AMOUNTS]
        return amounts[0], amounts[1], amounts[2]

    @property
    def consent_key(self) -> str:
        """Names the amounts that the consent sentence has to have."""
        return "-".join(str(cents) for cents in self.amounts_cents)

    @property
    def has_current_consent(self) -> bool:
        """Whether the sentence that was on the page had the amounts that were sent."""
        return bool(self.cleaned_data["consent_for"] == self.consent_key)


class ShownTextForm(forms.Form):
    """Agreeing to a sentence: the sentence that was on the page comes back, so that nobody agrees to another one."""

    shown_text = forms.CharField(
        max_length=2_000,
        strip=False,
        widget=forms.HiddenInput,
        error_messages={"required": "This page was out of date. Please read the sentence once more."},
    )


class UsageConfirmationForm(forms.Form):
    """Confirming unusual usage, for a day or for a week, each with the sentence that was on the page."""

    allowance = forms.TypedChoiceField(
        choices=[(1, "24 hours"), (7, "7 days")],
        coerce=int,
        error_messages={
            "required": "Choose for how long.",
            "invalid_choice": "Choose for how long.",
        },
    )
    shown_1 = forms.CharField(required=False, max_length=2_000, strip=False)
    shown_7 = forms.CharField(required=False, max_length=2_000, strip=False)

    @property
    def days(self) -> int:
        """For how many days; one before anything valid was sent."""
        days: int = getattr(self, "cleaned_data", {}).get("allowance") or 1
        return days

    @property
    def shown_text(self) -> str:
        """The sentence beside the chosen time."""
        text: str = self.cleaned_data[f"shown_{self.days}"]
        return text


class OneLineField(forms.CharField):
    """A line of text for a document. Characters that can't be seen have no place there, nor have line breaks."""

    default_error_messages = {"invisible": "Remove the characters that can't be seen or that break the line."}

    def to_python(self, value: Any) -> str:
        """The text with single spaces and composed letters."""
        text = " ".join(unicodedata.normalize("NFC", super().to_python(value) or "").split(" "))
        if any(unicodedata.category(letter) in _INVISIBLE for letter in text):
            raise ValidationError(self.error_messages["invisible"], code="invisible")
        return re.sub(r" {2,}", " ", text)


class BillingDetailsForm(forms.Form):
    """Who buys: what receipts print of the organization from now on."""

    legal_name = OneLineField(
        label="Legal name",
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
        error_messages={"required": "Write the name under which the organization buys."},
    )
    address_line1 = OneLineField(
        label="Street and number",
        max_length=120,
        widget=forms.TextInput(attrs={"autocomplete": "address-line1"}),
        error_messages={"required": "Write the street and number, or the PO box."},
    )
    address_line2 = OneLineField(
        label="Building, floor (optional)",
        required=False,
        max_length=120,
        widget=forms.TextInput(attrs={"autocomplete": "address-line2"}),
    )
    postal_code = OneLineField(
        label="Postal code (optional)",
        required=False,
        max_length=20,
        widget=forms.TextInput(attrs={"autocomplete": "postal-code"}),
    )
    city = OneLineField(
        label="City",
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "address-level2"}),
        error_messages={"required": "Write the city."},
    )
    region = OneLineField(
        label="State or region (optional)",
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "address-level1"}),
    )
    country = forms.ChoiceField(
        label="Country",
        choices=[("", "Choose a country"), *countries.NAMES.items()],
        widget=forms.Select(attrs={"autocomplete": "country"}),
        error_messages={"required": "Choose the country.", "invalid_choice": "Choose a country of the list."},
    )
    tax_id = OneLineField(
        label="Tax ID (optional)",
        required=False,
        max_length=32,
        help_text="VAT number, EIN, GSTIN or the like, with its country letters",
    )
    reference = OneLineField(
        label="Usual reference (optional)",
        required=False,
        max_length=64,
        help_text="Such as a PO number. Printed on receipts of auto-reload, offered when you buy",
    )

    def clean(self) -> dict[str, Any]:
        """Check the tax ID by the rule of the country. Whether it exists, a tax engine asks the authorities."""
        cleaned = super().clean() or {}
        if cleaned.get("tax_id"):
            try:
                cleaned["tax_id"] = tax_ids.check(cleaned["tax_id"], country=cleaned.get("country") or "")
            except tax_ids.NotATaxId as error:
                self.add_error("tax_id", str(error))
        return cleaned


class BillingContactForm(forms.Form):
    """An address that shall get billing mail."""

    name = OneLineField(
        label="Name",
        max_length=120,
        help_text="Of a person or a team, such as Accounts payable",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Write whose address it is."},
    )
    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Write the address.",
            "invalid": "Write an address like name@example.com.",
        },
    )


class CardForm(forms.Form):
    """The end of the card form: the SetupIntent that the browser has confirmed with the payment processor."""

    setup_intent_id = forms.RegexField(
        regex=re.compile(r"\Aseti_[A-Za-z0-9_]{1,200}\Z", re.ASCII),
        strip=True,
        widget=forms.HiddenInput,
        error_messages={
            "required": "The card form did not load, so the card was not read. Reload the page and try again.",
            "invalid": "The card form did not load, so the card was not read. Reload the page and try again.",
        },
    )


class ProblemForm(forms.Form):
    """Reporting a problem with a charge. ``report_key`` is made when the form is rendered: one key, one report."""

    report_key = forms.UUIDField(
        widget=forms.HiddenInput,
        error_messages={
            "required": "This page was out of date. Please send it again.",
            "invalid": "This page was out of date. Please send it again.",
        },
    )
    category = forms.ChoiceField(
        label="What is wrong",
        choices=ProblemReport.Category.choices,
        widget=forms.RadioSelect,
        error_messages={"required": "Choose what is wrong.", "invalid_choice": "Choose what is wrong."},
    )
    text = forms.CharField(
        label="What happened",
        max_length=4_000,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="Please write no card number.",
        error_messages={
            "required": "Tell us what happened.",
            "max_length": "At most 4,000 characters, please.",
        },
    )

    @classmethod
    def fresh(cls) -> "ProblemForm":
        """An unsent form with a key of its own."""
        return cls(initial={"report_key": uuid.uuid4()})

    def clean_text(self) -> str:
        """Refuse a card number: nobody needs it, and it must not be kept here."""
        text: str = self.cleaned_data["text"]
        if _holds_card_number(text):
            raise ValidationError("This looks like a card number. Please take it out: the last four digits will do.")
        return text


class ShownCardForm(forms.Form):
    """Removing a card: the one that was on the page, so that nobody removes another."""

    payment_method_id = forms.IntegerField(
        min_value=1,
        max_value=2**63 - 1,
        widget=forms.HiddenInput,
        error_messages={"required": "This page was out of date. Please look at the card once more."},
    )


def _holds_card_number(text: str) -> bool:
    """Whether 13 to 19 digits, spaces and dashes aside, pass the check that card numbers pass (ISO/IEC 7812-1)."""
    for match in _DIGITS.finditer(text):
        digits = [int(digit) for digit in re.sub(r"[ -]", "", match[0])]
        doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits[::-1])]
        if 13 <= len(digits) <= 19 and sum(doubled) % 10 == 0:
            return True
    return False


# The names that use cases give the fields of these forms, where they differ.
_FIELD_OF_REFUSAL = {
    "amount_cents": "other_amount",
    "amount": "other_amount",
    "minimum_cents": "minimum",
    "target_cents": "target",
    "monthly_cap_cents": "monthly_cap",
    "terms_version": "terms",
}


def add_refusal(form: forms.Form, refusal: Refused) -> None:
    """Show what a use case refused at the field that it names, or above the form."""
    field = _FIELD_OF_REFUSAL.get(refusal.field, refusal.field)
    form.add_error(field if field in form.fields else None, str(refusal))


def month_from_text(text: str) -> datetime | None:
    """The first instant (UTC) of the month "2026-11"; None for anything else that a query string may hold."""
    match = _MONTH.match(text)
    if match is None or match["year"] == "0000":
        return None
    return datetime(int(match["year"]), int(match["month"]), 1, tzinfo=UTC)


def instant_from_text(text: str, *, zone: tzinfo) -> datetime | None:
    """The minute "2026-11-10T12:00" of a time zone, in UTC; None for anything else that a query string may hold.

    Of an hour that a change of clocks repeats, the first is meant.
    """
    if _MINUTE.match(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def id_from_text(text: str) -> int | None:
    """A row id from a query string, for paging; None for anything else."""
    return int(text) if _ID.match(text) else None
