"""The tests' database: tests run as the runtime role, so a missing right fails here and not in production.

The plugin console.local.pytest_plugin has started PostgreSQL and set the addresses before this file is read.
"""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import WSGIServer
from django.db import connection, connections
from django.test.testcases import TransactionTestCase

from console.local import postgres
from console.local.pytest_plugin import as_role

TEST_DATABASE = "test_console"

# Fifty webhooks at the same moment are more than the ten that may wait at Django's server by default: the system would
# cut the others off, which is no fault of the product.
WSGIServer.request_queue_size = 128

_INHERITED: list[Any] = []


def forget_inherited_connections() -> None:
    """Let a forked child open connections of its own.

    Once a browser has started, its event loop runs in this thread, and Django keeps the connections of code inside a
    loop apart from those outside. A child has no loop, so it meets connections that ``close_all`` never saw.
    They are kept, not closed: closing would tell the server to end them for the parent, too.
    """
    for inherited in connections.all(initialized_only=True):
        _INHERITED.append(inherited.connection)
        inherited.connection = None


os.register_at_fork(after_in_child=forget_inherited_connections)

# Rows that migrations and post-migrate work put there, and that no test changes.
KEPT_TABLES = ("django_migrations", "django_content_type", "auth_permission")

Connection = psycopg.Connection[tuple[Any, ...]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the proofs of the ledger run (billing/tests/proof): seconds by default, as long as wanted otherwise."""
    group = parser.getgroup("proof", "proofs of the ledger")
    group.addoption("--histories", type=int, default=10, help="histories that the model predicts")
    group.addoption("--steps", type=int, default=30, help="steps of each history")
    group.addoption("--concurrent-histories", type=int, default=3, help="concurrent histories that are linearized")
    group.addoption("--shrink", action="store_true", help="look for the shortest history that is red (minutes)")
    group.addoption("--crossings", type=int, default=100, help="times that credit falls below the line of auto-reload")
    group.addoption("--days", type=int, default=4, help="virtual days over which they are spread")
    group.addoption("--holds", type=int, default=500, help="holds that are settled, lapse or are left behind at random")
    group.addoption("--seed", type=int, default=None, help="tell the same histories again")
    group.addoption("--all-orders", action="store_true", help="tell all 720 orders of a purchase's events (minutes)")
    access = parser.getgroup("access", "the access matrix")
    access.addoption(
        "--remove-permissions", action="store_true", help="take each permission check away in turn (minutes)"
    )
    access.addoption(
        "--hostile-values", choices=["some", "all"], default="some", help="how many values each parameter gets"
    )


def pytest_configure() -> None:
    """Hash passwords cheaply; argon2 would be most of the time of every test that logs in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def address(role: str) -> str:
    """The test database's address for a role; the superuser's keeps its password."""
    superuser_url = os.environ["TEST_SUPERUSER_DATABASE_URL"]
    if role == "superuser":
        return urlsplit(superuser_url)._replace(path=f"/{TEST_DATABASE}").geturl()
    name = {postgres.OWNER: "MIGRATE_DATABASE_URL", postgres.APP: "DATABASE_URL"}[role]
    url = os.environ.get(name) or as_role(superuser_url, role=role)
    return urlsplit(url)._replace(path=f"/{TEST_DATABASE}").geturl()


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """Create the test database as production's is made: the owner migrates it, then the runtime role uses it."""
    with psycopg.connect(os.environ["TEST_SUPERUSER_DATABASE_URL"], autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {TEST_DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {TEST_DATABASE} OWNER {postgres.OWNER}")
    with django_db_blocker.unblock():
        use_role(postgres.OWNER)
        call_command("migrate", verbosity=0, interactive=False)
        use_role(postgres.APP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", flush_as_superuser)
        yield
    with django_db_blocker.unblock():
        connections.close_all()


def use_role(role: str) -> None:
    """Point the default connection, of this thread and of threads to come, at the test database as `role`."""
    connections.close_all()
    parts = urlsplit(address(role))
    connection.settings_dict.update(NAME=TEST_DATABASE, USER=parts.username or "", PASSWORD=parts.password or "")


@pytest.fixture(scope="session", autouse=True)
def _force_login_is_a_sign_in(django_db_setup: None) -> None:
    """`Client.force_login` leaves the record of a proof that allauth leaves at every real sign-in."""
    from django.contrib.auth.signals import user_logged_in

    from accounts.tests import cast

    user_logged_in.connect(cast.prove, dispatch_uid="force_login is a sign-in")


def flush_as_superuser(_: TransactionTestCase) -> None:
    """Empty the tables after a test that committed.

    Django's own flush can't do it: ledger and audit rows are immutable for the runtime role and for the owner, by
    rights and by triggers, and a trigger that knew about tests would be a hole in production. So the superuser
    empties the tables with triggers off. DELETE of the few filled tables is faster than TRUNCATE of all.
    """
    connections.close_all()
    with psycopg.connect(address("superuser")) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("SET lock_timeout = '20s'")
        for (table,) in superuser.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace AND NOT (relname = ANY (%s))",
            [list(KEPT_TABLES)],
        ).fetchall():
            superuser.execute(f'DELETE FROM "{table}"')


@pytest.fixture
def superuser_connection(db: None) -> Iterator[Connection]:
    """The test database as superuser, autocommit. It sees nothing of a test that runs inside a transaction."""
    with psycopg.connect(address("superuser"), autocommit=True) as superuser:
        yield superuser


@pytest.fixture
def owner_connection(db: None) -> Iterator[Connection]:
    """The test database as the role that migrates, autocommit."""
    with psycopg.connect(address(postgres.OWNER), autocommit=True) as owner:
        yield owner


@pytest.fixture(scope="session")
def role_address() -> Callable[[str], str]:
    """The test database's address by role: "superuser", "console_owner" or "console_app"."""
    return address


class CreditsClock:
    """The money clock of the test database, replaced by its owner.

    For tests with `transaction=True`: the replaced function is committed on another connection.
    """

    def __init__(self, owner: Connection) -> None:
        self._owner = owner
        row = owner.execute("SELECT pg_get_functiondef('public.credits_clock()'::regprocedure)").fetchone()
        assert row is not None
        self._real_definition: str = row[0]
        self._now: datetime | None = None

    def set(self, now: datetime) -> None:
        """Stand still at `now`, which must be aware."""
        if now.tzinfo is None:
            raise ValueError("The money clock needs an aware time.")
        self._owner.execute(
            "CREATE OR REPLACE FUNCTION public.credits_clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
            f"AS $$ SELECT '{now.isoformat()}'::timestamptz $$"
        )
        self._now = now

    def advance(self, by: timedelta) -> None:
        """Move on from where the clock stands, from now if it still runs."""
        row = self._owner.execute("SELECT public.credits_clock()").fetchone()
        assert row is not None
        self.set((self._now or row[0]) + by)

    def real(self) -> None:
        """Run again."""
        self._owner.execute(self._real_definition)
        self._now = None


@pytest.fixture
def credits_clock(transactional_db: None, owner_connection: Connection) -> Iterator[CreditsClock]:
    """The money clock under the test's hand; it runs again afterwards."""
    clock = CreditsClock(owner_connection)
    yield clock
    clock.real()
