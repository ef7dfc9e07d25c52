"""Computes what a trace of usage costs, from the CSV and a price file alone.

    python -m sandbox.recompute --trace F --prices F --model M [--failed F] [--skip N] [--limit N]

It shares no code with the console, on purpose: fractions instead of integers, its own reading of the files. Each
request costs the exact sum over its token classes, rounded up to a nano-USD.
"""

import argparse
import csv
import json
import math
from fractions import Fraction
from pathlib import Path

MILLION = 1_000_000
NANO_PER_USD = 1_000_000_000


def free_rows(path: Path | None) -> set[int]:
    """The numbers of the rows that failed or were refused, as `replay --failed-out` writes them."""
    if path is None:
        return set()
    with path.open(newline="") as file:
        return {int(record["row"]) for record in csv.DictReader(file)}


def request_cost_nano(context_tokens: int, generated_tokens: int, prices: dict[str, int]) -> int:
    """The cost of one request in nano-USD."""
    exact = Fraction(context_tokens * prices["input"], MILLION) + Fraction(generated_tokens * prices["output"], MILLION)
    return math.ceil(exact)


def main() -> None:
    """Print how many requests are charged, and their cost."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.recompute", description="Recompute the cost of a trace.")
    parser.add_argument("--trace", type=Path, required=True, help="CSV: TIMESTAMP,ContextTokens,GeneratedTokens")
    parser.add_argument("--prices", type=Path, required=True, help="JSON: model, token class, nano-USD per million")
    parser.add_argument("--model", required=True)
    parser.add_argument("--failed", type=Path, help="CSV of the rows that cost nothing, with a column `row`")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    prices = json.loads(options.prices.read_text())[options.model]
    free = free_rows(options.failed)
    end = math.inf if options.limit is None else options.skip + options.limit
    charged = 0
    total_nano = 0
    with options.trace.open(newline="", encoding="utf-8-sig") as file:
        for number, record in enumerate(csv.DictReader(file), start=1):
            if options.skip < number <= end and number not in free:
                charged += 1
                total_nano += request_cost_nano(int(record["ContextTokens"]), int(record["GeneratedTokens"]), prices)
    if options.json:
        print(json.dumps({"charged": charged, "cost_nano": total_nano}))
    else:
        print(f"charged     {charged:,}")
        print(f"total cost  ${total_nano // NANO_PER_USD}.{total_nano % NANO_PER_USD:09d} ({total_nano:,} nano-USD)")


if __name__ == "__main__":
    main()
