"""The demo's child processes: started behind the shim, their output shown and kept, ended in order."""

import contextlib
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from console.demo.folders import DemoError, Folders
from console.local import children

COLOURS = {"web": 36, "gate": 35, "worker": 32, "beat": 33, "stripe": 34}
# What these say is of interest to a developer of the demo only; it is in their log files.
SILENT = ("valkey",)
# What the console's processes use until their end.
SERVICES = ("valkey", "stripe")
GRACE_SECONDS = 5.0


class Processes:
    """The running children, in the order of their start."""

    def __init__(self, folders: Folders, *, lock: int, show: Callable[[str], None]) -> None:
        self._folders = folders
        self._lock = lock
        self._show = show
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._selector = selectors.DefaultSelector()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader_started = False
        self._is_ending = False

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        account: children.Account | None = None,
        folder: Path | None = None,
        remove: Sequence[Path] = (),
    ) -> None:
        """Start one child; its lines go to the terminal with its name in front, and into its log file."""
        process = children.start(
            command,
            output=subprocess.PIPE,
            grace_seconds=GRACE_SECONDS,
            account=account,
            environment=environment,
            folder=folder,
            pid_file=self.pid_file(name),
            remove=remove,
            keep_open=[self._lock],
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._running[name] = process
        self._selector.register(process.stdout, selectors.EVENT_READ, name)
        if not self._reader_started:
            self._reader_started = True
            self._reader.start()

    def adopt(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Watch a child that somebody else started and ends."""
        self._running[name] = process

    def pid_file(self, name: str) -> Path:
        """The file with the number of the child itself, not of its shim."""
        return self._folders.process_ids / f"{name}.pid"

    def process_ids(self) -> dict[str, int]:
        """The numbers of the children by name."""
        found = {}
        for name in self._running:
            with contextlib.suppress(OSError, ValueError):
                found[name] = int(self.pid_file(name).read_text())
        return found

    def refuse_the_ended(self) -> None:
        """Errors: DemoError when a child has ended by itself, with its last lines."""
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                raise DemoError(f"{name} ended with status {status}. Its last lines:\n{self._tail(name)}".rstrip())

    def end(self) -> None:
        """End the children started here, the console before its services; their farewells go to the log files."""
        self._is_ending = True
        ours = {name: process for name, process in self._running.items() if process.stdout is not None}
        for group in (ours.keys() - set(SERVICES), ours.keys() & set(SERVICES)):
            for name in group:
                children.ask_to_end(ours[name])
            for name in group:
                children.end(ours[name], timeout_seconds=GRACE_SECONDS + 3)

    def _tail(self, name: str) -> str:
        log = self._folders.logs / f"{name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    def _read(self) -> None:
        rests: dict[str, bytes] = {}
        with contextlib.ExitStack() as stack:
            logs = {}
            while True:
                for key, _ in self._selector.select(timeout=0.2):
                    name = key.data
                    if name not in logs:
                        logs[name] = stack.enter_context((self._folders.logs / f"{name}.log").open("wb", buffering=0))
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        self._selector.unregister(key.fileobj)
                        continue
                    logs[name].write(chunk)
                    *lines, rests[name] = (rests.get(name, b"") + chunk).split(b"\n")
                    for line in lines if name not in SILENT and not self._is_ending else []:
                        self._show(self._labelled(name, line.decode(errors="replace")))

    def _labelled(self, name: str, line: str) -> str:
        if not sys.stdout.isatty():
            return f"{name:>8} | {line}"
        return f"\x1b[{COLOURS.get(name, 37)}m{name:>8}\x1b[0m | {line}"
