"""Lists: newest first, pages of at most 100, cursors in both directions (https://docs.stripe.com/api/pagination)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError, Fields, no_such
from sandbox.stripe.intents import check_exclusive
from sandbox.stripe.rules import LIST_CURSORS, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAXIMUM
from sandbox.stripe.semantics import Semantic

PAGING = frozenset({"ending_before", "expand", "limit", "starting_after"})


def page(call: Call, things: Iterable[Fields], *, url: str, kind: str) -> Fields:
    """One page of things that come newest first. Cursors must name one of them."""
    parameters = call.parameters
    if not call.has(Semantic.NEWEST_FIRST):
        things = reversed(list(things))
    limit = parameters.get("limit", LIST_LIMIT_DEFAULT)
    if not 1 <= limit <= LIST_LIMIT_MAXIMUM and call.has(Semantic.PAGE_LIMIT):
        raise ApiError(
            f"This value must be {'less' if limit > LIST_LIMIT_MAXIMUM else 'greater'} than or equal to "
            f"{LIST_LIMIT_MAXIMUM if limit > LIST_LIMIT_MAXIMUM else 1} (it currently is '{limit}').",
            code="parameter_invalid_integer",
            param="limit",
        )
    after, before = parameters.get("starting_after"), parameters.get("ending_before")
    check_exclusive(call, LIST_CURSORS)
    if not call.has(Semantic.CURSORS):
        after = before = None
    matching = (thing for thing in things if _is_in_range(thing["created"], parameters.get("created")))
    if before is not None:
        newer = _until(matching, before, kind=kind)
        return _list(newer[-limit:], has_more=len(newer) > limit, url=url)
    rest = iter(matching)
    if after is not None and all(thing["id"] != after for thing in rest):
        raise no_such(kind, after, param="starting_after", status=400)
    found = list(islice(rest, limit + 1))
    return _list(found[:limit], has_more=len(found) > limit, url=url)


def _until(things: Iterable[Fields], cursor: str, *, kind: str) -> list[Fields]:
    newer: list[Fields] = []
    for thing in things:
        if thing["id"] == cursor:
            return newer
        newer.append(thing)
    raise no_such(kind, cursor, param="ending_before", status=400)


def _is_in_range(created: int, wanted: Fields | int | None) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return created == wanted
    return bool(
        created > wanted.get("gt", created - 1)
        and created >= wanted.get("gte", created)
        and created < wanted.get("lt", created + 1)
        and created <= wanted.get("lte", created)
    )


def _list(data: list[Fields], *, has_more: bool, url: str) -> Fields:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}
