"""What the cases of the access matrix are made of: addresses, answers and what was written."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection

from accounts.access import Route, routes_of
from console import gateway_urls, urls
from console.tests.access_expectations import ANY, STAFF_COMMON, STAFF_MODELS, STAFF_PAGES, Row
from console.tests.access_world import ID_FIRST, NOBODY, STAFF, STRANGERS, UNSAFE, Side, World

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
READING: Final = ("GET", "HEAD", "OPTIONS")
ADMIN_PREFIX: Final = "admin/"
COUNTS: Final[Counter[str]] = Counter()

# Tables that reading may write: sessions and their activity, last-used marks of keys; a refusal is audited.
ACTIVITY: Final = frozenset({"django_session", "accounts_browsersession", "accounts_servicekey", "accounts_apikey"})
REFUSAL: Final = frozenset({"accounts_auditevent", "accounts_auditorigin"})

_CONVERTER: Final = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
_GROUP: Final = re.compile(r"\(\?P<(?P<name>\w+)>(?:[^()]|\([^()]*\))*\)")

# By the converter of the path; none of them names anything, and most don't match the pattern at all.
MALFORMED: Final[Mapping[str, tuple[str, ...]]] = {
    "int": ("0", "-1", "1.5", "0x10", "1e3", "%EF%BC%91", "9" * 30, "%00", "1%27%20OR%20%271%27=%271", "nan"),
    "slug": ("%20", "..", "%00", "a%0d%0ab", "%F0%9F%98%80", "x" * 300),
    "str": ("%20", "..", "%00", "a%0d%0ab", "%F0%9F%98%80", "x" * 300),
    "uuid": ("0", "not-a-uuid", "00000000-0000-0000-0000-00000000000g", "%00"),
    "path": ("%20", "%00", "a/b/c", "9" * 30, "x" * 300),
}


def page_routes() -> list[Route]:
    """The routes of the web process but the admin's."""
    return [route for route in routes_of(urls.urlpatterns) if not route.pattern.startswith(ADMIN_PREFIX)]


def admin_routes() -> list[Route]:
    return [route for route in routes_of(urls.urlpatterns) if route.pattern.startswith(ADMIN_PREFIX)]


def gate_routes() -> list[Route]:
    return list(routes_of(gateway_urls.urlpatterns))


def parameters(route: Route) -> dict[str, str]:
    """The parameters of the address with their converters; those of a regular expression are texts."""
    found = {match["name"]: match["converter"] or "str" for match in _CONVERTER.finditer(_GROUP.sub("", route.pattern))}
    return found | {match["name"]: "regex" for match in _GROUP.finditer(route.pattern)}


def address(route: Route, values: Mapping[str, Any]) -> str:
    """The address with these values, whether they match the pattern or not."""
    path = _GROUP.sub(lambda match: str(values[match["name"]]), route.pattern)
    path = _CONVERTER.sub(lambda match: str(values[match["name"]]), path)
    return "/" + path.replace("^", "").replace("$", "").replace("\\", "")


def values_of(row: Row, side: Side) -> dict[str, Any]:
    """The parameters of the route's address, all of them the side's own."""
    return {"slug": side.organization.slug, **row.fixed, **{name: side.objects[kind] for name, kind in row.url.items()}}


def fields_of(row: Row, side: Side) -> dict[str, Any]:
    """A form filled in right, with objects of the side."""
    return {**row.sends, **{name: side.objects[kind] for name, kind in row.body.items()}}


def outcome(response: Any) -> str:
    """What an answer means for access."""
    if response.status_code in (301, 302) and re.match(r"/(accounts|admin)/login/", response["Location"]):
        return "sign in first"
    if response.status_code in (301, 302) and re.search(r"/reauthenticate/", response["Location"]):
        return "prove it again"
    if response.status_code in (301, 302) and "/2fa/required/" in response["Location"]:
        return "second factor first"
    if response.status_code >= 500:
        return f"failed with {response.status_code}"
    return {401: "no key", 403: "refused", 404: "not found", 405: "wrong method"}.get(response.status_code, "in")


def expected(row: Row, principal: str, method: str) -> str:
    """What the row says about a page for one principal and method."""
    if row.audience != "public" and principal in NOBODY:
        return "sign in first"
    if principal == UNSAFE and row.audience != "public" and not row.is_own_account:
        return "second factor first"
    if row.audience == "member":
        if principal in STRANGERS:
            return "not found"
        if principal not in row.who:
            return "refused"
    if method not in row.methods:
        return "wrong method"
    return "not found" if row.people and principal not in row.people else "in"


def expected_in_admin(name: str, principal: str, method: str) -> str:
    """What is expected of a route of the administration."""
    if principal == UNSAFE:
        return "second factor first"
    if principal not in STAFF:
        return "sign in first"
    if name in STAFF_COMMON:
        return "in"
    row = STAFF_PAGES.get(name)
    if row is not None:
        (right,) = row.who
        may = principal == "superuser" or (principal == "staff who may look" and ".view_" in right)
        if method not in row.methods:
            return "wrong method"
        return "in" if may else "refused"
    model, _, page = name.removeprefix("admin:").rpartition("_")
    needed = {"changelist": "view", "history": "view", "add": "add", "delete": "delete"}.get(page, "view")
    if page == "change" and method == "POST":
        needed = "change"
    if principal == "superuser":
        return "in" if needed == "view" or needed in STAFF_MODELS[model] else "refused"
    return "in" if needed == "view" and principal == "staff who may look" else "refused"


def is_as_expected(row: Row, result: str, wanted: str) -> bool:
    """Whether the answer is the expected one, or another that the row leaves to the view."""
    is_method_free = row.methods == ANY and {result, wanted} == {"in", "wrong method"}
    return result == wanted or is_method_free or result in row.also


def shown_of_others(world: World, response: Any) -> list[str]:
    """What a page shows of the other organization: an id of its rows, or the number of its receipt."""
    if response.streaming or response.get("Content-Type", "").startswith("application/pdf"):
        return []
    text = response.content.decode("utf-8", "replace")
    ids = {str(value) for value in world.foreign.objects.values() if isinstance(value, int) and value >= ID_FIRST}
    ids -= {str(value) for value in world.own.objects.values()}
    marks = ids | {world.foreign.receipt_text}
    return sorted(mark for mark in marks if re.search(rf"(?<!\w){re.escape(mark)}(?!\w)", text))


@contextmanager
def written_tables() -> Iterator[set[str]]:
    """The tables in which rows were inserted, updated or deleted inside, by whatever way: the database counts them."""
    found: set[str] = set()
    before = _writes()
    try:
        yield found
    finally:
        found.update(table for table, count in _writes().items() if count != before.get(table, 0))


def _writes() -> dict[str, int]:
    # Counts also what was rolled back to a savepoint, so they only rise.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables"
            " WHERE n_tup_ins + n_tup_upd + n_tup_del > 0"
        )
        return dict(cursor.fetchall())


def allowed_writes(result: str) -> frozenset[str]:
    """What reading may write, by its outcome."""
    return ACTIVITY | REFUSAL if result in ("refused", "not found", "no key") else ACTIVITY


def comparable(response: Any, *ids: Any) -> tuple[int, dict[str, str], str]:
    """Status, headers and body without what differs from answer to answer: nonces, CSRF tokens, request ids, dates,
    the keys that a form is rendered with, and these ids."""
    headers = {
        name: _plain(value, *ids)
        for name, value in response.headers.items()
        if name not in ("X-Request-Id", "Date", "Expires", "Last-Modified", "Content-Length")
    }
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return response.status_code, headers, _plain(body.decode("utf-8", "replace"), *ids)


_DIFFERS: Final = (
    (re.compile(r"nonce[-=]\"?[A-Za-z0-9+/=_-]+"), "nonce"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "KEY"),
    (re.compile(r"\b[0-9a-f]{32}\b|\breq_[0-9a-f]{16}\b"), "REQUEST"),
    (re.compile(r"\b[A-Za-z0-9]{64}\b"), "TOKEN"),
    (re.compile(r"\b\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"), "TIME"),
)


def _plain(text: str, *ids: Any) -> str:
    for known in ids:
        text = re.sub(rf"(?<![\w]){re.escape(str(known))}(?![\w])", "ID", text)
    for pattern, word in _DIFFERS:
        text = pattern.sub(word, text)
    return text


def send(world: World, principal: str, method: str, path: str, fields: Mapping[str, Any] | None = None) -> Any:
    """One counted case."""
    COUNTS["requests"] += 1
    return world.request(principal, method, path, fields)
