"""Every route, by every method, as everybody, with own, foreign, missing and malformed objects.

What is expected stands in console/tests/access_expectations.py; the routes come from the URLconfs themselves.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import path

from accounts.models import AuditEvent, Membership, User
from accounts.permissions import Role
from console import access_table
from console.tests.access_cases import (
    MALFORMED,
    METHODS,
    READING,
    address,
    allowed_writes,
    comparable,
    expected,
    fields_of,
    is_as_expected,
    outcome,
    page_routes,
    parameters,
    send,
    shown_of_others,
    values_of,
    written_tables,
)
from console.tests.access_expectations import ANY, PAGES, Row
from console.tests.access_world import PRINCIPALS, STRANGERS, UNSAFE, World, case, missing_like

ROUTES = {route.name: route for route in page_routes()}
KNOWN = sorted(ROUTES.keys() & PAGES.keys())
MEMBER_PAGES = [name for name in KNOWN if PAGES[name].audience == "member"]
every_page = pytest.mark.parametrize("name", KNOWN)
every_member_page = pytest.mark.parametrize("name", MEMBER_PAGES)


def test_every_route_has_its_row_and_every_row_its_route():
    assert set(ROUTES) == set(PAGES)


def test_every_route_declares_who_may_reach_it():
    assert access_table.check_access_is_declared() == []


def test_a_route_that_declares_nothing_stops_the_start(monkeypatch):
    forgotten = SimpleNamespace(urlpatterns=[path("forgotten/", lambda request: HttpResponse(), name="forgotten")])
    monkeypatch.setattr(access_table, "import_module", lambda name: forgotten)
    errors = access_table.check_access_is_declared()
    assert {error.id for error in errors} == {"console.E010"}
    assert "forgotten" in errors[0].msg


def test_the_table_of_library_routes_names_no_route_that_is_gone():
    names = {route.name for route in access_table.all_routes()}
    assert set(access_table.BY_NAME) <= names


def test_there_are_enough_principals():
    assert len(PRINCIPALS) >= 15


@every_page
def test_every_parameter_of_an_address_is_known(name):
    row = PAGES[name]
    assert set(parameters(ROUTES[name])) <= {"slug"} | set(row.url) | set(row.fixed)


@every_page
def test_who_gets_in_by_which_method(world, name):
    route, row = ROUTES[name], PAGES[name]
    own = address(route, values_of(row, world.own))
    wrong = []
    for principal in PRINCIPALS:
        for method in METHODS:
            with case(), written_tables() as written:
                result = outcome(send(world, principal, method, own, fields_of(row, world.own)))
            wanted = expected(row, principal, method)
            if not is_as_expected(row, result, wanted):
                wrong.append(f"{method} as {principal}: {result}, not {wanted}")
            if method in READING and written - allowed_writes(result):
                wrong.append(f"{method} as {principal} wrote {sorted(written)}")
    assert wrong == []


@every_member_page
def test_a_refusal_is_audited_once(world, name):
    route, row = ROUTES[name], PAGES[name]
    # Staff without a second factor are led to it before any page is asked: nothing was refused.
    for principal in sorted({*STRANGERS, *Role.values} - row.who - {UNSAFE}):
        action = "access.not_found" if principal in STRANGERS else "access.refused"
        with case():
            before = AuditEvent.objects.count()
            send(world, principal, "GET", address(route, values_of(row, world.own)))
            assert AuditEvent.objects.count() == before + 1
            assert AuditEvent.objects.latest("pk").action == action


def alike(world: World, principal: str, method: str, one: tuple[str, Any, Any], other: tuple[str, Any, Any]) -> bool:
    """Whether two requests, each with its address, fields and id, are answered the same."""
    answers = []
    for where, fields, _ in (one, other):
        with case():
            answers.append(comparable(send(world, principal, method, where, fields), one[2], other[2]))
    return answers[0] == answers[1]


@every_member_page
def test_another_organization_looks_like_none(world, name):
    route, row = ROUTES[name], PAGES[name]
    slug, made_up = world.own.organization.slug, missing_like(world.own.organization.slug)
    values, fields = values_of(row, world.own), fields_of(row, world.own)
    real, none = (address(route, values | {"slug": one}) for one in (slug, made_up))
    for principal in STRANGERS:
        for method in METHODS:
            assert alike(world, principal, method, (real, fields, slug), (none, fields, made_up)), (principal, method)


@every_member_page
def test_a_page_shows_nothing_of_another_organization(world, name):
    route, row = ROUTES[name], PAGES[name]
    if "GET" in row.methods:
        with case():
            response = send(world, "admin", "GET", address(route, values_of(row, world.own)))
            assert shown_of_others(world, response) == []


def object_cases(row: Row) -> list[tuple[str, str, bool]]:
    """Parameter, kind, and whether it stands in the address."""
    return [(name, kind, True) for name, kind in row.url.items()] + [
        (name, kind, False) for name, kind in row.body.items()
    ]


@every_member_page
def test_anothers_object_looks_like_none(world, name):
    route, row = ROUTES[name], PAGES[name]
    values, fields = values_of(row, world.own), fields_of(row, world.own)
    for parameter, kind, is_in_address in object_cases(row):
        foreign = world.foreign.objects[kind]
        missing = missing_like(foreign)
        for principal in sorted(row.who):
            for method in METHODS:
                sent = []
                for value in (foreign, missing):
                    changed = {parameter: value}
                    where = address(route, values | changed if is_in_address else values)
                    sent.append((where, fields if is_in_address else fields | changed, value))
                assert alike(world, principal, method, *sent), (parameter, principal, method)
                if is_in_address:
                    with case():
                        assert outcome(send(world, principal, method, *sent[0][:2])) in ("not found", "wrong method")


@every_page
def test_a_malformed_address_is_nothing(world, name):
    route, row = ROUTES[name], PAGES[name]
    values = values_of(row, world.own)
    for parameter, converter in parameters(route).items():
        for text in MALFORMED.get(converter, ()):
            for principal in ("admin", "stranger", "anonymous"):
                for method in sorted(row.methods & {"GET", "POST"}):
                    with case():
                        response = send(world, principal, method, address(route, values | {parameter: text}))
                    assert response.status_code < 500, (parameter, text, principal)
                    if row.audience == "public":
                        continue
                    assert outcome(response) in ("not found", "refused", "sign in first"), (parameter, text, principal)
                    assert response.status_code != 403 or principal == "admin"


@every_page
def test_a_malformed_object_in_a_form_is_refused_in_words(world, name):
    route, row = ROUTES[name], PAGES[name]
    for parameter in row.body:
        for text in ("", "0", "-1", "1.5", "9" * 30, "\x00", "１", "' OR '1'='1", "nan", "x" * 300):
            for method in ("GET", "POST"):
                fields = fields_of(row, world.own) | {parameter: text}
                with case():
                    response = send(world, "admin", method, address(route, values_of(row, world.own)), fields)
                assert response.status_code < 500, (parameter, text)


@every_page
def test_a_forged_form_is_refused(world, name):
    route, row = ROUTES[name], PAGES[name]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with case():
            where = address(route, values_of(row, world.own))
            response = world.request("admin", method, where, fields_of(row, world.own), strict=True)
        assert (response.status_code == 403) == row.needs_csrf_token, method


@every_page
def test_a_change_that_matters_needs_a_recent_sign_in(world, name):
    route, row = ROUTES[name], PAGES[name]
    principal = "admin"
    if row.methods == ANY or "POST" not in row.methods:
        return
    with case(), world.old_sign_in(principal):
        response = send(world, principal, "POST", address(route, values_of(row, world.own)), fields_of(row, world.own))
    assert (outcome(response) == "prove it again") == row.is_recent


@every_member_page
def test_a_changed_role_counts_from_the_next_request_on(world, name):
    route, row = ROUTES[name], PAGES[name]
    where, method = address(route, values_of(row, world.own)), "GET" if "GET" in row.methods else "POST"
    with case():
        assert outcome(send(world, "admin", method, where)) == "in"
    with case():
        Membership.objects.filter(user=world.people["admin"]).update(role=Role.USER)
        assert outcome(send(world, "admin", method, where)) == ("in" if "user" in row.who else "refused")
    with case():
        Membership.objects.filter(user=world.people["admin"]).delete()
        assert outcome(send(world, "admin", method, where)) == "not found"
    with case():
        User.objects.filter(pk=world.people["admin"].pk).update(is_active=False)
        assert outcome(send(world, "admin", method, where)) == "sign in first"
