"""Browser tests run in a Chromium that is on the machine; without one they are skipped and say what to install.

REQUIRE_BROWSER=1 makes that an error, for machines where a skipped test would go unnoticed.
"""

import os
from pathlib import Path

import pytest

from console.local.browser import MISSING, find_browser, launch_flags


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
def browser_type_launch_args(browser_type_launch_args):
    """Start the machine's own Chromium."""
    return {**browser_type_launch_args, "executable_path": find_browser(), "args": launch_flags()}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    """A window of a laptop's size, without animations."""
    return {**browser_context_args, "viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
