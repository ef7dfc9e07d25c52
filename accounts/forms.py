"""Forms of people and of staff. They clean what is typed; the use cases (and, for passwords, allauth) save."""

from __future__ import annotations

from typing import Any

from allauth.account import forms as allauth_forms
from django import forms

from accounts import memberships
from accounts.models import Membership, Organization, ServiceKey, User
from accounts.permissions import Role


class NewUserForm(forms.ModelForm):
    """A new person without a password: they choose it by "Forgotten?", so that nobody else ever knew one."""

    is_email_verified = forms.BooleanField(
        label="The address is known to be theirs",
        required=False,
        initial=True,
        help_text="Otherwise they are asked to confirm it at their first sign-in.",
    )

    class Meta:
        model = User
        fields = ("email", "name")


class NewOrganizationForm(forms.ModelForm):
    """A new organization with its first Admin."""

    admin = forms.ModelChoiceField(
        User.objects.filter(is_active=True).order_by("email"), label="First Admin", help_text="Create the user first."
    )

    class Meta:
        model = Organization
        fields = ("name", "slug", "time_zone")


class MembershipForm(forms.ModelForm):
    """A member's role; refuses to take the last Admin from an organization."""

    class Meta:
        model = Membership
        fields = ("organization", "user", "role")

    def clean(self) -> dict[str, Any]:
        """Refuse what the use case would refuse, where the form can still say so."""
        cleaned = super().clean() or {}
        if self.instance.pk and cleaned.get("role") != Role.ADMIN:
            saved = Membership.objects.get(pk=self.instance.pk)
            if memberships.is_last_admin(saved):
                raise forms.ValidationError("This is the organization's last Admin. Make somebody else Admin first.")
        return cleaned


class NewServiceKeyForm(forms.ModelForm):
    """A new key for the gateway; its text is made by the use case."""

    class Meta:
        model = ServiceKey
        fields = ("name",)


class Plain:
    """allauth's forms repeat each label as a placeholder, which vanishes when one types; the label is enough."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = LABELS.get(name, field.label)


LABELS = {
    "login": "E-mail",
    "email": "E-mail",
    "oldpassword": "Current password",
    "password": "Password",
    "password1": "New password",
    "password2": "New password again",
}


class SignInForm(Plain, allauth_forms.LoginForm):
    """Named by ACCOUNT_FORMS, like those below."""


class AddEmailForm(Plain, allauth_forms.AddEmailForm):
    pass


class ResetPasswordForm(Plain, allauth_forms.ResetPasswordForm):
    pass


class ResetPasswordKeyForm(Plain, allauth_forms.ResetPasswordKeyForm):
    pass


class ChangePasswordForm(Plain, allauth_forms.ChangePasswordForm):
    pass


class SetPasswordForm(Plain, allauth_forms.SetPasswordForm):
    pass


class ReauthenticateForm(Plain, allauth_forms.ReauthenticateForm):
    pass
