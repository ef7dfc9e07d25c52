"""The inventory of scripts, docs/script-inventory.toml, as the tests read it."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

CHECKOUT = Path(__file__).resolve().parents[2]
OWN_HOSTS = {None, "localhost"}
# The manifest of static files puts twelve digits of the content's digest before the suffix.
DIGEST = re.compile(r"\.[0-9a-f]{12}(?=\.js$)")


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """Every script, as it is written down."""
    with (CHECKOUT / "docs" / "script-inventory.toml").open("rb") as file:
        return tuple(tomllib.load(file)["script"])


def name_of(address: str) -> str:
    """How the inventory calls the script at an address: by its file, or by the setting of a foreign one."""
    parts = urlsplit(address)
    if address == settings.STRIPE_JS_URL:
        return "STRIPE_JS_URL"
    if parts.path.startswith("/static/"):
        return DIGEST.sub("", parts.path.removeprefix("/static/"))
    # A script that a view makes is named by its path; only on the live server of a test does it come with a host.
    return parts.path if parts.hostname in OWN_HOSTS else address


def pages_of(name: str) -> set[str]:
    """The pages that may load a script; none when it isn't listed. An entry that ends in a slash is a folder."""
    return {
        page
        for entry in entries()
        for place in [entry.get("file") or entry["url"]]
        if name == place or (place.endswith("/") and name.startswith(place))
        for page in entry["pages"]
    }


def is_listed(address: str) -> bool:
    """Whether the script at an address is in the inventory at all."""
    return bool(pages_of(name_of(address)))
