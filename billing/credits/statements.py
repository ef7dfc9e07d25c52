"""What a customer's statement says: entries in the order of their booking, months, and the balance of the past.

Everything here is read from entries, which never change, so a month that is over says the same for ever. Pages begin
below a sequence number (keyset): entries of one instant are neither skipped nor repeated. No read takes longer because
more was used: months are found by halving over sequence numbers, and what was used in a stretch of time is the
difference of two balances. Amounts are nano-USD, signed: what comes in is positive.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from django.db import connection

from billing.models import CreditLot, LedgerEntry

USED: Final = frozenset({"burn", "overshoot", "late_capture"})
EXPIRED: Final = frozenset({"expiry", "return_expired"})
# Credit that pays debt leaves the balance as it is: the two are booked as a pair.
DEBT_PAID: Final = frozenset({"debt_payment", "debt_settlement"})
CHUNK: Final = 1_000
SEQ_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Line:
    """One entry as its customer reads it. What staff noted about it, and who they were, is not part of it.

    ``value_at`` is when it counts, ``booked_at`` when it was written. ``lot_*`` is there where a lot's credit moved,
    ``model_name``, ``surface`` and ``key_ref`` where a request caused it, ``label`` where a person did.
    """

    seq: int
    kind: str
    amount_nano: int
    balance_after_nano: int
    value_at: datetime
    booked_at: datetime
    lot_id: int | None
    lot_kind: str
    lot_label: str
    lot_expires_at: datetime | None
    purchase_id: int | None
    charge_id: int | None
    model_name: str
    surface: str
    key_ref: str
    started_at: datetime | None
    label: str

    @property
    def words(self) -> str:
        """The kind in words; of a grant, what kind of credit it was."""
        if self.kind == LedgerEntry.Kind.GRANT:
            return str(CreditLot.Kind(self.lot_kind).label)
        return str(LedgerEntry.Kind(self.kind).label)

    @property
    def lot_name(self) -> str:
        """What the customer calls the lot; empty where no lot's credit moved."""
        return self.lot_label or (str(CreditLot.Kind(self.lot_kind).label) if self.lot_kind else "")

    @property
    def comes_in(self) -> bool:
        """Whether it adds credit, and doesn't only move it to a debt."""
        return self.amount_nano > 0 and self.kind not in DEBT_PAID

    @property
    def is_usage(self) -> bool:
        """Whether a request caused it."""
        return self.kind in USED


@dataclass(frozen=True, slots=True)
class UsageRun:
    """Usage of one day (UTC, by booking) between two other entries, in one line. ``entries`` is how many it sums up.

    ``after`` and ``before`` are when the entries around it were booked, where they are of the same day.
    """

    day: date
    first_seq: int
    last_seq: int
    amount_nano: int
    balance_after_nano: int
    after: datetime | None
    before: datetime | None

    @property
    def entries(self) -> int:
        """How many entries it sums up."""
        return self.last_seq - self.first_seq + 1


@dataclass(frozen=True, slots=True)
class Summed:
    """A page of lines, newest first. The next one begins before ``older_seq``; it is None at the end."""

    lines: Sequence[Line | UsageRun]
    older_seq: int | None


@dataclass(frozen=True, slots=True)
class KindSum:
    """What entries of one kind, and grants of one kind of lot, add up to."""

    kind: str
    lot_kind: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Month:
    """A stretch of time by booking: ``opening_nano`` plus all sums is ``closing_nano``, to the last nano.

    Its entries are those after ``after_seq`` up to ``last_seq``.
    """

    after_seq: int
    last_seq: int
    opening_nano: int
    closing_nano: int
    sums: Sequence[KindSum]

    @property
    def bought_nano(self) -> int:
        """Credit that was paid for."""
        return self._granted("purchase", "auto_reload")

    @property
    def given_nano(self) -> int:
        """Promotional credit."""
        return self._granted("promotional")

    @property
    def used_nano(self) -> int:
        """Usage, debt for usage included; negative."""
        return self._of(USED)

    @property
    def expired_nano(self) -> int:
        """What went unused; negative."""
        return self._of(EXPIRED)

    @property
    def corrected_nano(self) -> int:
        """Everything else: corrections, reversals, take-backs. Of either sign."""
        return sum(
            one.amount_nano
            for one in self.sums
            if one.kind not in USED | EXPIRED | DEBT_PAID and one.lot_kind in ("", "adjustment")
        )

    @property
    def debt_paid_nano(self) -> int:
        """How much credit went to debt. The balance, which is less debt, doesn't change by it."""
        return sum(one.amount_nano for one in self.sums if one.kind == LedgerEntry.Kind.DEBT_SETTLEMENT)

    def _of(self, kinds: frozenset[str]) -> int:
        return sum(one.amount_nano for one in self.sums if one.kind in kinds)

    def _granted(self, *lot_kinds: str) -> int:
        return sum(one.amount_nano for one in self.sums if one.lot_kind in lot_kinds)


# The entries of a page come first, by themselves: whatever the planner believes about the size of the other tables, it
# then looks up at most as many rows there by their ids.
_LINES = """
  with e as materialized (
    select * from billing_ledgerentry
    where organization_id = %(organization_id)s and seq > %(after_seq)s and seq < %(before_seq)s {filter}
    order by seq {direction} limit %(limit)s
  )
  select e.seq, e.kind, e.amount_nano, e.balance_after_nano, e.value_at, e.booked_at, e.lot_id,
    coalesce(l.kind, ''), coalesce(l.label, ''), l.expires_at, l.purchase_id, c.id, coalesce(m.name, ''),
    coalesce(c.surface, ''), coalesce(c.key_ref, ''), c.started_at, coalesce(r.label, d.label, t.label, '')
  from e
  left join billing_creditlot l on l.id = e.lot_id and l.organization_id = e.organization_id
  left join billing_charge c
    on e.cause_kind = 'charge' and c.id = e.cause_id and c.organization_id = e.organization_id
  left join billing_priceversion v on v.id = c.price_version_id
  left join billing_pricedmodel m on m.id = v.priced_model_id
  left join billing_reversal r
    on e.cause_kind = 'reversal' and r.id = e.cause_id and r.organization_id = e.organization_id
  left join billing_debitadjustment d
    on e.cause_kind = 'adjustment' and d.id = e.cause_id and d.organization_id = e.organization_id
  left join billing_takeback t
    on e.cause_kind = 'take_back' and t.id = e.cause_id and t.organization_id = e.organization_id
  order by e.seq {direction}
"""
_PAGE = _LINES.format(filter="", direction="desc")
_PAGE_WITHOUT_USAGE = _LINES.format(filter="and kind <> 'burn'", direction="desc")
_FORWARD = _LINES.format(filter="", direction="asc")


def page(*, organization_id: int, before_seq: int | None = None, limit: int = 50, after_seq: int = 0) -> list[Line]:
    """Entries newest first, ``limit`` of them before ``before_seq``; the next page begins before the last one's."""
    return _lines(_PAGE, organization_id, after_seq=after_seq, before_seq=before_seq, limit=limit)


def entries(*, organization_id: int, after_seq: int, last_seq: int) -> Iterator[Line]:
    """All entries after ``after_seq`` up to ``last_seq``, oldest first, read in chunks as they are consumed."""
    while after_seq < last_seq:
        chunk = _lines(_FORWARD, organization_id, after_seq=after_seq, before_seq=last_seq + 1, limit=CHUNK)
        if not chunk:
            return
        yield from chunk
        after_seq = chunk[-1].seq


def month(*, organization_id: int, start: datetime, end: datetime) -> Month:
    """What was booked in ``[start, end)``: the balance before and after, and the sum of each kind.

    Usage is what the other kinds leave of the difference, so it is not read.
    """
    with connection.cursor() as cursor:
        cursor.execute("select * from credits_statement_span(%s, %s, %s)", [organization_id, start, end])
        after_seq, last_seq, opening_nano, closing_nano = cursor.fetchone()
        cursor.execute(
            "select e.kind, coalesce(l.kind, ''), sum(e.amount_nano)::bigint"
            " from billing_ledgerentry e left join billing_creditlot l on e.kind = 'grant' and l.id = e.lot_id"
            " where e.organization_id = %s and e.kind <> 'burn' and e.seq > %s and e.seq <= %s"
            " group by 1, 2 order by 1, 2",
            [organization_id, after_seq, last_seq],
        )
        sums = [KindSum(*row) for row in cursor.fetchall()]
    burned_nano = closing_nano - opening_nano - sum(one.amount_nano for one in sums)
    if burned_nano:
        sums.append(KindSum(LedgerEntry.Kind.BURN.value, "", burned_nano))
    return Month(after_seq, last_seq, opening_nano, closing_nano, sums)


@dataclass(frozen=True, slots=True)
class Movement:
    """By how much the books moved since the movement before, up to an entry that was booked ``at``."""

    at: datetime
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Movements:
    """A stretch of the books: what they said before it, and how they moved, in order.

    ``is_first`` is whether nothing was booked before it. ``entries`` is how many entries there were.
    """

    opening_nano: int
    is_first: bool
    entries: int
    movements: Sequence[Movement]


_RELOADS = """
  select e.seq, e.amount_nano
  from billing_creditlot l
  join billing_ledgerentry e on e.organization_id = l.organization_id and e.lot_id = l.id and e.kind = 'grant'
  where l.organization_id = %(organization_id)s and l.kind = 'auto_reload' and l.effective_at >= %(start)s
    and e.seq > %(after_seq)s and e.seq <= %(last_seq)s
"""


def movements_without_reloads(*, organization_id: int, start: datetime, end: datetime, most: int) -> Movements:
    """How the books moved in ``[start, end)`` by everything except auto-reload, in at most ``most`` steps.

    Up to ``most`` entries each is a step of its own. With more, entries at even distances are read, and what lies
    between two of them is one step, so that a million entries cost what ``most`` of them do.
    """
    with connection.cursor() as cursor:
        cursor.execute("select * from credits_statement_span(%s, %s, %s)", [organization_id, start, end])
        after_seq, last_seq, opening_nano, _ = cursor.fetchone()
        span = {"organization_id": organization_id, "start": start, "after_seq": after_seq, "last_seq": last_seq}
        cursor.execute(_RELOADS, span)
        reloads: list[tuple[int, int]] = sorted(cursor.fetchall())
    step = max(-(-(last_seq - after_seq) // most), 1)
    books = _books(organization_id, set(range(last_seq, after_seq, -step)))
    movements, before_seq, before_nano = [], after_seq, opening_nano
    for seq in sorted(books):
        balance_nano, booked_at = books[seq]
        reloaded_nano = sum(nano for place, nano in reloads if before_seq < place <= seq)
        movements.append(Movement(booked_at, balance_nano - before_nano - reloaded_nano))
        before_seq, before_nano = seq, balance_nano
    return Movements(opening_nano, after_seq == 0, last_seq - after_seq, movements)


def balance_at(*, organization_id: int, at: datetime) -> int:
    """Live credit, held included, less debt, at an instant that is past: what ``queries.summary`` said then.

    It follows from entries alone: the books at ``at``, less what had ended by then and was booked later or is not
    booked yet.
    """
    with connection.cursor() as cursor:
        cursor.execute("select credits_balance_at(%s, %s)", [organization_id, at])
        (nano,) = cursor.fetchone()
    return int(nano)


def summed(
    *, organization_id: int, start: datetime, end: datetime, before_seq: int | None = None, limit: int = 50
) -> Summed:
    """What was booked in ``[start, end)``, newest first, usage as one line for each day and stretch between others.

    Reads at most ``limit`` entries that are no usage; how many are usage doesn't matter.
    """
    with connection.cursor() as cursor:
        cursor.execute("select * from credits_statement_days(%s, %s, %s)", [organization_id, start, end])
        days: list[tuple[date, int, int]] = cursor.fetchall()
    if not days:
        return Summed([], None)
    bottom = days[0][1]
    top = days[-1][2] if before_seq is None else min(days[-1][2], before_seq - 1)
    others = _lines(_PAGE_WITHOUT_USAGE, organization_id, after_seq=bottom, before_seq=top + 1, limit=limit + 1)
    older_seq = None
    if len(others) > limit:
        others = others[:limit]
        bottom, older_seq = others[-1].seq - 1, others[-1].seq
    seqs = [*(other.seq for other in others), bottom]
    stretches: list[tuple[int, int]] = []
    high = top
    for seq in seqs:
        low = seq
        stretches += [
            (max(low, after), min(high, last)) for _, after, last in reversed(days) if max(low, after) < min(high, last)
        ]
        high = seq - 1
    books = _books(organization_id, {seq for stretch in stretches for seq in (*stretch, stretch[1] + 1)})
    runs = [_run(low, high, days=days, books=books) for low, high in stretches]
    lines: list[Line | UsageRun] = [*others, *runs]
    lines.sort(key=lambda line: line.seq if isinstance(line, Line) else line.last_seq, reverse=True)
    return Summed(lines, older_seq)


def _run(
    low: int, high: int, *, days: Sequence[tuple[date, int, int]], books: dict[int, tuple[int, datetime]]
) -> UsageRun:
    day, day_after, day_last = next(one for one in days if one[1] < high <= one[2])
    return UsageRun(
        day=day,
        first_seq=low + 1,
        last_seq=high,
        amount_nano=books[high][0] - (books[low][0] if low else 0),
        balance_after_nano=books[high][0],
        after=books[low][1] if low > day_after else None,
        before=books[high + 1][1] if high < day_last else None,
    )


def _books(organization_id: int, seqs: set[int]) -> dict[int, tuple[int, datetime]]:
    """Balance and time of booking of these entries, where they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select seq, balance_after_nano, booked_at from billing_ledgerentry"
            " where organization_id = %s and seq = any(%s)",
            [organization_id, sorted(seqs)],
        )
        return {seq: (balance_nano, booked_at) for seq, balance_nano, booked_at in cursor.fetchall()}


def _lines(sql: str, organization_id: int, *, after_seq: int, before_seq: int | None, limit: int) -> list[Line]:
    parameters: dict[str, Any] = {
        "organization_id": organization_id,
        "after_seq": after_seq,
        "before_seq": SEQ_MAX if before_seq is None else before_seq,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [Line(*row) for row in cursor.fetchall()]
