"""Where the demo keeps its data.

Everything is below one folder: `var/` in the checkout, or a folder of its own below /tmp with --ephemeral. As root,
PostgreSQL and Valkey run as `nobody`; when that account can't reach the folder, as in a clone below a 0700 home,
the databases live in /var/lib instead. Nobody's rights on the folders above are ever changed.
"""

import fcntl
import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from console.local import children

CHECKOUT = Path(__file__).resolve().parents[2]
SYSTEM_FOLDER = Path("/var/lib/credit-console")
LOCK_SECONDS_MAX = 12.0


class DemoError(Exception):
    """The demo can't start or go on; the text is one clear line for the person at the terminal."""


@dataclass(frozen=True)
class Folders:
    """The demo's folders; all of them exist."""

    base: Path
    postgres: Path
    valkey: Path
    is_ephemeral: bool

    @property
    def demo(self) -> Path:
        """Settings, keys and mails of the demo: readable by the one who started it only."""
        return self.base / "demo"

    @property
    def stripe(self) -> Path:
        """The state and the journal of the Stripe stand-in."""
        return self.base / "stripe"

    @property
    def logs(self) -> Path:
        """One file for each process, from this start."""
        return self.base / "log"

    @property
    def process_ids(self) -> Path:
        """One file for each process, with its number."""
        return self.base / "run"

    @property
    def environment(self) -> Path:
        """Shell lines with every variable of the running demo."""
        return self.demo / "environment"


def prepare(kept_folder: Path | None) -> Folders:
    """Create the folders, and decide where the databases live; without `kept_folder`, for this start only.

    Errors: DemoError.
    """
    account = children.unprivileged_account()
    try:
        if kept_folder is None:
            base = Path(tempfile.mkdtemp(prefix="console-demo-", dir="/tmp"))
            base.chmod(0o711)
        else:
            base = kept_folder.resolve()
            base.mkdir(exist_ok=True)
        databases = base
        if account and not account.reaches(base):
            databases = SYSTEM_FOLDER / database_name(base)
            databases.mkdir(parents=True, exist_ok=True)
        folders = Folders(
            base=base, postgres=databases / "postgres", valkey=databases / "valkey", is_ephemeral=kept_folder is None
        )
        for folder in (
            folders.demo,
            folders.demo / "mail",
            folders.stripe,
            folders.logs,
            folders.process_ids,
            base / "static",
        ):
            folder.mkdir(exist_ok=True)
        folders.demo.chmod(0o700)
        folders.valkey.mkdir(exist_ok=True)
        if account:
            account.own(folders.valkey)
    except OSError as error:
        raise DemoError(f"The demo's data folder can't be made: {error}") from error
    return folders


def database_name(base: Path) -> str:
    """A name that stays with the folder: a new clone in the same place doesn't meet the old one's databases."""
    kept = base / "databases-are-in"
    if not kept.exists():
        kept.write_text(secrets.token_hex(8))
    return kept.read_text()


def lock(folders: Folders) -> int:
    """Take the folder for this demo and return the descriptor that holds it.

    Every child keeps the descriptor open, so the folder is free again when the last of them is gone, not when this
    process is. A start right after a kill -9 waits for that. Errors: DemoError when another demo keeps running.
    """
    descriptor = os.open(folders.demo / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if (folders.environment.exists() and is_served(folders)) or time.monotonic() > deadline:
                raise DemoError(
                    f"A demo already runs on {folders.base}. Stop it first, or start a second one beside it with "
                    "./run --ephemeral."
                ) from None
            time.sleep(0.2)


def is_served(folders: Folders) -> bool:
    """Whether the supervisor that wrote the folder's process file still lives."""
    try:
        os.kill(int((folders.process_ids / "supervisor.pid").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
