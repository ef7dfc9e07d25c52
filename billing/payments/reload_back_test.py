"""What settings of auto-reload would have done in the last 30 days: the books replayed, without the reloads there were.

Usage is taken as it was. What was refused for lack of credit left no trace and is not in it, so with credit there it
might have been more. Expiry, purchases by hand and everything else happen as they did. The brake is not replayed.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings

from billing.credits import statements
from billing.credits.statements import Movement
from billing.money import nano_from_cents
from billing.payments import reload_rules
from billing.payments.reload_rules import DAY, RELOADS_PER_DAY_MAX, month_end, month_start

LOOK_BACK: Final = timedelta(days=30)
# Up to so many entries are replayed one by one; of more, so many steps at even distances.
STEPS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Three numbers to try, in cents."""

    minimum_cents: int
    target_cents: int
    monthly_cap_cents: int


@dataclass(frozen=True, slots=True)
class Charge:
    """A reload that there would have been."""

    at: datetime
    amount_cents: int


@dataclass(frozen=True, slots=True)
class BackTest:
    """What would have been between ``start`` and ``end``.

    ``lowest_nano`` is the lowest that credit would have been; None without any movement. ``capped_at`` is when the
    monthly limit first kept a reload from happening, ``day_limited_at`` when five in 24 hours first did.
    """

    start: datetime
    end: datetime
    has_use: bool
    charges: Sequence[Charge]
    lowest_nano: int | None
    capped_at: datetime | None
    day_limited_at: datetime | None

    @property
    def total_cents(self) -> int:
        """What all charges come to."""
        return sum(charge.amount_cents for charge in self.charges)

    @property
    def days(self) -> int:
        """How many days it looks back, begun ones included."""
        return max(-(-(self.end - self.start) // DAY), 1)

    @property
    def most_in_a_day(self) -> int:
        """The most charges on one day (UTC)."""
        days = [charge.at.astimezone(UTC).date() for charge in self.charges]
        return max((days.count(day) for day in days), default=0)

    @property
    def runs_dry(self) -> bool:
        """Whether credit would have been used up for a moment all the same."""
        return self.lowest_nano is not None and self.lowest_nano <= 0


def back_test(*, organization_id: int, numbers: Settings, at: datetime) -> BackTest:
    """What ``numbers`` would have done in the 30 days before ``at``, or since the first entry. Three queries."""
    start = at - LOOK_BACK
    book = statements.movements_without_reloads(organization_id=organization_id, start=start, end=at, most=STEPS_MAX)
    if book.is_first and book.movements:
        # Before its first entry there was nothing to reload for.
        start = book.movements[0].at
    return replay(
        numbers=numbers,
        opening_nano=book.opening_nano,
        movements=book.movements,
        start=start,
        end=at,
        gap=timedelta(seconds=settings.AUTO_RELOAD_GAP_SECONDS),
        maximum_cents=settings.PURCHASE_MAXIMUM_CENTS,
    )


def replay(
    *,
    numbers: Settings,
    opening_nano: int,
    movements: Sequence[Movement],
    start: datetime,
    end: datetime,
    gap: timedelta,
    maximum_cents: int,
) -> BackTest:
    """Move credit as it moved, and reload as the rules say: after each movement, and when a limit lets it again."""
    run = _Run(numbers, opening_nano, start, gap, maximum_cents)
    for movement in movements:
        run.pass_time(until=movement.at)
        run.move(movement)
    run.pass_time(until=end)
    return BackTest(
        start=start,
        end=end,
        has_use=any(movement.amount_nano < 0 for movement in movements),
        charges=run.charges,
        lowest_nano=run.lowest_nano,
        capped_at=run.capped_at,
        day_limited_at=run.day_limited_at,
    )


class _Run:
    """Credit on its way through the past, and the reloads on it."""

    def __init__(self, numbers: Settings, level_nano: int, now: datetime, gap: timedelta, maximum_cents: int) -> None:
        self.charges: list[Charge] = []
        self.lowest_nano: int | None = None
        self.capped_at: datetime | None = None
        self.day_limited_at: datetime | None = None
        self._numbers = numbers
        self._line_nano = nano_from_cents(numbers.minimum_cents)
        self._level_nano = level_nano
        self._now = now
        self._gap = gap
        self._maximum_cents = maximum_cents

    def move(self, movement: Movement) -> None:
        """Let credit move, and reload at once if that may be."""
        self._now = movement.at
        self._level_nano += movement.amount_nano
        if self.lowest_nano is None or self._level_nano < self.lowest_nano:
            self.lowest_nano = self._level_nano
        self._reload_until(movement.at, is_included=True)

    def pass_time(self, *, until: datetime) -> None:
        """Reload as often as limits that end before ``until`` let it."""
        self._reload_until(until, is_included=False)

    def _reload_until(self, until: datetime, *, is_included: bool) -> None:
        while self._level_nano < self._line_nano:
            charge = self._next_charge()
            if charge is None or charge.at > until or (charge.at == until and not is_included):
                return
            self.charges.append(charge)
            self._level_nano += nano_from_cents(charge.amount_cents)
            self._now = charge.at

    def _next_charge(self) -> Charge | None:
        """The next reload at the present level, and when. None where no month's limit is enough for it."""
        at = self._allowed_at(self._now)
        cents = self._cents(at)
        if cents:
            return Charge(at, cents)
        self.capped_at = self.capped_at or at
        at = self._allowed_at(month_end(at))
        cents = self._cents(at)
        return Charge(at, cents) if cents else None

    def _allowed_at(self, at: datetime) -> datetime:
        """When gap and daily limit let the next reload pass, not before ``at``."""
        if self.charges:
            at = max(at, self.charges[-1].at + self._gap)
        if len(self.charges) >= RELOADS_PER_DAY_MAX:
            free_at = self.charges[-RELOADS_PER_DAY_MAX].at + DAY
            if free_at > at:
                self.day_limited_at = self.day_limited_at or at
                at = free_at
        return at

    def _cents(self, at: datetime) -> int:
        first = bisect_right(self.charges, month_start(at) - timedelta(microseconds=1), key=lambda charge: charge.at)
        return reload_rules.reload_cents(
            reload=self._numbers,
            level_nano=self._level_nano,
            spent_cents=sum(charge.amount_cents for charge in self.charges[first:]),
            maximum_cents=self._maximum_cents,
        )
