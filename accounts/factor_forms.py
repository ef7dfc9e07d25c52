"""The forms of second factors, named by MFA_FORMS: allauth's, with codes that work once and words of this product."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from allauth.core import context as allauth_context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as base_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, generate_totp_secret
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn import forms as webauthn_forms
from django import forms
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction

from accounts import encryption, second_factors, used_codes

NAME_LENGTH = 60
# The longest that browsers send, with certificates of a security key in it, is a fifth of this.
CREDENTIAL_LENGTH_MAX = 50_000
REASON_LENGTH_MIN, REASON_LENGTH_MAX = 10, 500

logger = logging.getLogger(__name__)


def _ask_for_digits(field: forms.Field, *, label: str) -> None:
    """A field that phones offer digits and the code from the clipboard for."""
    field.label = label
    field.widget.attrs = {"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false", "maxlength": "40"}


class TakesCodesOnce:
    """The check behind allauth's own: a code of the app that is right gets in once."""

    def clean_code(self) -> str:
        """Use up the code."""
        try:
            code: str = super().clean_code()  # type: ignore[misc]
        except encryption.NotReadable as error:
            logger.exception("A second factor can't be read: is a key of MFA_ENCRYPTION_KEYS missing?")
            raise get_adapter().validation_error("unreadable_secret") from error
        found: Authenticator = self.authenticator  # type: ignore[attr-defined]
        if found.type == Authenticator.Type.TOTP and not used_codes.spend(
            user=self.user,  # type: ignore[attr-defined]
            secret=decrypt(found.data["secret"]),
            code=code,
        ):
            self._emit_authentication_failed(found)  # type: ignore[attr-defined]
            raise get_adapter().validation_error("incorrect_code")
        return code


class AuthenticateForm(TakesCodesOnce, base_forms.AuthenticateForm):  # type: ignore[misc]
    """The second step of signing in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _ask_for_digits(self.fields["code"], label="Code from your app, or a recovery code")


class ReauthenticateForm(TakesCodesOnce, base_forms.ReauthenticateForm):  # type: ignore[misc]
    """Proving again who one is, by a code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _ask_for_digits(self.fields["code"], label="Code from your app, or a recovery code")


class ActivateTOTPForm(totp_forms.ActivateTOTPForm):  # type: ignore[misc]  # allauth ships no types.
    """A new app. Its secret waits in the session, encrypted too, and the code that proves it is used up by that."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.user = kwargs.pop("user")
        # Not the parent's own: it would put the secret into the session, and so into the database, as it is.
        forms.Form.__init__(self, *args, **kwargs)
        self.secret = _secret_in_setup(allauth_context.request.session, is_new=not self.is_bound)
        _ask_for_digits(self.fields["code"], label="Code that the app shows")

    def clean_code(self) -> str:
        """Take the code and use it up."""
        code: str = super().clean_code()
        if not used_codes.spend(user=self.user, secret=self.secret, code=code):
            raise get_adapter().validation_error("incorrect_code")
        return code


class CredentialField(forms.JSONField):
    """What a browser says of a passkey, as JSON of a sane size and depth."""

    widget = forms.HiddenInput
    default_error_messages: ClassVar = {"invalid": "That didn't work. Reload the page and try again."}

    def to_python(self, value: Any) -> Any:
        """The parsed JSON: an object, or nothing. allauth would take a bare 0 for a passkey that needs no check."""
        if len(str(value or "")) > CREDENTIAL_LENGTH_MAX:
            raise self._invalid()
        try:
            parsed = super().to_python(value)
        except (RecursionError, ValueError) as error:  # Too deep, or a number of too many digits.
            raise self._invalid() from error
        if parsed is not None and not isinstance(parsed, dict):
            raise self._invalid()
        return parsed

    def bound_data(self, data: Any, initial: Any) -> None:
        """Show none of it again: it answers one challenge, once."""

    def prepare_value(self, value: Any) -> str:
        """As above."""
        return ""

    def _invalid(self) -> forms.ValidationError:
        return forms.ValidationError(self.error_messages["invalid"], code="invalid")


class UsesPasskey:
    """A form that takes a passkey in place of a code."""

    def clean_credential(self) -> Authenticator:
        """The factor that the credential proves."""
        with _refusing_malformed():
            found: Authenticator = super().clean_credential()  # type: ignore[misc]
        return found


class AuthenticateWebAuthnForm(UsesPasskey, webauthn_forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """The second step of signing in, by passkey."""

    credential = CredentialField()


class LoginWebAuthnForm(UsesPasskey, webauthn_forms.LoginWebAuthnForm):  # type: ignore[misc]
    """Signing in by passkey alone."""

    credential = CredentialField()


class ReauthenticateWebAuthnForm(UsesPasskey, webauthn_forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """Proving again who one is, by passkey."""

    credential = CredentialField()


class AddWebAuthnForm(webauthn_forms.AddWebAuthnForm):  # type: ignore[misc]
    """A new passkey; unless somebody says otherwise, one that signs in by itself."""

    credential = CredentialField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = self.fields["name"]
        name.label, name.max_length = "Name", NAME_LENGTH
        name.help_text = "Such as the device that keeps it. Only you see it."
        name.widget.attrs = {"maxlength": NAME_LENGTH, "autocomplete": "off"}
        alone = self.fields["passwordless"]
        alone.label, alone.initial = "Sign in with it alone, without the password", True
        alone.help_text = "Your device asks for a fingerprint, your face or a PIN then."

    def clean(self) -> dict[str, Any]:
        """Check what the browser made, against what it was asked for."""
        with _refusing_malformed():
            cleaned: dict[str, Any] = super().clean()
        return cleaned


class EditWebAuthnForm(webauthn_forms.EditWebAuthnForm):  # type: ignore[misc]
    """Another name for a passkey."""

    name = forms.CharField(label="Name", max_length=NAME_LENGTH, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def save(self) -> Authenticator:
        """Keep the name."""
        with transaction.atomic():
            authenticator: Authenticator = super().save()
            second_factors.note_renamed(
                user=authenticator.user, authenticator=authenticator, request=allauth_context.request
            )
        return authenticator


class RequiredFactorForm(forms.Form):
    """Whether an organization asks a second factor of its Admin and Billing members."""

    is_required = forms.BooleanField(label="Admin and Billing members need a second factor", required=False)


class RemoveFactorsForm(forms.Form):
    """Why staff take somebody's factors away."""

    reason = forms.CharField(
        label="Reason",
        min_length=REASON_LENGTH_MIN,
        max_length=REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="The ticket, and how you made sure who is asking. No names: it stays in the audit log for ever.",
    )


@contextmanager
def _refusing_malformed() -> Iterator[None]:
    """allauth and its library trip over malformed credentials with errors of many kinds; each of them is a refusal."""
    try:
        yield
    except forms.ValidationError:
        raise
    except Exception as error:  # Whatever it is, it was made by what somebody sent.
        logger.warning("A malformed passkey was refused: %s", type(error).__name__)
        raise get_adapter().validation_error("incorrect_passkey") from error


def _secret_in_setup(session: SessionBase, *, is_new: bool) -> str:
    """The secret of the app that is being set up: a new one for each look at the page, the same for its form."""
    kept = None if is_new else session.get(SECRET_SESSION_KEY)
    if kept:
        try:
            return encryption.decrypt(kept)
        except encryption.NotReadable:
            # The key changed while the page was open. The code won't fit, and the page shows a new secret.
            pass
    secret: str = generate_totp_secret()
    session[SECRET_SESSION_KEY] = encryption.encrypt(secret)
    return secret
