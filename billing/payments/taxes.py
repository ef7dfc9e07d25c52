"""The seam for a tax engine: what tax is in the amount of a purchase. Without one there is none.

To plug one in (docs/operations.md has the steps): ask it before the row of a purchase is written, add the tax to
``amount_cents`` there, and let :func:`tax_for` put the rate into words. Credits are the net amount, so the tax of a
purchase is what was charged above them, and no receipt can disagree with what the card paid.
"""

from dataclasses import dataclass

from billing.models import Purchase
from billing.money import cents_up_from_nano


@dataclass(frozen=True, slots=True)
class TaxLine:
    """The tax in an amount: the rate in words for the receipt ("VAT 19%"; empty where none is charged), and cents."""

    rate_text: str
    amount_cents: int


def tax_for(*, purchase: Purchase) -> TaxLine:
    """The tax in what the purchase charged: zero as long as no engine added any to its amount.

    Asks nobody: it is called while the account is locked.
    """
    amount_cents = max(purchase.amount_cents - cents_up_from_nano(purchase.credit_nano), 0)
    return TaxLine(rate_text="Tax" if amount_cents else "", amount_cents=amount_cents)


def tax_share_cents(
    *, tax_cents: int, total_cents: int, credited_cents: int, credited_tax_cents: int, cents: int
) -> int:
    """The tax in ``cents`` more of a receipt of which some has been credited already.

    Rounded on the sums, so that notes over all of a receipt credit all of its tax, however many there are.
    """
    share_cents = tax_cents * (credited_cents + cents) // total_cents - credited_tax_cents
    return min(max(share_cents, 0), cents)
