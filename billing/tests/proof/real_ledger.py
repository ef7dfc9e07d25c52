"""The product's ledger, called as the product calls it and read row by row, in the words of the model.

Operations go through :mod:`billing.credits.ledger` and :mod:`billing.credits.metering` as the runtime role, each
committed. What they leave behind is read by the superuser over a second connection, with prepared statements, because
it is read after every step of long histories. The money clock is a row in a table, so that moving it is one UPDATE.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from django.db import IntegrityError

from billing.credits import invariants, ledger, metering, prices, queries, statements
from billing.errors import Refused
from billing.models import CreditLot, Purchase
from billing.money import NANO_PER_CENT
from billing.tests.customer import Customer
from billing.tests.proof import ledger_model as model

Connection = psycopg.Connection[tuple[Any, ...]]
Arguments = dict[str, Any]

# A number that no organization has, in whose place a statement's parameter is put.
_NO_ORGANIZATION = 918_273_645_546_372_819


class Clock:
    """The money clock of the test database: it shows what a row of a table says."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner

    def set(self, at: datetime) -> None:
        self._owner.execute("update public.proof_clock set at = %s", [at], prepare=True)


@contextmanager
def clock_in_a_row(owner: Connection) -> Iterator[Clock]:
    """Replace the money clock, once, by its owner; it runs again afterwards."""
    row = owner.execute("select pg_get_functiondef('public.credits_clock()'::regprocedure)").fetchone()
    assert row is not None
    owner.execute("create table public.proof_clock (at timestamptz not null)")
    owner.execute("grant select on public.proof_clock to public")
    owner.execute("insert into public.proof_clock values (clock_timestamp())")
    owner.execute(
        "create or replace function public.credits_clock() returns timestamptz language sql volatile"
        " as $$ select at from public.proof_clock $$"
    )
    try:
        yield Clock(owner)
    finally:
        owner.execute(row[0])
        owner.execute("drop table public.proof_clock")


# Operations


def _usage(usage: model.Usage) -> metering.Usage:
    return metering.Usage(model=usage.model, quantities=usage.quantities, surface=usage.surface, key_ref=usage.key_ref)


def _in_words_of_the_model(answer: object, kind: type[Any]) -> Any:
    values = {item.name: getattr(answer, item.name) for item in fields(kind)}
    if "outcome" in values:
        values["outcome"] = str(values["outcome"])
    return kind(**values)


def _hot(function: Callable[..., metering.Result]) -> Callable[..., model.Answer]:
    def call(**arguments: Any) -> model.Answer:
        if "usage" in arguments:
            arguments["usage"] = _usage(arguments["usage"])
        answer: model.Answer = _in_words_of_the_model(function(**arguments), model.Answer)
        return answer

    return call


def charge_many(*, events: Sequence[model.Event]) -> list[model.Answer]:
    results = metering.charge_many(
        [
            metering.Event(
                organization_id=event.organization_id,
                key=event.key,
                usage=_usage(event.usage),
                occurred_at=event.occurred_at,
                operation=event.operation,
            )
            for event in events
        ]
    )
    return [_in_words_of_the_model(result, model.Answer) for result in results]


def _charge(*, operation: str = "charge", **arguments: Any) -> metering.Result:
    return {"charge": metering.charge, "usage": metering.report_usage}[operation](**arguments)


def _cold(name: str, kind: type[Any] | None) -> Callable[..., Any]:
    """A function of the ledger that joins its caller's transaction; here nothing is open, so it is one of its own."""

    def call(**arguments: Any) -> Any:
        try:
            answer = getattr(ledger, name)(**arguments)
        except Refused as refusal:
            return model.Refusal(refusal.code)
        except IntegrityError:
            return model.Refusal("impossible")
        return answer if kind is None else _in_words_of_the_model(answer, kind)

    return call


def _expire_due(*, limit: int) -> model.ExpiredDue:
    done = ledger.expire_due(limit=limit)
    return model.ExpiredDue(done.booked, sorted(done.newly_low))


def grant(*, kind: str, **arguments: Any) -> model.Granted | model.Refusal:
    """Grant; a purchase ends with it, as its settlement leaves it."""
    granted = _cold("grant", model.Granted)(kind=CreditLot.Kind(kind), **arguments)
    if arguments.get("purchase_id") is not None and not granted.is_replay:
        Purchase.objects.filter(pk=arguments["purchase_id"]).update(
            state=Purchase.State.SUCCEEDED, settled_at=granted.effective_at
        )
    assert isinstance(granted, model.Granted | model.Refusal)
    return granted


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "authorize": _hot(metering.authorize),
    "capture": _hot(metering.capture),
    "void": _hot(metering.void),
    "charge": _hot(_charge),
    "charge_many": charge_many,
    "grant": grant,
    "expire": _cold("expire", model.Expired),
    "expire_due": _expire_due,
    "reverse": _cold("reverse", model.Reversed),
    "adjust": _cold("adjust", model.Adjusted),
    "take_back": _cold("take_back", model.TakenBack),
    "set_state": _cold("set_state", None),
    "set_reload_line": _cold("set_reload_line", None),
}


def new_id(answer: object) -> int | None:
    """The id of what an operation made, as it answered."""
    match answer:
        case model.Answer(outcome="authorized"):
            return answer.hold_id
        case model.Answer():
            return answer.charge_id
        case model.Granted():
            return answer.lot_id
        case model.Reversed():
            return answer.reversal_id
        case model.Adjusted():
            return answer.adjustment_id
        case model.TakenBack():
            return answer.take_back_id
    return None


def publish(*, model: str, prices_nano_per_million: Mapping[str, int], effective_at: datetime) -> None:
    """Publish a version of a model's prices."""
    prices.publish(
        prices=prices.ModelPrices(slug=model, name=model, prices_nano_per_million=prices_nano_per_million),
        effective_at=effective_at,
    )


def begin_purchase(customer: Customer, *, amount_cents: int, kind: str) -> Arguments:
    """A purchase that was sent; the arguments of the grant that settles it."""
    purchase = customer.begin_purchase(
        amount_cents, kind=Purchase.Kind.AUTO_RELOAD if kind == "auto_reload" else Purchase.Kind.MANUAL
    )
    return {
        "kind": kind,
        "amount_nano": amount_cents * NANO_PER_CENT,
        "purchase_id": purchase.pk,
        "actor_id": purchase.actor_id,
        "label": "Credit purchase",
    }


# Reads of the product


def summary(*, organization_id: int, at: datetime | None = None) -> model.Summary:
    read: model.Summary = _in_words_of_the_model(queries.summary(organization_id=organization_id, at=at), model.Summary)
    return read


def lot_lines(*, organization_id: int, at: datetime) -> list[model.LotLine]:
    lines = queries.live_lots(organization_id=organization_id, at=at, limit=10_000)
    return [_in_words_of_the_model(line, model.LotLine) for line in lines]


def balance_at(*, organization_id: int, at: datetime) -> int:
    return statements.balance_at(organization_id=organization_id, at=at)


# The rows


@dataclass(frozen=True)
class Rows:
    """What an organization's tables say. Entries and charges are those after the numbers that were asked for."""

    account: list[tuple[Any, ...]]
    lots: list[tuple[Any, ...]]
    holds: list[tuple[Any, ...]]
    charges: list[tuple[Any, ...]]
    entries: list[tuple[Any, ...]]
    usage_days: list[tuple[Any, ...]]
    unpriced: list[tuple[Any, ...]]
    reversals: list[tuple[Any, ...]]
    adjustments: list[tuple[Any, ...]]
    take_backs: list[tuple[Any, ...]]
    told: list[tuple[Any, ...]]


_OF = "where organization_id = %(organization_id)s"
_ROWS = {
    "account": (
        "select state, last_seq, unreserved_nano, held_nano, debt_nano, reload_below_nano, low_at, low_cause,"
        f" exhausted_at from billing_creditaccount {_OF}"
    ),
    "lots": (
        "select id, kind, granted_nano, remaining_nano, effective_at, expires_at, purchase_id"
        " from credits_lots(%(organization_id)s::bigint) order by id"
    ),
    "holds": (
        "select id, state, amount_nano, lot_ids, lot_amounts_nano, available_after_nano, authorized_at, expires_at,"
        f" settled_at from billing_hold {_OF} and id = any(%(holds)s) order by id"
    ),
    "charges": (
        "select id, idempotency_key, operation, hold_id, surface, key_ref, amount_nano, debt_nano,"
        f" available_after_nano, started_at, charged_at from billing_charge {_OF} and id > %(after_charge)s order by id"
    ),
    "entries": (
        "select seq, kind, lot_id, amount_nano, cause_kind, cause_id, reverses_seq, actor_id, value_at, booked_at,"
        f" balance_after_nano from billing_ledgerentry {_OF} and seq > %(after_seq)s order by seq"
    ),
    "usage_days": (
        "select d.day, d.surface, m.slug, d.key_ref, d.requests, d.amount_nano, d.reversed_nano, d.input_units,"
        " d.output_units, d.cache_write_units, d.cache_read_units, d.other_units"
        " from billing_usageday d join billing_pricedmodel m on m.id = d.priced_model_id"
        f" {_OF} order by 1, 2, 3, 4"
    ),
    "unpriced": (
        "select id, operation, idempotency_key, model, token_class, surface, key_ref, quantities, started_at, attempts,"
        f" first_at, last_at from billing_unpricedusage {_OF} order by 2, 3, 4, 5"
    ),
    "told": f"select kind, occurred_at from billing_creditevent {_OF} order by id",
    "reversals": f"select id, cause_kind, cause_id, amount_nano, reversed_at from billing_reversal {_OF} order by id",
    "adjustments": f"select id, amount_nano, debt_nano, adjusted_at from billing_debitadjustment {_OF} order by id",
    "take_backs": (
        f"select id, lot_id, asked_nano, taken_nano, debt_nano, taken_back_at from billing_takeback {_OF} order by id"
    ),
}


class Observer:
    """Reads tables and invariants as the superuser, in pipelines of prepared statements."""

    def __init__(self, superuser: Connection) -> None:
        self._superuser = superuser
        superuser.prepared_max = None
        # One plan for all organizations, and never one that reads a whole table: tables grow from history to history.
        superuser.execute("set plan_cache_mode = force_generic_plan")
        superuser.execute("set enable_seqscan = off")
        superuser.execute("set jit = off")

    def rows(self, **parameters: Any) -> Rows:
        """The rows of an organization."""
        read = self._pipelined([(_ROWS[item.name], parameters) for item in fields(Rows)])
        return Rows(*read)

    def broken(self, organization_id: int, *, at: datetime) -> list[str]:
        """What the ledger's invariants find wrong with an organization."""
        parameters = {"organization_id": organization_id, "at": at}
        found = self._superuser.execute(_invariants(), parameters, prepare=True).fetchall()
        return [f"{name}: {row}, {detail}" for name, row, detail in found]

    def forget_open_lots(self) -> None:
        """Delete what histories before this one left to the sweep of all organizations, whatever became of them.

        A red history may have left behind what no sweep can book.
        """
        with self._superuser.transaction():
            self._superuser.execute("set local session_replication_role = replica")
            self._superuser.execute("delete from billing_creditlot where is_open")

    def analyze(self) -> None:
        """Let plans be made for tables as they are by now."""
        self._superuser.execute("analyze")

    def broken_anywhere(self, *, at: datetime, but: Sequence[str] = ()) -> list[str]:
        """What the invariants find wrong in the whole database, each read over all organizations."""
        chosen = tuple(
            invariant
            for invariant in invariants.INVARIANTS
            if invariant.severity is invariants.Severity.VIOLATION and invariant.name not in but
        )
        with self._superuser.transaction(), self._superuser.cursor() as cursor:
            cursor.execute("set local enable_seqscan = on")
            cursor.execute("set local plan_cache_mode = auto")
            verdicts = list(invariants.examine(cursor, at=at, invariants=chosen))
        return [f"{verdict.name}: {verdict.findings}" for verdict in verdicts if not verdict.holds]

    def _pipelined(self, statements: Sequence[tuple[str, Mapping[str, Any]]]) -> list[list[tuple[Any, ...]]]:
        with self._superuser.pipeline():
            cursors = [self._superuser.execute(text, parameters, prepare=True) for text, parameters in statements]
        return [cursor.fetchall() for cursor in cursors]


@cache
def _invariants() -> str:
    """Every invariant of the ledger in one statement, for an organization that is a parameter."""
    tables = ",\n".join(
        f"{name} as materialized (select * from {table} where organization_id = %(organization_id)s::bigint)"
        for name, table in invariants._TABLES.items()
    )
    chosen = [
        f"(select '{invariant.name}', broken.subject::text, broken.detail::text from (\n"
        f"{invariants._LITERAL_PERCENT.sub('%%', invariant.query)}) broken limit {invariants.ROWS_SHOWN})"
        for invariant in invariants.INVARIANTS
        if invariant.severity is invariants.Severity.VIOLATION and not invariant.is_of_the_database
    ]
    return f"with {tables}\n" + "\nunion all\n".join(chosen)
