"""All mutants there are, and a fair choice among them."""

import random
from collections.abc import Iterator, Sequence
from itertools import groupby

from billing.credits import sql
from billing.tests.mutation import python_edits, sql_edits
from billing.tests.mutation.edits import CHECKOUT, Mutant

SQL_FOLDER = f"billing/credits/sql/{sql.VERSION}"
PYTHON_FILES = (
    "billing/money.py",
    *(f"billing/credits/{path.name}" for path in sorted((CHECKOUT / "billing/credits").glob("[a-z]*.py"))),
)


def mutants(
    *, names: Sequence[str] = (), per_file: int | None = None, per_line: int | None = None, seed: int = 0
) -> list[Mutant]:
    """The mutants of all files, or of those that are named (without ending); at most so many of each file or line."""
    chosen: list[Mutant] = []
    for path, of_file in groupby(_all(names), key=lambda mutant: mutant.path):
        # Two ways may lead to the same text.
        known = {(mutant.edit.start, mutant.edit.end, mutant.edit.new): mutant for mutant in of_file}
        every = list(known.values())
        if per_line is not None:
            every = [mutant for line in _by_line(path, every) for mutant in _chosen(line, per_line, f"{seed} {path}")]
        if per_file is not None:
            every = _chosen(every, per_file, f"{seed} {path}")
        chosen += every
    return chosen


def _chosen(every: list[Mutant], count: int, seed: str) -> list[Mutant]:
    """All of them, or as many as ``count``."""
    return every if len(every) <= count else random.Random(f"{seed} {every[0].edit.start}").sample(every, count)


def _by_line(path: str, every: list[Mutant]) -> list[list[Mutant]]:
    """The mutants of a file by the line that they begin in."""
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    lines: dict[int, list[Mutant]] = {}
    for mutant in every:
        lines.setdefault(text.count("\n", 0, mutant.edit.start), []).append(mutant)
    return list(lines.values())


def _all(names: Sequence[str]) -> Iterator[Mutant]:
    for path in _paths():
        stem = path.rpartition("/")[2].partition(".")[0]
        if not names or stem in names or path in names:
            yield from (sql_mutants(path) if path.endswith(".sql") else python_mutants(path))


def _paths() -> list[str]:
    return [f"{SQL_FOLDER}/{name}.sql" for name in (sql.CHECKS, *sql.FILES)] + list(PYTHON_FILES)


def sql_mutants(path: str) -> Iterator[Mutant]:
    """The mutants of the functions of a SQL file."""
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    for function in sql_edits.FUNCTION.finditer(text):
        head = text[function.start() : function.start("body")]
        for edit in sql_edits.edits(
            text, function.start("body"), function.end("body"), is_procedural="language plpgsql" in head
        ):
            yield Mutant(path, function["name"], edit)


def python_mutants(path: str) -> Iterator[Mutant]:
    """The mutants of a module."""
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    for name, edit in python_edits.functions(text):
        yield Mutant(path, name, edit)


def statement(mutant: Mutant, text: str) -> str:
    """What installs a mutant of a SQL function, or its function as it stands, from the text of the file."""
    whole = mutant.edit.applied(text)
    grown = len(whole) - len(text)
    for function in sql_edits.FUNCTION.finditer(text):
        if function.start("body") <= mutant.edit.start <= function.end("body"):
            made = whole[function.start() : function.end() + grown]
            return made.replace("create function", "create or replace function", 1)
    raise ValueError(mutant.told())
