"""The API's refusals, in the shape that Stripe's SDKs expect.

Raising `ApiError` undoes everything the request has written. A declined card is not raised: it is a result that leaves
traces, and is answered with `Reply`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]
"""One JSON object of the API."""


@dataclass(frozen=True)
class Reply:
    """What a request is answered with. `headers` are added to the usual ones."""

    status: int
    body: Fields
    headers: dict[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """A refusal that leaves no trace in the objects.

    `is_stored` says whether the endpoint had begun to execute, in which case the idempotency layer keeps the answer
    (https://docs.stripe.com/api/idempotent_requests: refused parameters and concurrent conflicts are not kept).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        is_stored: bool = False,
        headers: dict[str, str] | None = None,
        extra: Fields | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.is_stored = is_stored
        self.headers = headers or {}
        self.extra = extra or {}

    def reply(self) -> Reply:
        """The answer that carries this refusal."""
        error: Fields = {"message": self.message, "type": self.type}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = doc_url(self.code)
        if self.param is not None:
            error["param"] = self.param
        return Reply(status=self.status, body={"error": error | self.extra}, headers=self.headers)


def doc_url(code: str) -> str:
    """The page that Stripe links from an error of this code."""
    return f"https://docs.stripe.com/error-codes#{code.replace('_', '-')}"


def no_such(kind: str, object_id: str, *, param: str = "id", status: int = 404) -> ApiError:
    """The refusal for an id that names nothing, or nothing of this kind."""
    return ApiError(
        f"No such {kind}: '{object_id}'", status=status, code="resource_missing", param=param, is_stored=True
    )


def not_covered(what: str, *, param: str | None = None) -> ApiError:
    """The refusal for something that Stripe offers and the stand-in doesn't: louder than a wrong answer."""
    return ApiError(f"The stand-in does not cover {what}.", code="stand_in_not_covered", param=param)
