"""What a row of money may look like by itself: the checks of the hot tables, asked about all that they tell apart.

What is expected stands here as lists that can be read; the functions of ``checks.sql`` say the same as conditions.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from billing.models import Charge, CreditAccount, CreditLot, Hold, LedgerEntry, Surface

pytestmark = pytest.mark.django_db

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)
UNKNOWN = "something else"


Row = tuple[Any, ...]


def differences(connection, function: str, types: str, rows: Iterable[Row], expected: Callable[..., bool]) -> list[Row]:
    """The rows about which a check says other than what is expected."""
    rows = list(rows)
    marks = ", ".join(f"%s::{name}[]" for name in types.split())
    names = ", ".join(f"c{number}" for number in range(len(types.split())))
    told = connection.execute(
        f"select public.{function}({names}) from unnest({marks}) with ordinality as r ({names}, n) order by n",
        [list(column) for column in zip(*rows, strict=True)],
    ).fetchall()
    assert len(told) == len(rows) > 20
    return [row for row, (answer,) in zip(rows, told, strict=True) if answer is not expected(*row)]


def test_an_account_has_no_negative_sum_and_burns_no_more_than_it_has(owner_connection):
    def is_sound(state, unreserved, held, debt, reload_below, burning):
        return (
            state in CreditAccount.State.values
            and min(unreserved, held, debt) >= 0
            and (reload_below is None or reload_below >= 0)
            and (burning is None or 0 < burning <= unreserved)
        )

    amounts = (-1, 0, 1, 2)
    rows = product((*CreditAccount.State, UNKNOWN), amounts, (-1, 0), (-1, 0), (None, -1, 0), (None, *amounts))
    types = "text bigint bigint bigint bigint bigint"
    assert differences(owner_connection, "creditaccount_is_sound", types, rows, is_sound) == []


def test_a_lot_is_paid_or_given_and_never_overdrawn_nor_refilled(owner_connection):
    paid, given = ("purchase", "auto_reload"), ("promotional", "adjustment")
    assert {*paid, *given} == {*CreditLot.Kind}

    def is_sound(kind, granted, remaining, effective_at, expires_at, purchase, reason):
        return (
            0 <= remaining <= granted
            and granted > 0
            and effective_at < expires_at
            and (kind in paid if purchase is not None else kind in given and reason != "")
        )

    rows = product(
        (*CreditLot.Kind, UNKNOWN),
        (-1, 0, 1, 2),
        (-1, 0, 1, 2, 3),
        (EARLY, LATE),
        (EARLY, LATE),
        (None, 7),
        ("", "why"),
    )
    types = "text bigint bigint timestamptz timestamptz bigint text"
    assert differences(owner_connection, "creditlot_is_sound", types, rows, is_sound) == []


def test_a_hold_ends_after_it_began_and_has_an_instant_exactly_when_it_is_settled(owner_connection):
    def is_sound(state, amount, authorized_at, expires_at, settled_at):
        return (
            amount >= 0
            and authorized_at < expires_at
            and (state == "open" if settled_at is None else state in ("captured", "voided", "lapsed"))
        )

    rows = product((*Hold.State, UNKNOWN), (-1, 0, 1), (EARLY, LATE), (EARLY, LATE), (None, EARLY, LATE))
    types = "text bigint timestamptz timestamptz timestamptz"
    assert differences(owner_connection, "hold_is_sound", types, rows, is_sound) == []


def test_a_charge_owes_no_more_than_it_is_and_has_a_hold_exactly_when_it_is_a_capture(owner_connection):
    def is_sound(operation, hold, surface, amount, debt):
        return (
            0 <= debt <= amount
            and surface in Surface.values
            and (operation == "capture" if hold is not None else operation in ("charge", "usage"))
        )

    rows = product((*Charge.Operation, UNKNOWN), (None, 7), (*Surface, UNKNOWN), (-1, 0, 1, 2), (-1, 0, 1, 2))
    types = "text bigint text bigint bigint"
    assert differences(owner_connection, "charge_is_sound", types, rows, is_sound) == []


# Each kind of entry: which way it moves, whether it moves a lot's credit, whether it undoes another entry.
ENTRIES = {
    "grant": (+1, True, False),
    "burn": (-1, True, False),
    "expiry": (-1, True, False),
    "return_expired": (-1, True, False),
    "overshoot": (-1, False, False),
    "late_capture": (-1, False, False),
    "debt_payment": (-1, True, False),
    "debt_settlement": (+1, False, False),
    "reversal": (+1, True, True),
    "debt_reversal": (+1, False, True),
    "debt_reopened": (-1, False, True),
    "adjustment": (-1, True, False),
    "adjustment_debt": (-1, False, False),
    "take_back": (-1, True, False),
    "take_back_debt": (-1, False, False),
}


def test_every_kind_of_entry_moves_its_own_thing_in_its_own_direction(owner_connection):
    assert set(ENTRIES) == set(LedgerEntry.Kind)

    def is_sound(kind, lot, amount, reverses):
        return amount != 0 and ENTRIES.get(kind) == (1 if amount > 0 else -1, lot is not None, reverses is not None)

    rows = product((*LedgerEntry.Kind, UNKNOWN), (None, 7), (-2, -1, 0, 1, 2), (None, 7))
    assert differences(owner_connection, "ledgerentry_is_sound", "text bigint bigint bigint", rows, is_sound) == []


def test_a_day_of_usage_has_requests_and_no_more_given_back_than_charged(owner_connection):
    def is_sound(requests, amount, reversed_nano):
        return requests > 0 and 0 <= reversed_nano <= amount

    rows = product((-1, 0, 1, 2), (-1, 0, 1, 2), (-1, 0, 1, 2))
    assert differences(owner_connection, "usageday_is_sound", "bigint bigint bigint", rows, is_sound) == []
