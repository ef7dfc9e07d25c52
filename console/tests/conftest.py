"""What the tests of access share: one world for a module, and how many cases there were."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from console.tests.access_cases import COUNTS
from console.tests.access_world import World, a_world

COUNTED = "cases of the access matrix"


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any, role_address: Callable[[str], str]) -> Iterator[World]:
    """Two organizations and everybody, for all cases of the module; tests that use it take no `django_db` mark."""
    with django_db_blocker.unblock(), a_world(role_address("superuser")) as made:
        yield made


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker of several has counted."""
    COUNTS.update(getattr(node, "workeroutput", {}).get(COUNTED, {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's counts to who prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[COUNTED] = dict(COUNTS)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many cases the matrix had."""
    if COUNTS:
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(COUNTS.items()))
        terminalreporter.write_line(f"access matrix: {counts}")
