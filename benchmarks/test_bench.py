"""The benchmark runs to its end and prints what a program can read. Its figures are nobody's promise here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_a_short_run_prints_a_ratio_for_each_figure():
    command = [sys.executable, "-m", "benchmarks", "--charges", "200", "--rounds", "1", "--seconds", "1", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["figure"] for line in lines] == [
        "floor c1", "function c1", "charge c1", "floor c4", "function c4", "charge c4", "batch of 100 c1",
    ]  # fmt: skip
    for line in lines:
        assert line["seed"] == 7
        assert line["per_second"] > 0
        assert line["ratio"] == f"{line['per_second'] * 1000 // line['floor_per_second'] / 1000:.3f}"
