"""Measures the shipped charge beside the floor of the same server, in turns, and prints the ratio.

./run bench [--seconds 2] [--rounds 5] [--charges 100000] [--lots 10] [--seed N]
"""

import argparse
import contextlib
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks import server
from benchmarks.server import ROOT, Bench

CLIENTS = 4


class Client:
    """A process that makes charges."""

    def __init__(self, bench: Bench, *, seed: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.client", str(bench.organization_id), seed],
            cwd=ROOT,
            env=bench.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Block until it has loaded Django."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit("A client of the benchmark ended early.")

    def begin(self, operation: str, *, seconds: int) -> None:
        """Let it run."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{operation} {seconds}\n")
        self._process.stdin.flush()

    def per_second(self) -> int:
        """Wait for its end. Charges a second."""
        assert self._process.stdout is not None
        count, microseconds = map(int, self._process.stdout.readline().split())
        return count * 1_000_000 // microseconds

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


@contextlib.contextmanager
def clients(bench: Bench, *, seed: int) -> Iterator[list[Client]]:
    """Processes that are ready to make charges."""
    running = [Client(bench, seed=f"{seed}-{number}") for number in range(CLIENTS)]
    try:
        for client in running:
            client.wait_until_ready()
        yield running
    finally:
        for client in running:
            client.end()


def measured(running: list[Client], operation: str, *, count: int, seconds: int) -> int:
    """Charges a second of ``count`` clients together."""
    for client in running[:count]:
        client.begin(operation, seconds=seconds)
    return sum(client.per_second() for client in running[:count])


def main() -> None:
    """Prepare, measure in turns, print a table and a line of JSON for each figure."""
    parser = argparse.ArgumentParser(prog="./run bench", description="Measure the charge call beside its floor.")
    parser.add_argument("--seconds", type=_positive, default=2, help="length of each measurement (default 2)")
    parser.add_argument("--rounds", type=_positive, default=5, help="measurements of each figure (default 5)")
    parser.add_argument("--charges", type=_positive, default=100_000, help="charges made before (default 100000)")
    parser.add_argument("--lots", type=_positive, default=10, help="open lots (default 10)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run's numbers")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    print(f"seed {seed}; {options.charges:,} charges on {options.lots} lots are made first ...", flush=True)

    started_at = time.monotonic()
    with server.ready(charges=options.charges, lots=options.lots) as bench, clients(bench, seed=seed) as running:
        print(f"ready after {int(time.monotonic() - started_at)} s", flush=True)
        figures = figures_of(bench, running, seconds=options.seconds, seed=seed)
        rounds: dict[str, list[int]] = {name: [] for name in figures}
        for operation in ("charge", "batch"):
            # Unmeasured: statements get prepared and plans settle.
            measured(running, operation, count=CLIENTS, seconds=1)
        for number in range(options.rounds):
            # Every other round goes backwards, so that a drift of the machine hits all figures alike.
            for name in list(figures) if number % 2 == 0 else reversed(figures):
                rounds[name].append(figures[name]())
    report(rounds, seed=seed, options=options)


def figures_of(bench: Bench, running: list[Client], *, seconds: int, seed: int) -> dict[str, Callable[[], int]]:
    """What is measured, by name; each gives charges a second. What is not the ratio itself gets half of the time."""
    half = max(1, seconds // 2)
    # The same seed twice would repeat the keys, and a repeated charge is no charge.
    seeds = itertools.count(seed)
    figures: dict[str, Callable[[], int]] = {}
    for count in (1, CLIENTS):
        figures[f"floor c{count}"] = partial(_pgbench, bench, "floor", count, seconds, seeds)
        figures[f"function c{count}"] = partial(_pgbench, bench, "function", count, half, seeds)
        figures[f"charge c{count}"] = partial(measured, running, "charge", count=count, seconds=seconds)
    figures["batch of 100 c1"] = partial(measured, running, "batch", count=1, seconds=half)
    return figures


def _pgbench(bench: Bench, script: str, count: int, seconds: int, seeds: Iterator[int]) -> int:
    return bench.pgbench(script, clients=count, seconds=seconds, seed=next(seeds))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


LABELS = {
    "floor": "floor: pgbench, UPDATE + INSERT in one statement",
    "function": "the charge function, from pgbench",
    "charge": "the shipped charge call, from Python",
    "batch of 100": "the shipped charge_many, 100 a call, from Python",
}


def report(rounds: dict[str, list[int]], *, seed: int, options: argparse.Namespace) -> None:
    """Print the table for people and the lines for programs."""
    medians = {name: int(statistics.median(values)) for name, values in rounds.items()}
    print(f"\n{'charges a second, medians of ' + str(options.rounds):<52} {'clients':>7} {'median':>8} {'ratio':>6}")
    lines = []
    for name, median in medians.items():
        label, _, count = name.rpartition(" c")
        thousandths = median * 1000 // max(1, medians[f"floor c{count}"])
        ratio = f"{thousandths // 1000}.{thousandths % 1000:03d}"
        print(f"{LABELS[label]:<52} {count:>7} {median:>8,} {ratio:>6}")
        lines.append(
            {
                "figure": name,
                "ratio": ratio,
                "per_second": median,
                "floor_per_second": medians[f"floor c{count}"],
                "rounds": rounds[name],
                "seed": seed,
                "charges_before": options.charges,
                "lots": options.lots,
            }
        )
    print()
    for line in lines:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
