"""A batch gives what single calls in its order would have given: every answer, every row and every sum.

Two organizations live the same life. One is charged by batches, the other by single calls of the same events at the
same instant; then they are compared, whatever the events were.
"""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from billing.credits import ledger, metering
from billing.credits.metering import Event, Result, Usage
from billing.errors import InvalidUsage
from billing.models import (
    Charge,
    CreditAccount,
    CreditEvent,
    CreditLot,
    Hold,
    LedgerEntry,
    UnpricedUsage,
    UsageDay,
)
from billing.tests.customer import MODEL, Customer, publish_price, units

pytestmark = pytest.mark.django_db(transaction=True)

FREE = "free-of-charge"
ROUNDS = 60


@pytest.fixture
def twins(db: None) -> tuple[Customer, Customer]:
    """Two organizations and two models: one costs a nano-USD a unit, the other nothing."""
    publish_price()
    publish_price(FREE, input_nano=0, output_nano=0)
    return Customer("batched"), Customer("single")


def one_by_one(events: list[Event]) -> list[Result]:
    """The same events as single calls."""
    operations = {"charge": metering.charge, "usage": metering.report_usage}
    return [
        operations[event.operation](
            organization_id=event.organization_id, key=event.key, usage=event.usage, occurred_at=event.occurred_at
        )
        for event in events
    ]


def places(model: Any, customer: Customer) -> dict[int, int]:
    """The place of each of the organization's rows, by id."""
    ids = model.objects.filter(organization_id=customer.id).order_by("id").values_list("id", flat=True)
    return {row_id: place for place, row_id in enumerate(ids)}


def books(customer: Customer) -> dict[str, Any]:
    """All rows of an organization, without what only tells whose they are: ids, and hashes over ids."""
    lots = {
        lot.pk: number
        for number, lot in enumerate(CreditLot.objects.filter(organization_id=customer.id).order_by("id"))
    }
    charges = {
        charge.pk: number
        for number, charge in enumerate(Charge.objects.filter(organization_id=customer.id).order_by("id"))
    }

    def rows(model: Any, *columns: str) -> list[tuple[Any, ...]]:
        return list(model.objects.filter(organization_id=customer.id).order_by("pk").values_list(*columns))

    return {
        "account": rows(
            CreditAccount,
            "state",
            "last_seq",
            "last_at",
            "unreserved_nano",
            "held_nano",
            "debt_nano",
            "low_at",
            "low_cause",
            "exhausted_at",
        ),
        "lots": rows(CreditLot, "granted_nano", "is_open"),
        "left": list(customer.remaining().values()),
        "holds": rows(Hold, "state", "settled_at"),
        "charges": rows(
            Charge,
            "idempotency_key",
            "operation",
            "price_version",
            "surface",
            "key_ref",
            "quantities",
            "amount_nano",
            "debt_nano",
            "available_after_nano",
            "started_at",
            "charged_at",
        ),
        "entries": [
            (
                kind,
                lots.get(lot),
                amount,
                cause,
                charges.get(cause_id) if cause == "charge" else None,
                balance,
                value,
                booked,
            )
            for kind, lot, amount, cause, cause_id, balance, value, booked in LedgerEntry.objects.filter(
                organization_id=customer.id
            )
            .order_by("seq")
            .values_list(
                "kind", "lot_id", "amount_nano", "cause_kind", "cause_id", "balance_after_nano", "value_at", "booked_at"
            )
        ],
        "days": sorted(
            rows(
                UsageDay,
                "day",
                "surface",
                "priced_model__slug",
                "key_ref",
                "requests",
                "amount_nano",
                "input_units",
                "output_units",
                "cache_read_units",
            ),
            key=str,
        ),
        "unpriced": rows(
            UnpricedUsage, "operation", "idempotency_key", "model", "token_class", "attempts", "quantities"
        ),
        "told": rows(CreditEvent, "kind", "occurred_at"),
    }


def answers(results: list[Result], customer: Customer) -> list[Result]:
    """Results with charges told by their place."""
    charges = places(Charge, customer)
    return [
        result._replace(charge_id=None if result.charge_id is None else charges[result.charge_id]) for result in results
    ]


def random_events(chance: random.Random, customer: Customer, past: list[Event], at: datetime) -> list[Event]:
    """A batch with everything that can be in one."""
    events = []
    for number in range(chance.randint(1, 25)):
        if past and chance.random() < 0.1:
            events.append(chance.choice(past))
            continue
        key = chance.choice(past).key if past and chance.random() < 0.05 else f"k{len(past)}-{number}"
        quantities = {"input": chance.choice([0, 1, 7, 50, 400]), "output": chance.choice([0, 3])}
        if chance.random() < 0.05:
            quantities["unheard_of"] = chance.choice([0, 2])
        events.append(
            Event(
                organization_id=customer.id,
                key=key,
                usage=Usage(
                    model=chance.choices([MODEL, FREE, "nobody-knows"], [20, 2, 1])[0],
                    quantities=quantities,
                    surface=chance.choice(["api", "workbench", "claude_code"]),
                    key_ref=chance.choice(["", "key-a"]),
                ),
                occurred_at=chance.choice([None] * 6 + [at, at - timedelta(days=2), at - timedelta(days=40)]),
                operation=chance.choices(["charge", "usage"], [5, 1])[0],  # type: ignore[arg-type]
            )
        )
        past.append(events[-1])
    return events


def test_a_batch_equals_single_calls_in_its_order_whatever_the_events_are(twins, credits_clock, record_property):
    seed = random.SystemRandom().randrange(2**31)
    print("seed", seed)
    record_property("seed", seed)
    chance = random.Random(seed)
    batched, single = twins
    at = batched.now()
    past: list[Event] = []
    seen: set[str] = set()
    for _ in range(ROUNDS):
        at += timedelta(seconds=chance.choice([0, 1, 50, 700]))
        credits_clock.set(at)
        act = chance.random()
        if act < 0.5:
            amount, ends_at = chance.choice([30, 200, 2_000]), at + timedelta(seconds=chance.choice([20, 900, 10**6]))
            for twin in twins:
                twin.give(amount, expires_at=ends_at)
        if act < 0.1:
            for twin in twins:
                ledger.set_reload_line(organization_id=twin.id, below_nano=chance.choice([150]))
        elif act < 0.3:
            held = chance.randint(1, 60)
            for twin in twins:
                twin.authorize(held, key=f"hold-{at}-{act}", ttl_seconds=60)
        elif act > 0.95:
            for twin in twins:
                ledger.set_state(organization_id=twin.id, state=CreditAccount.State.FROZEN)
        elif act > 0.8:
            for twin in twins:
                ledger.set_state(organization_id=twin.id, state=CreditAccount.State.OPEN)
        events = random_events(chance, batched, past, at)
        of_batch = metering.charge_many(events)
        of_singles = one_by_one([replace(event, organization_id=single.id) for event in events])
        assert answers(of_batch, batched) == answers(of_singles, single), f"seed {seed}"
        assert books(batched) == books(single), f"seed {seed}"
        seen |= {result.outcome for result in of_batch}
    assert {"charged", "replayed", "conflict", "insufficient", "price_missing"} <= seen


def test_a_batch_over_several_organizations_answers_in_the_order_of_its_events(db):
    publish_price()
    customers = [Customer(f"org-{number}") for number in range(5)]
    for customer in customers[:4]:
        customer.give(1_000)
    events = [customers[number % 5].event(number + 1, key=f"k{number}") for number in range(50)]
    results = metering.charge_many(events)
    assert [result.outcome for result in results] == ["insufficient" if n % 5 == 4 else "charged" for n in range(50)]
    charges = Charge.objects.in_bulk([result.charge_id for result in results if result.charge_id])
    for event, result in zip(events, results, strict=True):
        if result.charge_id:
            charge = charges[result.charge_id]
            assert (charge.organization_id, charge.idempotency_key) == (event.organization_id, event.key)
            assert charge.amount_nano == result.amount_nano == event.usage.quantities["input"]


def test_an_unknown_organization_in_a_batch_spoils_no_other_event(customer):
    customer.give(100)
    stray = replace(customer.event(5, key="stray"), organization_id=10**12)
    results = metering.charge_many([customer.event(5, key="a"), stray, customer.event(5, key="b")])
    assert [result.outcome for result in results] == ["charged", "organization_unknown", "charged"]


@pytest.mark.parametrize(
    ("spoilt", "field"),
    [
        ({"key": "k" * 256}, "idempotency_key"),
        ({"key": ""}, "idempotency_key"),
        ({"key": "nul\x00"}, "idempotency_key"),
        ({"key": "half a character \ud800"}, "idempotency_key"),
        ({"model": "m" * 65}, "model"),
        ({"key_ref": "r" * 65}, "key_ref"),
        ({"token_class": "c" * 33}, "quantities"),
        ({"token_class": "nul\x00"}, "quantities"),
    ],
)
def test_an_event_that_no_row_could_hold_is_refused_before_it_can_spoil_a_batch(spoilt, field):
    event = {"key": "k", "model": MODEL, "key_ref": "", "token_class": "input"} | spoilt
    with pytest.raises(InvalidUsage) as refusal:
        Event(
            organization_id=1,
            key=event["key"],
            usage=Usage(model=event["model"], quantities={event["token_class"]: 1}, key_ref=event["key_ref"]),
        )
    assert refusal.value.field == field


def test_usage_of_nothing_has_no_price_either_where_its_model_has_none(customer):
    customer.give(100)
    nothing = Event(organization_id=customer.id, key="n", usage=units(0, model="nobody-priced-it"))
    assert [result.outcome for result in metering.charge_many([nothing, customer.event(0, key="0")])] == [
        "price_missing",
        "charged",
    ]


def test_texts_that_mean_something_in_an_array_are_kept_as_they_are(twins):
    texts = [
        "NULL",
        "null",
        "{}",
        '{"a","b"}',
        'a"b',
        "a\\b",
        "\\",
        '\\"',
        "a,b",
        " a ",
        "{",
        "}",
        "'",
        "%s",
        "--",
        "()",
    ]
    for customer in twins:
        customer.give(1_000)
    usages = [Usage(model=MODEL, quantities={"input": 1}, key_ref=text) for text in texts]
    of_one = [[Event(who.id, text, usage) for text, usage in zip(texts, usages, strict=True)] for who in twins]
    assert {result.outcome for result in metering.charge_many(of_one[0])} == {"charged"}
    one_by_one(of_one[1])
    kept = [
        list(Charge.objects.filter(organization_id=who.id).order_by("id").values_list("idempotency_key", "key_ref"))
        for who in twins
    ]
    assert kept == [[(text, text) for text in texts]] * 2
    assert {result.outcome for result in metering.charge_many(of_one[0])} == {"replayed"}
    assert {result.outcome for result in metering.charge_many(of_one[1])} == {"replayed"}


def by_hand(organization_ids: list[int], *, keys: list[str], others: list[str]) -> None:
    """A batch as only a caller in SQL can bring it."""
    count = len(keys)
    with connection.cursor() as cursor:
        cursor.execute(
            "select credits_charge_many(%s, %s, %s, %s, %s, %s, %s::text[]::jsonb[], '{}', '{}', '{}', '{}', '{}')",
            [organization_ids, ["charge"] * count, keys, [MODEL] * count, ["api"] * count, [""] * count, others],
        )


def test_a_usual_class_among_the_others_of_a_batch_is_counted_where_it_belongs(customer):
    customer.give(100)
    by_hand([customer.id], keys=["a"], others=['{"input": 3, "output": 2}'])
    (day,) = UsageDay.objects.values("input_units", "output_units", "other_units", "requests")
    assert day == {"input_units": 3, "output_units": 2, "other_units": {}, "requests": 1}


def test_a_batch_that_is_not_sorted_by_organization_is_refused_as_a_whole(twins):
    for customer in twins:
        customer.give(100)
    before = [customer.footprint() for customer in twins]
    first, second = sorted(customer.id for customer in twins)
    one, two = first, second
    for organization_ids in ([two, one], [one, two, one], [one, two, two, one], [one, two, one, two, one, two]):
        keys = [f"k{place}" for place in range(len(organization_ids))]
        with pytest.raises(DataError, match="sorted by organization"), transaction.atomic():
            by_hand(organization_ids, keys=keys, others=['{"input": 1}'] * len(keys))
    assert [customer.footprint() for customer in twins] == before


def test_numbers_that_are_taken_end_a_batch_with_an_error(customer, superuser_connection):
    customer.give(100)
    ids = [customer.charge(1, key=f"k{number}").charge_id for number in range(20)]
    superuser_connection.execute("select setval('public.billing_charge_id_seq', %s, false)", [min(ids)])
    with pytest.raises(IntegrityError, match="billing_charge_pkey"):
        metering.charge_many([customer.event(1, key="new")])
    assert Charge.objects.count() == 20


@pytest.mark.parametrize(
    "quantities", ['{"input": -1}', '{"input": 1.5}', '{"input": 1000000001}', '{"input": "NaN"}', "7"]
)
def test_case_087_the_database_refuses_such_quantities_of_a_batch_too(twins, quantities):
    customer, _ = twins
    customer.give(1_000)
    before = customer.footprint()
    with pytest.raises(DataError), transaction.atomic():
        by_hand([customer.id], keys=["a"], others=[quantities])
    assert customer.footprint() == before
