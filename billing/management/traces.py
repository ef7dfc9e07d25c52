"""Traces of usage: a CSV of TIMESTAMP, ContextTokens, GeneratedTokens, as real model services publish them.

Made traces have the shape of the Azure LLM inference trace of 2023 for code (Patel et al., "Splitwise", ISCA 2024;
Azure Public Dataset, CC-BY 4.0): its twentieths of both token counts and of the gaps between requests are the tables
below. They come from a seed, with integers and a hash only, so every machine makes the same bytes.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
TOKENS_MAX = 1_000_000_000

_CONTEXT_TWENTIETHS = (
    3, 75, 147, 232, 385, 578, 770, 938, 1075, 1261, 1469, 1690, 1909, 2163, 2433, 2744, 3192, 3919, 5186, 7302, 7437
)  # fmt: skip
_GENERATED_TWENTIETHS = (6, 6, 7, 7, 8, 9, 9, 10, 11, 12, 13, 14, 16, 18, 20, 24, 29, 39, 55, 90, 1899)
# In steps of a tenth of a microsecond, as the trace is written.
_GAP_TWENTIETHS = (
    60, 880, 2090, 8850, 11840, 20770, 32920, 53270, 150520, 382080, 637840, 895510, 949880, 979430, 1001280, 1039880,
    1600350, 1988140, 2727780, 4007640, 40076400,
)  # fmt: skip
_FIRST = datetime(2023, 11, 16, 18, 0, tzinfo=UTC)
_STEPS_PER_SECOND = 10_000_000
_DRAW_MAX = 2**32


class TraceError(Exception):
    """A file that is no trace. The text says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of a trace. ``number`` counts the rows below the header from 1."""

    number: int
    context_tokens: int
    generated_tokens: int


def read(path: Path, *, skip: int = 0, limit: int | None = None) -> Iterator[TraceRow]:
    """The rows after the first ``skip``, at most ``limit``. Raises TraceError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from _rows(file, path=path, skip=skip, limit=limit)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} can't be read: {error}") from error


def count(path: Path, *, skip: int = 0, limit: int | None = None) -> int:
    """How many rows :func:`read` gives. Raises TraceError."""
    return sum(1 for _ in read(path, skip=skip, limit=limit))


def _rows(file: TextIO, *, path: Path, skip: int, limit: int | None) -> Iterator[TraceRow]:
    reader = csv.DictReader(file)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise TraceError(f"{path} has no column {missing[0]}: the header is {','.join(COLUMNS)}.")
    for number, record in enumerate(reader, start=1):
        if limit is not None and number > skip + limit:
            return
        if number > skip:
            yield TraceRow(
                number=number,
                context_tokens=_tokens(record["ContextTokens"], path=path, number=number),
                generated_tokens=_tokens(record["GeneratedTokens"], path=path, number=number),
            )


def _tokens(text: str | None, *, path: Path, number: int) -> int:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > TOKENS_MAX:
        raise TraceError(f"{path}, row {number}: {text!r} is no number of tokens from 0 to {TOKENS_MAX}.")
    return int(text)


def make(*, rows: int, seed: int) -> Iterator[str]:
    """The lines of a made trace, header first, each with its line end."""
    yield ",".join(COLUMNS) + "\n"
    steps = 0
    for number in range(1, rows + 1):
        draws = hashlib.sha256(f"{seed}:{number}".encode("ascii")).digest()
        context_tokens = _between(_CONTEXT_TWENTIETHS, int.from_bytes(draws[0:4], "big"))
        generated_tokens = _between(_GENERATED_TWENTIETHS, int.from_bytes(draws[4:8], "big"))
        steps += _between(_GAP_TWENTIETHS, int.from_bytes(draws[8:12], "big"))
        yield f"{_timestamp(steps)},{context_tokens},{generated_tokens}\n"


def _between(twentieths: tuple[int, ...], draw: int) -> int:
    """The value at ``draw`` of 2**32 along the table, on straight lines between its points."""
    scaled = draw * (len(twentieths) - 1)
    index, rest = divmod(scaled, _DRAW_MAX)
    low, high = twentieths[index], twentieths[index + 1]
    return low + (high - low) * rest // _DRAW_MAX


def _timestamp(steps: int) -> str:
    seconds, fraction = divmod(steps, _STEPS_PER_SECOND)
    return f"{_FIRST + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}.{fraction:07d}"
