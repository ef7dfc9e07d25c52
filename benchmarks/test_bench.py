"""The benchmark runs to its end and prints what a program can read. Its figures are nobody's promise here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scenes
from benchmarks.figures import FIGURES

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--charges", "100", "--rounds", "1", "--seconds", "1/10", "--scale", "0.001", "--seed", "7"]
PEERS = [figure for figure in FIGURES if figure.against.startswith(tuple(scenes.PEERS))]


def run(figures):
    """What a small run of these figures prints, as lines of JSON and as text."""
    chosen = ",".join(figure.name for figure in figures)
    command = [sys.executable, "-m", "benchmarks", "ledger", *SMALL, "--figures", chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stdout


@pytest.mark.slow
def test_a_small_run_prints_a_ratio_and_its_bound_for_each_figure():
    figures = [figure for figure in FIGURES if figure not in PEERS]
    lines, text = run(figures)
    printed = [line for line in lines if "figure" in line]
    assert [line["figure"] for line in printed] == [figure.name for figure in figures]
    for figure, line in zip(figures, printed, strict=True):
        assert line["seed"] == 7
        assert line["ratio"] > 0
        bound, value = ("at_least", figure.at_least) if figure.at_least is not None else ("at_most", figure.at_most)
        assert line[bound] == float(value)
        keeps = line["ratio"] >= line[bound] if bound == "at_least" else line["ratio"] <= line[bound]
        assert line["met"] is (keeps and is_within_times(line))
    measured = {line["side"]: line for line in lines if "side" in line and "figure" not in line}
    assert {side for figure in figures for side in figure.sides} <= set(measured)
    assert {"function_hot_c1", "function_hot_c4", "function_wide_c4"} <= set(measured)
    assert all(len(line["rounds"]) == 1 and line["per_second"] > 0 for line in measured.values())
    assert '"fsync": "on", "synchronous_commit": "on"' in text


def is_within_times(line):
    """Whether the times that some figures have besides their ratio keep their bound."""
    reads, sweep = line.get("microseconds", {}), line.get("longest_transaction_microseconds", 0)
    return all(taken < line["microseconds_at_most"] for taken in reads.values()) and (
        not sweep or sweep < line["longest_transaction_microseconds_at_most"]
    )


@pytest.mark.slow
@pytest.mark.skipif(not scenes.peers_interpreter().exists(), reason="./run bench installs the other ledgers")
def test_the_other_ledgers_are_measured_from_an_environment_of_their_own():
    lines, _text = run(PEERS)
    assert [line["figure"] for line in lines if "figure" in line] == ["charge_vs_nostro", "charge_vs_hordak"]
    assert all(line["per_second"] > 0 for line in lines if "side" in line)


def test_every_figure_of_the_table_is_there_once_with_one_bound():
    names = [figure.name for figure in FIGURES]
    assert len(names) == len(set(names)) == 13
    assert all((figure.at_least is None) is not (figure.at_most is None) for figure in FIGURES)
    assert {figure.scene for figure in FIGURES} == set(scenes.SCENES)


def test_an_unknown_figure_is_refused_with_the_names_of_the_known_ones():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--figures", "charge_hot_c9_vs_floor"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "charge_hot_c1_vs_floor" in done.stderr
