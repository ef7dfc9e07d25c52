"""What the browser tests open and how they judge a page: schemes and widths, axe's rules, nothing too wide."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
WINDOWS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]

Open = Callable[..., Page]


def expect_sound(page: Page, name: str = "") -> None:
    """No accessibility rule is broken, nothing is wider than the window. SCREENSHOTS names a folder for ``name``'s."""
    if name and (folder := os.environ.get("SCREENSHOTS")):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    found = Axe().run(page, options=RULES).response["violations"]
    named = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]
    assert not named, f"{page.url}: {json.dumps(named, indent=1)}"
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0, f"{page.url} is {overflow} pixels too wide"
