"""The filters of the audit log, as a form that is sent by GET."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django import forms

from accounts import audit_log
from accounts.audit_actions import Group
from accounts.models import Organization

# Events of no organization, and of the platform's own prices, are in nobody's log.
_GROUPS: Final = [(group.value, group.label) for group in Group if group is not Group.PLATFORM]
# Beyond these a day has no instant that the database or a time zone can name.
_FIRST_YEAR, _LAST_YEAR = 2000, 9000


class AuditLogForm(forms.Form):
    """Whose events, of what kind, when, about what. Everything may stay empty."""

    who = forms.ChoiceField(label="Who", required=False)
    what = forms.ChoiceField(label="What", required=False, choices=[("", "Everything"), *_GROUPS])
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    about = forms.CharField(
        label="About",
        required=False,
        max_length=120,
        widget=forms.TextInput(
            attrs={"placeholder": "purchase 12, req_…", "autocomplete": "off", "spellcheck": "false"}
        ),
    )

    def __init__(self, *args: Any, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.organization = organization
        people = [(str(pk), name) for pk, name in audit_log.actors_of(organization=organization)]
        choices = [("", "Everybody"), *people, ("staff", "Platform staff"), ("system", "The platform itself")]
        self.fields["who"].choices = choices  # type: ignore[attr-defined]
        for name in ("since", "until"):
            self.fields[name].error_messages["invalid"] = "Choose a date."
        for name in ("who", "what"):
            self.fields[name].error_messages["invalid_choice"] = "Choose one of the list."

    def clean_since(self) -> date | None:
        return self._possible(self.cleaned_data["since"])

    def clean_until(self) -> date | None:
        until = self._possible(self.cleaned_data["until"])
        since = self.cleaned_data.get("since")
        if since is not None and until is not None and until < since:
            raise forms.ValidationError("Choose a date that is not before the first one.")
        return until

    def filters(self) -> audit_log.Filters:
        """What a valid form asks for. Days are the organization's, and the last one counts to its end."""
        cleaned = self.cleaned_data
        until = cleaned["until"]
        return audit_log.Filters(
            who=cleaned["who"],
            group=Group(cleaned["what"]) if cleaned["what"] else None,
            since=self._midnight(cleaned["since"]),
            until=self._midnight(until + timedelta(days=1) if until else None),
            about=cleaned["about"],
        )

    def chosen(self) -> dict[str, str]:
        """What was chosen, for addresses and hidden fields, and for what history keeps of a download."""
        return {name: str(value) for name, value in self.cleaned_data.items() if value}

    def _midnight(self, day: date | None) -> datetime | None:
        return datetime.combine(day, time(), tzinfo=self.organization.zone) if day else None

    def _possible(self, day: date | None) -> date | None:
        if day is not None and not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            raise forms.ValidationError("Choose a date.")
        return day
