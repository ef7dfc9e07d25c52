"""What a row of money may look like by itself: the checks of the hot tables, asked about all that they tell apart.

What is expected stands here as lists that can be read; ``row_checks.sql`` and ``checks.sql`` say it as conditions.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import product
from typing import Any

import psycopg
import pytest

from billing.models import Charge, CreditAccount, CreditLot, Hold, LedgerEntry, Surface

pytestmark = pytest.mark.django_db

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)
UNKNOWN = "something else"


Row = tuple[Any, ...]


ASK = """
create function pg_temp.is_let_in(r asked) returns boolean language plpgsql as $$
begin
  insert into asked select r.*;
  return true;
exception when check_violation then
  return false;
end $$
"""


def differences(connection, table: str, columns: str, rows: Iterable[Row], expected: Callable[..., bool]) -> list[Row]:
    """The rows about which the check of a table says other than what is expected."""
    rows = list(rows)
    types = make_asked(connection, table, columns)
    names = ", ".join(f"c{number}" for number in range(len(types)))
    told = connection.execute(
        f"select pg_temp.is_let_in(row({names})::asked)"
        f" from unnest({', '.join(f'%s::{kind}[]' for kind in types)}) with ordinality as r ({names}, n) order by n",
        [list(column) for column in zip(*rows, strict=True)],
    ).fetchall()
    assert len(told) == len(rows) > 20
    return [row for row, (answer,) in zip(rows, told, strict=True) if answer is not expected(*row)]


def make_asked(connection, table: str, columns: str) -> list[str]:
    """A table of some columns of another one, with its check, be it trigger or constraint. Returns their types."""
    connection.execute(f"create temp table asked as select {columns} from {table} with no data")
    checks = connection.execute(
        """
        select format('create trigger %%I %%s insert on asked for each row execute function %%s()', tgname,
          case when tgtype & 2 = 2 then 'before' else 'after' end, tgfoid::regproc)
        from pg_trigger where tgrelid = %(table)s::regclass and tgname ~ '_sound$'
        union all
        select format('alter table asked add constraint %%I %%s', conname, pg_get_constraintdef(oid))
        from pg_constraint where conrelid = %(table)s::regclass and conname ~ '_sound$'
        """,
        {"table": table},
    ).fetchall()
    assert len(checks) == 1
    connection.execute(checks[0][0])
    connection.execute(ASK)
    types = connection.execute(
        "select format_type(atttypid, null) from pg_attribute where attrelid = 'asked'::regclass and attnum > 0"
        " order by attnum"
    ).fetchall()
    return [kind for (kind,) in types]


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
    columns = "state, unreserved_nano, held_nano, debt_nano, reload_below_nano, burning_remaining_nano"
    assert differences(owner_connection, "billing_creditaccount", columns, rows, is_sound) == []


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
    columns = "kind, granted_nano, remaining_nano, effective_at, expires_at, purchase_id, reason"
    assert differences(owner_connection, "billing_creditlot", columns, rows, is_sound) == []


def test_a_hold_ends_after_it_began_and_has_an_instant_exactly_when_it_is_settled(owner_connection):
    def is_sound(state, amount, authorized_at, expires_at, settled_at):
        return (
            amount >= 0
            and authorized_at < expires_at
            and (state == "open" if settled_at is None else state in ("captured", "voided", "lapsed"))
        )

    rows = product((*Hold.State, UNKNOWN), (-1, 0, 1), (EARLY, LATE), (EARLY, LATE), (None, EARLY, LATE))
    columns = "state, amount_nano, authorized_at, expires_at, settled_at"
    assert differences(owner_connection, "billing_hold", columns, rows, is_sound) == []


def test_a_charge_owes_no_more_than_it_is_and_has_a_hold_exactly_when_it_is_a_capture(owner_connection):
    def is_sound(operation, hold, surface, amount, debt):
        return (
            0 <= debt <= amount
            and surface in Surface.values
            and (operation == "capture" if hold is not None else operation in ("charge", "usage"))
        )

    rows = product((*Charge.Operation, UNKNOWN), (None, 7), (*Surface, UNKNOWN), (-1, 0, 1, 2), (-1, 0, 1, 2))
    columns = "operation, hold_id, surface, amount_nano, debt_nano"
    assert differences(owner_connection, "billing_charge", columns, rows, is_sound) == []


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
    columns = "kind, lot_id, amount_nano, reverses_seq"
    assert differences(owner_connection, "billing_ledgerentry", columns, rows, is_sound) == []


@pytest.mark.parametrize(
    ("table", "check", "change"),
    [
        ("billing_creditaccount", "account_sound", "unreserved_nano = -1"),
        ("billing_creditlot", "lot_sound", "remaining_nano = granted_nano + 1"),
        ("billing_hold", "hold_sound", "state = 'nothing'"),
        ("billing_charge", "charge_sound", "debt_nano = amount_nano + 1"),
        ("billing_ledgerentry", "ledgerentry_sound", "amount_nano = 0"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_row_stays_sound_whoever_changes_it(customer, superuser_connection, table, check, change):
    """Not even a superuser, in a session that fires no usual trigger, changes a row into one that can't be."""
    customer.give(1_000)
    customer.charge(7, key="k")
    customer.hold(5, key="h")
    superuser_connection.execute("set session_replication_role = replica")
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        superuser_connection.execute(f"update {table} set {change}")
    assert refused.value.diag.constraint_name == check
