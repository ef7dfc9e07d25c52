"""The mutation run itself: it kills what is wrong, lets live what is not, and undoes each."""

import os
import re
import subprocess
import sys

import pytest

from billing.tests.mutation import catalogue, sql_edits
from billing.tests.mutation.edits import CHECKOUT

# Rounding up of a price, once too low; rounding of a text; and the same text of nothing, however it is rounded.
WRONG_SQL = r"credits__usual_cost \[constant\] 999999 -> 999998"
WRONG_PYTHON = r"credit_text \[constant\] 10_000 -> 10001"
EQUIVALENT = r"credit_text \[comparison\] < -> <="
TESTS = "test_money,test_prices"


def run(*arguments):
    """Run the command with a server of its own; the lines it prints."""
    variables = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    done = subprocess.run(
        [sys.executable, "-m", "billing.tests.mutation", *arguments],
        cwd=CHECKOUT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_mutants_of_sql_and_python_are_killed_and_an_equivalent_one_survives():
    lines = run(f"--match={WRONG_SQL}|{WRONG_PYTHON}|{EQUIVALENT}", f"--tests={TESTS}", "--workers=1")
    survivors = [line for line in lines if " -> " in line]
    assert survivors
    assert all(re.search(EQUIVALENT, line) for line in survivors), survivors
    killed = re.search(r"killed (\d+)", lines[-1])
    assert killed
    assert int(killed[1]) >= 2, lines


def test_every_function_of_the_ledger_has_mutants():
    mutated = {mutant.function for mutant in catalogue.mutants() if mutant.is_sql}
    functions = {
        function["name"]
        for path in (CHECKOUT / catalogue.SQL_FOLDER).glob("*.sql")
        for function in sql_edits.FUNCTION.finditer(path.read_text(encoding="utf-8"))
    }
    # One reads the clock, the other hands a key on: there is nothing in them to edit.
    assert functions - mutated == {"credits_clock", "credits__charge_terms"}


def test_every_module_of_the_ledger_has_mutants():
    mutated = {mutant.path for mutant in catalogue.mutants() if not mutant.is_sql}
    modules = {f"billing/credits/{path.name}" for path in (CHECKOUT / "billing/credits").glob("*.py")}
    assert (modules | {"billing/money.py"}) - mutated == {"billing/credits/__init__.py"}


def test_the_same_seed_chooses_the_same_mutants():
    chosen = [catalogue.mutants(names=["charge", "money"], per_file=5, seed=seed) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert {mutant.path for mutant in chosen[0]} == {"billing/credits/sql/v2/charge.sql", "billing/money.py"}
