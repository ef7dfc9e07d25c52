"""The rules of auto-reload, without any row: how it stands, how much it charges, when the brake pauses it.

Pages, mails, staff and the attempt itself ask here, so that what is said is what is done. Nothing here reads the
database or the clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from billing.models import AutoReload, Purchase, ReloadState
from billing.money import NANO_PER_CENT, cents_up_from_nano, nano_from_cents

RELOADS_PER_DAY_MAX: Final = 5
DAY: Final = timedelta(hours=24)
# What Stripe charges at least (https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).
CHARGE_MINIMUM_CENTS: Final = 50
# The brake compares with the days of this stretch that had any use, once there are so many of them.
USUAL_DAYS: Final = 30
USUAL_DAYS_MIN: Final = 7


class Numbers(Protocol):
    """The three numbers of the settings, as rows and previews have them."""

    @property
    def minimum_cents(self) -> int: ...
    @property
    def target_cents(self) -> int: ...
    @property
    def monthly_cap_cents(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an organization at ``at``, as far as auto-reload depends on it.

    ``level_nano`` is live credit, held included, less debt. ``landing_nano`` is what purchases that are being paid will
    add to it. ``low_cause`` is why a reload is due, empty where none is. ``attempts`` are the beginnings of reloads in
    the last 24 hours, oldest first; ``last_paid_at`` is when the last one that was paid was granted.
    """

    at: datetime
    settings: AutoReload | None
    is_open: bool
    has_card: bool
    has_recipient: bool
    in_flight: Purchase | None
    spent_this_month_cents: int
    attempts: Sequence[datetime]
    last_paid_at: datetime | None
    level_nano: int
    landing_nano: int
    low_cause: str
    charge_maximum_cents: int
    gap: timedelta


@dataclass(frozen=True, slots=True)
class Standing:
    """A state, and the instant at which it ends by itself, where that is known."""

    state: ReloadState
    until: datetime | None = None


def standing(facts: Facts) -> Standing:
    """How auto-reload stands. Only ``ARMED`` may charge.

    What takes a person stands before what only takes time, and the longer wait before the shorter one, so that nobody
    is told of a minute where a month is meant.
    """
    settings = facts.settings
    if facts.in_flight is not None:
        is_waiting = facts.in_flight.state == Purchase.State.NEEDS_CUSTOMER
        return Standing(ReloadState.NEEDS_YOU if is_waiting else ReloadState.CHARGING)
    if settings is None or not settings.is_enabled:
        return Standing(ReloadState.OFF)
    blocked = _blocked(facts, settings)
    if blocked is not None:
        return Standing(blocked)
    is_backing_off = settings.next_attempt_at is not None and settings.next_attempt_at > facts.at
    if is_backing_off and settings.declines:
        return Standing(ReloadState.PAUSED_DECLINED, settings.next_attempt_at)
    if is_capped(facts):
        return Standing(ReloadState.CAPPED, month_end(facts.at))
    waits = [settings.next_attempt_at] if is_backing_off and settings.next_attempt_at else []
    waits += _limits(facts)
    return Standing(ReloadState.COOLING_DOWN, max(waits)) if waits else Standing(ReloadState.ARMED)


def due_cents(facts: Facts) -> int:
    """What to charge now, in cents: enough to land on the target with what is landing anyway; 0 for nothing."""
    if facts.settings is None or not facts.low_cause:
        return 0
    return reload_cents(
        reload=facts.settings,
        level_nano=facts.level_nano + facts.landing_nano,
        spent_cents=facts.spent_this_month_cents,
        maximum_cents=facts.charge_maximum_cents,
        is_refusal=facts.low_cause == "refusal",
    )


def is_capped(facts: Facts) -> bool:
    """Whether the monthly limit, and nothing else, keeps a reload that is due, or any further one, from happening."""
    settings = facts.settings
    if settings is None:
        return False
    if settings.monthly_cap_cents - facts.spent_this_month_cents < CHARGE_MINIMUM_CENTS:
        return True
    if not facts.low_cause or due_cents(facts):
        return False
    return _needed_cents(
        settings, facts.level_nano + facts.landing_nano, facts.charge_maximum_cents, facts.low_cause == "refusal"
    ) >= (CHARGE_MINIMUM_CENTS)


def reload_cents(
    *, reload: Numbers, level_nano: int, spent_cents: int, maximum_cents: int, is_refusal: bool = False
) -> int:
    """What to charge at a level, in cents; 0 where nothing is to be charged.

    The target less the level, rounded up to a cent, at most ``maximum_cents`` in one charge: another follows while
    credit is still below the line. The last reload of a month shrinks to what the cap has left, but only if that lifts
    credit back to the line: less would take the customer's money and leave auto-reload due at once with nothing left
    to charge.
    """
    wanted_cents = _needed_cents(reload, level_nano, maximum_cents, is_refusal)
    left_cents = reload.monthly_cap_cents - spent_cents
    if wanted_cents > left_cents:
        if level_nano + nano_from_cents(left_cents) < nano_from_cents(reload.minimum_cents):
            return 0
        wanted_cents = left_cents
    return wanted_cents if wanted_cents >= CHARGE_MINIMUM_CENTS else 0


def month_start(at: datetime) -> datetime:
    """The first instant of the calendar month (UTC)."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_end(at: datetime) -> datetime:
    """The first instant of the next calendar month (UTC)."""
    return month_start(month_start(at) + timedelta(days=32))


# The brake


@dataclass(frozen=True, slots=True)
class Usage:
    """What the brake looks at: usage of the last 24 hours, and what a day usually costs. Nano-USD.

    ``is_known`` is whether the usual day comes from enough days of use; without them it is one full reload.
    """

    used_nano: int
    usual_nano: int
    is_known: bool

    @property
    def times(self) -> str:
        """How many times the usual day it is, to a tenth, rounded down: "6.2"."""
        return times_text(used_nano=self.used_nano, usual_nano=self.usual_nano)


def times_text(*, used_nano: int, usual_nano: int) -> str:
    """How many times one amount is the other, to a tenth, rounded down; whole from ten on."""
    whole, tenth = divmod(used_nano * 10 // max(usual_nano, 1), 10)
    return f"{whole:,}" if whole >= 10 or not tenth else f"{whole}.{tenth}"


def usage_of(*, used_nano: int, days_nano: Sequence[int], reload: Numbers) -> Usage:
    """Compare 24 hours with the median of the days that had use: ``days_nano``, in any order, the current day not."""
    used_days = sorted(nano for nano in days_nano if nano > 0)
    if len(used_days) < USUAL_DAYS_MIN:
        one_reload_nano = nano_from_cents(reload.target_cents - reload.minimum_cents)
        return Usage(used_nano, one_reload_nano, is_known=False)
    middle = len(used_days) // 2
    median_nano = used_days[middle] if len(used_days) % 2 else (used_days[middle - 1] + used_days[middle]) // 2
    return Usage(used_nano, max(median_nano, 1), is_known=True)


def is_braked(usage: Usage, *, factor: int, floor_cents: int) -> bool:
    """Whether so much use must be confirmed before it is paid for without asking. ``factor`` 0 is no brake."""
    return factor > 0 and usage.used_nano > max(factor * usage.usual_nano, floor_cents * NANO_PER_CENT)


def _blocked(facts: Facts, settings: AutoReload) -> ReloadState | None:
    """What only a person can change."""
    if not facts.is_open:
        return ReloadState.FROZEN
    if not facts.has_card:
        return ReloadState.NO_CARD
    match settings.suspension:
        case AutoReload.Suspension.DISPUTED:
            return ReloadState.PAUSED_DISPUTE
        case AutoReload.Suspension.DECLINED:
            return ReloadState.PAUSED_DECLINED
        case AutoReload.Suspension.BRAKE:
            return ReloadState.PAUSED_BRAKE
    return None if facts.has_recipient else ReloadState.NO_RECIPIENT


def _limits(facts: Facts) -> list[datetime]:
    """When the limits that only take time let the next reload pass, of those that don't now."""
    waits = []
    if len(facts.attempts) >= RELOADS_PER_DAY_MAX:
        waits.append(facts.attempts[-RELOADS_PER_DAY_MAX] + DAY)
    if facts.last_paid_at is not None and facts.last_paid_at + facts.gap > facts.at:
        waits.append(facts.last_paid_at + facts.gap)
    return waits


def _needed_cents(reload: Numbers, level_nano: int, maximum_cents: int, is_refusal: bool) -> int:
    """What a reload would charge if there were no monthly limit; not more than 0 where it needs nothing."""
    if level_nano >= nano_from_cents(reload.minimum_cents) and not is_refusal:
        return 0
    return min(cents_up_from_nano(nano_from_cents(reload.target_cents) - level_nano), maximum_cents)
