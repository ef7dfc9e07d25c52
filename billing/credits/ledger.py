"""The only writer of credit accounts, lots and entries.

Everything here is one call of a SQL function of ``billing/credits/sql``, made under the one lock of the
organization's account and stamped with the database's clock. These are the cold operations: they join the
transaction that their caller has open. The hot ones are in :mod:`billing.credits.metering`.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from billing.errors import OrganizationUnknown, Refused
from billing.models import CreditLot


@dataclass(frozen=True, slots=True)
class LockedAccount:
    """What holds for an organization while the caller's transaction has its lock. Amounts in nano-USD.

    ``level_nano`` is what the line of auto-reload is compared with: live credit, held included, less debt.
    ``low_at`` is set when a reload became due and no attempt has answered yet.
    """

    locked_at: datetime
    available_nano: int
    level_nano: int
    reload_below_nano: int | None
    low_at: datetime | None
    low_cause: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A lot, as granted. ``is_replay`` tells that it stood already."""

    lot_id: int
    effective_at: datetime
    expires_at: datetime
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Expired:
    """What one call booked out. ``is_newly_low``: a reload became due by it."""

    booked: int
    is_newly_low: bool


def lock(*, organization_id: int) -> LockedAccount:
    """Lock the organization's money until the end of the open transaction.

    Raises:
        OrganizationUnknown: there is no such organization.
        TransactionManagementError: no transaction is open, so the lock would be gone at once.
    """
    connection.validate_no_broken_transaction()
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("ledger.lock needs an open transaction")
    with connection.cursor() as cursor:
        cursor.execute("select * from credits_lock(%s)", [organization_id])
        row = cursor.fetchone()
    if row is None or row[0] is None:
        raise OrganizationUnknown(f"organization {organization_id}")
    return LockedAccount(*row)


def grant(
    *,
    organization_id: int,
    kind: CreditLot.Kind,
    amount_nano: int,
    purchase_id: int | None = None,
    expires_at: datetime | None = None,
    label: str = "",
    reason: str = "",
    actor_id: int | None = None,
    grant_key: UUID | None = None,
) -> Granted:
    """Add a lot; debt is paid from it at once. A purchase or a ``grant_key`` is granted once, whoever calls again.

    ``expires_at`` defaults to the calendar anniversary of now in UTC (29 February: 28 February).

    Raises:
        OrganizationUnknown: there is no such organization.
        Refused: ``grant_key`` has granted something else before.
        IntegrityError: the amount is not positive, or a constraint of the kind is not met.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select * from credits_grant(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [organization_id, str(kind), amount_nano, expires_at, purchase_id, label, reason, actor_id, grant_key],
        )
        outcome, lot_id, effective_at, ends_at = cursor.fetchone()
    if outcome == "organization_unknown":
        raise OrganizationUnknown(f"organization {organization_id}")
    if outcome == "conflict":
        raise Refused(f"This key has granted lot {lot_id} already, with other content.", code="conflict")
    return Granted(lot_id=lot_id, effective_at=effective_at, expires_at=ends_at, is_replay=outcome == "replayed")


def expire(*, organization_id: int, limit: int = 1_000) -> Expired:
    """Book out what is left of at most ``limit`` lots past their end, each once, with the value time of its end."""
    with connection.cursor() as cursor:
        cursor.execute("select * from credits_expire(%s, %s)", [organization_id, limit])
        booked, is_newly_low = cursor.fetchone()
    return Expired(booked=booked, is_newly_low=is_newly_low)


def set_reload_line(*, organization_id: int, below_nano: int | None) -> bool:
    """Arm auto-reload with a line, or disarm it with ``None``, and look at the level anew.

    Also called unchanged after an attempt has ended, when reload resumes and at a month's start, because the line is
    a level and not a crossing. Returns whether a reload is due.
    """
    with connection.cursor() as cursor:
        cursor.execute("select credits_set_reload_line(%s, %s)", [organization_id, below_nano])
        (is_due,) = cursor.fetchone()
    return bool(is_due)
