"""What must hold of the ledger at every instant, each as a query that finds the rows of which it does not.

Nothing here repairs or writes. The queries are in ``billing/credits/sql/invariants``, one file each; the comment at a
file's head is what it promises. They read tables and recompute (hashes, prices, sums, order) without calling the
functions that wrote the rows, so that a fault in those is found too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import psycopg
from django.apps import apps
from django.db import DatabaseError

from billing.credits import sql

_FOLDER = Path(sql.__file__).parent / "invariants"

ROWS_SHOWN = 20
HEADS_BATCH = 1_000
HEADS_NAME = "recorded_heads_still_stand"
HEADS_PROMISE = "Every chain still leads through the heads that were recorded outside the database."


class Severity(StrEnum):
    """A violation is a wrong number or a lost guard. A warning is work that waits longer than it should."""

    VIOLATION = "violation"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Invariant:
    """A promise and the query that finds what breaks it: organization, row and detail."""

    name: str
    severity: Severity
    is_of_the_database: bool

    @property
    def promise(self) -> str:
        """The promise in words: the comment at the head of its file."""
        lines = (line for line in self.query.splitlines() if line.startswith("-- "))
        return " ".join(line.removeprefix("-- ") for line in lines)

    @property
    def query(self) -> str:
        """The text of its file."""
        return _read(self.name)


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that breaks a promise. ``organization`` is a slug, or empty for what belongs to none."""

    organization: str
    row: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one promise stands: how many rows break it, and the first of them."""

    name: str
    promise: str
    severity: Severity
    count: int
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing breaks it."""
        return self.count == 0


class Cursor(Protocol):
    """A cursor of Django or of psycopg, in an open transaction."""

    def execute(self, query: Any, params: Any = None, /) -> Any: ...

    def fetchall(self) -> list[Any]: ...


def _ledger(*names: str) -> tuple[Invariant, ...]:
    return tuple(Invariant(name, Severity.VIOLATION, is_of_the_database=False) for name in names)


def _database(*names: str) -> tuple[Invariant, ...]:
    return tuple(Invariant(name, Severity.VIOLATION, is_of_the_database=True) for name in names)


INVARIANTS = (
    *_ledger(
        "entries_have_no_gap",
        "entries_are_chained",
        "entries_add_up",
        "entries_are_in_time",
        "entries_fit_their_kind",
        "entries_have_their_cause",
        "entries_are_undone_once",
        "entries_are_undone_in_reverse",
        "accounts_exist",
        "account_sums_agree",
        "account_balance_is_the_books",
        "exhausted_accounts_are_marked",
        "credit_events_are_told",
        "debt_is_never_beside_credit",
        "debt_is_never_overpaid",
        "debt_is_paid_in_pairs",
        "debt_is_reopened_with_its_payments",
        "lots_keep_their_bounds",
        "lots_are_conserved",
        "lots_are_never_overdrawn",
        "lots_are_granted_once",
        "lots_are_what_was_bought",
        "lots_are_given_with_a_reason",
        "paid_lots_end_on_the_anniversary",
        "lots_expire_at_their_end",
        "lots_are_spent_while_live",
        "lots_are_taken_back_within_their_grant",
        "returns_to_ended_lots_expire_at_once",
        "burning_lots_come_first",
        "credit_is_spent_in_order",
        "holds_are_allocated",
        "holds_are_settled_once",
        "holds_are_as_authorized",
        "holds_pay_in_order",
        "holds_return_what_is_over",
        "charges_equal_their_entries",
        "charges_cost_their_price",
        "charges_are_as_asked",
        "usage_days_are_their_charges",
        "unpriced_usage_is_charged_once",
        "reversals_equal_their_entries",
        "adjustments_equal_their_entries",
        "take_backs_equal_their_entries",
        "availability_was_told_right",
        "prices_were_in_force",
        "keys_are_used_once",
        "nothing_crosses_organizations",
        "nothing_is_orphaned",
        "purchases_that_succeeded_have_one_lot",
        "purchases_grant_what_was_paid",
        "purchases_have_one_state",
        "reloads_are_one_at_a_time",
        "reloads_have_consent",
        "reloads_keep_the_monthly_cap",
        "reloads_keep_the_daily_limit",
        "reload_lines_mirror_settings",
        "low_accounts_are_marked",
    ),
    *_database(
        "price_versions_do_not_overlap",
        "rates_are_the_prices",
        "money_is_whole",
        "guards_stand",
        "constraints_stand",
        "functions_are_the_shipped_ones",
        "the_runtime_role_writes_no_money",
    ),
    Invariant("the_clock_is_the_databases", Severity.WARNING, is_of_the_database=True),
    Invariant("ended_lots_are_booked", Severity.WARNING, is_of_the_database=False),
    Invariant("purchases_are_in_time", Severity.WARNING, is_of_the_database=False),
    Invariant("purchases_end", Severity.WARNING, is_of_the_database=False),
    Invariant("events_are_processed", Severity.WARNING, is_of_the_database=True),
    Invariant("messages_leave", Severity.WARNING, is_of_the_database=True),
)

# Lots with what is left of them: of the burning lot the account knows.
_LOTS = """(
  select l.id, l.organization_id, l.kind, l.granted_nano, l.effective_at, l.expires_at, l.purchase_id, l.label,
    l.reason, l.actor_id, l.grant_key, l.is_open, l.burn_rank,
    case when l.id = a.burning_lot_id then a.burning_remaining_nano else l.remaining_nano end as remaining_nano
  from billing_creditlot l left join billing_creditaccount a on a.organization_id = l.organization_id
) lots"""

# The names by which the queries read the tables, so that one place narrows all of them to an organization.
_TABLES = {
    "account": "billing_creditaccount",
    "lot": _LOTS,
    "hold": "billing_hold",
    "charge": "billing_charge",
    "entry": "billing_ledgerentry",
    "reversal": "billing_reversal",
    "adjustment": "billing_debitadjustment",
    "take_back": "billing_takeback",
    "usage_day": "billing_usageday",
    "unpriced": "billing_unpricedusage",
    "credit_event": "billing_creditevent",
    "purchase": "billing_purchase",
    "reload": "billing_autoreload",
}


def examine(
    cursor: Cursor,
    *,
    at: datetime,
    organization_id: int | None = None,
    rows_shown: int = ROWS_SHOWN,
    invariants: tuple[Invariant, ...] = INVARIANTS,
) -> Iterator[Verdict]:
    """Examine the ledger, one verdict after the other, within the transaction that the caller has open.

    Memory is bounded: the database counts what breaks a promise and hands over the first ``rows_shown``. With an
    ``organization_id`` only rows of that organization are examined, and nothing of the database itself. A query that
    fails is a promise that could not be kept: rows were changed into what no query expects.
    """
    # Every query reads whole tables. Statistics that lag behind a burst of charges tempt the planner into reading one
    # table for each row of another, which takes hours where a hash join takes a second.
    cursor.execute("set local enable_nestloop = off")
    for invariant in invariants:
        if organization_id is None or not invariant.is_of_the_database:
            yield _verdict(cursor, invariant, organization_id, {"at": at, "rows_shown": rows_shown})


def _verdict(
    cursor: Cursor, invariant: Invariant, organization_id: int | None, parameters: Mapping[str, Any]
) -> Verdict:
    cursor.execute("savepoint before_invariant")
    try:
        cursor.execute(_statement(invariant, organization_id), {**parameters, **_expected_schema()})
        rows = cursor.fetchall()
    except (DatabaseError, psycopg.DatabaseError) as error:
        cursor.execute("rollback to savepoint before_invariant")
        rows = [("", "the query", f"failed: {str(error).splitlines()[0]}", 1)]
    else:
        cursor.execute("release savepoint before_invariant")
    findings = tuple(Finding(slug or "", row, detail) for slug, row, detail, _ in rows)
    return Verdict(invariant.name, invariant.promise, invariant.severity, rows[0][3] if rows else 0, findings)


@dataclass(frozen=True, slots=True)
class Head:
    """How far an account's chain had come: the number of its last entry, and that entry's hash in hexadecimal."""

    organization_id: int
    seq: int
    hash: str


def heads(cursor: Cursor) -> Iterator[Head]:
    """The head of every chain, to be kept where nobody who can write to the database can write."""
    last_id = 0
    while True:
        cursor.execute(
            "select organization_id, last_seq, encode(last_hash, 'hex') from billing_creditaccount"
            " where organization_id > %(last_id)s and last_seq > 0 order by organization_id limit %(batch)s",
            {"last_id": last_id, "batch": HEADS_BATCH},
        )
        rows = cursor.fetchall()
        if not rows:
            return
        yield from (Head(*row) for row in rows)
        last_id = rows[-1][0]


def compare_heads(cursor: Cursor, recorded: Iterable[Head], *, rows_shown: int = ROWS_SHOWN) -> Verdict:
    """Whether chains still lead through the heads that were recorded.

    The one proof against somebody who writes the whole history anew, with every hash and every sum in order.
    """
    count = 0
    shown: list[Finding] = []
    remaining = iter(recorded)
    while batch := list(islice(remaining, HEADS_BATCH)):
        cursor.execute(
            "select coalesce(o.slug, ''), h.seq, e.id"
            " from unnest(%(ids)s::bigint[], %(seqs)s::bigint[], %(hashes)s::text[]) as h(organization_id, seq, hash)"
            " left join billing_ledgerentry e on e.organization_id = h.organization_id and e.seq = h.seq"
            " left join accounts_organization o on o.id = h.organization_id"
            " where encode(e.hash, 'hex') is distinct from h.hash",
            {
                "ids": [head.organization_id for head in batch],
                "seqs": [head.seq for head in batch],
                "hashes": [head.hash for head in batch],
            },
        )
        for slug, seq, entry_id in cursor.fetchall():
            count += 1
            if len(shown) < rows_shown:
                row = f"entry {entry_id}" if entry_id else "account"
                shown.append(Finding(slug, row, f"number {seq} is not the entry that was recorded"))
    return Verdict(HEADS_NAME, HEADS_PROMISE, Severity.VIOLATION, count, tuple(shown))


@cache
def _read(name: str) -> str:
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


@cache
def _statement(invariant: Invariant, organization_id: int | None) -> str:
    narrowed = "" if organization_id is None else f" where organization_id = {int(organization_id)}"
    tables = ",\n".join(
        f"{name} as not materialized (select * from {table}{narrowed})" for name, table in _TABLES.items()
    )
    return (
        f"with {tables}\n"
        "select o.slug, broken.subject, broken.detail, count(*) over () from (\n"
        f"{_LITERAL_PERCENT.sub('%%', invariant.query)}"
        ") broken left join accounts_organization o on o.id = broken.organization_id\n"
        "order by broken.organization_id nulls first, length(broken.subject), broken.subject limit %(rows_shown)s"
    )


@cache
def _expected_schema() -> Mapping[str, list[str]]:
    """What this release expects of the database: constraints, functions and aggregates, and the triggers that guard."""
    texts = [sql.read(name) for name in (sql.CHECKS, *sql.FILES)]
    functions = [function for text in texts for function in _FUNCTION.findall(text)]
    functions += [
        (name, " ".join(body.split()).replace("public.", ""))
        for text in texts
        for name, body in _AGGREGATE.findall(text)
    ]
    triggers = [trigger for text in texts for trigger in _TRIGGER.findall(text)]
    return {
        "constraint_names": [
            constraint.name
            for model in apps.get_app_config("billing").get_models()
            for constraint in model._meta.constraints
        ],
        "function_names": [name for name, _ in functions],
        "function_bodies": [body for _, body in functions],
        "trigger_names": [name for name, *_ in triggers],
        "trigger_types": [_trigger_type(time, events, level) for _, time, events, _, level, _ in triggers],
        "trigger_tables": [table for _, _, _, table, _, _ in triggers],
        "trigger_functions": [function for *_, function in triggers],
        "always_triggers": [name for text in texts for name in _ALWAYS.findall(text)],
    }


def _trigger_type(time: str, events: str, level: str) -> int:
    """When and for what a trigger fires, as `pg_trigger.tgtype` has it (PostgreSQL's catalog/pg_trigger.h)."""
    bits = {"row": 1, "before": 2, "insert": 4, "delete": 8, "update": 16, "truncate": 32}
    words = {time, level, *re.findall(r"insert|delete|update|truncate", events.partition(" of ")[0])}
    return sum(bit for word, bit in bits.items() if word in words)


# A percent sign of format(), not of a parameter.
_LITERAL_PERCENT = re.compile(r"%(?!\()")
_FUNCTION = re.compile(
    r"^create (?:or replace )?function public\.(\w+)\(.*?\bas \$\$(.*?)\$\$", re.DOTALL | re.MULTILINE
)
_AGGREGATE = re.compile(r"^create aggregate public\.(\w+)\([^)]*\) \((.*?)\n\);", re.DOTALL | re.MULTILINE)
_TRIGGER = re.compile(
    r"^create trigger (\w+)\s+(before|after) ([^;]*?)\s*on public\.(\w+)\s+for each (row|statement)"
    r" execute function public\.(\w+)\(\);",
    re.MULTILINE,
)
_ALWAYS = re.compile(r"^alter table public\.\w+ enable always trigger (\w+);", re.MULTILINE)
