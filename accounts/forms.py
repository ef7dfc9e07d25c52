"""Forms of people and of staff. They clean what is typed; the use cases (and, for passwords, allauth) save."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from allauth.account import forms as allauth_forms
from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress
from allauth.core import context as allauth_context
from django import forms
from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import audit, memberships
from accounts.emails import MAY_SIGN_UP_AS, invited_address
from accounts.models import Membership, Organization, Scope, ServiceKey, User
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

    scopes = forms.MultipleChoiceField(
        label="May",
        choices=Scope.choices,
        initial=Scope.values,
        widget=forms.CheckboxSelectMultiple,
        help_text="A gateway that does everything needs all of it.",
        error_messages={"required": "Choose at least one, or the key could do nothing."},
    )

    class Meta:
        model = ServiceKey
        fields = ("name", "scopes")


class Plain:
    """allauth's forms repeat each label as a placeholder, which vanishes when one types; the label is enough."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = LABELS.get(name, field.label)
        if "password1" in self.fields:
            self.fields["password1"].help_text = "At least 12 characters. A few random words are good."


LABELS = {
    "login": "E-mail",
    "email": "E-mail",
    "oldpassword": "Current password",
    "password": "Password",
    "password1": "New password",
    "password2": "New password again",
    "remember": "Keep me signed in on this browser",
}


class SignInForm(Plain, allauth_forms.LoginForm):
    """Named by ACCOUNT_FORMS, like those below."""


class SignUpForm(Plain, allauth_forms.SignupForm):
    """A new account. Whether the address has one already is told by mail to it, never here, and takes as long."""

    name = forms.CharField(label="Your name", max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    field_order: ClassVar = ["email", "name", "password1"]
    account_already_exists: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].label = "Password"
        self.invited_address = invited_address(allauth_context.request)
        if self.invited_address:
            self.fields["email"].initial = self.invited_address

    def clean_email(self) -> str:
        """Refuse an address that nobody invited, where only invited people may sign up."""
        email: str = super().clean_email()
        if not settings.SIGN_UP_IS_OPEN and email != self.invited_address:
            raise forms.ValidationError(f"The invitation is for {self.invited_address}. Sign up with that address.")
        return email

    def validate_unique_email(self, value: str) -> str:
        """Note whether the address has an account. One that somebody only wishes to change to is nobody's yet."""
        is_confirmed = EmailAddress.objects.filter(email=value, verified=True).exists()
        self.account_already_exists = User.objects.filter(email=value).exists() or is_confirmed
        return value

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponseBase | None]:
        """Save the account, or send a mail to the owner of the one there is; both look the same from outside."""
        if not self.account_already_exists:
            try:
                with transaction.atomic():
                    user = self.save(request)
            except IntegrityError:
                # Somebody signed up with the same address in the same moment.
                self.account_already_exists = True
            else:
                request.session.pop(MAY_SIGN_UP_AS, None)
                # They have just typed their password: what needs a recent sign-in need not ask for it again.
                record_authentication(request, user, method="password")
                return user, None
        else:
            self._rehearse(request)
        outcome: tuple[User | None, HttpResponseBase | None] = super().try_save(request)
        return outcome

    def save(self, request: HttpRequest) -> User:
        """Make the account in the caller's transaction, and note it in the audit log."""
        email = self.cleaned_data["email"]
        EmailAddress.objects.filter(email=email, verified=False).exclude(user__email=email).delete()
        user: User = super().save(request)
        audit.record(organization=None, actor=user, action="user.signed_up", target=f"user:{user.pk}", request=request)
        return user

    def _rehearse(self, request: HttpRequest) -> None:
        """Do for a known address all that is done for a new one, and undo it: the hash of the password above all."""
        email, self.cleaned_data["email"] = self.cleaned_data["email"], f"{uuid4()}@rehearsal.invalid"
        self.account_already_exists = False
        with transaction.atomic():
            self.save(request)
            transaction.set_rollback(True)
        self.cleaned_data["email"] = email
        self.account_already_exists = True


class ProfileForm(forms.Form):
    """What a person says about themselves."""

    name = forms.CharField(
        label="Your name", max_length=150, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )


class AddEmailForm(Plain, allauth_forms.AddEmailForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "New address"


class ResetPasswordForm(Plain, allauth_forms.ResetPasswordForm):
    """Asks for a link by mail. An unknown address gets none, which shows nowhere."""

    users: list[User]

    def clean_email(self) -> str:
        """Find the account that signs in with the address. A wish for it is not enough: it may be a typing error."""
        email: str = super().clean_email()
        self.users = [user for user in self.users if user.email == email.lower()]
        return email

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the link; for an unknown address, do the same work and undo it, so that both take as long."""
        if not self.users:
            nobody = User(pk=0)
            with transaction.atomic():
                request_password_reset(
                    request, self.cleaned_data["email"], [nobody], allauth_forms.default_token_generator
                )
                transaction.set_rollback(True)
        email: str = super().save(request, **kwargs)
        return email


class ResetPasswordKeyForm(Plain, allauth_forms.ResetPasswordKeyForm):
    pass


class ChangePasswordForm(Plain, allauth_forms.ChangePasswordForm):
    pass


class SetPasswordForm(Plain, allauth_forms.SetPasswordForm):
    pass


class ReauthenticateForm(Plain, allauth_forms.ReauthenticateForm):
    pass
