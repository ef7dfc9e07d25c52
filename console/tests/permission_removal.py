"""Takes each permission check away in turn and asks the access matrix whether it notices: all must be noticed.

    .venv/bin/python -m console.tests.permission_removal

Checks are what a view declares (its permission, its membership, its sign-in, its recent sign-in), conditions in the
source that raise PermissionDenied, look-ups of an object through its organization, and the door of each operation of
the gate. Declarations are replaced on the route; source is edited as the mutation runs of the ledger edit it. Only rows
of routes that use the check are run, each until the first one disagrees.
"""

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final
from unittest import mock

from django.urls import URLPattern, URLResolver

from accounts import access
from accounts.access import Access, Audience, Route, declared_access
from accounts.models import Membership, Organization
from accounts.permissions import Role
from billing.tests.mutation import patching
from billing.tests.mutation.edits import CHECKOUT, Edit, Mutant
from console import urls
from console.tests.access_cases import (
    address,
    admin_routes,
    comparable,
    expected,
    expected_in_admin,
    fields_of,
    is_as_expected,
    outcome,
    page_routes,
    send,
    shown_of_others,
    values_of,
)
from console.tests.access_expectations import ANY, PAGES, STAFF_PAGES, Row
from console.tests.access_world import PRINCIPALS, STAFF, World, case, missing_like

SOURCES: Final = ("accounts", "billing")
NAMES_OF_OBJECTS: Final = ("_id", "number", "before")


@dataclass(frozen=True, kw_only=True)
class Removal:
    """One check that is taken away: what it is, how, and the names of the routes that could notice."""

    told: str
    without: Callable[[], AbstractContextManager[object]]
    names: tuple[str, ...]


def is_noticed(world: World, removal: Removal) -> bool:
    """Whether a row of the matrix disagrees while the check is away."""
    with removal.without():
        return any(_disagrees(world, name) for name in removal.names)


def removals(world: World) -> list[Removal]:
    """Every check there is."""
    used = _functions_by_route(world)
    return [*_declarations(), *_in_source(used)]


# --- Does a route disagree with its row? ------------------------------------------------------------------------------


def _disagrees(world: World, name: str) -> bool:
    if name.startswith("admin:"):
        return _disagrees_in_admin(world, name)
    route, row = _route(name), PAGES[name]
    return (
        _lets_in_others(world, route, row) or _is_not_recent(world, route, row) or _tells_of_others(world, route, row)
    )


def _lets_in_others(world: World, route: Route, row: Row) -> bool:
    where, fields = address(route, values_of(row, world.own)), fields_of(row, world.own)
    for principal in PRINCIPALS:
        for method in sorted(row.methods & {"GET", "POST"}):
            result = _outcome(world, principal, method, where, fields)
            if not is_as_expected(row, result, expected(row, principal, method)):
                return True
    if row.audience != "member" or "GET" not in row.methods:
        return False
    with case():
        page = _answer(world, "admin", "GET", where, {})
        return page is None or bool(shown_of_others(world, page))


def _is_not_recent(world: World, route: Route, row: Row) -> bool:
    if row.methods == ANY or "POST" not in row.methods:
        return False
    with case(), world.old_sign_in("admin"):
        where = address(route, values_of(row, world.own))
        result = _answer(world, "admin", "POST", where, fields_of(row, world.own))
    return (result is not None and outcome(result) == "prove it again") != row.is_recent


def _tells_of_others(world: World, route: Route, row: Row) -> bool:
    values, fields = values_of(row, world.own), fields_of(row, world.own)
    asked = [(name, kind, True) for name, kind in row.url.items()]
    asked += [(name, kind, False) for name, kind in row.body.items()]
    for name, kind, is_in_address in asked:
        foreign = world.foreign.objects[kind]
        ids = (foreign, missing_like(foreign))
        for method in sorted(row.methods & {"GET", "POST"}):
            answers = []
            for value in ids:
                where = address(route, values | {name: value} if is_in_address else values)
                with case():
                    sent = fields if is_in_address else fields | {name: value}
                    answer = _answer(world, "admin", method, where, sent)
                    answers.append(comparable(answer, *ids) if answer is not None else None)
            if answers[0] != answers[1]:
                return True
    return False


def _disagrees_in_admin(world: World, name: str) -> bool:
    route = next(route for route in admin_routes() if route.name == name)
    row = STAFF_PAGES.get(name)
    values = values_of(row, world.own) if row else {"object_id": world.own.objects["organization"]}
    where = address(route, values)
    refusals = {"refused", "not found", "wrong method"}
    for parameter, kind in row.url.items() if row and len(row.url) > 1 else ():
        mixed = address(route, values | {parameter: world.foreign.objects[kind]})
        if parameter != "organization_id" and _outcome(world, "superuser", "GET", mixed, {}) != "not found":
            return True
    for principal in ("admin", *STAFF):
        for method in ("GET", "POST"):
            result, wanted = _outcome(world, principal, method, where, {}), expected_in_admin(name, principal, method)
            if result != wanted and not {result, wanted} <= refusals and {result, wanted} != {"in", "wrong method"}:
                return True
    return False


def _outcome(world: World, principal: str, method: str, where: str, fields: dict[str, Any]) -> str:
    with case():
        answer = _answer(world, principal, method, where, fields)
    return "failed" if answer is None else outcome(answer)


def _answer(world: World, principal: str, method: str, where: str, fields: dict[str, Any]) -> Any:
    """The answer; None where a view fails for want of what the check had made sure."""
    try:
        return send(world, principal, method, where, fields)
    except Exception:
        return None


# --- What views declare -----------------------------------------------------------------------------------------------


def _declarations() -> Iterator[Removal]:
    for pattern, route in _patterns(urls.urlpatterns):
        declared = declared_access(route.view)
        if declared is None or route.name not in PAGES:
            continue
        for what, view in _weaker(route.view, declared):
            swap = mock.patch.object(pattern, "callback", view)
            yield Removal(told=f"{route.name}: {what}", without=partial(_itself, swap), names=(route.name,))


def _itself(swap: AbstractContextManager[object]) -> AbstractContextManager[object]:
    return swap


def _weaker(view: Any, declared: Access) -> Iterator[tuple[str, Any]]:
    if declared.audience == Audience.MEMBER:
        inner = view.__wrapped__
        if declared.permission is not None:
            yield (
                f"{declared.permission} for any member",
                access._member_view(replace(declared, permission=None))(inner),
            )
        yield "a membership for anybody", _for_anybody(inner)
        if declared.is_recent:
            yield "no recent sign-in", access._member_view(replace(declared, is_recent=False))(inner)
    elif declared.audience == Audience.SIGNED_IN:
        yield "a sign-in for anybody", _without_sign_in(view)
        if declared.is_recent:
            yield "no recent sign-in", view.__wrapped__


def _for_anybody(inner: Any) -> Any:
    """The view for everybody who is signed in, as an Admin of whatever organization the address names."""

    def view(request: Any, *, slug: str, **kwargs: Any) -> Any:
        organization = Organization.objects.get(slug=slug)
        request.membership = Membership(organization=organization, user=request.user, role=Role.ADMIN)
        return inner(request, organization, **kwargs)

    return view


def _without_sign_in(inner: Any) -> Any:
    def view(request: Any, **kwargs: Any) -> Any:
        return inner(request, **kwargs)

    view.login_required = False  # type: ignore[attr-defined]
    return view


def _patterns(entries: list[URLPattern | URLResolver], namespaces: tuple[str, ...] = ()) -> Iterator[Any]:
    for entry in entries:
        if isinstance(entry, URLResolver):
            if entry.app_name != "admin":
                inner = (*namespaces, entry.namespace) if entry.namespace else namespaces
                yield from _patterns(entry.url_patterns, inner)
        elif entry.name:
            name = ":".join((*namespaces, entry.name))
            yield entry, Route(pattern=str(entry.pattern), name=name, view=entry.callback)


def _route(name: str) -> Route:
    return next(route for route in page_routes() if route.name == name)


# --- What stands in the source ----------------------------------------------------------------------------------------


def _in_source(used: dict[str, set[tuple[str, str]]]) -> Iterator[Removal]:
    for path, function, edit, is_staff in _edits():
        names = tuple(sorted(name for name, places in used.items() if (path, function.split(".")[-1]) in places))
        if not names:
            # Nothing that a row reaches calls it: a use case behind a form that no row sends, or a task.
            continue
        mutant = Mutant(path, function, edit)
        kind = "the right of staff" if is_staff else "the organization of a look-up"
        yield Removal(told=f"{mutant.told()} ({kind})", without=partial(_edited, mutant), names=names)


@contextmanager
def _edited(mutant: Mutant) -> Iterator[None]:
    """Inside, the one function has the code of the edited source; its module is not run again."""
    whole = compile(mutant.edit.applied(mutant.text), mutant.path, "exec")
    edited = next(code for code in _codes(whole) if code.co_qualname == mutant.function)
    found: Any = sys.modules[patching.module_name(mutant.path)]
    for part in mutant.function.split("."):
        found = inspect.getattr_static(found, part)
    function = inspect.unwrap(getattr(found, "__func__", getattr(found, "fget", found)))
    original = function.__code__
    function.__code__ = edited
    try:
        yield
    finally:
        function.__code__ = original


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _edits() -> Iterator[tuple[str, str, Edit, bool]]:
    for source in SOURCES:
        for file in sorted((CHECKOUT / source).rglob("*.py")):
            path = str(file.relative_to(CHECKOUT))
            if any(part in path for part in ("/tests/", "/migrations/", "/management/", "/credits/")):
                continue
            text = file.read_text(encoding="utf-8")
            for name, function in _functions(ast.parse(text)):
                yield from ((path, name, edit, is_staff) for edit, is_staff in _checks(text, function))


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{item.name}", item) for item in node.body if isinstance(item, ast.FunctionDef))


def _checks(text: str, function: ast.FunctionDef) -> Iterator[tuple[Edit, bool]]:
    arguments = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    takes_an_object = any(name.endswith(NAMES_OF_OBJECTS) and name != "organization_id" for name in arguments)
    for node in ast.walk(function):
        if isinstance(node, ast.If) and _raises_denied(node):
            yield _replaced(text, node.test, "False"), True
        if not takes_an_object or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in ("filter", "get", "exclude"):
            continue
        for keyword in node.keywords:
            if keyword.arg == "organization":
                others = [ast.get_source_segment(text, other) or "" for other in node.keywords if other is not keyword]
                start = _offset(text, node.keywords[0].lineno, node.keywords[0].col_offset)
                end = _offset(text, node.keywords[-1].end_lineno or 0, node.keywords[-1].end_col_offset or 0)
                yield Edit("any organization", start, end, ", ".join(others)), False


def _raises_denied(node: ast.If) -> bool:
    return any(
        isinstance(step, ast.Raise) and isinstance(step.exc, ast.Name) and step.exc.id == "PermissionDenied"
        for step in node.body
    )


def _replaced(text: str, node: ast.expr, new: str) -> Edit:
    start = _offset(text, node.lineno, node.col_offset)
    return Edit("no check", start, _offset(text, node.end_lineno or 0, node.end_col_offset or 0), new)


def _offset(text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    return sum(len(one) + 1 for one in lines[: line - 1]) + len(lines[line - 1].encode()[:column].decode())


def _functions_by_route(world: World) -> dict[str, set[tuple[str, str]]]:
    """Path and name of the functions that each route calls, by asking for it and sending its form."""
    used: dict[str, set[tuple[str, str]]] = {}
    asked = [(route, row, "admin") for route in page_routes() if (row := PAGES[route.name]).audience != "public"]
    staff_pages = [
        (route, STAFF_PAGES[route.name], "superuser") for route in admin_routes() if route.name in STAFF_PAGES
    ]
    for route, row, principal in [*asked, *staff_pages]:
        used[route.name] = _called(world, route, values_of(row, world.own), fields_of(row, world.own), principal)
    account = next(route for route in admin_routes() if route.name == "admin:billing_billingaccount_change")
    used[account.name] = _called(world, account, {"object_id": world.own.objects["organization"]}, {}, "superuser")
    return used


def _called(
    world: World, route: Route, values: dict[str, Any], fields: dict[str, Any], principal: str
) -> set[tuple[str, str]]:
    called: set[tuple[str, str]] = set()
    root = f"{CHECKOUT}/"

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            called.add((frame.f_code.co_filename.removeprefix(root), frame.f_code.co_name))

    for method in ("GET", "POST"):
        with case():
            sys.setprofile(note)
            try:
                _answer(world, principal, method, address(route, values), fields)
            finally:
                sys.setprofile(None)
    return called


if __name__ == "__main__":
    tests = str(Path(__file__).with_name("test_permission_removal.py"))
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "-q", "-s", "--remove-permissions", tests]))
