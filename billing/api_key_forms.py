"""What people type about API keys, cleaned. Instants leave a form in UTC, limits as integer cents."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError

from accounts.api_keys import NAME_LENGTH_MAX, OVERLAPS
from accounts.models import ApiKey
from billing.forms import DollarsField

YEARS_MAX: Final = 10
_OVERLAP_WORDS: Final = ("At once", "For 1 hour", "For 24 hours", "For 7 days")


class ApiKeySettingsForm(forms.Form):
    """Name, end and limit of a key. The chosen last day is whole, in the organization's time zone."""

    name = forms.CharField(
        label="Name",
        max_length=NAME_LENGTH_MAX,
        help_text="Where it is used, such as production-api.",
        error_messages={"required": "Give the key a name.", "max_length": "A name has at most 80 characters."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    last_day = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        help_text="Optional. Without one it works until it is revoked.",
        error_messages={"invalid": "Write a day like 2027-03-31."},
    )
    limit_cents = DollarsField(
        label="Spend limit per month",
        required=False,
        help_text="Optional, in US dollars. Months are UTC's. Requests under way when it is reached are still charged.",
    )

    def __init__(self, *args: Any, zone: ZoneInfo, at: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._zone, self._at = zone, at

    def clean_name(self) -> str:
        """One line that can be read."""
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise ValidationError("Write one line without control characters.", code="name")
        return name

    def clean_last_day(self) -> date | None:
        """A day that is still to come, or today, within ten years."""
        last_day: date | None = self.cleaned_data["last_day"]
        today = self._at.astimezone(self._zone).date()
        if last_day is not None and not today <= last_day <= today + timedelta(days=365 * YEARS_MAX):
            raise ValidationError(f"Choose a day from today on, within {YEARS_MAX} years.", code="last_day")
        return last_day

    @property
    def expires_at(self) -> datetime | None:
        """The end: the first instant after the last day."""
        last_day: date | None = self.cleaned_data["last_day"]
        if last_day is None:
            return None
        return datetime.combine(last_day + timedelta(days=1), time(), tzinfo=self._zone).astimezone(UTC)


class NewApiKeyForm(ApiKeySettingsForm):
    """The settings of a key to be, and what it is for, which never changes."""

    surface = forms.ChoiceField(
        label="Used for",
        choices=ApiKey.Surface.choices,
        initial=ApiKey.Surface.API,
        widget=forms.RadioSelect,
        error_messages={"required": "Choose what the key is for.", "invalid_choice": "Choose one of these."},
    )

    # Made when the form is rendered, so that a form that is sent twice makes one key.
    attempt_key = forms.UUIDField(widget=forms.HiddenInput)

    field_order = ("name", "surface", "limit_cents", "last_day")

    def clean(self) -> dict[str, Any]:
        """Say at the form what is wrong with the field that nobody sees."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "attempt_key" in self.errors:
            self.add_error(None, "This form is incomplete. Open it anew and fill it in again.")
        return cleaned


class RotateForm(forms.Form):
    """How long the old key goes on to work."""

    overlap = forms.ChoiceField(
        label="The old key goes on to work",
        choices=[
            (str(int(overlap.total_seconds())), words) for overlap, words in zip(OVERLAPS, _OVERLAP_WORDS, strict=True)
        ],
        initial=str(24 * 3600),
        widget=forms.RadioSelect,
        error_messages={"required": "Choose how long.", "invalid_choice": "Choose one of these."},
    )

    def clean_overlap(self) -> timedelta:
        """The time itself."""
        return timedelta(seconds=int(self.cleaned_data["overlap"]))
