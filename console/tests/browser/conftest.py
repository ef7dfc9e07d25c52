"""Browser tests run in a Chromium that is on the machine; without one they are skipped and say what to install.

REQUIRE_BROWSER=1 makes that an error, for machines where a skipped test would go unnoticed.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

from console import policy_reports
from console.local.browser import MISSING, find_browser, launch_flags
from console.tests import script_inventory
from console.tests.browser.windows import Open


def pytest_collection_modifyitems(config, items):
    here = Path(__file__).parent
    ours = [item for item in items if here in Path(item.path).parents]
    if not ours or find_browser():
        return
    if os.environ.get("REQUIRE_BROWSER"):
        raise pytest.UsageError(f"REQUIRE_BROWSER is set and {MISSING}")
    for item in ours:
        item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="session")
def _no_hidden_connection() -> None:
    """Close what is open before the browser's loop begins, for nobody could close it any more.

    Django keeps the connections of code inside a loop apart from those outside, and from now on this thread is inside:
    one from before would stay, and a database that somebody uses can't be copied.
    """
    connections.close_all()


@pytest.fixture(scope="session")
def playwright(_no_hidden_connection: None, playwright: Playwright) -> Playwright:
    """Playwright, begun with nothing open."""
    return playwright


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    """Start the machine's own Chromium."""
    return {**browser_type_launch_args, "executable_path": find_browser(), "args": launch_flags()}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    """A window of a laptop's size, without animations."""
    return {**browser_context_args, "viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}


# The event comes for each violation, also for one that a report is not sent for; the console's line covers pages
# without scripts, and the report what no page sees.
LISTEN = """document.addEventListener("securitypolicyviolation", (violation) => {
  console.error(`policy violation: ${violation.effectiveDirective} stopped ${violation.blockedURI}`);
});"""
STAND_IN_SCRIPTS = ("/stripe.js",)
SIGNS = ("policy violation:", "Content Security Policy", "Permissions policy violation")


class Kept(logging.Handler):
    """Keeps what the report endpoint of a server in this process has written down."""

    def __init__(self, violations: list[str]) -> None:
        super().__init__()
        self.violations = violations

    def emit(self, record: logging.LogRecord) -> None:
        self.violations.append(f"reported: {record.getMessage()}")


def is_known(address: str) -> bool:
    """Whether a script is listed, or comes from the stand-in for Stripe, whose address is another in each test."""
    return script_inventory.is_listed(address) or address.endswith(STAND_IN_SCRIPTS)


def watch(context: BrowserContext, violations: list[str]) -> None:
    """Note every violation of the content policy on any page of a window."""

    def heard(message: ConsoleMessage) -> None:
        if any(sign in message.text for sign in SIGNS):
            violations.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if request.url.endswith("/policy-reports/"):
            violations.append(f"sent: {request.post_data}")
        if request.resource_type == "script" and not is_known(request.url):
            violations.append(f"not in docs/script-inventory.toml: {request.url}")

    context.add_init_script(LISTEN)
    context.on("console", heard)
    context.on("request", asked)


@pytest.fixture(autouse=True)
def policy_violations(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the content policy stopped during a test, in whatever window; at its end there must be nothing."""
    violations: list[str] = []
    open_window = browser.new_context

    def watched(**options: object) -> BrowserContext:
        context = open_window(**options)  # type: ignore[arg-type]
        watch(context, violations)
        return context

    monkeypatch.setattr(browser, "new_context", watched)
    monkeypatch.setattr(policy_reports, "notebook", policy_reports.Notebook())
    kept = Kept(violations)
    policy_reports.logger.addHandler(kept)
    yield violations
    policy_reports.logger.removeHandler(kept)
    assert violations == []


@pytest.fixture
def site(live_server, settings) -> str:
    """The address of the server; links in mails lead to it."""
    settings.SITE_URL = live_server.url
    settings.CSRF_TRUSTED_ORIGINS = [live_server.url]
    return str(live_server.url)


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Open]:
    """Open pages in windows of a scheme and width; any word of the browser's console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(*, scheme: str = "light", width: int = 1280, scripts: bool = True) -> Page:
        context = browser.new_context(
            base_url=site,
            viewport={"width": width, "height": 844},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()
    # A refused page is a word of the console too, and is what some tests ask for.
    assert [text for text in complaints if "responded with a status of 4" not in text] == []
