"""A pytest plugin that runs the collected tests against mutants, instead of once.

First every test runs once as things stand, and what it executes is noted: functions of the database by its own
statistics and by its errors, functions of Python by a profile. Then each mutant lives in a child of this process, which
runs the tests that execute its function, the quickest and deadliest first, until one fails. Nothing is set up anew in
between.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import psycopg
import pytest
from _pytest.runner import runtestprotocol
from django.db import connections

from billing.credits import invariants
from billing.tests.mutation import catalogue, patching
from billing.tests.mutation.edits import CHECKOUT, Edit, Mutant

# After this long, unless told otherwise, no further test begins, and the mutant has survived. A test that doesn't end
# has killed it.
TRIAL_SECONDS_MAX = 120
ENDING_SECONDS_MAX = 120
STATEMENT_SECONDS_MAX = 20
# What a test of this many seconds finds, one that is quicker has found already.
TEST_SECONDS_MAX = 40.0

# How many mutants a test is believed to kill before it has killed any: a history meets many situations at once.
DEADLY = {"": 0, "beside_the_model": 400, "long_story": 100, "random_history": 50, "whatever_the_events": 50}

KILLED, SURVIVED, INVALID = "killed", "survived", "invalid"
TOP = ""
# What the database says of the functions that an error came through. Its statistics count only calls that returned.
IN_A_FUNCTION = re.compile(r"function (?:public\.)?\"?(\w+)")
NOTHING = "select null::bigint as organization_id, '' as subject, '' as detail where false"


@dataclass(frozen=True)
class Fate:
    """What became of a mutant, and by what."""

    place: str
    outcome: str
    by: str
    seconds: float


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the mutants are read from and their fates written to, both as lines of JSON."""
    group = parser.getgroup("mutation")
    group.addoption("--mutants", type=Path, help="mutants, one a line")
    group.addoption("--fates", type=Path, help="what became of them, one a line")
    group.addoption("--trial-seconds", type=int, default=TRIAL_SECONDS_MAX, help="after these no further test begins")


def pytest_configure() -> None:
    """Make the invariant that compares the functions' bodies with the shipped ones find nothing: it would find each."""
    read = invariants._read

    def read_but_one(name: str) -> str:
        return NOTHING if name == "functions_are_the_shipped_ones" else read(name)

    invariants._read = read_but_one  # type: ignore[assignment]


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Instead of pytest's own loop."""
    mutants = [
        Mutant(path=line["path"], function=line["function"], edit=Edit(**line["edit"]))
        for line in map(json.loads, session.config.getoption("mutants").read_text(encoding="utf-8").splitlines())
    ]
    python_paths = {mutant.path for mutant in mutants if not mutant.is_sql}
    trials = Trials(session.items, python_paths, seconds=session.config.getoption("trial_seconds"))
    trials.rehearse()
    with session.config.getoption("fates").open("a", encoding="utf-8") as fates:
        for mutant in mutants:
            fates.write(json.dumps(asdict(trials.try_one(mutant))) + "\n")
            fates.flush()
    return True


class Trials:
    """The tests, what each executes, and what each has killed."""

    def __init__(self, items: list[pytest.Item], python_paths: set[str], *, seconds: int) -> None:
        self._items = items
        self._trial_seconds = seconds
        self._codes: dict[CodeType, tuple[str, str]] = {}
        for path in python_paths:
            for code, name in patching.codes(import_module(patching.module_name(path))).items():
                self._codes[code] = (path, name)
        self._seconds: dict[pytest.Item, float] = {}
        self._executed: dict[pytest.Item, set[tuple[str, str]]] = {}
        self._kills = {item: max(kills for name, kills in DEADLY.items() if name in item.nodeid) for item in items}

    # Once as things stand

    def rehearse(self) -> None:
        """Run every test once. One that fails as things stand takes no further part, and is named."""
        self._run(self._items[0])
        from conftest import address

        self._superuser = psycopg.connect(address("superuser"), autocommit=True)
        self._superuser.execute("alter database test_console set track_functions = 'all'")
        self._superuser.execute(f"alter database test_console set statement_timeout = '{STATEMENT_SECONDS_MAX}s'")
        self._owner = psycopg.connect(address("console_owner"), autocommit=True)
        self._superuser.execute("set stats_fetch_consistency = 'none'")
        calls = self._calls()
        raised = _note_errors()
        for item in list(self._items):
            connections.close_all()
            seen: set[tuple[str, str]] = set()
            raised.clear()
            began = time.monotonic()
            failure = self._profiled(item, seen)
            seconds = time.monotonic() - began
            self._wait_for_the_end_of_backends()
            before, calls = calls, self._calls()
            if failure or seconds > TEST_SECONDS_MAX:
                print(f"left out, {failure or f'{seconds:.0f} s'}: {item.nodeid}", file=sys.stderr, flush=True)
                self._items.remove(item)
                continue
            seen |= {("sql", name) for name, count in calls.items() if count > before.get(name, 0)}
            seen |= {("sql", name) for name in raised}
            self._seconds[item] = seconds
            self._executed[item] = seen
        self._leave_the_file()
        told = sorted(self._seconds.items(), key=lambda pair: -pair[1])
        print(f"{len(told)} tests take {sum(self._seconds.values()):.0f} s; the slowest:", file=sys.stderr)
        for item, seconds in told[:8]:
            print(f"{seconds:8.1f} s {item.nodeid}", file=sys.stderr, flush=True)

    def _leave_the_file(self) -> None:
        """Take down what the last test shares with the first where both are of one file: a child that begins with a
        test of another one would fail for that, whatever its mutant."""
        first = self._items[0]
        other = next((item for item in self._items if item.path != first.path), None)
        if other is not None:
            first.session._setupstate.teardown_exact(other)

    def _calls(self) -> dict[str, int]:
        query = "select funcname, sum(calls)::bigint from pg_stat_user_functions group by 1"
        return dict(self._superuser.execute(query).fetchall())

    def _wait_for_the_end_of_backends(self) -> None:
        """A backend writes its statistics down when it ends."""
        connections.close_all()
        for _ in range(100):
            row = self._superuser.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and not (pid = any (%s))",
                [[self._superuser.info.backend_pid, self._owner.info.backend_pid]],
            ).fetchone()
            if row == (0,):
                return
            time.sleep(0.005)

    def _profiled(self, item: pytest.Item, seen: set[tuple[str, str]]) -> str:
        def note(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call" and (known := self._codes.get(frame.f_code)):
                seen.add(known)

        if self._codes:
            threading.setprofile(note)
            sys.setprofile(note)
        try:
            return self._run(item)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    def _run(self, item: pytest.Item, following: pytest.Item | None = None) -> str:
        """Run one test, its fixtures and all; how it failed, or nothing. What the following one needs too stays."""
        if following is None:
            following = self._items[(self._items.index(item) + 1) % len(self._items)]
        for report in runtestprotocol(item, log=False, nextitem=following):
            if report.failed:
                # pytest's word for what this module does wrong; no mutant has done it.
                assert "previous item was not torn down properly" not in str(report.longrepr)
                return f"{report.when}: {str(report.longrepr)[-2_000:]}"
        return ""

    # Against a mutant

    def try_one(self, mutant: Mutant) -> Fate:
        """Install a mutant, run the tests of its function, and undo it."""
        began = time.monotonic()
        connections.close_all()
        outcome, by = self._try_sql(mutant) if mutant.is_sql else self._try_python(mutant)
        return Fate(mutant.place, outcome, by, round(time.monotonic() - began, 2))

    def _try_sql(self, mutant: Mutant) -> tuple[str, str]:
        text = mutant.text
        try:
            self._owner.execute(catalogue.statement(mutant, text).encode())
        except psycopg.Error as error:
            return INVALID, str(error).splitlines()[0]
        try:
            return self._in_a_child(self._tests_of("sql", mutant.function), lambda: None)
        finally:
            unchanged = Mutant(mutant.path, mutant.function, Edit("", mutant.edit.start, mutant.edit.start, ""))
            self._owner.execute(catalogue.statement(unchanged, text).encode())

    def _try_python(self, mutant: Mutant) -> tuple[str, str]:
        return self._in_a_child(self._tests_of(mutant.path, mutant.function), lambda: patching.install(mutant))

    def _tests_of(self, place: str, function: str) -> list[pytest.Item]:
        """The tests that execute a function, best first. Of what no statistics know (inlined SQL, values): all that
        execute anything of the ledger."""
        items = [item for item in self._items if (place, function) in self._executed[item]]
        if not items or function == TOP:
            items = [item for item in self._items if any(where == place for where, _ in self._executed[item])]
        items = items or list(self._items)
        if not place.endswith("invariants.py"):
            # The planted corruptions try the invariants; the history they are planted in is among the histories too.
            items = [item for item in items if "test_check_ledger" not in item.nodeid]
        return sorted(items, key=lambda item: self._seconds[item] / (1 + self._kills[item]))

    def _in_a_child(self, items: list[pytest.Item], install: Callable[[], None]) -> tuple[str, str]:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            os.setpgid(0, 0)
            self._be_the_child(items, install, write_end)
        os.close(write_end)
        ended = threading.Timer(self._trial_seconds + ENDING_SECONDS_MAX, lambda: os.killpg(child, signal.SIGKILL))
        ended.start()
        with os.fdopen(read_end, encoding="utf-8") as answer:
            told = answer.read()
        ended.cancel()
        os.waitpid(child, 0)
        if not told:
            self._clean_up()
            return KILLED, "does not end"
        outcome, by, place = json.loads(told)
        if outcome == KILLED:
            self._kills[items[place]] += 1
            self._clean_up()
        return outcome, by

    def _be_the_child(self, items: list[pytest.Item], install: Callable[[], None], write_end: int) -> None:
        """Run the tests until one fails, tell, and end at once."""
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        told: tuple[str, str, int] = (SURVIVED, "", 0)
        try:
            install()
        except BaseException as error:  # a module that can't be imported is no mutant
            told = (INVALID, repr(error)[:200], 0)
            items = []
        ends_at = time.monotonic() + self._trial_seconds
        for place, item in enumerate(items):
            if time.monotonic() > ends_at:
                break
            if failure := self._run(item, items[place + 1] if place + 1 < len(items) else None):
                errors = [line for line in failure.splitlines() if line.startswith("E  ")]
                told = (INVALID if _is_nonsense(failure) else KILLED, f"{item.nodeid} {errors[:1]}"[:600], place)
                break
        os.write(write_end, json.dumps(told).encode())
        os._exit(0)

    def _clean_up(self) -> None:
        """What a test that failed, or was ended, may have left: sessions, rows, the clock under its hand."""
        from conftest import flush_as_superuser

        self._superuser.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and not (pid = any (%s))",
            [[self._superuser.info.backend_pid, self._owner.info.backend_pid]],
        )
        self._owner.execute("drop table if exists public.proof_clock")
        clock = (CHECKOUT / catalogue.SQL_FOLDER / "clock.sql").read_text(encoding="utf-8")
        self._owner.execute(clock.replace("create function", "create or replace function").encode())
        flush_as_superuser(None)  # type: ignore[arg-type]


def _note_errors() -> set[str]:
    """A set to which every error of the database adds the functions that it came through, from now on."""
    raised: set[str] = set()
    make = psycopg.errors.error_from_result

    def make_and_note(*arguments: Any, **options: Any) -> psycopg.Error:
        error = make(*arguments, **options)
        raised.update(IN_A_FUNCTION.findall(error.diag.context or ""))
        return error

    psycopg.errors.error_from_result = make_and_note
    return raised


def _is_nonsense(failure: str) -> bool:
    """Whether the database didn't understand a mutant (a name or a type that isn't there): no mistake gets that far."""
    errors = ("UndefinedFunction", "UndefinedColumn", "DatatypeMismatch", "SyntaxError", "UndefinedTable",
              "AmbiguousColumn", "CannotCoerce", "GroupingError")  # fmt: skip
    return any(f"errors.{error}" in failure for error in errors)
