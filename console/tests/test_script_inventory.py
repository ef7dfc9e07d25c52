"""The inventory of scripts is what pages really load, and only where cards are entered do they load the processor's.

The policy belongs to the document: a page that was opened without the processor's script can't be turned into one that
has it. So the pages with it are only ever opened by full navigation.
"""

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from accounts.access import Route, routes_of
from accounts.permissions import Role
from accounts.tests import cast
from billing.tests.documents import paid
from console import urls
from console.tests import script_inventory

pytestmark = pytest.mark.django_db

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATES = CHECKOUT / "templates"
SCRIPT = re.compile(r"<script\b(?P<attributes>[^>]*)>(?P<content>.*?)</script>", re.DOTALL | re.IGNORECASE)
SOURCE = re.compile(r'\bsrc="([^"]+)"')
WITH_PROCESSOR = {"billing:card", "billing:purchase"}


def templates():
    for path in sorted(TEMPLATES.rglob("*.html")):
        # Comments of templates may name what must not be used.
        yield path, re.sub(r"\{#.*?#\}", "", path.read_text())


def scripts_in(html):
    """The names of a page's scripts. One without a source is inline, and named by its beginning."""
    for tag in SCRIPT.finditer(html):
        # Data for scripts, which the browser doesn't run.
        if 'type="application/json"' in tag["attributes"]:
            continue
        source = SOURCE.search(tag["attributes"])
        yield script_inventory.name_of(source[1]) if source else f"inline: {tag['content'][:40]}"


def kinds_of(route: Route) -> set[str]:
    """What the inventory may call a route's page."""
    if route.pattern.startswith("admin/"):
        return {"admin"}
    return {route.name, "shell"}


def test_every_entry_has_a_reason_an_owner_and_pages_that_exist():
    names = {route.name for route in routes_of(urls.urlpatterns)} | {"shell", "admin"}
    places = [entry.get("file") or entry["url"] for entry in script_inventory.entries()]
    assert len(places) == len(set(places))
    for entry in script_inventory.entries():
        assert set(entry) in ({"file", "pages", "reason", "owner"}, {"url", "pages", "reason", "owner"})
        assert len(entry["reason"]) > 20
        assert entry["owner"]
        assert entry["pages"]
        assert set(entry["pages"]) <= names, entry


def test_every_listed_file_exists_and_every_file_of_ours_is_listed():
    listed = [entry["file"] for entry in script_inventory.entries() if "file" in entry]
    for name in listed:
        assert finders.find(name.rstrip("/")), name
    ours = {
        path.relative_to(CHECKOUT / "console/static").as_posix() for path in CHECKOUT.glob("console/static/**/*.js")
    }
    assert ours == {name for name in listed if name.startswith("console/")}
    assert not list(CHECKOUT.glob("accounts/static/**/*.js")) + list(CHECKOUT.glob("billing/static/**/*.js"))


def test_every_script_of_a_template_is_listed_and_none_is_inline():
    found = set()
    for path, text in templates():
        for tag in SCRIPT.finditer(text):
            source = SOURCE.search(tag["attributes"])
            static = re.search(r'src="\{% static "([^"]+)" %\}"', tag["attributes"])
            name = static[1] if static else "STRIPE_JS_URL" if "stripe_js_url" in tag["attributes"] else ""
            assert name, f"{path}: {tag[0][:80]}"
            assert source or static
            assert not tag["content"].strip(), path
            assert script_inventory.pages_of(name), f"{path}: {name} is not in docs/script-inventory.toml"
            found.add(name)
    listed = {entry.get("file") or entry["url"] for entry in script_inventory.entries() if entry["pages"] != ["admin"]}
    assert listed == found


def opened():
    """Every page that an Admin who is staff too can open, and what it is for somebody who is signed out."""
    acme = cast.organization("Acme")
    ada = cast.member(acme, role=Role.ADMIN).user
    ada.is_staff = ada.is_superuser = True
    ada.save(update_fields=["is_staff", "is_superuser"])
    cast.second_factor(ada)
    receipt = paid(acme, by=ada)
    known = {"slug": acme.slug, "number": receipt.number, "purchase_id": receipt.purchase_id}
    client = Client()
    client.force_login(ada)
    for route in routes_of(urls.urlpatterns):
        address = "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda part: str(known.get(part[1], "")), route.pattern)
        if "//" in address or "(" in address or "logout" in address or address.startswith("/admin/jsi18n"):
            continue
        for visitor in (client, Client()):
            yield route, visitor.get(address)


def test_every_page_loads_what_is_listed_for_it_and_nothing_else():
    looked_at, used = set(), set()
    for route, answer in opened():
        if "text/html" not in answer.headers.get("Content-Type", ""):
            continue
        looked_at.add(route.name)
        for name in scripts_in(answer.content.decode()):
            used.add(name)
            assert script_inventory.pages_of(name) & kinds_of(route), (
                f"The page {route.name} loads {name}; docs/script-inventory.toml doesn't list it there."
            )
        policy = answer.headers["Content-Security-Policy"]
        assert ("frame-src" in policy) == (
            route.name in WITH_PROCESSOR and answer.status_code == 200 and "stripe.js" in answer.content.decode()
        ), route.name
    assert len(looked_at) > 60
    assert {"console/menu.js", "console/card.js", "STRIPE_JS_URL", "admin/js/theme.js"} <= used


def test_pages_with_the_processors_script_are_opened_by_full_navigation_only():
    swaps = re.compile(r"\bhx-(?:get|post|put|patch|delete|boost|ext|ws|sse)\b")
    for path, text in templates():
        assert not swaps.search(text), f"{path} swaps content in; a page with Stripe's script must not arrive that way"
    # dialog.js fetches the page of a link with data-dialog, and leaves the ones marked so to the browser.
    script = (CHECKOUT / "console/static/console/dialog.js").read_text()
    assert re.search(r'querySelector\("\[data-dialog-page\]"\)\) \{\s+location\.assign', script)
    for path, text in templates():
        if "stripe_js_url" in text:
            assert "{% block dialog_attributes %} data-dialog-page{% endblock %}" in text, path
        for link in re.findall(r"<a\b[^>]*\bdata-dialog\b[^>]*>", text):
            assert not any(f'"{name}"' in link for name in WITH_PROCESSOR), f"{path}: {link}"


def test_scripts_make_no_scripts_and_no_markup_of_data():
    """amounts.js puts in the answer of auto-reload's preview, which the server has rendered and escaped."""
    makes_markup = {
        path.name
        for path in CHECKOUT.glob("console/static/**/*.js")
        if re.search(r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|setHTMLUnsafe)\b", path.read_text())
    }
    assert makes_markup == {"amounts.js"}
    preview = (TEMPLATES / "billing/back_test.html").read_text()
    assert "safe" not in re.findall(r"\|(\w+)", preview)
    for path in CHECKOUT.glob("console/static/**/*.js"):
        text = path.read_text()
        assert not re.search(r"\b(?:document\.write|eval\(|new Function|importScripts|import\()", text), path
        assert not re.search(r"createElement\([\"']script", text), path
