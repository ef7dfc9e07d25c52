"""How templates write money, units and shares. They only format; the arithmetic is in billing.money."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.models import CreditLot
from billing.money import MoneyText, credit_text, dollars_text, exact_text
from billing.views.charts import SWATCHES

register = template.Library()

_UNIT_STEPS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))
_WRITTEN_OUT_BELOW = 100_000


@register.simple_tag
def credit(amount_nano: int) -> SafeString:
    """Credit in nano-USD that somebody has, rounded down, with its quiet digits below the cent."""
    return _html(credit_text(amount_nano))


@register.simple_tag
def owed(amount_nano: int) -> SafeString:
    """An amount in nano-USD that somebody owes or has used, rounded up, with its quiet digits below the cent."""
    return _html(credit_text(amount_nano, is_owed=True))


@register.simple_tag
def exact(amount_nano: int, *, signed: bool = False) -> SafeString:
    """An amount in nano-USD to its last digit, for lists that have to add up; ``signed`` marks what comes in."""
    if signed and amount_nano > 0:
        return format_html('<span class="plus">+{}</span>', _html(exact_text(amount_nano)))
    return _html(exact_text(amount_nano))


@register.filter
def credit_cents(amount_nano: int) -> str:
    """Credit in nano-USD to the cent, rounded down, without the digits below."""
    return credit_text(amount_nano).main


@register.filter
def owed_cents(amount_nano: int) -> str:
    """Cost or debt in nano-USD to the cent, rounded up: a cost of less than a cent is never shown as nothing."""
    cents, rest = divmod(amount_nano, 10**7)
    return dollars_text(cents + bool(rest))


@register.filter
def dollars(amount_cents: int) -> str:
    """Money in cents, "$1,234.50"."""
    return dollars_text(amount_cents)


@register.filter
def units(count: int) -> str:
    """A count of tokens or requests that fits a table: whole below 100,000, then "412 K", "43.1 M", "154 M"."""
    if count < _WRITTEN_OUT_BELOW:
        return f"{count:,}"
    size, letter = next(step for step in _UNIT_STEPS if count >= step[0])
    tenths = count * 10 // size
    whole, tenth = divmod(tenths, 10)
    return f"{whole:,} {letter}" if whole >= 100 else f"{whole}.{tenth} {letter}"


@register.filter
def share(permille: int) -> str:
    """A share in thousandths as percent, "59.7 %"."""
    whole, tenth = divmod(permille, 10)
    return f"{whole}.{tenth} %"


@register.filter
def lot_kind(kind: str) -> str:
    """The kind of a lot as people write it, "Credit purchase"."""
    return str(CreditLot.Kind(kind).label)


@register.filter
def swatch(kind: str) -> str:
    """The colour class of a kind of lot, the same in the credit line and in the list."""
    return SWATCHES[kind]


def _html(text: MoneyText) -> SafeString:
    if not text.sub_cent:
        return format_html("{}", text.main)
    return format_html('{}<span class="sub">{}</span>', text.main, text.sub_cent)
