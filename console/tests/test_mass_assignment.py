"""Every field of every model, posted beside what a form asks for, changes nothing (OWASP API3, ASVS 5.0, 15.3.3).

Each form is sent twice from the same savepoint and with the same sequences: as its page fills it in, and with names of
model fields added, in portions of what a page takes at once. All tables but sessions and history must be equal then.
"""

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import connection, models
from django.test import Client

from console.tests.access_cases import COUNTS, address, admin_routes, fields_of, page_routes, values_of
from console.tests.access_expectations import ORGANIZATION, PAGES, PEOPLE, STAFF_MODELS, STAFF_PAGES
from console.tests.access_world import World, case
from console.tests.test_hostile_values import bodies, names_read, staff_values

# Sessions, history, and counts of tries, which tell that something was sent and not what.
APART = frozenset(
    {
        "django_session",
        "accounts_browsersession",
        "accounts_auditevent",
        "accounts_auditorigin",
        "accounts_throttle",
        "console_cache",
        "django_admin_log",
    }
)
AT_ONCE = 90
FORMS = sorted(name for name, row in PAGES.items() if "POST" in row.methods)
ROUTES = {route.name: route for route in page_routes()}
STAFF_ROUTES = {route.name: route for route in admin_routes()}
STAFF_FORMS = sorted(
    {name for name, row in STAFF_PAGES.items() if "POST" in row.methods}
    | {f"admin:{model}_{page}" for model, rights in STAFF_MODELS.items() for page in rights}
)

# What is another at each run, or at each moment: times, random keys and digests, the processor's ids.
_DIFFERS = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:?\d\d|Z)?"), "TIME"),
    (re.compile(r"\b\d{1,2}:\d{2}(:\d{2})?\b"), "TIME"),
    (re.compile(r"\b1[67]\d{8}\.\d+"), "TIME"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\b(pi|pm|cs|seti|cus|evt|ch|re|req|ck_live|ck_gate)_[A-Za-z0-9_]+"), r"\1_ID"),
    (re.compile(r"\b(argon2|pbkdf2_sha256)\$[^\"]+"), "HASH"),
    # Without a border: a random token may begin with a dash.
    (re.compile(r"[A-Za-z0-9_:-]{32,}"), "TOKEN"),
    (re.compile(r"\\\\x[0-9a-f]{16,}"), "DIGEST"),
)


def model_fields() -> dict[str, str]:
    """Every name that a model's field goes by, with a value that would matter if it were taken."""
    found: dict[str, str] = {}
    for model in apps.get_models():
        for field in model._meta.get_fields():
            for name in {field.name, getattr(field, "attname", field.name)}:
                found.setdefault(name, tempting(field))
    return found


def tempting(field: Any) -> str:
    """A value of the field's kind that nobody but staff could give it."""
    if isinstance(field, models.BooleanField):
        return "on"
    if isinstance(field, models.DateTimeField | models.DateField):
        return "2099-01-01T00:00:00Z"
    if isinstance(field, models.IntegerField | models.ForeignKey | models.AutoField):
        return "999999"
    if getattr(field, "choices", None):
        return str(next(iter(field.choices))[0])
    return "admin"


FIELDS = model_fields()


def snapshot() -> dict[str, list[str]]:
    """All rows of all tables but those apart, without what differs from run to run."""
    with connection.cursor() as cursor:
        tables = sorted(set(connection.introspection.table_names(cursor)) - APART)
        parts = (f"SELECT '{table}', to_jsonb(t)::text FROM {connection.ops.quote_name(table)} t" for table in tables)
        cursor.execute(" UNION ALL ".join(parts))
        found: dict[str, list[str]] = {}
        for table, text in cursor.fetchall():
            found.setdefault(table, []).append(plain(text))
    return {table: sorted(rows) for table, rows in found.items()}


def but_marks(state: dict[str, list[str]]) -> dict[str, list[str]]:
    """Without the marks of last use that any request of a service key leaves."""
    return {table: rows for table, rows in state.items() if table != "accounts_servicekey"}


def plain(text: str) -> str:
    for pattern, word in _DIFFERS:
        text = pattern.sub(word, text)
    return text


def sequences() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences WHERE schemaname = 'public'")
        return dict(cursor.fetchall())


@pytest.fixture(scope="module")
def owner(world: World, role_address: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    """A connection that may set sequences, which the runtime role may not."""
    with psycopg.connect(role_address("superuser"), autocommit=True) as opened:
        yield opened


def rewind(owner: psycopg.Connection, to: Mapping[str, int]) -> None:
    """Give the sequences back what a savepoint doesn't, so that both runs make rows with the same ids."""
    for name, value in to.items():
        owner.execute("SELECT setval(%s::regclass, greatest(%s, 1), %s > 0)", [name, value, value])


def filled_in(page: str) -> dict[str, str]:
    """What a browser would send: the fields of a page's forms as they are, with a choice made in each list."""
    found: dict[str, str] = {}
    for tag in re.findall(r"<input\b[^>]*>", page):
        name, value = re.search(r'\bname="([^"]+)"', tag), re.search(r'\bvalue="([^"]*)"', tag)
        kind = re.search(r'\btype="([^"]+)"', tag)
        if name is None or (kind and kind[1] in ("checkbox", "radio", "submit") and "checked" not in tag):
            continue
        found.setdefault(name[1], html.unescape(value[1]) if value else "")
    for name, text in re.findall(r'<textarea\b[^>]*\bname="([^"]+)"[^>]*>(.*?)</textarea>', page, flags=re.DOTALL):
        found.setdefault(name, html.unescape(text.strip()))
    for name, options in re.findall(r'<select\b[^>]*\bname="([^"]+)"[^>]*>(.*?)</select>', page, flags=re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)"[^>]*\bselected', options)
        first = re.search(r'<option value="([^"]+)"', options)
        found.setdefault(name, html.unescape(chosen[1] if chosen else first[1] if first else ""))
    found.pop("csrfmiddlewaretoken", None)
    return found


def send_form(
    owner: psycopg.Connection,
    world: World,
    principal: str,
    where: str,
    fields: Mapping[str, Any],
    ids: Mapping[str, int],
) -> Any:
    """Status and state after the form was sent, undone at once."""
    rewind(owner, ids)
    COUNTS["forms sent"] += 1
    with case():
        response = world.request(principal, "POST", where, fields)
        return response.status_code, snapshot()


def what_changes(
    owner: psycopg.Connection, world: World, principal: str, where: str, form: Mapping[str, Any], known: set[str]
) -> list[str]:
    """The names of model fields that a form takes though it doesn't ask for them."""
    ids, extras = sequences(), {name: value for name, value in FIELDS.items() if name not in known}
    with case():
        untouched = snapshot()
    wanted = send_form(owner, world, principal, where, form, ids)
    COUNTS["forms that changed something"] += wanted[1] != untouched
    COUNTS["extra parameters"] += len(extras)
    taken: list[str] = []
    for portion in batched_items(extras):
        if send_form(owner, world, principal, where, {**portion, **form}, ids) != wanted:
            alone = ({name: value} for name, value in portion.items())
            taken += [
                str(extra)
                for extra in alone
                if send_form(owner, world, principal, where, {**extra, **form}, ids) != wanted
            ]
    return taken


def batched_items(extras: Mapping[str, str]) -> Iterator[dict[str, str]]:
    names = sorted(extras)
    for first in range(0, len(names), AT_ONCE):
        yield {name: extras[name] for name in names[first : first + AT_ONCE]}


def rendered(world: World, principal: str, where: str) -> str:
    with case():
        page = world.request(principal, "GET", where)
        return "" if page.streaming or page.status_code != 200 else page.content.decode("utf-8", "replace")


def principal_of(name: str) -> str:
    if name in ORGANIZATION or name in PEOPLE:
        return "invited" if name == "own_invitation" else "admin"
    return "anonymous"


@pytest.mark.parametrize("name", FORMS)
def test_a_form_takes_no_field_that_it_does_not_ask_for(owner, world, name):
    route, row, principal = ROUTES[name], PAGES[name], principal_of(name)
    where = address(route, values_of(row, world.own))
    form = {**filled_in(rendered(world, principal, where)), **fields_of(row, world.own)}
    known = set(form) | names_read(route) | asked_for(rendered(world, principal, where))
    assert what_changes(owner, world, principal, where, form, known) == []


@pytest.mark.parametrize("name", STAFF_FORMS)
def test_a_form_of_staff_takes_no_field_that_it_does_not_ask_for(owner, world, name):
    route = STAFF_ROUTES[name]
    where = address(route, staff_values(world, route, STAFF_PAGES.get(name)))
    page = rendered(world, "superuser", where)
    form = {key: value for key, value in filled_in(page).items() if not key.startswith("_") or key == "_save"}
    assert what_changes(owner, world, "superuser", where, form, set(form) | asked_for(page) | names_read(route)) == []


def asked_for(page: str) -> set[str]:
    """The names of all fields on a page, filled in or not."""
    return set(re.findall(r'<(?:input|select|textarea|button)\b[^>]*(?<![-\w])name="([^"]+)"', page))


@pytest.mark.parametrize("operation", ["authorize", "capture", "void", "charge", "usage", "charge_many"])
def test_a_body_of_the_gate_with_any_other_field_is_refused_whole(world, operation, settings):
    settings.ROOT_URLCONF, settings.MIDDLEWARE = "console.gateway_urls", settings.GATE_MIDDLEWARE
    client, good = Client(), bodies(world)[operation]
    with case():
        untouched = but_marks(snapshot())
    taken = []
    for name, value in FIELDS.items():
        event = good["events"][0] if "events" in good else good
        if name in event or name in ("occurred_at", "key_ref", "ttl_seconds", "operation", "events"):
            continue
        COUNTS["extra parameters"] += 1
        bad = {"events": [{**event, name: value}]} if "events" in good else {**good, name: value}
        with case():
            answer = client.post(
                f"/v1/{operation}",
                json.dumps(bad),
                content_type="application/json",
                headers=world.headers("service key"),
            )
            status = answer.json()["results"][0]["status"] if "events" in good else answer.status_code
            if status != 422 or but_marks(snapshot()) != untouched:
                taken.append(f"{name}: {status}")
    assert taken == []


def test_random_tokens_are_alike_however_they_begin_and_end():
    tokens = ("-" + "a" * 42, "b" * 42 + "-", "_-" + "c" * 40 + "_", "d" * 43)
    assert len({plain(f"https://console.example/invitations/{token}/ is the address") for token in tokens}) == 1


def test_a_field_that_is_taken_would_be_seen(owner, world):
    where = address(ROUTES["account_profile"], {})
    form = filled_in(rendered(world, "admin", where))
    assert "name" in form
    # Without the form's own knowledge of it, the person's name is such a field.
    taken = what_changes(owner, world, "admin", where, {key: form[key] for key in form if key != "name"}, set())
    assert any("'name'" in extra for extra in taken)
