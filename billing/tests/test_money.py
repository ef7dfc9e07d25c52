import pytest

from billing import money


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("25", 2_500),
        ("25.5", 2_550),
        ("$25.00", 2_500),
        (" 0.01 ", 1),
        ("1,000", 100_000),
        ("$1,234,567.89", 123_456_789),
    ],
)
def test_an_amount_as_people_type_it_becomes_cents(text: str, cents: int) -> None:
    assert money.cents_from_text(text) == cents


@pytest.mark.parametrize(
    "text",
    [
        *["", "-1", "+1", "1e3", "1_000", "0x10", "NaN", "inf", "1.234", "1.", ".5", "1,00", "10,00,000", "1 000"],
        *["\u0661\u0662", "\uff11\uff12", "1\x002", "9" * 400, "25 USD", "\u221225", "25\n26"],
    ],
)
def test_what_is_no_plain_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        money.cents_from_text(text)


def test_cents_and_nano_convert_exactly_in_both_directions() -> None:
    assert money.nano_from_cents(1) == 10_000_000
    assert money.cents_down_from_nano(19_999_999) == 1
    assert money.cents_up_from_nano(10_000_001) == 2
    assert money.cents_up_from_nano(10_000_000) == 1


@pytest.mark.parametrize(
    ("nano", "main", "sub_cent"),
    [
        (513_732_812_345, "$513.73", "28"),
        (514_140_000_000, "$514.14", ""),
        (0, "$0.00", ""),
        (1, "$0.00", "00"),
        (1_234_567_000_000_000, "$1,234,567.00", ""),
        (9_999, "$0.00", "00"),
    ],
)
def test_what_a_customer_has_is_shown_rounded_down(nano: int, main: str, sub_cent: str) -> None:
    assert money.credit_text(nano) == money.MoneyText(main, sub_cent)


def test_what_a_customer_owes_is_shown_rounded_up() -> None:
    assert str(money.credit_text(1, is_owed=True)) == "$0.0001"
    assert str(money.credit_text(-1)) == "\u2212$0.0001"
    assert str(money.credit_text(-10_000_000)) == "\u2212$0.01"


def test_dollars_are_written_with_thousands_and_two_digits() -> None:
    assert money.dollars_text(123_450) == "$1,234.50"
    assert money.dollars_text(-5) == "\u2212$0.05"


def test_an_amount_in_a_field_reads_back_as_itself() -> None:
    for cents in (0, 1, 99, 100, 2_550, 1_000_000):
        assert money.cents_from_text(money.plain_dollars(cents)) == cents


def test_machines_get_every_nano() -> None:
    assert money.exact_usd(28_800) == "0.000028800"
    assert money.exact_usd(-1_000_000_001) == "-1.000000001"


@pytest.mark.parametrize(
    ("amount_nano", "main", "quiet"),
    [
        (0, "$0.00", ""),
        (1, "$0.00", "0000001"),
        (28_800, "$0.00", "00288"),
        (-28_801, "−$0.00", "0028801"),
        (10**7, "$0.01", ""),
        (-(10**7) - 1, "−$0.01", "0000001"),
        (1_234_567_990_000_001, "$1,234,567.99", "0000001"),
        (99 * 10**7 + 10**6, "$0.99", "1"),
    ],
)
def test_an_exact_amount_has_all_its_digits_and_no_more(amount_nano, main, quiet):
    text = money.exact_text(amount_nano)
    assert (text.main, text.sub_cent) == (main, quiet)
