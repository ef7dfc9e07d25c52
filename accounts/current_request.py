"""The request at hand, for what carries its reference without being handed it: events, log lines and error pages.

Business rules never look here. They are handed what they need; only who, from where and under which reference is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.http import HttpRequest

_answered: ContextVar[HttpRequest | None] = ContextVar("answered", default=None)


@contextmanager
def answering(request: HttpRequest) -> Iterator[None]:
    """Until the block ends, ``request`` is the one that is answered."""
    token = _answered.set(request)
    try:
        yield
    finally:
        _answered.reset(token)


def reference() -> str:
    """What the person sees as X-Request-Id; empty outside a request, such as in a worker."""
    return str(getattr(_answered.get(), "request_id", ""))


def request_of(user_id: int) -> HttpRequest | None:
    """The request at hand if it is this user's own, None for everybody else's and for the machine's."""
    request = _answered.get()
    user = getattr(request, "user", None)
    return request if user is not None and user.pk == user_id else None
