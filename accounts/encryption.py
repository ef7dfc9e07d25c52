"""Secrets that have to be read again (seeds of second factors) are encrypted in the database.

A copy of the database alone makes no codes then. The first of MFA_ENCRYPTION_KEYS encrypts, all of them decrypt: a key
is replaced by putting a new one in front, running ``manage.py encrypt_second_factors``, and taking the old one away.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class NotReadable(Exception):
    """None of the keys made this text: a key was taken away too early, or the text isn't encrypted."""


def encrypt(text: str) -> str:
    """The text, readable with any of the keys for as long as the first one is among them."""
    return _keys().encrypt(text.encode()).decode()


def decrypt(encrypted_text: str) -> str:
    """The text again. Raises ``NotReadable``."""
    try:
        return _keys().decrypt(encrypted_text.encode()).decode()
    except InvalidToken as error:
        raise NotReadable from error


def encrypt_anew(encrypted_text: str) -> str:
    """The same secret under the first key. Raises ``NotReadable``."""
    return encrypt(decrypt(encrypted_text))


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.MFA_ENCRYPTION_KEYS])
