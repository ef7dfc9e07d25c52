"""Hostile values in every parameter: nothing fails, and what is refused moves no credit.

Parameters are found, not listed: those of the address in its pattern, those of forms in the pages as they are rendered
and in what the views read, those of the gate in its bodies.
"""

import ast
import html
import inspect
import json
import re
import time
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from pydantic import BaseModel

from accounts.access import Route
from billing.api.bodies import AuthorizeBody, CaptureBody, ChargeBody, EventBody, VoidBody
from console.tests.access_cases import COUNTS, address, fields_of, page_routes, parameters, send, values_of
from console.tests.access_expectations import PAGES
from console.tests.access_world import World, case
from console.tests.hostile_values import ALL, JSON, SOME

ROUTES = {route.name: route for route in page_routes() if route.name in PAGES}
# The pages that every run tries; all of them by the flag.
OFTEN = ("members", "member", "member_remove", "billing:statement", "billing:statement_csv", "account_profile")
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


def names_read(route: Route, place: str = "") -> set[str]:
    """The constant names that the view's module reads from ``request.GET`` and ``request.POST``, or one ``place``."""
    source = inspect.getsource(inspect.getmodule(inspect.unwrap(route.view)) or pytest)
    places = (f"request.{place}",) if place else ("request.GET", "request.POST")
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            read_from, name = ast.unparse(node.func.value), node.args[0]
            if read_from.endswith(places) and isinstance(name, ast.Constant):
                found.add(str(name.value))
    return found


def forms_of(world: World, where: str) -> dict[str, dict[str, str]]:
    """By method, the fields of the forms on a page with what they begin with."""
    with case():
        page = send(world, "admin", "GET", where)
        text = "" if page.streaming or page.status_code != 200 else page.content.decode("utf-8", "replace")
    found: dict[str, dict[str, str]] = {"GET": {}, "POST": {}}
    for attributes, inside in re.findall(r"<form\b([^>]*)>(.*?)</form>", text, flags=re.DOTALL):
        method = "POST" if re.search(r'method="post"', attributes, flags=re.IGNORECASE) else "GET"
        for tag in re.findall(r"<(?:input|select|textarea|button)\b[^>]*>", inside):
            name, value = re.search(r'(?<![-\w])name="([^"]+)"', tag), re.search(r'(?<![-\w])value="([^"]*)"', tag)
            if name and name[1] != "csrfmiddlewaretoken":
                found[method].setdefault(name[1], html.unescape(value[1]) if value else "")
    return found


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_no_value_of_a_page_makes_it_fail(world, values, name):
    if values is SOME and name not in OFTEN:
        pytest.skip("all pages are tried by --hostile-values all")
    route, row = ROUTES[name], PAGES[name]
    began, own = time.monotonic(), values_of(row, world.own)
    where, before = address(route, own), ledger()
    forms = forms_of(world, where)
    forms["POST"] |= {key: str(value) for key, value in fields_of(row, world.own).items()}
    methods = sorted(row.methods & {"GET", "POST"})
    names = {method: [*forms[method], *sorted(names_read(route, method) - set(forms[method]))] for method in methods}
    failed = []

    def ask(method: str, path: str, fields: dict[str, str], told: str) -> None:
        COUNTS["hostile requests"] += 1
        with case():
            try:
                status = send(world, "admin", method, path, fields).status_code
            except Exception as error:
                status = f"{type(error).__name__}: {error}"
            if not isinstance(status, int) or status >= 500:
                failed.append(f"{method} {told}: {status}")
            elif status >= 400 and ledger() != before:
                failed.append(f"{method} {told}: refused with {status}, and the ledger has changed")

    if values is SOME:
        # Each value in each parameter, but all parameters of the page at once; one at a time is for the flag.
        for shift in range(len(SOME)):
            for method in methods:
                mixed = {key: SOME[(shift + place) % len(SOME)] for place, key in enumerate(names[method])}
                ask(method, where, mixed, str(mixed)[:200])
        names = {}
    for value in values:
        for parameter in parameters(route):
            ask(
                "GET",
                address(route, {**own, parameter: quote(value[:500], safe="")}),
                {},
                f"{parameter} {value[:40]!r}",
            )
        for method, parameters_of_it in names.items():
            for parameter in parameters_of_it:
                ask(method, where, {**forms[method], parameter: value}, f"{parameter} {value[:40]!r}")
    COUNTS["seconds of hostile values"] += round(time.monotonic() - began)
    assert failed == []


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
