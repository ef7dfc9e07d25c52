"""Measures the shipped calls beside their floors and peers, in turns, and prints a ratio for each promised figure.

./run bench [ledger] [--figures NAME,...] [--seconds 2] [--rounds 5] [--charges 100000] [--lots 10] [--scale 1]
    [--seed N]
"""

import argparse
import contextlib
import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from statistics import median

from benchmarks import scenes, server
from benchmarks.figures import FIGURES, Figure, Verdict, decimals, rate
from benchmarks.processes import Measured
from benchmarks.scenes import COMPANIONS, EXTRAS, LABELS, PEERS, SCENES, Sizes, Stage


def main() -> None:
    """Prepare and measure scene by scene, then print the tables and a line of JSON for each figure."""
    options = _options()
    chosen = options.figures
    if any(figure.against in PEERS for figure in chosen) and not scenes.peers_interpreter().exists():
        raise SystemExit("The other ledgers are not installed: ./run bench does it.")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    sizes = _sizes(options)
    print(f"seed {seed}; {sizes}", flush=True)
    measured: dict[str, list[Measured]] = {}
    with server.running() as bench:
        print(f"durability: {json.dumps(server.durability(bench))}", flush=True)
        for name in SCENES:
            figures = [figure for figure in chosen if figure.scene == name]
            if figures:
                measured |= _measure(bench, name, figures, sizes=sizes, seed=seed)
    _report(chosen, measured, sizes=sizes, seed=seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description="Measure the ledger's calls beside their floors.")
    parser.add_argument("what", nargs="?", choices=["ledger"], default="ledger", help="the only benchmark there is")
    parser.add_argument("--figures", type=_figures, default=FIGURES, help="only these figures, separated by commas")
    parser.add_argument("--seconds", type=_positive, default=Fraction(2), help="length of a measurement (default 2)")
    parser.add_argument("--rounds", type=_count, default=5, help="measurements of each figure (default 5)")
    parser.add_argument("--charges", type=_count, default=100_000, help="charges made before (default 100000)")
    parser.add_argument("--lots", type=_count, default=10, help="open lots of an organization (default 10)")
    parser.add_argument(
        "--scale", type=_positive, default=Fraction(1), help="part of the great sizes to make: 0.01 for a short run"
    )
    parser.add_argument("--seed", type=int, default=None, help="repeat a run's numbers")
    return parser.parse_args()


def _figures(text: str) -> tuple[Figure, ...]:
    known = {figure.name: figure for figure in FIGURES}
    unknown = set(text.split(",")) - set(known)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return tuple(known[name] for name in text.split(","))


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _positive(text: str) -> Fraction:
    number = Fraction(text)
    if number <= 0:
        raise ValueError(text)
    return number


def _sizes(options: argparse.Namespace) -> Sizes:
    def scaled(number: int, *, least: int) -> int:
        return max(least, int(number * options.scale))

    due = scaled(10_000, least=10)
    return Sizes(
        milliseconds=int(options.seconds * 1_000),
        rounds=options.rounds,
        charges=options.charges,
        lots=options.lots,
        organizations=scaled(10_000, least=10),
        many_lots=scaled(10_000, least=options.lots * 2),
        few_entries=max(options.lots + 100, scaled(1_000, least=1)),
        many_entries=scaled(1_000_000, least=1_000),
        due_lots=due,
        # Room for the lots that end in each round, whatever the scale.
        all_lots=max(scaled(1_000_000, least=1_000), due * (options.rounds * 2 + 4)),
    )


def _measure(
    bench: server.Bench, name: str, figures: list[Figure], *, sizes: Sizes, seed: int
) -> Mapping[str, list[Measured]]:
    compared = [side for figure in figures for side in figure.sides]
    besides = [companion for side in compared for companion in COMPANIONS.get(side, ())]
    wanted = [*dict.fromkeys([*compared, *besides, *EXTRAS.get(name, ())])]
    started_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        stage = Stage(bench, sizes, seed=seed, stack=stack)
        sides = stack.enter_context(SCENES[name](stage, set(wanted)))
        print(f"{name}: ready after {int(time.monotonic() - started_at)} s ...", file=sys.stderr, flush=True)
        rounds: dict[str, list[Measured]] = {side: [] for side in wanted}
        for side in wanted:
            # Unmeasured: statements get prepared and plans settle.
            sides[side]()
        for number in range(sizes.rounds):
            # Every other round goes backwards, so that a drift of the machine hits all sides alike.
            for side in wanted if number % 2 == 0 else reversed(wanted):
                rounds[side].append(sides[side]())
    print(f"{name}: measured after {int(time.monotonic() - started_at)} s", file=sys.stderr, flush=True)
    return rounds


def _report(chosen: tuple[Figure, ...], measured: Mapping[str, list[Measured]], *, sizes: Sizes, seed: int) -> None:
    """Print what was measured, then the figures, for people; then both for programs."""
    print(f"\n{'medians of ' + str(sizes.rounds):<54} {'side':<26} {'a second':>9} {'server':>8} {'client':>8}")
    for side, values in measured.items():
        label = LABELS[side.partition("_")[0]]
        server_us, client_us = _processor(values, "server_nanoseconds"), _processor(values, "client_nanoseconds")
        print(f"{label:<54} {side:<26} {int(rate(values)):>9,} {_us(server_us):>8} {_us(client_us):>8}")
    print("(server, client: processor time of one charge or read, in microseconds)\n")
    verdicts = [figure.judged(measured) for figure in chosen]
    print(f"{'figure':<54} {'':<26} {'ratio':>9} {'bound':>8} {'met':>8}")
    for verdict in verdicts:
        met = "yes" if verdict.is_met else "NO"
        figure = verdict.figure
        print(f"{figure.text:<54} {figure.name:<26} {decimals(verdict.ratio):>9} {verdict.bound:>8} {met:>8}")
    print()
    _print_lines(verdicts, measured, sizes=sizes, seed=seed)


def _print_lines(verdicts: list[Verdict], measured: Mapping[str, list[Measured]], *, sizes: Sizes, seed: int) -> None:
    for verdict in verdicts:
        print(json.dumps(verdict.line(seed=seed)))
    for side, values in measured.items():
        line = {
            "side": side,
            "per_second": decimals(rate(values)),
            "rounds": [decimals(value.per_second) for value in values],
            "server_microseconds": _processor(values, "server_nanoseconds"),
            "client_microseconds": _processor(values, "client_nanoseconds"),
        }
        print(json.dumps(line))
    print(json.dumps({"run": asdict(sizes), "seed": seed}))


def _processor(values: list[Measured], name: str) -> int | None:
    """Median processor time of one charge, in microseconds."""
    known = [value for measured in values if (value := getattr(measured, name)) is not None]
    return int(median(known)) // 1_000 if known else None


def _us(microseconds: int | None) -> str:
    return "" if microseconds is None else f"{microseconds:,}"


if __name__ == "__main__":
    main()
