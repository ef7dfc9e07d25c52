"""The only writer of credit accounts, lots and entries.

Everything here is one call of a SQL function of ``billing/credits/sql``, made under the one lock of the
organization's account and stamped with the database's clock. These are the cold operations: they join the
transaction that their caller has open. The hot ones are in :mod:`billing.credits.metering`.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, connection, transaction

from billing.errors import OrganizationUnknown, Refused
from billing.models import CreditAccount, CreditLot, Reversal


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


@dataclass(frozen=True, slots=True)
class ExpiredDue:
    """What one call of the sweep booked out, and the organizations for which a reload became due by it."""

    booked: int
    newly_low: list[int]


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A debit, as booked. ``debt_nano`` is the part that no credit covered."""

    adjustment_id: int
    debt_nano: int
    is_newly_low: bool
    is_replay: bool


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What was taken back of a lot, and what became debt. Without an id there was nothing left to take."""

    take_back_id: int | None
    taken_nano: int
    debt_nano: int
    is_newly_low: bool
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Reversed:
    """What was undone. ``expired_nano`` of it came back to lots past their end, and expired at once."""

    reversal_id: int
    amount_nano: int
    expired_nano: int
    is_replay: bool


def lock(*, organization_id: int) -> LockedAccount:
    """Lock the organization's money until the end of the open transaction.

    Raises:
        OrganizationUnknown: there is no such organization.
        TransactionManagementError: no transaction is open, so the lock would be gone at once.
    """
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


def expire_due(*, limit: int = 500) -> ExpiredDue:
    """Book out what is left of at most ``limit`` lots past their end, of any organizations, in one transaction."""
    with connection.cursor() as cursor:
        cursor.execute("select * from credits_expire_due(%s)", [limit])
        return ExpiredDue(*cursor.fetchone())


def adjust(
    *,
    organization_id: int,
    amount_nano: int,
    key: UUID,
    label: str,
    reason: str,
    actor_id: int | None,
    may_owe: bool,
    unpriced_usage_id: int | None = None,
) -> Adjusted:
    """Take ``amount_nano`` of credit to put something right: live lots in burn order, then debt where it ``may_owe``.

    ``label`` is what the customer reads, ``reason`` is for staff. Credit that is given is a lot (:func:`grant`).

    Raises:
        OrganizationUnknown: there is no such organization.
        Refused: credit lacks and it may not be owed (``insufficient``), the unpriced usage was charged since
            (``already_charged``), or the key has adjusted something else (``conflict``).
        IntegrityError: the amount is not positive, or the unpriced usage is not the organization's.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select * from credits_adjust(%s, %s, %s, %s, %s, %s, %s, %s)",
            [organization_id, amount_nano, key, label, reason, actor_id, unpriced_usage_id, may_owe],
        )
        outcome, adjustment_id, debt_nano, is_newly_low = cursor.fetchone()
    _refuse(
        outcome,
        organization_id,
        insufficient="There is less credit than this.",
        already_charged="This usage was charged since, when it had a price.",
    )
    return Adjusted(adjustment_id, debt_nano, is_newly_low, is_replay=outcome == "replayed")


def take_back(
    *,
    organization_id: int,
    lot_id: int,
    amount_nano: int,
    key: UUID,
    reason: str,
    actor_id: int | None,
    rest_as_debt: bool,
    label: str = "",
) -> TakenBack:
    """Take back credit of one lot: at most what is left of it unreserved; the rest is debt where it is owed.

    All take-backs of a lot together never exceed what it granted.

    Raises:
        OrganizationUnknown: there is no such organization.
        Refused: the organization has no such lot (``lot_unknown``), or the key has taken back something else
            (``conflict``).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select * from credits_take_back(%s, %s, %s, %s, %s, %s, %s, %s)",
            [organization_id, lot_id, amount_nano, key, label, reason, actor_id, rest_as_debt],
        )
        outcome, take_back_id, taken_nano, debt_nano, is_newly_low = cursor.fetchone()
    _refuse(outcome, organization_id, lot_unknown="The organization has no such lot.")
    return TakenBack(take_back_id, taken_nano, debt_nano, is_newly_low, is_replay=outcome == "replayed")


def reverse(
    *,
    organization_id: int,
    cause_kind: Reversal.Cause,
    cause_id: int,
    key: UUID,
    reason: str,
    actor_id: int | None,
    amount_nano: int | None = None,
    label: str = "",
) -> Reversed:
    """Undo a charge, an adjustment or a take-back in the reverse order of its entries, wholly or ``amount_nano`` of it.

    Credit goes back to the lots it came from (case 112); what comes back to a lot past its end expires at once. Debt
    goes away; where it was paid since, its payments go back to their lots. Works on closed accounts too (case 113).

    Raises:
        OrganizationUnknown: there is no such organization.
        Refused: nothing of this kind and id (``cause_unknown``), all of it undone already (``nothing_left``), less of
            it left than asked for (``too_much``), or the key has undone something else (``conflict``).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select * from credits_reverse(%s, %s, %s, %s, %s, %s, %s, %s)",
            [organization_id, str(cause_kind), cause_id, amount_nano, key, label, reason, actor_id],
        )
        outcome, reversal_id, reversed_nano, expired_nano = cursor.fetchone()
    _refuse(
        outcome,
        organization_id,
        cause_unknown="The organization has nothing of this kind to undo.",
        nothing_left="All of it has been given back already.",
        too_much="Less than this is left to give back.",
    )
    return Reversed(reversal_id, reversed_nano, expired_nano, is_replay=outcome == "replayed")


def set_state(*, organization_id: int, state: CreditAccount.State) -> str:
    """Open, freeze or close the account; the state before. Unless open, no new request is authorized or charged.

    Raises:
        OrganizationUnknown: there is no such organization.
        Refused: it is closed, which is final (``closed``).
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select credits_set_state(%s, %s)", [organization_id, str(state)])
            (before,) = cursor.fetchone()
    except IntegrityError as error:
        raise Refused("The account is closed, which is final.", code="closed") from error
    if before is None:
        raise OrganizationUnknown(f"organization {organization_id}")
    return str(before)


def _refuse(outcome: str, organization_id: int, **refusals: str) -> None:
    """Raise for an outcome that changed nothing."""
    if outcome == "organization_unknown":
        raise OrganizationUnknown(f"organization {organization_id}")
    if outcome == "conflict":
        raise Refused("This key has been used already, for something else.", code="conflict")
    if outcome in refusals:
        raise Refused(refusals[outcome], code=outcome)
