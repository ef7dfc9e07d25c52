"""Every route of the administration, by every method, as everybody."""

from typing import Any

import pytest
from django.apps import apps

from accounts.access import Route
from accounts.models import AuditEvent
from console.tests.access_cases import (
    METHODS,
    READING,
    address,
    admin_routes,
    allowed_writes,
    expected_in_admin,
    outcome,
    parameters,
    send,
    values_of,
    written_tables,
)
from console.tests.access_expectations import ANY, STAFF_COMMON, STAFF_MODELS, STAFF_PAGES
from console.tests.access_world import MISSING_NUMBER, PRINCIPALS, World, case

USUAL = ("changelist", "add", "history", "delete", "change")
ROUTES = {route.name or route.pattern: route for route in admin_routes()}
NAMED = sorted(key for key, route in ROUTES.items() if route.name)
# The row that the usual pages of a model are tried with, where no kind of object names one.
every_route = pytest.mark.parametrize("key", sorted(ROUTES))


def is_usual(name: str) -> bool:
    model, _, page = name.removeprefix("admin:").rpartition("_")
    return model in STAFF_MODELS and page in USUAL


def test_every_route_has_its_row_and_every_row_its_route():
    names = {route.name for route in ROUTES.values()}
    usual = {f"admin:{model}_{page}" for model in STAFF_MODELS for page in USUAL}
    assert names == usual | set(STAFF_PAGES) | STAFF_COMMON


def where(world: World, route: Route, *, missing: bool = False) -> str:
    """The address with an id of a row of the model, if there is one."""
    values: dict[str, Any] = {}
    if route.name in STAFF_PAGES:
        values = values_of(STAFF_PAGES[route.name], world.own)
    else:
        values = {**dict.fromkeys(parameters(route), "1"), "app_label": "billing", "url": "nowhere/"}
        if is_usual(route.name) or not route.name:
            parts = route.pattern.split("/")
            if len(parts) > 3:
                row = a_row(world, route)
                values["object_id"] = row if row is not None else MISSING_NUMBER
    if missing:
        values |= {name: MISSING_NUMBER for name in parameters(route) if name.endswith("_id")}
    return address(route, values)


def a_row(world: World, route: Route) -> Any:
    """The id of a row of the route's model, a member who isn't the last Admin; None where the world has none."""
    _, app, model = route.pattern.split("/")[:3]
    if model == "membership":
        return world.own.objects["membership"]
    return apps.get_model(app, model)._default_manager.order_by("pk").values_list("pk", flat=True).first()


@every_route
def test_who_gets_in_by_which_method(world, key):
    route = ROUTES[key]
    own, wrong = where(world, route), []
    for principal in PRINCIPALS:
        for method in METHODS:
            with case(), written_tables() as written:
                result = outcome(send(world, principal, method, own))
            wanted = expected_in_admin(route.name, principal, method)
            # Django's list of changes looks for the row before it asks for the right, and leads back without one.
            is_without_row = route.name.endswith("_history") and a_row(world, route) is None
            if is_without_row and {result, wanted} == {"in", "refused"}:
                continue
            if result != wanted and not is_free(route.name, {result, wanted}):
                wrong.append(f"{method} as {principal}: {result}, not {wanted}")
            if method in READING and written - allowed_writes(result):
                wrong.append(f"{method} as {principal} wrote {sorted(written)}")
    assert wrong == []


def is_free(name: str, results: set[str]) -> bool:
    """Answers that the admin leaves to itself: other methods, and pages that show to staff what their rights allow."""
    row = STAFF_PAGES.get(name)
    if results == {"wrong method", "refused"}:
        return True
    if name in ("admin:login", "admin:logout"):
        return results <= {"sign in first", "in", "wrong method", "second factor first", "refused"}
    if name in STAFF_COMMON:
        return results <= {"in", "wrong method", "refused", "not found"}
    return (row is None or row.methods == ANY) and results == {"in", "wrong method"}


@pytest.mark.parametrize("key", NAMED)
def test_who_may_not_look_learns_nothing_of_what_there_is(world, key):
    route = ROUTES[key]
    real, none = where(world, route), where(world, route, missing=True)
    # Django's own list of changes looks for the row first, and tells staff without rights that much.
    if real == none or route.name.endswith("_history"):
        return
    for principal in ("anonymous", "admin", "staff without rights"):
        for method in ("GET", "POST"):
            answers = []
            for path in (real, none):
                with case():
                    answers.append(send(world, principal, method, path).status_code)
            assert answers[0] == answers[1], (principal, method)


@pytest.mark.parametrize("key", NAMED)
def test_a_forged_form_is_refused(world, key):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with case():
            response = world.request("superuser", method, where(world, ROUTES[key]), strict=True)
        assert response.status_code == 403, method


def test_looking_at_the_administration_leaves_no_event(world):
    with case():
        before = AuditEvent.objects.count()
        assert outcome(send(world, "superuser", "GET", "/admin/")) == "in"
        assert AuditEvent.objects.count() == before


@pytest.mark.parametrize("name", [name for name, row in STAFF_PAGES.items() if len(row.url) > 1])
def test_an_object_of_another_organization_is_not_found_under_this_one(world, name):
    route, row = ROUTES[name], STAFF_PAGES[name]
    for parameter, kind in row.url.items():
        if parameter == "organization_id":
            continue
        for method in ("GET", "POST"):
            values = values_of(row, world.own) | {parameter: world.foreign.objects[kind]}
            with case():
                assert outcome(send(world, "superuser", method, address(route, values))) == "not found", method
