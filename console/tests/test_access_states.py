"""Access where the organization isn't as usual, and at the gate by what a key may do; written by hand like the rest."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import api_keys, service_keys
from accounts.models import ApiKey, Organization
from accounts.models.service_keys import Scope
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import usage_blocks
from billing.models import UsageBlock
from console.tests.access_cases import (
    METHODS,
    address,
    allowed_writes,
    expected,
    fields_of,
    gate_routes,
    is_as_expected,
    outcome,
    page_routes,
    send,
    values_of,
    written_tables,
)
from console.tests.access_expectations import ORGANIZATION
from console.tests.access_world import World, case

ROUTES = {route.name: route for route in page_routes()}
ROLES = tuple(role.value for role in Role)
OUTSIDE = ("anonymous", "stranger", "former member", "superuser")
# What stays to be read when an organization is closed.
KEPT = {
    "audit_log",
    "audit_log_csv",
    "billing:data_export",
    "billing:receipts",
    "billing:receipt",
    "billing:receipt_pdf",
    "billing:receipt_at_processor",
    "billing:credit_note",
    "billing:credit_note_pdf",
    "billing:statement",
    "billing:statement_csv",
}


def suspend(world: World) -> None:
    usage_blocks.begin(organization=world.own.organization, kind=UsageBlock.Kind.SUSPENSION, actor=None, notice="Why.")


def stop(world: World) -> None:
    usage_blocks.begin(organization=world.own.organization, kind=UsageBlock.Kind.STOP, actor=None)


def owe(world: World) -> None:
    world.own.buyer.overspend(5_000)


STATES: dict[str, Callable[[World], None]] = {"suspended": suspend, "stopped": stop, "in debt": owe}


@pytest.mark.parametrize("name", sorted(ORGANIZATION))
@pytest.mark.parametrize("state", STATES)
def test_a_state_of_its_money_opens_and_closes_no_page(world, state, name):
    row, wrong = ORGANIZATION[name], []
    where = address(ROUTES[name], values_of(row, world.own))
    with case():
        STATES[state](world)
        for principal in (*ROLES, *OUTSIDE):
            with case():
                result = outcome(send(world, principal, "GET", where))
            if not is_as_expected(row, result, wanted := expected(row, principal, "GET")):
                wrong.append(f"{principal}: {result}, not {wanted}")
    assert wrong == []


@pytest.mark.parametrize("name", sorted(ORGANIZATION))
def test_a_closed_organization_shows_what_is_kept_and_takes_nothing(world, name):
    row, wrong = ORGANIZATION[name], []
    where = address(ROUTES[name], values_of(row, world.own))
    with case():
        Organization.objects.filter(pk=world.own.organization.pk).update(closed_at=timezone.now())
        for principal in (*ROLES, *OUTSIDE):
            for method in METHODS:
                with case(), written_tables() as written:
                    result = outcome(send(world, principal, method, where, fields_of(row, world.own)))
                wanted = expected(row, principal, method)
                if principal in ROLES and name not in KEPT:
                    wanted = "refused"
                if not is_as_expected(row, result, wanted):
                    wrong.append(f"{method} as {principal}: {result}, not {wanted}")
                if result == "refused" and written - allowed_writes(result):
                    wrong.append(f"{method} as {principal} was refused and wrote {sorted(written)}")
    assert wrong == []


# The gate: the scope that each route takes, and how it is asked.
SCOPES = {
    "authorize": Scope.METER,
    "capture": Scope.METER,
    "void": Scope.METER,
    "charge": Scope.METER,
    "usage": Scope.METER,
    "charge_many": Scope.METER,
    "balance": Scope.READ,
    "keys/verify": Scope.KEYS,
}


def ask(path: str, key_text: str, method: str = "") -> Any:
    client, headers = Client(), {"Authorization": f"Bearer {key_text}"}
    if (method or ("GET" if path == "balance" else "POST")) == "GET":
        return client.get(f"/v1/{path}", headers=headers)
    return client.post(f"/v1/{path}", json.dumps({}), content_type="application/json", headers=headers)


@pytest.mark.django_db
@pytest.mark.parametrize("path", SCOPES)
@pytest.mark.parametrize("held", Scope)
def test_a_route_of_the_gate_takes_keys_of_its_scope_only(settings, path, held):
    settings.ROOT_URLCONF, settings.MIDDLEWARE = "console.gateway_urls", settings.GATE_MIDDLEWARE
    key_text = service_keys.issue(name="one scope", scopes=(held,), actor=None).key_text
    answer = ask(path, key_text)
    if held == SCOPES[path]:
        assert answer.status_code == 422
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")


@pytest.mark.django_db
@pytest.mark.parametrize("path", [*SCOPES, "openapi.json"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_customers_api_key_opens_no_route_of_the_gate(settings, path, method):
    settings.ROOT_URLCONF, settings.MIDDLEWARE = "console.gateway_urls", settings.GATE_MIDDLEWARE
    issued = api_keys.create(
        organization=cast.organization(), name="theirs", surface=ApiKey.Surface.API, expires_at=None, actor=None
    )
    assert ask(path, issued.key_text, method).status_code in (401, 405)


def test_every_route_of_the_gate_has_its_scope_here():
    paths = {route.pattern.removeprefix("v1/") for route in gate_routes() if route.pattern.startswith("v1/")}
    assert paths - {"", "openapi.json"} == set(SCOPES)
