"""The months that a page lets its reader choose from. Months are UTC's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.http import Http404

from billing.forms import month_from_text

MONTHS_LISTED = 24


@dataclass(frozen=True, slots=True)
class Choice:
    """A month to choose, named by ``value`` in the address."""

    value: str
    first_day: date


@dataclass(frozen=True, slots=True)
class Months:
    """The chosen month, ``[start, end)``, and its neighbours; ``older`` and ``newer`` are empty at the ends."""

    start: datetime
    end: datetime
    is_this_month: bool
    value: str
    choices: Sequence[Choice]
    older: str
    newer: str

    @property
    def first_day(self) -> date:
        """The first day of the chosen month."""
        return self.start.date()


def chosen_month(asked: str, *, first_at: datetime, at: datetime) -> Months:
    """The month that the query string asks for, by default the one of ``at``; none before that of ``first_at``.

    Raises:
        Http404: it asks for something else.
    """
    this_month, first_month = month_start(at), month_start(first_at)
    start = month_from_text(asked) if asked else this_month
    if start is None or not first_month <= start <= this_month:
        raise Http404
    end, older = next_month(start), month_start(start - timedelta(days=1))
    choices = _listed(first_month, this_month)
    chosen = Choice(_value(start), start.date())
    return Months(
        start=start,
        end=end,
        is_this_month=start == this_month,
        value=chosen.value,
        choices=choices if chosen in choices else [*choices, chosen],
        older=_value(older) if older >= first_month else "",
        newer=_value(end) if end <= this_month else "",
    )


def month_start(at: datetime) -> datetime:
    """The first instant of the month of ``at``."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(start: datetime) -> datetime:
    """The first instant of the month after the one that begins at ``start``."""
    return month_start(start + timedelta(days=32))


def _listed(first: datetime, last: datetime) -> list[Choice]:
    """The months to choose from, newest first."""
    listed: list[Choice] = []
    start = last
    while start >= first and len(listed) < MONTHS_LISTED:
        listed.append(Choice(_value(start), start.date()))
        start = month_start(start - timedelta(days=1))
    return listed


def _value(start: datetime) -> str:
    return start.strftime("%Y-%m")
