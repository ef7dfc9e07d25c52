"""What pages and the gate read about credits. Nothing here writes or locks."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection

from billing.credits import sql
from billing.models import TokenClass

DAY_SECONDS: Final = 86_400
# The classes that days of usage have a column for, in the order in which they are read.
_KNOWN_CLASSES: Final = (
    TokenClass.INPUT.value,
    TokenClass.CACHE_WRITE.value,
    TokenClass.CACHE_READ.value,
    TokenClass.OUTPUT.value,
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What an organization has at an instant, in nano-USD, from one snapshot of the database.

    ``balance_nano`` is live credit, held included. ``available_nano`` is what a new request may use: balance less
    held less debt; it is negative while there is debt.
    """

    counted_at: datetime
    balance_nano: int
    held_nano: int
    open_holds: int
    debt_nano: int
    available_nano: int
    state: str
    reload_below_nano: int | None
    low_at: datetime | None

    @property
    def is_blocked(self) -> bool:
        """Whether new requests are refused for lack of credit."""
        return self.available_nano <= 0


@dataclass(frozen=True, slots=True)
class LotLine:
    """A lot as its owner reads it. ``left_nano`` includes what open holds have reserved from it."""

    id: int
    kind: str
    label: str
    granted_nano: int
    left_nano: int
    held_nano: int
    effective_at: datetime
    expires_at: datetime
    purchase_id: int | None

    @property
    def percent_left(self) -> int:
        """Whole percent of the lot that is left, rounded down."""
        return self.left_nano * 100 // self.granted_nano


@dataclass(frozen=True, slots=True)
class UsageLine:
    """Usage of one model on one day (UTC): requests, units by token class, cost in nano-USD."""

    day: date
    model_slug: str
    model_name: str
    requests: int
    quantities: dict[str, int]
    cost_nano: int


@dataclass(frozen=True, slots=True)
class KeyLine:
    """Usage of one of the customer's keys, as the gateway named it; empty where it named none."""

    key_ref: str
    requests: int
    cost_nano: int


def done_before(asked: Sequence[tuple[int, str]], *, is_hold: bool) -> set[tuple[int, str]]:
    """Of these organizations and idempotency keys those under which a hold, or else a charge, was made."""
    table = "billing_hold" if is_hold else "billing_charge"
    with connection.cursor() as cursor:
        cursor.execute(
            "select d.organization_id, d.idempotency_key from unnest(%s::bigint[], %s::text[]) a (organization_id, key)"
            f" join {table} d on d.organization_id = a.organization_id and d.idempotency_key = a.key",
            [[organization_id for organization_id, _ in asked], [key for _, key in asked]],
        )
        return set(cursor.fetchall())


def summary(*, organization_id: int, at: datetime | None = None) -> Summary:
    """What the organization has at ``at``, by default now by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("select * from credits_summary(%s, %s)", [organization_id, at])
        return Summary(*cursor.fetchone())


def summaries(*, organization_ids: Sequence[int]) -> dict[int, Summary]:
    """What each of these organizations has now, by id, in one statement; for lists of at most a page."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select o.id, s.* from unnest(%s::bigint[]) as o(id), lateral credits_summary(o.id, null) as s",
            [list(organization_ids)],
        )
        return {organization_id: Summary(*rest) for organization_id, *rest in cursor.fetchall()}


def burn_order() -> str:
    """The order in which credit is spent, as ``burn_order.sql`` has it: what burns and what is shown can't differ."""
    (order,) = re.findall(r"^ *order by (.+)$", sql.read("burn_order"), re.MULTILINE)
    return str(order)


_HELD_BY_LOT = """
  select part.lot_id, sum(part.nano)::bigint as nano
  from billing_hold h, unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano)
  where h.organization_id = %(organization_id)s and h.state = 'open' and h.expires_at > %(at)s
  group by part.lot_id
"""

_LIVE_LOTS = f"""
  with held as ({_HELD_BY_LOT}),
  lapsed as (
    select part.lot_id, sum(part.nano)::bigint as nano
    from billing_hold h, unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano)
    where h.organization_id = %(organization_id)s and h.state = 'open' and h.expires_at <= %(at)s
    group by part.lot_id
  )
  select l.id, l.kind, l.label, l.granted_nano,
    (case when l.expires_at > %(at)s then l.remaining_nano + coalesce(lapsed.nano, 0) else 0 end)
      + coalesce(held.nano, 0) as left_nano,
    coalesce(held.nano, 0), l.effective_at, l.expires_at, l.purchase_id
  from credits_lots(%(organization_id)s) l
  left join held on held.lot_id = l.id left join lapsed on lapsed.lot_id = l.id
  where l.effective_at <= %(at)s
    and ((l.is_open and l.expires_at > %(at)s) or held.nano > 0 or (lapsed.nano > 0 and l.expires_at > %(at)s))
  order by {burn_order()}
  limit %(limit)s
"""


def live_lots(*, organization_id: int, at: datetime, limit: int = 100) -> list[LotLine]:
    """The lots that make up the balance at ``at``, in burn order."""
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_LOTS, {"organization_id": organization_id, "at": at, "limit": limit})
        return [LotLine(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class EndedLot:
    """A lot that is used up or past its end. ``expired_nano`` is what went unused.

    ``returned_nano`` of that came back to it only after its end: held credit that was not needed, or a charge that was
    given back. ``taken_back_nano`` was taken back for a refund or a disputed payment, and nothing has undone that.
    """

    id: int
    kind: str
    label: str
    granted_nano: int
    expired_nano: int
    effective_at: datetime
    expires_at: datetime
    purchase_id: int | None
    returned_nano: int
    taken_back_nano: int


_ENDED_LOTS = """
  with reserved as (
    select part.lot_id,
      coalesce(sum(part.nano) filter (where h.expires_at > %(at)s), 0)::bigint as held_nano,
      coalesce(sum(part.nano) filter (where h.expires_at <= %(at)s), 0)::bigint as lapsed_nano
    from billing_hold h, unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano)
    where h.organization_id = %(organization_id)s and h.state = 'open'
    group by part.lot_id
  )
  select l.id, l.kind, l.label, l.granted_nano,
    ((case when l.expires_at <= %(at)s then l.remaining_nano + coalesce(r.lapsed_nano, 0) else 0 end)
      + booked.expired_nano)::bigint,
    l.effective_at, l.expires_at, l.purchase_id,
    (case when l.expires_at <= %(at)s then coalesce(r.lapsed_nano, 0) else 0 end + booked.returned_nano)::bigint,
    booked.taken_back_nano::bigint
  from credits_lots(%(organization_id)s) l left join reserved r on r.lot_id = l.id
  cross join lateral (
    select coalesce(-sum(e.amount_nano) filter (where e.kind in ('expiry', 'return_expired')), 0) as expired_nano,
      coalesce(-sum(e.amount_nano) filter (where e.kind = 'return_expired'), 0) as returned_nano,
      coalesce(-sum(e.amount_nano) filter (where 'take_back' in (e.kind, undone.kind)), 0) as taken_back_nano
    from billing_ledgerentry e left join billing_ledgerentry undone
      on undone.organization_id = e.organization_id and undone.seq = e.reverses_seq
    where e.organization_id = %(organization_id)s and e.lot_id = l.id
      and e.kind in ('expiry', 'return_expired', 'take_back', 'reversal')
  ) booked
  where coalesce(r.held_nano, 0) = 0
    and (l.expires_at <= %(at)s or (not l.is_open and coalesce(r.lapsed_nano, 0) = 0))
    and (%(before_id)s::bigint is null or l.id < %(before_id)s)
  order by l.id desc
  limit %(limit)s
"""


def ended_lots(*, organization_id: int, at: datetime, before_id: int | None = None, limit: int = 20) -> list[EndedLot]:
    """Used up and expired lots, newest first; the next page begins before the id of the last."""
    parameters: dict[str, Any] = {"organization_id": organization_id, "at": at, "before_id": before_id, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_ENDED_LOTS, parameters)
        return [EndedLot(*row) for row in cursor.fetchall()]


_USAGE = """
  select d.day, m.slug, m.name, sum(d.requests)::bigint, sum(d.input_units)::bigint, sum(d.cache_write_units)::bigint,
    sum(d.cache_read_units)::bigint, sum(d.output_units)::bigint,
    coalesce(array_agg(d.other_units) filter (where d.other_units <> '{}'), '{}'),
    sum(d.amount_nano - d.reversed_nano)::bigint
  from billing_usageday d join billing_pricedmodel m on m.id = d.priced_model_id
  where d.organization_id = %(organization_id)s and d.day between %(first)s and %(last)s
    and (%(surface)s::text is null or d.surface = %(surface)s)
  group by d.day, m.slug, m.name
  order by d.day, m.slug
"""

_USAGE_BY_KEY = """
  select d.key_ref, sum(d.requests)::bigint, sum(d.amount_nano - d.reversed_nano)::bigint as nano
  from billing_usageday d
  where d.organization_id = %(organization_id)s and d.day between %(first)s and %(last)s
    and (%(surface)s::text is null or d.surface = %(surface)s)
  group by d.key_ref
  order by nano desc, d.key_ref
  limit %(limit)s
"""


def usage_by_day_and_model(
    *, organization_id: int, start: datetime, end: datetime, surface: str | None = None
) -> list[UsageLine]:
    """What was used on the days (UTC) that ``[start, end)`` touches, by the day on which requests began and by model.

    Whole days, read from their sums: however much was used, a day costs the same to read.
    """
    with connection.cursor() as cursor:
        cursor.execute(_USAGE, _days(organization_id, start, end) | {"surface": surface})
        return [
            UsageLine(day, slug, name, requests, _quantities(known, others), nano)
            for day, slug, name, requests, *known, others, nano in cursor.fetchall()
        ]


def usage_by_key(
    *, organization_id: int, start: datetime, end: datetime, surface: str | None = None, limit: int = 20
) -> list[KeyLine]:
    """The same by the name of the customer's key, the most expensive ``limit`` of them first."""
    with connection.cursor() as cursor:
        cursor.execute(_USAGE_BY_KEY, _days(organization_id, start, end) | {"surface": surface, "limit": limit})
        return [KeyLine(*row) for row in cursor.fetchall()]


def cost_nano(*, organization_id: int, start: datetime, end: datetime) -> int:
    """What usage cost that began on the days (UTC) that ``[start, end)`` touches, less what was given back of it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(sum(amount_nano - reversed_nano), 0)::bigint from billing_usageday"
            " where organization_id = %(organization_id)s and day between %(first)s and %(last)s",
            _days(organization_id, start, end),
        )
        (total,) = cursor.fetchone()
    return int(total)


def cost_by_day(*, organization_id: int, start: datetime, end: datetime) -> list[int]:
    """What usage cost on each day (UTC) from the one of ``start`` to the one before that of ``end``, in order.

    Days without usage are left out. The day of ``end`` itself, which is not over, is not among them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select sum(amount_nano - reversed_nano)::bigint from billing_usageday"
            " where organization_id = %s and day >= %s and day < %s group by day order by day",
            [organization_id, start.astimezone(UTC).date(), end.astimezone(UTC).date()],
        )
        return [nano for (nano,) in cursor.fetchall()]


def recent_cost_nano(*, organization_id: int, at: datetime, days: int) -> int:
    """About what usage of the last ``days`` times 24 hours cost: of the oldest day, the part that is within them.

    For estimates. Nothing is known of the hours of a day, so its usage is taken as spread evenly.
    """
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    seconds_left = DAY_SECONDS - (at - day) // timedelta(seconds=1)
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(sum(amount_nano - reversed_nano) filter (where day > %(oldest)s), 0)::bigint,"
            " coalesce(sum(amount_nano - reversed_nano) filter (where day = %(oldest)s), 0)::bigint"
            " from billing_usageday where organization_id = %(organization_id)s and day >= %(oldest)s",
            {"organization_id": organization_id, "oldest": (day - timedelta(days=days)).date()},
        )
        newer_nano, oldest_nano = cursor.fetchone()
    return int(newer_nano + oldest_nano * seconds_left // DAY_SECONDS)


def debt_paid_by_grant_nano(*, organization_id: int, lot_id: int) -> int:
    """How much of a lot paid debt in the moment in which it was granted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(-sum(amount_nano), 0)::bigint from billing_ledgerentry where organization_id = %s"
            " and lot_id = %s and kind = 'debt_payment' and cause_kind = 'lot' and cause_id = lot_id",
            [organization_id, lot_id],
        )
        (paid_nano,) = cursor.fetchone()
    return int(paid_nano)


def _days(organization_id: int, start: datetime, end: datetime) -> dict[str, Any]:
    last = (end - timedelta(microseconds=1)).astimezone(UTC).date()
    return {"organization_id": organization_id, "first": start.astimezone(UTC).date(), "last": last}


def _quantities(known: Sequence[int], others: Sequence[str]) -> dict[str, int]:
    """Units by token class, without classes that were not used."""
    units = dict(zip(_KNOWN_CLASSES, known, strict=True))
    for other in others:
        for token_class, count in json.loads(other).items():
            units[token_class] = units.get(token_class, 0) + count
    return {token_class: count for token_class, count in units.items() if count}
