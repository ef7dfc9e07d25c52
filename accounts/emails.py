"""What allauth asks of this product: no sign-up of one's own, and mail through the outbox."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as allauth_context
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.http import HttpRequest

from accounts import outbox


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types.
    """Named by ACCOUNT_ADAPTER."""

    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The e-mail address or the password is wrong.",
        "incorrect_password": "The password is wrong.",
        "enter_current_password": "This is not your current password.",
        "too_many_login_attempts": "Too many wrong passwords. Wait five minutes, or reset your password.",
        "rate_limited": "Too many tries. Wait a few minutes, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by staff (and, later, by invitation), never by a visitor."""
        return False

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

    def _absolute(self, url: str) -> str:
        _scheme, _, rest = url.partition("://")
        return f"{settings.SITE_URL}/{rest.partition('/')[2]}"
