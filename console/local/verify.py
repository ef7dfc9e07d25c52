"""Every check, one after another: what `./run test` runs. With arguments, only pytest, with them.

Each step shows its name and seconds, and its output when it is red; then the tests aren't started. A private
PostgreSQL serves the checks that need a database. All tests are run by several processes, each with a PostgreSQL of its
own, unless TEST_SUPERUSER_DATABASE_URL names one for them.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from console.local import environment, postgres
from console.local.browser import MISSING, find_browser

CHECKOUT = Path(__file__).resolve().parents[2]
PROCESSES_MAX = 4
# What bandit looks at; what it leaves out, and why, stands in pyproject.toml.
SCANNED = ("accounts", "billing", "console", "sandbox", "manage.py")


@dataclass(frozen=True)
class Step:
    """One check: its name, what it runs and the variables it needs beyond the tests' own."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


def main() -> int:
    """Run the steps; the exit status is that of the first red one."""
    arguments = sys.argv[1:]
    if os.environ.get("REQUIRE_BROWSER") and not find_browser():
        print(f"./run test: REQUIRE_BROWSER is set and {MISSING}", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        variables = dict(os.environ) | environment.for_tests()
        spread = []
        if "TEST_SUPERUSER_DATABASE_URL" not in variables:
            variables |= stack.enter_context(private_database())
            spread = ["-n", str(processes()), "--dist", "worksteal"]
        steps = [] if arguments else checks(variables)
        if status := run_all(steps):
            return status
        began = time.monotonic()
        pytest = [sys.executable, "-m", "pytest", *(arguments or spread)]
        tests = subprocess.run(pytest, cwd=CHECKOUT, env=variables, check=False)
        if steps:
            verdict = "ok " if tests.returncode == 0 else "RED"
            print(f"{'pytest':<22} {verdict}  {time.monotonic() - began:5.1f} s", flush=True)
        return tests.returncode


def processes() -> int:
    """How many run tests at once: one for each processor, and not so many that they would fill the memory."""
    return min(os.cpu_count() or 1, PROCESSES_MAX)


@contextlib.contextmanager
def private_database() -> Iterator[dict[str, str]]:
    """Run a PostgreSQL for the time of the checks and yield the variables that name it."""
    folder = Path(tempfile.mkdtemp(prefix="console-checks-", dir="/tmp"))
    folder.chmod(0o755)
    with postgres.running(
        folder / "postgres", fast=True, log=folder / "postgres.log", remove_at_end=[folder]
    ) as server:
        yield {
            "TEST_SUPERUSER_DATABASE_URL": server.superuser_url(),
            "DATABASE_URL": server.app_url(),
            "MIGRATE_DATABASE_URL": server.owner_url(),
        }


def checks(variables: Mapping[str, str]) -> list[Step]:
    """The checks before the tests, the quick ones first."""
    python = [sys.executable, "-m"]
    programs = Path(sys.executable).parent
    outside = {name: value for name, value in variables.items() if name not in environment.for_tests()}
    production = outside | environment.for_production_checks()
    return [
        Step("ruff check", [*python, "ruff", "check", "--output-format", "concise", "."], variables),
        Step("ruff format", [*python, "ruff", "format", "--check", "--output-format", "concise", "."], variables),
        Step("djlint lint", [*python, "djlint", "templates", "--lint", "--quiet"], variables),
        Step("import contracts", [str(programs / "lint-imports"), "--no-cache"], variables),
        Step("mypy", [*python, "mypy"], variables),
        Step("migrations", [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"], variables),
        Step(
            "production settings",
            [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
            production,
        ),
        Step("bandit", [*python, "bandit", "-q", "-c", "pyproject.toml", "-r", *SCANNED], variables),
        Step("secrets", [sys.executable, "-m", "console.local.secrets_scan"], variables),
    ]


def run_all(steps: Sequence[Step]) -> int:
    """Run steps that need nothing of each other, as many at once as there are processors.

    All are run, so that one look shows everything that is red. Returns the first status that isn't 0.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        statuses = list(pool.map(run_quietly, steps))
    return next((status for status in statuses if status), 0)


def run_quietly(step: Step) -> int:
    """Run one step and print its name and seconds; its output only when it is red. Returns its exit status."""
    began = time.monotonic()
    result = subprocess.run(
        list(step.command),
        cwd=CHECKOUT,
        env=dict(step.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    seconds = time.monotonic() - began
    if result.returncode == 0:
        print(f"{step.name:<22} ok   {seconds:5.1f} s", flush=True)
        return 0
    output = result.stdout.decode(errors="replace").rstrip()
    print(f"{output}\n{step.name:<22} RED  {seconds:5.1f} s: see above. Alone: {' '.join(step.command)}", flush=True)
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
