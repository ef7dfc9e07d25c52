"""The text of a key: a beginning that says whose it is, a public part, a secret and a checksum.

``ck_live_<8 public characters>_<43 secret characters><6 of checksum>`` is an API key of an organization,
``ck_gate_...`` a service key of the platform's gateway; all characters are base 62. The secret carries 256 random bits,
so one round of SHA-256 keeps it: there is nothing to guess that a slow hash would protect. The checksum is the CRC-32
of all before it, as in GitHub's tokens, so a mistyped key, and a leak in any text, is told without asking a database
(https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Final

API_KEY: Final = "ck_live_"
SERVICE_KEY: Final = "ck_gate_"
PUBLIC_LENGTH: Final = 8
SECRET_LENGTH: Final = 43
CHECKSUM_LENGTH: Final = 6

_ALPHABET: Final = string.digits + string.ascii_letters
_SHAPE = re.compile(
    rf"(?P<prefix>(?P<beginning>{API_KEY}|{SERVICE_KEY})[A-Za-z0-9]{{{PUBLIC_LENGTH}}})"
    rf"_(?P<secret>[A-Za-z0-9]{{{SECRET_LENGTH}}})(?P<checksum>[A-Za-z0-9]{{{CHECKSUM_LENGTH}}})",
    flags=re.ASCII,
)
_API_KEY_PREFIX = re.compile(rf"{API_KEY}[A-Za-z0-9]{{{PUBLIC_LENGTH}}}", flags=re.ASCII)
# Compared with when there is no such key, so that an unknown prefix takes as long as a wrong secret.
_NO_DIGEST: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, kw_only=True)
class KeyText:
    """A key in its parts. ``prefix`` is public; it names the key in pages, usage and logs."""

    prefix: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The whole key. Shown once, kept nowhere."""
        return f"{self.prefix}_{self.secret}{_checksum(f'{self.prefix}_{self.secret}')}"


def make(*, beginning: str) -> KeyText:
    """A new key."""
    return KeyText(prefix=beginning + _random_text(PUBLIC_LENGTH), secret=_random_text(SECRET_LENGTH))


def parse(text: str, *, beginning: str) -> KeyText | None:
    """The key that ``text`` is, if it has this beginning and its checksum is right."""
    match = _SHAPE.fullmatch(text)
    if match is None or match["beginning"] != beginning:
        return None
    key = KeyText(prefix=match["prefix"], secret=match["secret"])
    return key if key.text == text else None


def find_all(text: str) -> list[str]:
    """The prefixes of all keys in ``text``: each is a leak, wherever the text came from."""
    return [
        match["prefix"]
        for match in _SHAPE.finditer(text)
        if KeyText(prefix=match["prefix"], secret=match["secret"]).text == match[0]
    ]


def is_api_key_prefix(text: str) -> bool:
    """Whether ``text`` has the form of an API key's public part, and so can be no label of somebody else's making."""
    return _API_KEY_PREFIX.fullmatch(text) is not None


def digest(text: str) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def is_same(*, stored: str | None, given: str) -> bool:
    """Whether two digests are the same, in a time that tells nothing; None, for no such key, is like no digest."""
    return hmac.compare_digest(stored or _NO_DIGEST, given) and stored is not None


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
