"""The credit line, the bars of usage and the outlook: proportions that agree with the amounts beside them."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from billing.credits.queries import LotLine
from billing.views.charts import PLOT_BOTTOM, PLOT_TOP, credit_line, series_of, usage_chart
from billing.views.outlook import outlook

AT = datetime(2026, 11, 24, 14, 32, tzinfo=UTC)
USD = 10**9


def lot(left_nano, *, days=365, kind="purchase"):
    return LotLine(
        id=1,
        kind=kind,
        label="",
        granted_nano=max(left_nano, 1),
        left_nano=left_nano,
        held_nano=0,
        effective_at=AT,
        expires_at=AT + timedelta(days=days),
        purchase_id=None,
    )


def percent(text):
    return float(text.removesuffix("%"))


def test_the_credit_line_is_full_and_in_order_whatever_the_amounts():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    for _ in range(200):
        lots = [lot(source.randrange(1, 10**12)) for _ in range(source.randrange(1, 30))]
        line = credit_line(lots, reload_below_nano=None)
        assert line is not None
        places = [(percent(segment.x), percent(segment.width)) for segment in line.segments]
        assert places[0][0] == 0
        assert places == sorted(places)
        assert 99.5 < places[-1][0] + places[-1][1] <= 100.11


def test_nothing_left_is_no_line():
    assert credit_line([], reload_below_nano=5) is None
    assert credit_line([lot(0)], reload_below_nano=5) is None


@pytest.mark.parametrize(("line_usd", "place"), [(25, "75.00%"), (99, "1.00%"), (100, None), (0, None)])
def test_the_line_of_auto_reload_lies_where_credit_will_be_when_it_fires(line_usd, place):
    line = credit_line([lot(100 * USD)], reload_below_nano=line_usd * USD)
    assert line is not None
    assert line.reload_x == place


def test_bars_stand_on_the_base_inside_the_drawing_and_are_as_high_as_their_cost():
    days = [date(2026, 11, number) for number in range(1, 31)]
    cost = {(day, slug): (day.day * 37 % 11) * USD for day in days for slug in ("a", "b")}
    names = {slug: (slug, sum(nano for (_, own), nano in cost.items() if own == slug)) for slug in ("a", "b")}
    chart = usage_chart(days=days, today=days[-1], series=series_of(names), cost_by_day=cost, requests_by_day={})
    assert chart is not None
    assert chart.highest.cost_nano == 20 * USD
    for bars in chart.days:
        tops = [float(bar.y) for bar in bars.bars]
        assert tops == sorted(tops, reverse=True)
        assert all(PLOT_TOP <= top <= PLOT_BOTTOM for top in tops)
        assert sum(nano for _, nano in bars.cost_by_series) == bars.cost_nano
    assert [line.amount_text for line in chart.grid] == ["$0", "$5", "$10", "$15", "$20"]
    assert [bars.label for bars in chart.days if bars.label] == ["1 Nov", "8 Nov", "15 Nov", "22 Nov", "30 Nov"]


def test_the_axis_of_small_costs_has_the_digits_it_needs():
    days = [date(2026, 11, 1)]
    chart = usage_chart(
        days=days,
        today=days[0],
        series=series_of({"a": ("A", 30_000)}),
        cost_by_day={(days[0], "a"): 30_000},
        requests_by_day={},
    )
    assert chart is not None
    assert [line.amount_text for line in chart.grid] == ["$0", "$0.00001", "$0.00002", "$0.00003"]


def test_a_month_without_cost_has_no_chart():
    day = date(2026, 11, 1)
    assert usage_chart(days=[day], today=day, series=[], cost_by_day={}, requests_by_day={}) is None


def test_credit_lasts_at_the_rate_of_the_last_days():
    result = outlook([lot(70 * USD)], used_nano=70 * USD, at=AT)
    assert result.a_day_nano == 10 * USD
    assert result.lasts_until == AT + timedelta(days=7)
    assert not result.is_wasteful


def test_what_ends_before_it_can_be_used_is_wasted_and_does_not_make_credit_last():
    result = outlook([lot(100 * USD, days=4), lot(20 * USD)], used_nano=70 * USD, at=AT)
    assert result.wasted_nano == 60 * USD
    assert result.lasts_until == AT + timedelta(days=6)


def test_without_use_or_credit_there_is_no_outlook():
    assert outlook([lot(USD)], used_nano=0, at=AT).lasts_until is None
    assert outlook([], used_nano=USD, at=AT).lasts_until is None
