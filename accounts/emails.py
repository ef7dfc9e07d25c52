"""What allauth asks of this product: who may sign up, where links may lead, and mail through the outbox."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlencode
from uuid import uuid4

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as allauth_context
from django.conf import settings
from django.contrib import messages
from django.core.mail import EmailMultiAlternatives
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import devices, outbox, reauthentication, throttles
from accounts.models import User

# Set by the page of an invitation once its link was found good: the invited address, in lower case. Whoever has the
# link got it by mail to that address, so the address counts as confirmed.
MAY_SIGN_UP_AS: Final = "may_sign_up_as"
# At most one mail with a link to confirm, or saying that there is an account, to an address in this time.
CONFIRMATION_GAP: Final = timedelta(minutes=3)


def invited_address(request: HttpRequest) -> str:
    """The address that a good invitation lets sign up in this session, or an empty text."""
    return str(request.session.get(MAY_SIGN_UP_AS, ""))


def _is_change(email_address: Any) -> bool:
    """Whether the address would take the place of another one that its person signs in with."""
    return bool(email_address.email != email_address.user.email)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types.
    """Named by ACCOUNT_ADAPTER."""

    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or the password is wrong.",
        "incorrect_password": "The password is wrong.",
        "enter_current_password": "This is not your current password.",
        "duplicate_email": "This is your address already.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Open to all by SIGN_UP_IS_OPEN; otherwise to whoever has followed an invitation."""
        return settings.SIGN_UP_IS_OPEN or bool(invited_address(request))

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """Whether a mail to this address led here already."""
        return email.lower() == invited_address(request)

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """Save who signs up, with the name from the form."""
        user.name = form.cleaned_data["name"]
        saved: User = super().save_user(request, user, form, commit=commit)
        return saved

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """allauth's own pages ask as ours do: signing in a moment ago is proof enough."""
        return not reauthentication.is_recent(self.request)

    def is_safe_url(self, url: str) -> bool:
        """Whether to go on to ``url`` after a form: to a path of this console only, whatever hosts are allowed."""
        return url.startswith("/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> Any:
        """Know this browser again, so that others' wrong passwords don't lock it out."""
        response = super().post_login(request, user, **kwargs)
        devices.remember_device(request, response, email=user.email)
        return response

    def confirm_email(self, request: HttpRequest, email_address: Any) -> bool:
        """Confirm an address and make it the one that its person signs in with.

        A change of address is finished by its person alone: with a typing error, the link goes to a stranger, who would
        get the account by it. Refuses with a message, too, where another account signs in with the address, confirmed
        or not: two can't have one name.
        """
        if _is_change(email_address) and request.user != email_address.user:
            messages.info(
                request, "Sign in first, as this changes the address of your account. Then confirm once more."
            )
            return False
        try:
            with transaction.atomic():
                return bool(super().confirm_email(request, email_address))
        except IntegrityError:
            messages.error(request, "Another account uses this address. Sign in with it, or ask us to free it.")
            return False

    def get_email_verification_redirect_url(self, email_address: Any) -> str:
        """Where one goes on after confirming; by way of signing in where that was missing."""
        if not email_address.verified and not self.request.user.is_authenticated:
            return f"{reverse('account_login')}?{urlencode({'next': self.request.path})}"
        url: str = super().get_email_verification_redirect_url(email_address)
        return url

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Where one goes on after choosing a new password."""
        return reverse("account_change_password")

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        """Send the link that confirms an address, unless one was sent a moment ago: that one still works."""
        if self._may_confirm(emailconfirmation.email_address.email):
            super().send_confirmation_mail(request, emailconfirmation, signup)

    def send_account_already_exists_mail(self, email: str) -> None:
        """Tell the owner of an account that somebody tried to sign up with their address; as often as above."""
        if self._may_confirm(email):
            links = {"login_path": reverse("account_login"), "reset_path": reverse("account_reset_password")}
            self.send_mail("account/email/account_already_exists", email, links)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Render one of allauth's mails and put it into the outbox: a mail server that is down fails no page."""
        full = {
            "request": allauth_context.request,
            "email": email,
            "platform_name": settings.PLATFORM_NAME,
            "site_url": settings.SITE_URL,
            **context,
        }
        mail: EmailMultiAlternatives = self.render_mail(template_prefix, email, full)
        outbox.send_mail_later(
            to=mail.to,
            subject=str(mail.subject),
            body=str(mail.body),
            key=f"{template_prefix.rpartition('/')[2]}:{uuid4()}",
        )

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link in the mail, from SITE_URL: never from a Host header that a visitor chose."""
        return self._absolute(super().get_reset_password_from_key_url(key))

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        """As above."""
        return self._absolute(super().get_email_confirmation_url(request, emailconfirmation))

    def _may_confirm(self, email: str) -> bool:
        return throttles.allow(
            action="confirmation mail", key=email.lower(), limit=1, window=CONFIRMATION_GAP, at=timezone.now()
        )

    def _absolute(self, url: str) -> str:
        _scheme, _, rest = url.partition("://")
        return f"{settings.SITE_URL}/{rest.partition('/')[2]}"
