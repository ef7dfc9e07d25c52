"""Passwords that are easy to guess here, of all places."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.core.exceptions import ValidationError

REST_LENGTH_MIN = 8


class ContextWordValidator:
    """Refuses a password that is little more than this product's own words (ASVS 5.0, 6.1.2 and 6.2.11).

    The words are taken out, whatever their case; at least eight characters must stay. Named in
    AUTH_PASSWORD_VALIDATORS with ``words``.
    """

    def __init__(self, words: Sequence[str]) -> None:
        longest_first = sorted({word.lower() for word in words if word}, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def validate(self, password: str, user: object = None) -> None:
        """Raise ``ValidationError`` with the code ``password_context_words``."""
        lowered = password.lower()
        if self._words.search(lowered) and len(self._words.sub("", lowered)) < REST_LENGTH_MIN:
            raise ValidationError(
                "This password is made of words that everybody here would try first.", code="password_context_words"
            )

    def get_help_text(self) -> str:
        """For the list beside the form."""
        return "Your password can't be made of this product's own words."
