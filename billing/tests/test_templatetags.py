"""How amounts and counts are written on pages."""

import pytest

from billing.templatetags import money


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (513_732_899_999, '$513.73<span class="sub">28</span>'),
        (100 * 10**9, "$100.00"),
        (1, '$0.00<span class="sub">00</span>'),
        (-50_100_000, '−$0.05<span class="sub">01</span>'),
    ],
)
def test_credit_is_rounded_down_with_quiet_digits(nano, text):
    assert money.credit(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "$0.00"), (1, '$0.00<span class="sub">01</span>'), (10_000_000, "$0.01")]
)
def test_what_is_owed_is_rounded_up(nano, text):
    assert money.owed(nano) == text


def test_to_the_cent_the_customer_has_less_and_owes_more():
    assert money.credit_cents(19_999_999) == "$0.01"
    assert money.owed_cents(10_000_001) == "$0.02"
    assert money.owed_cents(10_000_000) == "$0.01"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100 K"),
        (624_321, "624 K"),
        (1_000_000, "1.0 M"),
        (43_199_999, "43.1 M"),
        (154_000_000, "154 M"),
        (2_500_000_000, "2.5 B"),
        (10**15, "1,000 T"),
    ],
)
def test_counts_fit_a_table(count, text):
    assert money.units(count) == text


def test_shares_are_percent():
    assert money.share(597) == "59.7 %"
    assert money.share(1_000) == "100.0 %"


def test_lots_have_names_and_colours():
    for kind, name in (("promotional", "Promotional credit"), ("auto_reload", "Auto-reload")):
        assert money.lot_kind(kind) == name
        assert money.swatch(kind)
