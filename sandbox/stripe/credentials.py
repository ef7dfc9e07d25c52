"""API keys. Any well-formed test key is accepted, unless particular keys are asked for; live keys never are."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from sandbox.stripe.call import Credential
from sandbox.stripe.errors import ApiError
from sandbox.stripe.semantics import ALL, Semantic, Semantics

_TEST_KEY = re.compile(r"(sk|rk|pk)_test_[A-Za-z0-9_]{4,240}\Z")


@dataclass(frozen=True)
class AcceptedKeys:
    """The keys of the account; None accepts any well-formed test key of that kind."""

    secret: str | None = None
    publishable: str | None = None
    semantics: Semantics = ALL

    def identify(self, *, authorization: str | None, key_parameter: str | None) -> Credential:
        """Which kind of key a request carries; raises the API's 401."""
        key = key_parameter if authorization is None else _key_in(authorization)
        if not key:
            raise _unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
        if "_live_" in key and not self.semantics.has(Semantic.TEST_KEYS_ONLY):
            key = key.replace("_live_", "_test_")
        if "_live_" in key:
            raise _unauthorized("A live key was sent to the stand-in. It takes test keys only. Nothing was done.")
        match = _TEST_KEY.match(key)
        credential: Credential = "publishable" if key.startswith("pk_") else "secret"
        expected = self.publishable if credential == "publishable" else self.secret
        if match is None or (expected is not None and key != expected):
            raise _unauthorized(f"Invalid API Key provided: {key[:8]}{'*' * max(0, min(len(key) - 12, 16))}{key[-4:]}")
        if authorization is None and credential == "secret":
            raise _unauthorized("A secret key belongs in the Authorization header.")
        return credential


def secret_key_required() -> ApiError:
    """The refusal of a server's call that carries a publishable key."""
    return _unauthorized(
        "This API call cannot be made with a publishable API key. Please use a secret API key.",
        code="secret_key_required",
    )


def _key_in(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _unauthorized(message: str, *, code: str | None = None) -> ApiError:
    return ApiError(message, status=401, code=code, headers={"WWW-Authenticate": 'Basic realm="Stripe"'})
