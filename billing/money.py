"""Money as integers: the only place where units are converted, parsed and written out.

Credits are nano-USD (1 USD = 10**9), money at the payment processor is cents (1 USD = 100 cents). There are no
floats and no decimals here, so nothing can be off by a rounding. What a customer has is shown rounded down, what a
customer owes rounded up.
"""

import re
from dataclasses import dataclass

NANO_PER_USD = 1_000_000_000
NANO_PER_CENT = NANO_PER_USD // 100
NANO_PER_SUB_CENT_DIGIT = NANO_PER_USD // 10_000
UNITS_PER_PRICE = 1_000_000

_DOLLARS = re.compile(r"\A\$?(?P<dollars>[0-9]{1,9})(?:\.(?P<cents>[0-9]{1,2}))?\Z", re.ASCII)
_PRICE = re.compile(r"\A\$?(?P<dollars>[0-9]{1,6})(?:\.(?P<nano>[0-9]{1,9}))?\Z", re.ASCII)


def nano_from_cents(amount_cents: int) -> int:
    """Credits in nano-USD for an amount of money in cents, exactly."""
    return amount_cents * NANO_PER_CENT


def cents_up_from_nano(amount_nano: int) -> int:
    """The smallest number of cents that covers ``amount_nano``."""
    return -(-amount_nano // NANO_PER_CENT)


def cents_down_from_nano(amount_nano: int) -> int:
    """The largest number of cents that ``amount_nano`` covers."""
    return amount_nano // NANO_PER_CENT


def cents_from_text(text: str) -> int:
    """Parse an amount in dollars as a person types it ("25", "25.5", "$25.00") into cents.

    Only ASCII digits are taken: Python's own number parsing would also accept "1_000", "1e3" and digits of other
    scripts (facts of other systems: a ``DecimalField`` stored all of them).

    Raises:
        ValueError: the text is no such amount.
    """
    match = _DOLLARS.match(text.strip().replace(",", "") if _has_plain_thousands(text) else text.strip())
    if match is None:
        raise ValueError("not an amount in dollars")
    return int(match["dollars"]) * 100 + int((match["cents"] or "0").ljust(2, "0"))


def _has_plain_thousands(text: str) -> bool:
    return re.fullmatch(r"\$?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]{1,2})?", text.strip(), re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class MoneyText:
    """An amount split for display: ``main`` to the cent, ``sub_cent`` the two quiet digits after it or nothing."""

    main: str
    sub_cent: str

    def __str__(self) -> str:
        return self.main + self.sub_cent


def credit_text(amount_nano: int, *, is_owed: bool = False) -> MoneyText:
    """Write an amount of credit with two digits below the cent where they matter.

    Rounds down what the customer has and up what the customer owes, to the hundredth of a cent. An amount that is
    whole cents has no quiet digits.
    """
    sign = "−" if amount_nano < 0 else ""
    size_nano = abs(amount_nano)
    # Rounding down a negative holding rounds its size up.
    rounds_up = is_owed != (amount_nano < 0)
    digits = -(-size_nano // NANO_PER_SUB_CENT_DIGIT) if rounds_up else size_nano // NANO_PER_SUB_CENT_DIGIT
    dollars, rest = divmod(digits, 10_000)
    cents, sub_cent = divmod(rest, 100)
    return MoneyText(f"{sign}${dollars:,}.{cents:02d}", f"{sub_cent:02d}" if size_nano % NANO_PER_CENT else "")


def exact_text(amount_nano: int) -> MoneyText:
    """Write an amount to its last nano, with as many quiet digits below the cent as that takes.

    Nothing is rounded, so amounts that are shown one below the other add up to the sum that is shown.
    """
    sign = "−" if amount_nano < 0 else ""
    cents, rest = divmod(abs(amount_nano), NANO_PER_CENT)
    dollars, cents = divmod(cents, 100)
    return MoneyText(f"{sign}${dollars:,}.{cents:02d}", f"{rest:07d}".rstrip("0"))


def dollars_text(amount_cents: int) -> str:
    """Write an amount of money in cents as dollars, "$1,234.50"."""
    sign = "−" if amount_cents < 0 else ""
    dollars, cents = divmod(abs(amount_cents), 100)
    return f"{sign}${dollars:,}.{cents:02d}"


def plain_dollars(amount_cents: int) -> str:
    """Write an amount for an input field: "25" or "25.50", as :func:`cents_from_text` reads it."""
    dollars, cents = divmod(amount_cents, 100)
    return f"{dollars}.{cents:02d}" if cents else str(dollars)


def exact_usd(amount_nano: int) -> str:
    """Write an amount to its last nano, "0.000028800", for machines and proofs."""
    dollars, nano = divmod(abs(amount_nano), NANO_PER_USD)
    return f"{'-' if amount_nano < 0 else ''}{dollars}.{nano:09d}"


def nano_from_text(text: str) -> int:
    """Parse an amount in dollars with up to nine decimals ("3", "0.30", "$0.000000001") into nano-USD, exactly.

    Raises:
        ValueError: the text is no such amount.
    """
    match = _PRICE.match(text.strip())
    if match is None:
        raise ValueError("not an amount in dollars with at most nine decimals")
    return int(match["dollars"]) * NANO_PER_USD + int((match["nano"] or "0").ljust(9, "0"))


def plain_usd(amount_nano: int) -> str:
    """Write an amount, not negative, with as many decimals as it needs and at least two: "3.00", "0.000000001"."""
    dollars, nano = divmod(amount_nano, NANO_PER_USD)
    return f"{dollars}.{f'{nano:09d}'.rstrip('0').ljust(2, '0')}"
