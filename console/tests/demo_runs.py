"""Starts the real ./run for a test, and finds every process that belongs to it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 120.0
END_SECONDS_MAX = 20.0

# What the test run sets for its own database must not reach the demo, which brings its own.
OWN_VARIABLES = ("PATH", "HOME", "LANG", "VENV", "PYTHON", "TMPDIR")


@dataclass
class DemoRun:
    """One run of the demo. `output` is what the terminal showed."""

    process: subprocess.Popen[bytes]
    output_file: Path
    ready: dict[str, Any]

    @property
    def output(self) -> str:
        """What the terminal has shown so far."""
        return self.output_file.read_text(errors="replace")

    def tree(self) -> list[psutil.Process]:
        """The process itself and all below it."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def end(self, number: signal.Signals) -> list[psutil.Process]:
        """Send the signal to the top process only, and return what is left when the time is over."""
        tree = self.tree()
        self.process.send_signal(number)
        self.process.wait(END_SECONDS_MAX)
        return list(psutil.wait_procs(tree, timeout=END_SECONDS_MAX)[1])


def remove_databases_kept_elsewhere(output: str) -> None:
    """Delete the databases of a demo that, as root below pytest's 0700 folder, had to live outside of its folder."""
    if moved := re.search(r"the databases live in (/\S+)\.\n", output):
        shutil.rmtree(moved[1])


def clean_environment() -> dict[str, str]:
    """The caller's environment without the settings of the test run."""
    return {name: os.environ[name] for name in OWN_VARIABLES if name in os.environ}


@contextlib.contextmanager
def running_demo(folder: Path, *arguments: str) -> Iterator[DemoRun]:
    """Run `./run` with a ready file in `folder`, yield it when it is up, and end it."""
    ready_file, output_file = folder / "ready.json", folder / "output.txt"
    ready_file.unlink(missing_ok=True)
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            ["./run", *arguments, "--ready-file", str(ready_file)],
            cwd=CHECKOUT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready_file.exists():
            assert process.poll() is None, output_file.read_text(errors="replace")
            assert time.monotonic() < deadline, output_file.read_text(errors="replace")
            time.sleep(0.1)
        yield DemoRun(process=process, output_file=output_file, ready=json.loads(ready_file.read_text()))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(END_SECONDS_MAX)
