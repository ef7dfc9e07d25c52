"""A gate as production runs it: gunicorn and console.gateway_wsgi in a process of its own, over the tests' database."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 30.0


@contextlib.contextmanager
def running_gate(*, database_url: str, threads: int = 4, log: Path) -> Iterator[str]:
    """Run a gate; gives its address."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--worker-class", "gthread"]
        command += ["--workers", "1", "--threads", str(threads), "--log-level", "warning", "--graceful-timeout", "2"]
        command += ["--bind", f"fd://{listener.fileno()}", "console.gateway_wsgi"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"DATABASE_URL": database_url},
                stdout=output,
                stderr=output,
                pass_fds=[listener.fileno()],
            )
        try:
            _wait_until_healthy(address, process=process, log=log)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_healthy(address: str, *, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=START_SECONDS_MAX) as answer:
                answer.read()
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the gate doesn't start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
