"""Runs one command and ends it when the process that started this shim goes away in any way, kill -9 too.

The parent holds the other end of this process's standard input. When it closes, by intention or because the kernel
cleaned up after a kill, the command gets its ending signal, and SIGKILL when the grace is over. TERM does the same.
It uses the standard library only and is started as a script, so that it costs no import of the product.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def main() -> int:
    """Run the command to its end and return its exit status, 128 + n for signal n."""
    options = parsed()
    account = {} if options.user is None else {"user": options.user, "group": options.group, "extra_groups": []}
    for number in (signal.SIGINT, signal.SIGHUP):
        # A terminal sends these to the whole group; the parent decides about the order of the end. A handler, unlike
        # SIG_IGN, isn't handed down to the command, which must be able to end on them.
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(options.command, stdin=subprocess.DEVNULL, process_group=0, **account)
    if options.pid_file:
        Path(options.pid_file).write_text(f"{child.pid}\n")

    def end() -> None:
        child.send_signal(getattr(signal, options.signal))
        try:
            child.wait(options.grace_seconds)
        except subprocess.TimeoutExpired:
            child.kill()

    def watch() -> None:
        # Not through sys.stdin: its lock, held by this thread, would abort the interpreter at its end.
        while os.read(0, 4096):
            pass
        end()

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end, daemon=True).start())
    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    clean_up(child.pid, options.remove)
    return 128 - status if status < 0 else status


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signal", default="SIGTERM", help="the signal that ends the command")
    parser.add_argument("--grace-seconds", type=float, default=10.0)
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--pid-file")
    parser.add_argument("--remove", action="append", default=[], help="a folder to delete after the end")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def clean_up(group: int, folders: list[str]) -> None:
    """Kill what the command left in its process group, then delete the folders."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for folder in map(Path, folders):
        for _ in range(20):
            # Other children of the same parent may write their last lines while this runs.
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
