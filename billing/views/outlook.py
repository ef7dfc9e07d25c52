"""How long the credit lasts, at the average of the last days. An estimate for people; nothing is decided by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.credits.queries import LotLine
from billing.money import NANO_PER_CENT

LOOK_BACK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Outlook:
    """``a_day_nano`` is the average; ``wasted_nano`` what will have expired before it could be used at that rate."""

    a_day_nano: int
    lasts_until: datetime | None
    wasted_nano: int

    @property
    def is_wasteful(self) -> bool:
        """Whether it is worth telling: a cent or more."""
        return self.wasted_nano >= NANO_PER_CENT


def outlook(lots: Sequence[LotLine], *, used_nano: int, at: datetime) -> Outlook:
    """Burn ``lots`` in their order at the rate of ``used_nano`` in LOOK_BACK; what reaches its end first is wasted."""
    a_day_nano = used_nano // LOOK_BACK.days
    if used_nano <= 0 or not lots:
        return Outlook(a_day_nano, None, 0)
    span = LOOK_BACK // timedelta(seconds=1)
    now, wasted_nano = at, 0
    for lot in lots:
        seconds_left = max((lot.expires_at - now) // timedelta(seconds=1), 0)
        usable_nano = used_nano * seconds_left // span
        if usable_nano < lot.left_nano:
            wasted_nano += lot.left_nano - usable_nano
            now = max(lot.expires_at, now)
        else:
            now += timedelta(seconds=lot.left_nano * span // used_nano)
    return Outlook(a_day_nano, now, wasted_nano)
