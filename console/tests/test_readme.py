"""The README's commands, run as a newcomer runs them: in a fresh clone, with nothing set up."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.tests.demo_runs import CHECKOUT, remove_databases_kept_elsewhere

pytestmark = pytest.mark.slow

START_SECONDS_MAX = 240
COMMANDS = [
    "./run",
    "./run manage make_trace --rows 500 --seed 1 --out /tmp/trace.csv",
    "./run manage replay /tmp/trace.csv --organization acme-robotics --model orion-large --fail-rate 0.02",
    "./run test",
]


def newcomers_environment() -> dict[str, str]:
    """The caller's environment without what this test run has set: how packages are reached stays."""
    own = set(re.findall(r"^#? ?([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE))
    own |= {"TEST_SUPERUSER_DATABASE_URL", "DJANGO_SETTINGS_MODULE", "VENV", "PYTHONPATH"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith(("PYTEST", "CONSOLE"))
    }


def commands_of(readme: str) -> list[str]:
    """The lines of the README's shell blocks."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", readme, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a newcomer has after `git clone`: the last commit, and no environment."""
    folder = tmp_path_factory.mktemp("newcomer") / "credit-console"
    # A checkout of another user's, as in a container, is cloned all the same.
    command = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def started(clone: Path) -> Iterator[str]:
    """`./run`, up in the clone; yields what it has printed. Its data stays in the clone."""
    log = clone.parent / "run.log"
    ready_file = clone.parent / "ready.json"
    with log.open("w") as output:
        running = subprocess.Popen(
            ["./run", "--ready-file", str(ready_file)],
            cwd=clone,
            env=newcomers_environment(),
            stdout=output,
            stderr=output,
        )
        try:
            give_up_at = time.monotonic() + START_SECONDS_MAX
            while not ready_file.exists():
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < give_up_at, log.read_text()
                time.sleep(0.2)
            yield log.read_text()
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(timeout=60)
            remove_databases_kept_elsewhere(log.read_text())


def in_clone(clone: Path, command: str) -> str:
    """Run one line as typed, and give what it prints."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=clone,
        env=newcomers_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_readme_has_the_commands_that_are_run_here() -> None:
    assert commands_of((CHECKOUT / "README.md").read_text()) == COMMANDS


def test_run_starts_the_demo_with_the_log_ins_that_the_readme_names(started: str) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    named = set(re.findall(r"`([a-z]+@[a-z.]+)`", readme))
    assert len(named) == 5
    assert "demo-credits-2026" in readme
    for email in named:
        assert re.search(rf"{re.escape(email)}\s+demo-credits-2026", started), started


def test_a_trace_is_made_and_replayed_through_the_gate(clone: Path, started: str) -> None:
    trace = clone.parent / "trace.csv"
    make, replay = (command.replace("/tmp/trace.csv", str(trace)) for command in COMMANDS[1:3])
    in_clone(clone, make)
    assert len(trace.read_text().splitlines()) == 501
    printed = in_clone(clone, replay)
    # Nothing is bought yet, so every request is refused; that is what a newcomer sees without step 2.
    assert re.search(r"refused\s+500", printed), printed
    assert "Gate" in started


def test_the_ledger_is_proven_and_the_mailbox_answers(clone: Path, started: str) -> None:
    assert in_clone(clone, "./run manage check_ledger")
    mailbox = re.search(r"http://\S+/demo/mailbox/", started)
    assert mailbox
    with urllib.request.urlopen(mailbox[0], timeout=30) as answer:
        assert answer.status == 200


def test_the_checks_run_in_the_clone(clone: Path) -> None:
    # With arguments, since this test is itself a part of all checks.
    printed = in_clone(clone, f"{COMMANDS[3]} billing/tests/test_money.py")
    assert re.search(r"\d+ passed", printed), printed
