"""Hostile values in every parameter: nothing fails, and what is refused moves no credit.

Parameters are found, not listed: those of the address in its pattern, those of forms in the pages as they are rendered
and in what the views read, those of the gate in its bodies.
"""

import ast
import functools
import html
import inspect
import json
import re
import time
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from pydantic import BaseModel

from accounts.access import Route
from billing.api.bodies import AuthorizeBody, CaptureBody, ChargeBody, EventBody, VoidBody
from console.tests.access_cases import (
    COUNTS,
    address,
    admin_routes,
    fields_of,
    page_routes,
    parameters,
    send,
    values_of,
)
from console.tests.access_expectations import PAGES, STAFF_COMMON, STAFF_PAGES, Row
from console.tests.access_world import MISSING_NUMBER, World, case
from console.tests.hostile_values import ALL, JSON, SOME

ROUTES = {route.name: route for route in page_routes() if route.name in PAGES}
STAFF_ROUTES = {route.name: route for route in admin_routes() if route.name}
# The pages that every run tries; all of them by the flag.
OFTEN = ("members", "member", "member_remove", "billing:statement", "billing:statement_csv", "account_profile")
OFTEN_BY_STAFF = (
    *("admin:accounts_organization_change", "admin:accounts_user_changelist", "admin:auth_group_change"),
    *("admin:billing_billingaccount_debit", "admin:billing_billingaccount_reverse", "admin:billing_purchase_attention"),
)
HEADERS = ("Authorization", "Idempotency-Key", "X-Forwarded-For", "X-Forwarded-Host", "Cookie", "Accept-Language",
           "Referer", "HX-Request", "HX-Current-URL", "User-Agent", "X-Request-Id", "If-None-Match", "Range")  # fmt: skip  # noqa: E501
LEDGER = ("billing_ledgerentry", "billing_creditlot", "billing_charge", "billing_hold", "billing_creditaccount")
BODIES: dict[str, type[BaseModel]] = {
    "authorize": AuthorizeBody,
    "capture": CaptureBody,
    "void": VoidBody,
    "charge": ChargeBody,
    "usage": ChargeBody,
}


@pytest.fixture(scope="module")
def values(request) -> tuple[str, ...]:
    return ALL if request.config.getoption("--hostile-values") == "all" else SOME


def test_there_are_enough_values():
    assert len(SOME) >= 30
    assert len(ALL) >= 300


def ledger() -> Any:
    with connection.cursor() as cursor:
        hashes = (
            f"(SELECT md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) FROM {name} t)" for name in LEDGER
        )
        cursor.execute(f"SELECT {', '.join(hashes)}")
        return cursor.fetchone()


def names_read(route: Route, place: str = "") -> frozenset[str]:
    """The constant names that the view's module reads from ``request.GET`` and ``request.POST``, or one ``place``."""
    module = inspect.getmodule(inspect.unwrap(route.view)) or pytest
    return names_of_module(module, (f"request.{place}",) if place else ("request.GET", "request.POST"))


@functools.cache
def names_of_module(module: ModuleType, places: tuple[str, ...]) -> frozenset[str]:
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            read_from, name = ast.unparse(node.func.value), node.args[0]
            if read_from.endswith(places) and isinstance(name, ast.Constant):
                found.add(str(name.value))
    return frozenset(found)


def forms_of(world: World, principal: str, where: str) -> dict[str, dict[str, str]]:
    """By method, the fields of the forms on a page with what they begin with."""
    with case():
        page = send(world, principal, "GET", where)
        text = "" if page.streaming or page.status_code != 200 else page.content.decode("utf-8", "replace")
    found: dict[str, dict[str, str]] = {"GET": {}, "POST": {}}
    for attributes, inside in re.findall(r"<form\b([^>]*)>(.*?)</form>", text, flags=re.DOTALL):
        method = "POST" if re.search(r'method="post"', attributes, flags=re.IGNORECASE) else "GET"
        for tag in re.findall(r"<(?:input|select|textarea|button)\b[^>]*>", inside):
            name, value = re.search(r'(?<![-\w])name="([^"]+)"', tag), re.search(r'(?<![-\w])value="([^"]*)"', tag)
            if name and name[1] != "csrfmiddlewaretoken":
                found[method].setdefault(name[1], html.unescape(value[1]) if value else "")
    return found


class Trial:
    """A route with its forms, somebody who sends hostile values to it, and what went wrong."""

    def __init__(self, world: World, principal: str, route: Route, own: Mapping[str, Any]) -> None:
        self.world, self.principal, self.route, self.own = world, principal, route, own
        self.where, self.before = address(route, own), ledger()
        self.forms = forms_of(world, principal, self.where)
        self.failed: list[str] = []

    def names_of(self, method: str) -> list[str]:
        """The parameters that a method of the page takes: those of its forms, and those that its view reads."""
        return [*self.forms[method], *sorted(names_read(self.route, method) - set(self.forms[method]))]

    def mix(self, method: str) -> None:
        """Send each of the few values in each parameter, but in all parameters of the page at once."""
        for shift in range(len(SOME)):
            mixed = {name: SOME[(shift + place) % len(SOME)] for place, name in enumerate(self.names_of(method))}
            self.ask(method, self.where, mixed, str(mixed)[:200])

    def put_alone(self, method: str, value: str) -> None:
        """Send the form filled in right but for the value, in each parameter in turn."""
        for name in self.names_of(method):
            self.ask(method, self.where, {**self.forms[method], name: value}, f"{name} {value[:40]!r}")

    def put_into_address(self, value: str) -> None:
        for name in parameters(self.route):
            where = address(self.route, {**self.own, name: quote(value[:500], safe="")})
            self.ask("GET", where, {}, f"{name} {value[:40]!r}")

    def ask(self, method: str, path: str, fields: Mapping[str, str], told: str) -> None:
        COUNTS["hostile requests"] += 1
        with case():
            try:
                status = send(self.world, self.principal, method, path, fields).status_code
            except Exception as error:
                status = f"{type(error).__name__}: {error}"
            if not isinstance(status, int) or status >= 500:
                self.failed.append(f"{method} {told}: {status}")
            elif status >= 400 and ledger() != self.before:
                self.failed.append(f"{method} {told}: refused with {status}, and the ledger has changed")


def try_all(trial: Trial, values: tuple[str, ...], methods: Iterable[str]) -> list[str]:
    """What went wrong when everything was sent by these methods: one value at a time only where all are asked for."""
    began = time.monotonic()
    for method in methods:
        if values is SOME:
            trial.mix(method)
            continue
        for value in values:
            trial.put_alone(method, value)
    for value in values:
        trial.put_into_address(value)
    COUNTS["seconds of hostile values"] += round(time.monotonic() - began)
    return trial.failed


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_no_value_of_a_page_makes_it_fail(world, values, name):
    if values is SOME and name not in OFTEN:
        pytest.skip("all pages are tried by --hostile-values all")
    row = PAGES[name]
    trial = Trial(world, "admin", ROUTES[name], values_of(row, world.own))
    trial.forms["POST"] |= {key: str(value) for key, value in fields_of(row, world.own).items()}
    assert try_all(trial, values, sorted(row.methods & {"GET", "POST"})) == []


@pytest.mark.parametrize("name", sorted(STAFF_ROUTES))
def test_no_value_of_a_page_of_staff_makes_it_fail(world, values, name):
    if values is SOME and name not in OFTEN_BY_STAFF:
        pytest.skip("all pages are tried by --hostile-values all")
    route = STAFF_ROUTES[name]
    trial = Trial(world, "superuser", route, staff_values(world, route, STAFF_PAGES.get(name)))
    assert try_all(trial, values, ("GET", "POST")) == []


def staff_values(world: World, route: Route, row: Row | None) -> dict[str, Any]:
    """The parameters of the address of a page of staff: a row that there is, or a number where the world has none."""
    if row is not None:
        return values_of(row, world.own)
    asked = parameters(route)
    if "object_id" not in asked or route.name in STAFF_COMMON:
        return {**dict.fromkeys(asked, "1"), "app_label": "billing", "url": "nowhere/"}
    app, model = route.pattern.split("/")[1:3]
    first = apps.get_model(app, model)._default_manager.order_by("pk").first()
    return {"object_id": MISSING_NUMBER if first is None else first.pk}


def test_no_header_makes_a_page_fail(world, values):
    failed = []
    for header in HEADERS:
        for value in values:
            # A server takes no line break and no NUL into a header; everything else may come.
            text = re.sub(r"[\r\n\x00]", " ", value)[:4_000].encode("utf-8").decode("latin-1")
            with case():
                COUNTS["hostile requests"] += 1
                response = world.client("admin").get("/accounts/profile/", headers={header: text})
            if response.status_code >= 500:
                failed.append(f"{header} {value[:40]!r}: {response.status_code}")
    assert failed == []


def bodies(world: World) -> dict[str, dict[str, Any]]:
    """A body for each operation that the gate takes, as far as its form goes."""
    usage = {"organization": world.own.organization.slug, "idempotency_key": "k", "model": "cent-a-unit",
             "surface": "api", "quantities": {"input": 1}}  # fmt: skip
    held = {"organization": world.own.organization.slug, "hold_id": 1}
    return {
        "authorize": usage,
        "charge": usage,
        "usage": usage,
        "void": held,
        "capture": held | {"idempotency_key": "k", "quantities": {"input": 1}},
        "charge_many": {"events": [usage]},
    }


@pytest.mark.parametrize("operation", ["authorize", "capture", "void", "charge", "usage", "charge_many"])
def test_no_value_of_a_body_makes_the_gate_fail(world, values, operation, settings):
    settings.ROOT_URLCONF, settings.MIDDLEWARE = "console.gateway_urls", settings.GATE_MIDDLEWARE
    client, good, before, failed = Client(raise_request_exception=False), bodies(world)[operation], ledger(), []
    names = EventBody.model_fields if operation == "charge_many" else BODIES[operation].model_fields
    for name in names:
        for value in (*values, *JSON):
            bad = {"events": [{**good["events"][0], name: value}]} if "events" in good else {**good, name: value}
            with case():
                COUNTS["hostile requests"] += 1
                body = json.dumps(bad)
                headers = world.headers("service key")
                response = client.post(f"/v1/{operation}", body, content_type="application/json", headers=headers)
                if response.status_code >= 500:
                    failed.append(f"{name} {str(value)[:40]!r}: {response.status_code}")
                elif response.status_code >= 400 and ledger() != before:
                    failed.append(f"{name} {str(value)[:40]!r}: refused, and the ledger has changed")
    assert failed == []
