"""The command: makes mutants, hands them to one worker for each core, prints what survived."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from billing.tests.mutation import catalogue
from billing.tests.mutation.edits import CHECKOUT, Mutant

# What runs against the mutants. The test of check_ledger's own reading of functions would kill each by comparing texts.
TESTS = (
    "test_money", "test_schema", "test_prices", "test_ledger", "test_holds", "test_expiry", "test_usage_days",
    "test_statements", "test_charge_many", "test_corrections", "test_charge_races", "test_database_rights",
    "test_burning_lot", "test_usual_requests", "test_row_checks", "test_credit_events", "test_hot_calls",
    "test_invariants", "test_metering", "test_queries", "test_reasons",
)  # fmt: skip
# What shows numbers of the ledger to people runs against its Python too; SQL has tests of its own for all it answers.
PAGES = (
    "test_templatetags", "test_api_operations", "test_admin_prices", "test_admin_corrections", "test_views_usage",
    "test_views_overview", "test_views_statement", "test_admin_promotions",
)  # fmt: skip
# They take seconds for each of their tests, so they run only against what they are about.
FOCUSED = {
    "billing/credits/invariants.py": ("test_check_ledger",),
    "billing/credits/key_limits.py": ("test_key_limits", "test_api_keys_at_the_gate", "test_views_api_keys"),
    "billing/credits/statements.py": ("test_reload_back_test",),
    "billing/credits/usage_blocks.py": ("test_usage_blocks", "test_suspensions"),
    "billing/credits/usage_stops.py": ("test_usage_stops",),
}
HISTORIES = "billing/tests/mutation/histories.py"
# They are about the texts of invariants, of which the worker makes one find nothing; they would fail without a mutant.
LEFT_OUT = ("functions_are_the_shipped_ones", "invariants_promise_in_words", "a_query_that_fails_is_a_broken_promise")


def main(arguments: list[str] | None = None) -> int:
    """Run it; 1 if a mutant survived."""
    parser = argparse.ArgumentParser(prog="python -m billing.tests.mutation", description=__doc__)
    parser.add_argument("--files", default="", help="by commas, without ending: charge,capture,money; default: all")
    parser.add_argument("--limit", type=int, help="at most this many mutants of each file, chosen by the seed")
    parser.add_argument("--per-line", type=int, help="at most this many mutants of each line, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--match", default="", help="only mutants whose line has this pattern in it")
    parser.add_argument("--tests", default="", help="only these test files, by commas, without ending")
    parser.add_argument("--seconds", type=int, default=120, help="for which a mutant is tried before it has survived")
    parser.add_argument("--log", type=Path, help="where fates are kept; a mutant that stands in it is not tried again")
    parser.add_argument("--list", action="store_true", help="only list the mutants")
    options = parser.parse_args(arguments)
    names = [name for name in options.files.split(",") if name]
    mutants = catalogue.mutants(names=names, per_file=options.limit, per_line=options.per_line, seed=options.seed)
    mutants = [mutant for mutant in mutants if re.search(options.match, mutant.told())]
    if options.list:
        print(*(mutant.told() for mutant in mutants), sep="\n")
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        log = options.log or Path(name) / "fates"
        log.touch()
        known = _read(log)
        run(
            [mutant for mutant in mutants if mutant.place not in known],
            log=log,
            workers=options.workers,
            tests=[name for name in options.tests.split(",") if name],
            seconds=options.seconds,
        )
        known = _read(log)
    fates = [known[mutant.place] for mutant in mutants]
    survivors = [mutant for mutant, fate in zip(mutants, fates, strict=True) if fate["outcome"] == "survived"]
    print(*(mutant.told() for mutant in survivors), sep="\n")
    print(_table(mutants, fates))
    totals = Counter(fate["outcome"] for fate in fates)
    print(
        f"made {len(mutants)}, invalid {totals['invalid']}, killed {totals['killed']}, survived {totals['survived']},"
        f" {time.monotonic() - began:.0f} seconds (seed {options.seed})"
    )
    return 1 if survivors else 0


def _read(log: Path) -> dict[str, dict[str, str]]:
    """What became of each mutant, by its place."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {line["place"]: line for line in lines}


def run(mutants: list[Mutant], *, log: Path, workers: int, tests: Sequence[str], seconds: int) -> None:
    """Try the mutants; what becomes of each is added to the log at once, so that a run may be broken off."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name)
        started = []
        for worker in range(min(workers, len(mutants))):
            (folder / f"mutants-{worker}").write_text(
                "".join(json.dumps(asdict(mutant)) + "\n" for mutant in mutants[worker::workers]), encoding="utf-8"
            )
            started.append((worker, _start(folder, worker, _files(mutants, tests), log=log, seconds=seconds)))
        for worker, process in started:
            if process.wait() not in (0, 5):
                print((folder / f"output-{worker}").read_text(encoding="utf-8")[-3_000:], file=sys.stderr)
                sys.exit(f"Worker {worker} ended early.")


def _files(mutants: list[Mutant], tests: Sequence[str]) -> list[str]:
    """The files of tests that are run: those that are named, or all that are fitting."""
    if tests:
        return [f"billing/tests/{name}.py" for name in tests]
    names = [*TESTS]
    if not all(mutant.is_sql for mutant in mutants):
        names += PAGES
    edited = {mutant.path for mutant in mutants}
    names += dict.fromkeys(name for path, focused in FOCUSED.items() if path in edited for name in focused)
    return [*(f"billing/tests/{name}.py" for name in names), HISTORIES]


def _start(folder: Path, worker: int, files: list[str], *, log: Path, seconds: int) -> "subprocess.Popen[bytes]":
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:randomly", "-p", "no:cacheprovider"),
        *("-p", "billing.tests.mutation.worker", "-W", "ignore"),
        f"--mutants={folder / f'mutants-{worker}'}",
        f"--fates={log.resolve()}",
        f"--trial-seconds={seconds}",
        *files,
        *("-k", " and ".join(f"not {name}" for name in LEFT_OUT)),
    ]
    with (folder / f"output-{worker}").open("wb") as output:
        return subprocess.Popen(command, cwd=CHECKOUT, stdout=output)


def _table(mutants: list[Mutant], fates: list[dict[str, str]]) -> str:
    """Files and what became of their mutants."""
    counts: dict[str, Counter[str]] = {}
    for mutant, fate in zip(mutants, fates, strict=True):
        counts.setdefault(mutant.path, Counter())[fate["outcome"]] += 1
    lines = [f"{'file':44} {'made':>6} {'invalid':>8} {'killed':>7} {'survived':>9}"]
    for path, count in counts.items():
        numbers = f"{count.total():6} {count['invalid']:8} {count['killed']:7} {count['survived']:9}"
        lines.append(f"{path:44} {numbers}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
