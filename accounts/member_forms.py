"""What people type to invite others, to change roles and to begin an organization. Forms clean; they don't save."""

from __future__ import annotations

import unicodedata
from typing import Any, Final, cast
from zoneinfo import available_timezones

from django import forms
from django.utils.html import format_html

from accounts.permissions import Role, description_of

# Controls, formats (among them those that turn the direction of text), surrogates, private and unassigned ones, breaks.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def role_choices() -> list[tuple[str, str]]:
    """Each role with what it is for."""
    return [(role.value, format_html("{}<small>{}</small>", role.label, description_of(role))) for role in Role]


class RoleField(forms.ChoiceField):
    """One of the six roles, each with what it is for."""

    widget = forms.RadioSelect

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            label="Role",
            choices=role_choices(),
            error_messages={"required": "Choose a role.", "invalid_choice": "Choose one of the roles."},
            **kwargs,
        )

    def clean(self, value: Any) -> Role:
        """The role itself."""
        return Role(super().clean(value))


class InvitationForm(forms.Form):
    """Whom to invite, and as what."""

    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Write the address of the person to invite.",
            "invalid": "Write an address like name@example.com.",
        },
    )
    role = RoleField()

    def clean_email(self) -> str:
        """The address in lower case: case tells no two people apart."""
        return str(self.cleaned_data["email"]).lower()


class RoleForm(forms.Form):
    """Another role for a member. ``is_confirmed`` comes from the page that warns before one's own role changes."""

    role = RoleField()
    is_confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)


class SearchForm(forms.Form):
    """A part of a name or address, and after which member the page begins."""

    q = forms.CharField(required=False, max_length=100, label="Search by name or e-mail", strip=True)
    after = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)

    def wanted(self) -> tuple[str, int]:
        """What to look for and where to begin; all from the beginning where the address makes no sense."""
        if not self.is_valid():
            return "", 0
        return self.cleaned_data["q"], self.cleaned_data["after"] or 0


class CreateOrganizationForm(forms.Form):
    """The name of a new organization, its address and its time zone."""

    name = forms.CharField(
        label="Name",
        max_length=120,
        help_text="As your colleagues call it. You can change it later.",
        widget=forms.TextInput(attrs={"autocomplete": "organization", "autofocus": True}),
        error_messages={"required": "Write the organization's name."},
    )
    slug = forms.SlugField(
        label="Address",
        required=False,
        max_length=60,
        help_text="The part after /o/ in its links: letters, digits and hyphens. Left empty, it is made from the name. "
        "It can't be changed later.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
        error_messages={"invalid": "Use letters, digits and hyphens only, like acme-robotics."},
    )
    time_zone = forms.ChoiceField(
        label="Time zone",
        initial="UTC",
        help_text="Dates and times are shown in it, with UTC beside them. You can change it later.",
        error_messages={
            "required": "Choose a time zone.",
            "invalid_choice": "Choose one of the time zones.",
        },
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = sorted(available_timezones() - {"UTC"})
        field = cast(forms.ChoiceField, self.fields["time_zone"])
        field.choices = [(name, name.replace("_", " ")) for name in ["UTC", *others]]

    def clean_name(self) -> str:
        """The name without doubled spaces; signs that don't show are refused, since they could imitate another name."""
        name = " ".join(str(self.cleaned_data["name"]).split())
        if any(unicodedata.category(letter) in _INVISIBLE for letter in name):
            raise forms.ValidationError("The name has a character that doesn't show. Type it again without it.")
        return name

    def clean_slug(self) -> str:
        """The address in lower case."""
        slug = str(self.cleaned_data["slug"]).lower()
        if slug and not slug.strip("-_"):
            raise forms.ValidationError("Use at least one letter or digit.")
        return slug


class OrganizationSettingsForm(CreateOrganizationForm):
    """The name and the time zone of an organization. Its address never changes."""

    slug = None  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].help_text = "As your colleagues call it. Receipts print the legal name instead."
        self.fields["name"].widget.attrs.pop("autofocus", None)
        self.fields["time_zone"].help_text = "Dates and times are shown in it, with UTC beside them."


class CloseOrganizationForm(forms.Form):
    """The organization's name, typed by hand, so that nobody closes it by a slip."""

    name = forms.CharField(
        label="Name of the organization",
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Type the name of the organization."},
    )

    def __init__(self, *args: Any, organization_name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.organization_name = organization_name

    def clean_name(self) -> str:
        """The name, with blanks and case as they may be; otherwise refused."""
        name = " ".join(str(self.cleaned_data["name"]).split())
        if name.casefold() != " ".join(self.organization_name.split()).casefold():
            raise forms.ValidationError(f"Type {self.organization_name} as it stands here.")
        return name
