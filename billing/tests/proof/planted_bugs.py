"""Bugs that a ledger could have, each as one edit of a shipped function: the machine has to find every one of them.

The edit is made in the test database by the functions' owner and undone afterwards. An edit whose place is no longer in
the function, or is there twice, is an error, so that a bug can't silently stop being planted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class PlantedBug:
    """A function in which ``shipped`` becomes ``planted``. ``name`` says what then goes wrong."""

    name: str
    function: str
    shipped: str
    planted: str


BUGS = (
    PlantedBug(
        "credit that ends last is spent first",
        "credits__open_lots",
        "order by expires_at, burn_rank",
        "order by expires_at desc, burn_rank",
    ),
    PlantedBug(
        "a hold lapses an instant late",
        "credits__lapse",
        "expires_at <= p_at and amount_nano > 0",
        "expires_at < p_at and amount_nano > 0",
    ),
    PlantedBug(
        "a lot is spent at its very end",
        "credits_live_lots",
        "expires_at > p_at",
        "expires_at >= p_at",
    ),
    PlantedBug(
        "more is taken back than was granted",
        "credits_take_back",
        "least(p_amount, v_lot.granted_nano - credits__taken_back_nano(p_organization, p_lot))",
        "p_amount",
    ),
    PlantedBug(
        "a reversal forgets earlier ones",
        "credits_reverse",
        "v_cause.amount_nano - coalesce(sum(r.amount_nano), 0)",
        "v_cause.amount_nano - 0 * coalesce(sum(r.amount_nano), 0)",
    ),
    PlantedBug(
        "debt is not paid by a grant",
        "credits_grant",
        "a := credits__pay_debt(a, 'lot', v_lot.id, v_now);",
        "",
    ),
    PlantedBug(
        "a repeated charge tells what is available by now",
        "credits__charge_any",
        "v_charge.amount_nano, v_charge.debt_nano, v_charge.available_after_nano",
        "v_charge.amount_nano, v_charge.debt_nano, public.credits__available_nano(a, a.last_at)",
    ),
    PlantedBug(
        "a repeat may ask for something else",
        "credits__charge_any",
        "case when v_charge.is_repeat then 'replayed' else 'conflict' end",
        "'replayed'",
    ),
    PlantedBug(
        "usage is charged at the price of now",
        "credits__price_in_force",
        "v.effective_at <= p_at and (v.superseded_at is null or v.superseded_at > p_at)",
        "v.superseded_at is null",
    ),
    PlantedBug(
        "fractions of a nano are dropped",
        "credits__usual_cost",
        "+ 999999) / 1000000",
        ") / 1000000",
    ),
    PlantedBug(
        "a batch forgets what it has spent so far",
        "credits__charge_in_order",
        "v_available := v_available - v_amount;",
        "",
    ),
    PlantedBug(
        "a lapsed hold is given back once more by its void",
        "credits_void",
        "if h.state = 'open' then",
        "if h.state <> 'voided' then",
    ),
    PlantedBug(
        "the usual charge takes a nano too much from its lot",
        "credits_charge",
        "burning_remaining_nano = a.burning_remaining_nano - v_amount",
        "burning_remaining_nano = a.burning_remaining_nano - v_amount - 1",
    ),
    PlantedBug(
        "the usual charge tells what was available before it",
        "credits_charge",
        "v_id, v_amount, 0, v_available, null, false",
        "v_id, v_amount, 0, v_available + v_amount, null, false",
    ),
    PlantedBug(
        "the usual authorization keeps its hold in what may be spent",
        "credits_authorize",
        "unreserved_nano = a.unreserved_nano - v_amount",
        "unreserved_nano = a.unreserved_nano",
    ),
    PlantedBug(
        "the usual capture gives nothing back",
        "credits_capture",
        "unreserved_nano = a.unreserved_nano + h.amount_nano - v_amount",
        "unreserved_nano = a.unreserved_nano",
    ),
    PlantedBug(
        "the usual capture counts from now instead of its authorization",
        "credits_capture",
        "'charge', v_id, null, null, h.authorized_at, v_now, a.unreserved_nano",
        "'charge', v_id, null, null, v_now, v_now, a.unreserved_nano",
    ),
    PlantedBug(
        "credit comes back to a lot that comes first, and the other one burns on",
        "credits__give_back",
        "a := public.credits__put_back(a);",
        "",
    ),
    PlantedBug(
        "a lot burns before an ended one is booked",
        "credits__take_up",
        "if a.burning_ends_at <= p_at then",
        "if false then",
    ),
    PlantedBug(
        "a year has 365 days",
        "credits_grant",
        "coalesce(p_expires_at, (v_now at time zone 'UTC' + interval '1 year')",
        "coalesce(p_expires_at, (v_now at time zone 'UTC' + interval '365 days')",
    ),
)


@contextmanager
def planted(owner: Connection, bug: PlantedBug) -> Iterator[None]:
    """Edit the function, whoever runs what inside; it is as shipped afterwards."""
    found = owner.execute(
        "select pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace and proname = %s",
        [bug.function],
    ).fetchall()
    assert len(found) == 1, f"there are {len(found)} functions {bug.function}"
    (shipped,) = found[0]
    assert shipped.count(bug.shipped) == 1, f"{bug.function} has {shipped.count(bug.shipped)} of: {bug.shipped}"
    owner.execute(shipped.replace(bug.shipped, bug.planted))
    try:
        yield
    finally:
        owner.execute(shipped)
