"""The geometry of the two drawings: the credit line and the bars of usage. Integers in, strings for SVG out.

Positions across are in percent, so that a drawing fits any width without a script or an inline style.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from billing.credits.queries import LotLine
from billing.money import NANO_PER_USD

LINE_GAP = 40
PERCENT = 10_000

PLOT_TOP = 10
PLOT_BOTTOM = 216
PLOT_HEIGHT = PLOT_BOTTOM - PLOT_TOP
AXIS_CHARACTER = 8
COLOURED_MODELS = 3

SWATCHES: Mapping[str, str] = {
    "promotional": "promotional",
    "auto_reload": "reload",
    "purchase": "purchase",
    "adjustment": "correction",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """One lot in the credit line."""

    lot: LotLine
    swatch: str
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class CreditLine:
    """Lots from left (spent next) to right (spent last), and where the line of auto-reload lies."""

    segments: Sequence[Segment]
    reload_x: str | None
    reload_anchor: str


def credit_line(lots: Sequence[LotLine], *, reload_below_nano: int | None) -> CreditLine | None:
    """Draw live lots in proportion to what is left of them; None when nothing is left.

    The mark of auto-reload is as far from the right end as its line is from zero. It is left out where credit is
    already below it.
    """
    total_nano = sum(lot.left_nano for lot in lots)
    if total_nano <= 0:
        return None
    room = PERCENT - LINE_GAP * (len(lots) - 1)
    if room <= 0:
        return None
    segments = []
    before_nano = 0
    for place, lot in enumerate(lots):
        start = before_nano * room // total_nano + LINE_GAP * place
        before_nano += lot.left_nano
        end = before_nano * room // total_nano + LINE_GAP * place
        segments.append(Segment(lot, SWATCHES[lot.kind], _percent(start), _percent(max(end - start, 10))))
    reload_x = None
    anchor = "middle"
    if reload_below_nano is not None and 0 < reload_below_nano < total_nano:
        mark = PERCENT - reload_below_nano * PERCENT // total_nano
        reload_x = _percent(mark)
        anchor = "end" if mark > PERCENT // 2 else "start"
    return CreditLine(segments, reload_x, anchor)


@dataclass(frozen=True, slots=True)
class Bar:
    """One model's part of a day."""

    colour: str
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class DayBars:
    """One day of the chart. ``cost_by_series`` has the same order as the series."""

    day: date
    x: str
    width: str
    middle: str
    bars: Sequence[Bar]
    cost_nano: int
    requests: int
    cost_by_series: Sequence[tuple["Series", int]]
    is_open: bool
    label: str = ""
    label_anchor: str = "middle"
    label_x: str = "0%"


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of the chart: a model, or all the models beyond the first few."""

    name: str
    colour: str
    cost_nano: int
    model_slugs: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class GridLine:
    """A horizontal line with the amount it stands for."""

    y: str
    text_y: str
    amount_text: str
    is_base: bool


@dataclass(frozen=True, slots=True)
class Weekend:
    """A shaded stretch of the calendar."""

    x: str
    width: str


@dataclass(frozen=True, slots=True)
class UsageChart:
    """Cost by day, stacked by model."""

    series: Sequence[Series]
    days: Sequence[DayBars]
    grid: Sequence[GridLine]
    weekends: Sequence[Weekend]
    highest: DayBars
    axis_width: int


def series_of(cost_by_model: Mapping[str, tuple[str, int]]) -> list[Series]:
    """The colours: the most expensive models in the order of their cost, the rest as one.

    ``cost_by_model`` maps a model's slug to its name and cost.
    """
    ranked = sorted(cost_by_model.items(), key=lambda item: (-item[1][1], item[0]))
    series = [
        Series(name, f"c{place}", cost_nano, frozenset({slug}))
        for place, (slug, (name, cost_nano)) in enumerate(ranked[:COLOURED_MODELS], start=1)
    ]
    rest = ranked[COLOURED_MODELS:]
    if rest:
        cost_nano = sum(cost for _, (_, cost) in rest)
        series.append(Series("Other models", "c4", cost_nano, frozenset(slug for slug, _ in rest)))
    return series


def usage_chart(
    *,
    days: Sequence[date],
    today: date,
    series: Sequence[Series],
    cost_by_day: Mapping[tuple[date, str], int],
    requests_by_day: Mapping[date, int],
) -> UsageChart | None:
    """Lay out one bar a day; None when nothing was spent. ``cost_by_day`` maps (day, model slug) to nano-USD."""
    totals = {day: sum(cost_by_day.get((day, slug), 0) for one in series for slug in one.model_slugs) for day in days}
    peak_nano = max(totals.values(), default=0)
    if peak_nano <= 0:
        return None
    step_nano, step_count = _steps(peak_nano)
    top_nano = step_nano * step_count
    slot = PERCENT * 100 // len(days)
    bars = []
    for place, day in enumerate(days):
        costs = [(one, sum(cost_by_day.get((day, slug), 0) for slug in one.model_slugs)) for one in series]
        x = slot * place
        label, anchor, label_x = _day_label(place, day, len(days), x, slot)
        bars.append(
            DayBars(
                day=day,
                x=_fine_percent(x + slot * 16 // 100),
                width=_fine_percent(slot * 68 // 100),
                middle=_fine_percent(x + slot // 2),
                bars=_stack(costs, top_nano),
                cost_nano=totals[day],
                requests=requests_by_day.get(day, 0),
                cost_by_series=costs,
                is_open=day == today,
                label=label,
                label_anchor=anchor,
                label_x=label_x,
            )
        )
    grid = [
        GridLine(
            y=_pixels(_y(step_nano * index, top_nano)),
            text_y=_pixels(_y(step_nano * index, top_nano) + 40),
            amount_text=_axis_text(step_nano * index),
            is_base=index == 0,
        )
        for index in range(step_count + 1)
    ]
    return UsageChart(
        series=series,
        days=bars,
        grid=grid,
        weekends=_weekends(days, slot),
        highest=max(bars, key=lambda bar: bar.cost_nano),
        axis_width=max(len(line.amount_text) for line in grid) * AXIS_CHARACTER + 4,
    )


def _stack(costs: Sequence[tuple[Series, int]], top_nano: int) -> list[Bar]:
    """The parts of one bar from the bottom up. A cost too small to see is drawn as a line all the same."""
    parts = []
    below_nano = 0
    for one, cost_nano in costs:
        if cost_nano <= 0:
            continue
        bottom = _y(below_nano, top_nano)
        below_nano += cost_nano
        top = _y(below_nano, top_nano)
        # A gap of one pixel tells the colours apart without relying on them.
        parts.append(Bar(one.colour, _pixels(top), _pixels(max(bottom - top - 10, 8))))
    return parts


def _steps(peak_nano: int) -> tuple[int, int]:
    """A round step and the number of steps that reach the peak: at most six lines."""
    unit = 1
    while True:
        for factor in (1, 2, 5):
            step = unit * factor
            if step * 5 >= peak_nano:
                return step, -(-peak_nano // step)
        unit *= 10


def _day_label(place: int, day: date, count: int, x: int, slot: int) -> tuple[str, str, str]:
    text = f"{day.day} {day:%b}"
    if place == 0:
        return text, "start", "0%"
    if place == count - 1:
        return text, "end", "100%"
    if day.day % 7 == 1 and count - place > 3:
        return text, "middle", _fine_percent(x + slot // 2)
    return "", "middle", "0%"


def _weekends(days: Sequence[date], slot: int) -> list[Weekend]:
    runs: list[list[int]] = []
    for place, day in enumerate(days):
        if day.weekday() < 5:
            continue
        if runs and runs[-1][1] == place - 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return [Weekend(_fine_percent(slot * first), _fine_percent(slot * (last - first + 1))) for first, last in runs]


def _axis_text(amount_nano: int) -> str:
    """An amount beside the axis: whole dollars, or with as many digits as it needs but at least the cents."""
    whole, nano = divmod(amount_nano, NANO_PER_USD)
    if not nano:
        return f"${whole:,}"
    return f"${whole:,}.{f'{nano:09d}'.rstrip('0').ljust(2, '0')}"


def _y(amount_nano: int, top_nano: int) -> int:
    """Tenths of a pixel from the top of the drawing."""
    return PLOT_BOTTOM * 10 - amount_nano * PLOT_HEIGHT * 10 // top_nano


def _pixels(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"


def _percent(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}%"


def _fine_percent(ten_thousandths: int) -> str:
    return f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}%"
