"""Made traces: the same bytes for the same seed, in the shape of the real one."""

import csv
import hashlib
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from billing.management import traces

DIGEST = "1c4e4db8a351db643c13b6f396a1582848d91e71ebe44f13e8f9580c0b5da991"


def made(*, rows: int, seed: int) -> str:
    output = StringIO()
    call_command("make_trace", rows=rows, seed=seed, stdout=output)
    return output.getvalue()


def test_the_same_seed_makes_the_same_bytes_on_every_machine():
    assert made(rows=50, seed=3) == made(rows=50, seed=3) != made(rows=50, seed=4)
    assert hashlib.sha256(made(rows=1000, seed=1).encode()).hexdigest() == DIGEST


def test_a_longer_trace_begins_with_the_shorter_one():
    assert made(rows=60, seed=3).startswith(made(rows=50, seed=3))


def test_rows_are_in_time_and_within_the_real_traces_range():
    records = list(csv.DictReader(StringIO(made(rows=2000, seed=5))))
    assert len(records) == 2000
    instants = [datetime.fromisoformat(record["TIMESTAMP"]) for record in records]
    assert instants == sorted(instants)
    assert {len(record["TIMESTAMP"]) for record in records} == {27}
    assert {3 <= int(record["ContextTokens"]) <= 7437 for record in records} == {True}
    assert {6 <= int(record["GeneratedTokens"]) <= 1899 for record in records} == {True}


def test_a_made_file_reads_back(tmp_path: Path):
    path = tmp_path / "trace.csv"
    call_command("make_trace", rows=10, seed=1, out=path)
    rows = list(traces.read(path, skip=2, limit=5))
    assert [row.number for row in rows] == [3, 4, 5, 6, 7]
    assert traces.count(path) == 10


def test_an_impossible_number_of_rows_is_refused():
    with pytest.raises(CommandError, match="rows"):
        made(rows=-1, seed=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column TIMESTAMP"),
        ("TIMESTAMP,ContextTokens\n", "no column GeneratedTokens"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01,1\n", "row 1: None"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01,1_0,1\n", "row 1: '1_0'"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01,٣,1\n", "row 1: '٣'"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01,1,9999999999\n", "row 1: '9999999999'"),
    ],
)
def test_a_broken_trace_is_refused_by_row(tmp_path: Path, text: str, message: str):
    path = tmp_path / "broken.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(traces.TraceError, match=message):
        list(traces.read(path))
