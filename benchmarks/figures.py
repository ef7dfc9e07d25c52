"""The figures that the benchmark promises: what stands against what, and the bound of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import median
from typing import Any

from benchmarks.processes import Measured

# What was measured, by side, in the order of the rounds.
Rounds = Mapping[str, Sequence[Measured]]

READS = ("page", "balance", "usage_30_days")
READ_MICROSECONDS_MAX = 10_000
TRANSACTION_MICROSECONDS_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio with a bound. ``side`` and ``against`` are names of what a scene measures."""

    name: str
    scene: str
    side: str
    against: str
    text: str
    at_least: Fraction | None = None
    at_most: Fraction | None = None

    @property
    def sides(self) -> tuple[str, ...]:
        """All that must be measured for it."""
        return (self.side, self.against)

    def judged(self, rounds: Rounds) -> "Verdict":
        """The ratio of the medians of charges a second, and how far single rounds were from it."""
        ratio = rate(rounds[self.side]) / rate(rounds[self.against])
        by_round = [
            one.per_second / other.per_second
            for one, other in zip(rounds[self.side], rounds[self.against], strict=True)
        ]
        details = {
            "side": self.side,
            "per_second": int(rate(rounds[self.side])),
            "against": self.against,
            "against_per_second": int(rate(rounds[self.against])),
            "lowest": decimals(min(by_round)),
            "highest": decimals(max(by_round)),
        }
        return self._verdict(ratio, details=details)

    def _verdict(self, ratio: Fraction, *, details: dict[str, Any], is_met: bool = True) -> "Verdict":
        if self.at_least is not None:
            is_met = is_met and ratio >= self.at_least
        if self.at_most is not None:
            is_met = is_met and ratio <= self.at_most
        return Verdict(self, ratio, is_met, details)


class ReadGrowth(Figure):
    """How many times slower the slowest of the reads gets; each must stay under ten milliseconds besides."""

    @property
    def sides(self) -> tuple[str, ...]:
        """Each read on both organizations."""
        return tuple(f"{read}_{size}" for read in READS for size in ("few", "many"))

    def judged(self, rounds: Rounds) -> "Verdict":
        """The worst of the three."""
        growth = {read: rate(rounds[f"{read}_few"]) / rate(rounds[f"{read}_many"]) for read in READS}
        microseconds = {read: int(1_000_000 / rate(rounds[f"{read}_many"])) for read in READS}
        details = {
            "growth": {read: decimals(ratio) for read, ratio in growth.items()},
            "microseconds": microseconds,
            "microseconds_at_most": READ_MICROSECONDS_MAX,
        }
        is_met = max(microseconds.values()) < READ_MICROSECONDS_MAX
        return self._verdict(max(growth.values()), details=details, is_met=is_met)


class ExpirySweep(Figure):
    """Seconds, not a ratio: the slower of the two shapes. No transaction of any round may outlast its bound."""

    def judged(self, rounds: Rounds) -> "Verdict":
        """The median of the slower shape, and the longest transaction of all rounds."""
        seconds = {
            side: Fraction(int(median(one.microseconds for one in rounds[side])), 1_000_000) for side in self.sides
        }
        longest = max(one.longest_microseconds or 0 for side in self.sides for one in rounds[side])
        details = {
            "seconds": {side: decimals(ratio) for side, ratio in seconds.items()},
            "longest_transaction_microseconds": longest,
            "longest_transaction_microseconds_at_most": TRANSACTION_MICROSECONDS_MAX,
        }
        is_met = longest < TRANSACTION_MICROSECONDS_MAX
        return self._verdict(max(seconds.values()), details=details, is_met=is_met)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure of this run."""

    figure: Figure
    ratio: Fraction
    is_met: bool
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bound(self) -> str:
        """The bound as people read it."""
        if self.figure.at_least is not None:
            return f">= {decimals(self.figure.at_least):g}"
        assert self.figure.at_most is not None
        return f"<= {decimals(self.figure.at_most):g}"

    def line(self, *, seed: int) -> dict[str, Any]:
        """What programs read."""
        bound = "at_least" if self.figure.at_least is not None else "at_most"
        limit = self.figure.at_least if self.figure.at_least is not None else self.figure.at_most
        assert limit is not None
        return {
            "figure": self.figure.name,
            "ratio": decimals(self.ratio),
            bound: decimals(limit),
            "met": self.is_met,
            **self.details,
            "seed": seed,
        }


def rate(measured: Sequence[Measured]) -> Fraction:
    """Median of the rounds, a second."""
    return Fraction(median(one.per_second for one in measured))


def decimals(ratio: Fraction) -> int | float:
    """A number for JSON, to a thousandth. Whether a bound is met is decided before."""
    return round(ratio.numerator / ratio.denominator, 3)


def _at_least(name: str, scene: str, side: str, against: str, bound: str, text: str) -> Figure:
    return Figure(name, scene, side, against, text, at_least=Fraction(bound))


FIGURES: tuple[Figure, ...] = (
    _at_least("charge_hot_c1_vs_floor", "hot", "charge_hot_c1", "floor_hot_c1", "0.40", "charge, hot, 1 client"),
    _at_least("charge_hot_c4_vs_floor", "hot", "charge_hot_c4", "floor_hot_c4", "0.50", "charge, hot, 4 clients"),
    _at_least("charge_wide_c4_vs_floor", "wide", "charge_wide_c4", "floor_wide_c4", "0.33", "charge, wide, 4 clients"),
    _at_least(
        "charge_vs_naive_orm",
        "hot",
        "charge_hot_c4",
        "naive_orm_hot_c4",
        "8",
        "charge against the naive ORM, 4 clients",
    ),
    # With one client each: what a ledger does for a charge, and not how long it keeps its lock through a flush.
    _at_least("charge_vs_nostro", "hot", "charge_hot_c1", "nostro_hot_c1", "3", "charge against hf-nostro, 1 client"),
    _at_least(
        "charge_vs_hordak", "hot", "charge_hot_c1", "hordak_hot_c1", "10", "charge against django-hordak, 1 client"
    ),
    _at_least("batch100_vs_single", "hot", "batch100_hot_c1", "charge_hot_c1", "10", "100 a call against single calls"),
    _at_least("batch100_vs_floor", "hot", "batch100_hot_c1", "floor_hot_c1", "5", "100 a call against the floor"),
    _at_least(
        "authorize_capture_vs_floor",
        "hot",
        "authorize_capture_hot_c1",
        "floor_hot_c1",
        "0.18",
        "authorize and capture against the floor",
    ),
    Figure(
        "charge_growth_lots",
        "lots",
        "charge_lots_few",
        "charge_lots_many",
        "times slower with 10,000 open lots than with 10",
        at_most=Fraction("1.3"),
    ),
    Figure(
        "charge_growth_entries",
        "entries",
        "charge_entries_few",
        "charge_entries_many",
        "times slower after 1,000,000 entries than after 1,000",
        at_most=Fraction("1.3"),
    ),
    ReadGrowth(
        "read_growth",
        "entries",
        "page_few",
        "page_many",
        "reads: times slower with 1,000,000 entries",
        at_most=Fraction(3),
    ),
    ExpirySweep(
        "expiry_sweep_seconds",
        "expiry",
        "expiry_one",
        "expiry_spread",
        "seconds to book 10,000 due lots of 1,000,000",
        at_most=Fraction(1),
    ),
)
