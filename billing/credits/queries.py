"""What pages and the gate read about credits. Nothing here writes or locks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from billing.models import CreditLot


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

    day: Any
    model_slug: str
    model_name: str
    requests: int
    quantities: dict[str, int]
    cost_nano: int


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
  from billing_creditlot l left join held on held.lot_id = l.id left join lapsed on lapsed.lot_id = l.id
  where l.organization_id = %(organization_id)s and l.effective_at <= %(at)s
    and ((l.is_open and l.expires_at > %(at)s) or held.nano > 0 or (lapsed.nano > 0 and l.expires_at > %(at)s))
  order by l.expires_at, l.burn_rank, l.effective_at, l.id
  limit %(limit)s
"""


def live_lots(*, organization_id: int, at: datetime, limit: int = 100) -> list[LotLine]:
    """The lots that make up the balance at ``at``, in burn order."""
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_LOTS, {"organization_id": organization_id, "at": at, "limit": limit})
        return [LotLine(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class EndedLot:
    """A lot that is used up or past its end. ``expired_nano`` is what went unused."""

    id: int
    kind: str
    label: str
    granted_nano: int
    expired_nano: int
    effective_at: datetime
    expires_at: datetime
    purchase_id: int | None


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
      + coalesce((select -sum(e.amount_nano) from billing_ledgerentry e
                  where e.organization_id = l.organization_id and e.lot_id = l.id
                    and e.kind in ('expiry', 'return_expired')), 0))::bigint,
    l.effective_at, l.expires_at, l.purchase_id
  from billing_creditlot l left join reserved r on r.lot_id = l.id
  where l.organization_id = %(organization_id)s
    and coalesce(r.held_nano, 0) = 0
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
  select (c.started_at at time zone 'UTC')::date as day, m.slug, m.name, count(distinct c.id),
    q.key, sum(q.value::bigint)::bigint
  from billing_charge c
  join billing_priceversion v on v.id = c.price_version_id
  join billing_pricedmodel m on m.id = v.priced_model_id
  cross join lateral jsonb_each_text(c.quantities) q
  where c.organization_id = %s and c.started_at >= %s and c.started_at < %s
  group by 1, 2, 3, 5
"""

_COST = """
  select (c.started_at at time zone 'UTC')::date as day, m.slug, m.name, count(*), sum(c.amount_nano)::bigint
  from billing_charge c
  join billing_priceversion v on v.id = c.price_version_id
  join billing_pricedmodel m on m.id = v.priced_model_id
  where c.organization_id = %s and c.started_at >= %s and c.started_at < %s
  group by 1, 2, 3
  order by 1, 2
"""


def usage_by_day_and_model(*, organization_id: int, start: datetime, end: datetime) -> list[UsageLine]:
    """What was used in ``[start, end)``, by the day (UTC) on which requests began and by model."""
    with connection.cursor() as cursor:
        cursor.execute(_USAGE, [organization_id, start, end])
        quantities: dict[tuple[Any, str], dict[str, int]] = {}
        for day, slug, _name, _count, token_class, units in cursor.fetchall():
            quantities.setdefault((day, slug), {})[token_class] = units
        cursor.execute(_COST, [organization_id, start, end])
        return [
            UsageLine(day, slug, name, requests, quantities.get((day, slug), {}), cost_nano)
            for day, slug, name, requests, cost_nano in cursor.fetchall()
        ]


def cost_nano(*, organization_id: int, start: datetime, end: datetime) -> int:
    """What usage that began in ``[start, end)`` cost."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(sum(amount_nano), 0)::bigint from billing_charge"
            " where organization_id = %s and started_at >= %s and started_at < %s",
            [organization_id, start, end],
        )
        (total,) = cursor.fetchone()
    return int(total)
