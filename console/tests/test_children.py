"""The shim: a command ends with the process that started it, whatever happens to either."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from console.local import children

CHECKOUT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 10.0

STARTER = textwrap.dedent(
    """
    import subprocess, sys, time
    from pathlib import Path
    from console.local import children
    pid_file, folder, *command = sys.argv[1:]
    children.start(
        command, output=subprocess.DEVNULL, grace_seconds=0.5, pid_file=Path(pid_file), remove=[Path(folder)]
    )
    time.sleep(60)
    """
)


def wait_until(condition):
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "It didn't happen in time."
        time.sleep(0.02)


def started(tmp_path, *command):
    """A process that started `command` behind the shim, the command's number, and the folder to be removed."""
    pid_file, folder = tmp_path / "pid", tmp_path / "folder"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", STARTER, str(pid_file), str(folder), *command], cwd=CHECKOUT)
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    return parent, int(pid_file.read_text()), folder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_however_the_parent_ends_the_command_ends_and_its_folder_goes(tmp_path, number):
    parent, pid, folder = started(tmp_path, "sleep", "60")
    parent.send_signal(number)
    parent.wait()
    wait_until(lambda: not psutil.pid_exists(pid) and not folder.exists())


def test_a_command_that_ignores_its_signal_is_killed_after_the_grace(tmp_path):
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    parent, pid, _ = started(tmp_path, sys.executable, "-c", stubborn)
    parent.kill()
    parent.wait()
    wait_until(lambda: not psutil.pid_exists(pid))


def test_what_the_command_started_ends_too(tmp_path):
    child_file = tmp_path / "grandchild"
    parent, pid, _ = started(tmp_path, "sh", "-c", f"sleep 60 & echo $! > {child_file}; wait")
    wait_until(lambda: child_file.exists() and child_file.read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not psutil.pid_exists(pid) and not psutil.pid_exists(int(child_file.read_text())))


def test_the_commands_status_is_passed_on():
    process = children.start(["sh", "-c", "exit 7"], output=subprocess.DEVNULL)
    assert process.wait(SECONDS_MAX) == 7


def test_closing_the_pipe_sends_the_ending_signal(tmp_path):
    seen = tmp_path / "seen"
    script = f"trap 'echo INT > {seen}; exit 0' INT; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    process = children.start(["sh", "-c", script], output=subprocess.DEVNULL, ending_signal="SIGINT")
    wait_until((tmp_path / "ready").exists)
    children.end(process)
    assert process.returncode == 0
    assert seen.read_text() == "INT\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another account")
def test_an_account_is_asked_whether_it_reaches_a_folder(tmp_path):
    account = children.unprivileged_account()
    open_folder, closed_folder = Path("/tmp"), tmp_path / "closed"
    closed_folder.mkdir(mode=0o700)
    assert account.reaches(open_folder)
    assert not account.reaches(closed_folder)
    assert not account.reaches(closed_folder / "not there yet")
