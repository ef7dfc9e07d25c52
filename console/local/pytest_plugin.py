"""Gives a test run its own PostgreSQL and its own environment, before Django's settings are read.

Loaded by `-p console.local.pytest_plugin` (pyproject.toml). The server lives in a folder of its own below /tmp, so
that several runs in one checkout don't meet, and ends with the run, even after kill -9. With
TEST_SUPERUSER_DATABASE_URL set, that server is used instead; it must trust the roles console_owner and console_app,
or DATABASE_URL and MIGRATE_DATABASE_URL must carry their passwords.

With ``-n`` (pytest-xdist) each worker starts a server of its own, whatever was named: tests count what happens on the
whole server, and copy and drop databases.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from console.local import environment, postgres

# https://pytest-xdist.readthedocs.io/en/stable/how-to.html#identifying-the-worker-process-during-a-test
WORKER = "PYTEST_XDIST_WORKER"

_server = contextlib.ExitStack()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Start the server; a wrapper runs before pytest-django reads the settings."""
    prepare_environment()
    return (yield)


def pytest_unconfigure() -> None:
    """End the server."""
    _server.close()


def prepare_environment() -> None:
    """Set every variable that the settings read, from a private server or from the one that was named."""
    os.environ.update(environment.for_tests())
    superuser_url = os.environ.get("TEST_SUPERUSER_DATABASE_URL")
    # Taken away, for a pytest that a test starts is no worker.
    is_worker = os.environ.pop(WORKER, None) is not None
    if superuser_url and not is_worker:
        postgres.create_roles(superuser_url)
        os.environ.setdefault("DATABASE_URL", as_role(superuser_url, role=postgres.APP))
        os.environ.setdefault("MIGRATE_DATABASE_URL", as_role(superuser_url, role=postgres.OWNER))
        return
    folder = Path(tempfile.mkdtemp(prefix="console-tests-", dir="/tmp"))
    folder.chmod(0o755)
    server = _server.enter_context(
        postgres.running(folder / "postgres", fast=True, log=folder / "postgres.log", remove_at_end=[folder])
    )
    os.environ["TEST_SUPERUSER_DATABASE_URL"] = server.superuser_url()
    os.environ["DATABASE_URL"] = server.app_url()
    os.environ["MIGRATE_DATABASE_URL"] = server.owner_url()


def as_role(url: str, *, role: str, database: str = "console") -> str:
    """The same server's address for another role, without a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}@{host}", path=f"/{database}"))
