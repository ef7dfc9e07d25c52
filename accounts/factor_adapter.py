"""What allauth's second factors ask of this product: names, texts and encryption. Named by MFA_ADAPTER."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings

from accounts import encryption
from accounts.models import User


class FactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types.
    """Everything that a browser or an app keeps (issuer, site) comes from settings, never from a Host header."""

    error_messages: ClassVar = {
        **DefaultMFAAdapter.error_messages,
        "cannot_generate_recovery_codes": "Recovery codes stand in for a second factor, and you have none. Set one up.",
        "incorrect_code": "That didn't work. A code is good for 30 seconds and works once: enter the one that your app "
        "shows now.",
        "incorrect_passkey": "That passkey didn't work. Reload the page and try again.",
        "unreadable_secret": "We can't check codes at the moment. Use a passkey, or ask the platform's support.",
    }

    def encrypt(self, text: str) -> str:
        """Seeds of codes and of recovery codes, before they go into the database."""
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        """The counterpart. Raises ``encryption.NotReadable``."""
        return encryption.decrypt(encrypted_text)

    def get_totp_issuer(self) -> str:
        """The name beside the code in the app."""
        return self._get_site_name()

    def generate_authenticator_name(self, user: User, type: str) -> str:
        """A name for a new passkey whose person gave it none."""
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {count + 1}" if count else "Passkey"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """The site that passkeys belong to."""
        return {"id": urlsplit(settings.SITE_URL).hostname or "", "name": self._get_site_name()}

    def _get_site_name(self) -> str:
        return f"{settings.PLATFORM_NAME} Credit Console"
