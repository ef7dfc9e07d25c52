"""Child processes that never outlive the process that started them."""

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SHIM = Path(__file__).with_name("shim.py")


@dataclass(frozen=True)
class Account:
    """The unprivileged system account that servers run as when the caller is root."""

    user_id: int
    group_id: int
    name: str

    def reaches(self, path: Path) -> bool:
        """Whether this account can read below `path`, or create it there; asked of the kernel, not of mode bits."""
        probe = path if path.exists() else path.parent
        result = subprocess.run(
            ["/bin/ls", "-d", f"{probe}/."],
            user=self.user_id,
            group=self.group_id,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
        return result.returncode == 0

    def own(self, path: Path) -> None:
        """Hand a folder over to this account."""
        os.chown(path, self.user_id, self.group_id)


def unprivileged_account() -> Account | None:
    """`nobody` when this process is root, since PostgreSQL refuses to run as root; otherwise None."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(user_id=entry.pw_uid, group_id=entry.pw_gid, name=entry.pw_name)


def start(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int,
    ending_signal: str = "SIGTERM",
    grace_seconds: float = 10.0,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pid_file: Path | None = None,
    remove: Sequence[Path] = (),
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` behind the shim and return the shim's process.

    Closing the returned process's `stdin` ends the command with `ending_signal`. `remove` names folders that the shim
    deletes after the end, even after a kill -9 of the caller. Descriptors in `keep_open` stay open until then.
    """
    shim = [sys.executable, "-I", "-S", str(SHIM), "--signal", ending_signal, "--grace-seconds", str(grace_seconds)]
    if account:
        shim += ["--user", str(account.user_id), "--group", str(account.group_id)]
    if pid_file:
        shim += ["--pid-file", str(pid_file)]
    for path in remove:
        shim += ["--remove", str(path)]
    return subprocess.Popen(
        [*shim, "--", *map(str, command)],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folder,
        start_new_session=True,
        pass_fds=tuple(keep_open),
    )


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """Send the command its ending signal, without waiting."""
    if process.stdin and not process.stdin.closed:
        process.stdin.close()


def end(process: subprocess.Popen[bytes], *, timeout_seconds: float = 15.0) -> None:
    """End a command started by `start` and wait for it; kill its shim when even that doesn't help."""
    ask_to_end(process)
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
