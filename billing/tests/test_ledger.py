"""Charges, keys, burn order, grants and debt. Numbers in names are those of the cases other systems paid for."""

import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction

from billing.credits import invariants, ledger, metering, queries
from billing.errors import InsideTransaction, InvalidUsage, OrganizationUnknown
from billing.models import Charge, CreditAccount, CreditEvent, CreditLot, LedgerEntry
from billing.tests.customer import Customer, units
from billing.tests.history import History

pytestmark = pytest.mark.django_db


# Charging


def test_a_charge_burns_its_price_and_is_the_record_of_its_key(customer):
    lot = customer.give(1_000)
    result = customer.charge(7, key="a")
    assert (result.outcome, result.amount_nano, result.debt_nano, result.available_nano) == ("charged", 7, 0, 993)
    assert customer.entries() == [("grant", lot.lot_id, 1_000), ("burn", lot.lot_id, -7)]
    assert customer.summary().available_nano == 993
    charge = Charge.objects.get()
    assert (charge.pk, charge.idempotency_key, charge.amount_nano) == (result.charge_id, "a", 7)


def test_case_019_a_replayed_key_answers_with_the_first_result_and_writes_nothing(customer):
    customer.give(1_000)
    first = customer.charge(7, key="a")
    customer.charge(100, key="b")
    before = customer.footprint()
    again = customer.charge(7, key="a")
    assert again.outcome == "replayed"
    assert (again.charge_id, again.amount_nano, again.debt_nano, again.available_nano) == (
        first.charge_id, first.amount_nano, first.debt_nano, first.available_nano
    )  # fmt: skip
    assert customer.footprint() == before


@pytest.mark.parametrize(
    "other",
    [
        lambda c: c.charge(8, key="a"),
        lambda c: c.report(7, key="a"),
        lambda c: c.charge(7, key="a", occurred_at=datetime(2026, 1, 1, tzinfo=UTC)),
        lambda c: metering.charge(organization_id=c.id, key="a", usage=units(7, output=0)),
        lambda c: metering.charge(
            organization_id=c.id, key="a", usage=metering.Usage(model="other", quantities={"input": 7})
        ),
        lambda c: metering.charge(
            organization_id=c.id,
            key="a",
            usage=metering.Usage(model="one-nano-a-unit", quantities={"input": 7}, surface="workbench"),
        ),
        lambda c: metering.charge(
            organization_id=c.id,
            key="a",
            usage=metering.Usage(model="one-nano-a-unit", quantities={"input": 7}, key_ref="sk-1"),
        ),
    ],
    ids=["quantity", "operation", "time", "token class", "model", "surface", "API key"],
)
def test_case_020_a_key_with_other_content_is_a_conflict_and_changes_nothing(customer, other):
    customer.give(1_000)
    customer.charge(7, key="a")
    before = customer.footprint()
    assert other(customer).outcome == "conflict"
    assert customer.footprint() == before


def test_a_repeat_may_name_the_start_that_the_charge_has_and_no_other(customer):
    customer.give(1_000)
    charged = customer.charge(7, key="a")
    began_at = Charge.objects.get(pk=charged.charge_id).charged_at
    late = customer.charge(7, key="b", occurred_at=began_at - timedelta(days=1))
    before = customer.footprint()
    assert customer.charge(7, key="a", occurred_at=began_at).outcome == "replayed"
    assert customer.charge(7, key="a", occurred_at=began_at + timedelta(microseconds=1)).outcome == "conflict"
    again = customer.charge(7, key="b", occurred_at=began_at - timedelta(days=1))
    assert (again.outcome, again.charge_id) == ("replayed", late.charge_id)
    assert customer.charge(7, key="b").outcome == "conflict"
    assert customer.footprint() == before


def test_a_key_of_a_charge_used_for_a_capture_is_a_conflict(customer):
    customer.give(1_000)
    customer.charge(7, key="a")
    hold_id = customer.hold(7, key="h")
    before = customer.footprint()
    assert customer.capture(hold_id, 7, key="a").outcome == "conflict"
    assert customer.footprint() == before


def test_case_021_two_organizations_may_use_one_key(customer):
    other = Customer("other")
    customer.give(1_000)
    other.give(1_000)
    assert [customer.charge(7, key="a").outcome, other.charge(9, key="a").outcome] == ["charged", "charged"]
    assert (customer.summary().available_nano, other.summary().available_nano) == (993, 991)


def test_case_022_the_stored_rows_carry_their_keys(customer):
    customer.give(1_000)
    hold_id = customer.hold(7, key="the hold's")
    customer.capture(hold_id, 7, key="the capture's")
    customer.charge(7, key="the charge's")
    with connection.cursor() as cursor:
        cursor.execute("select idempotency_key from billing_charge union select idempotency_key from billing_hold")
        assert {key for (key,) in cursor.fetchall()} == {"the hold's", "the capture's", "the charge's"}


@pytest.mark.django_db(transaction=True)
def test_case_023_keys_are_known_after_40_days(customer, credits_clock):
    customer.give(1_000)
    charged = customer.charge(7, key="a")
    hold_id = customer.hold(20, key="h")
    captured = customer.capture(hold_id, 5, key="c")
    credits_clock.advance(timedelta(days=40))
    before = customer.footprint()
    again = [customer.charge(7, key="a"), customer.capture(hold_id, 5, key="c"), customer.authorize(20, key="h")]
    assert [result.outcome for result in again] == ["replayed"] * 3
    assert [again[0].charge_id, again[1].charge_id, again[2].hold_id] == [
        charged.charge_id,
        captured.charge_id,
        hold_id,
    ]
    assert customer.charge(8, key="a").outcome == "conflict"
    assert customer.footprint() == before


def test_case_024_a_refusal_does_not_burn_its_key(customer):
    assert customer.charge(7, key="a").outcome == "insufficient"
    assert customer.authorize(7, key="h").outcome == "insufficient"
    customer.give(1_000)
    assert customer.charge(7, key="a").outcome == "charged"
    assert customer.authorize(7, key="h").outcome == "authorized"


def test_a_refused_charge_changes_nothing(customer):
    customer.give(6)
    before = customer.footprint()
    refused = customer.charge(7, key="a")
    assert (refused.outcome, refused.amount_nano, refused.available_nano) == ("insufficient", 7, 6)
    assert customer.footprint() == before


def test_a_refusal_that_tells_nothing_new_does_not_write_the_account(customer):
    """A blocked client that keeps trying costs no more than the lock."""
    customer.give(6)
    ledger.set_reload_line(organization_id=customer.id, below_nano=1)

    def version() -> tuple[object, ...]:
        with connection.cursor() as cursor:
            cursor.execute("select ctid, last_at from billing_creditaccount")
            return tuple(cursor.fetchone())

    before = version()
    assert customer.charge(7, key="a").outcome == "insufficient"
    told = version()
    assert told != before, "a reload became due, and credit ran out"
    assert [customer.charge(7, key="b").outcome, customer.authorize(7, key="h").outcome] == ["insufficient"] * 2
    assert version() == told


@pytest.mark.parametrize("operation", ["authorize", "charge"])
def test_with_nothing_available_a_request_of_any_size_is_refused(customer, operation):
    assert getattr(customer, operation)(0, key="a").outcome == "insufficient"
    customer.give(1)
    assert getattr(customer, operation)(0, key="a").outcome in ("authorized", "charged")


def test_an_unknown_organization_is_a_result_and_not_an_account(customer):
    unknown = customer.id + 1_000
    assert metering.charge(organization_id=unknown, key="a", usage=units(1)).outcome == "organization_unknown"
    assert metering.authorize(organization_id=unknown, key="a", usage=units(1)).outcome == "organization_unknown"
    assert metering.void(organization_id=unknown, hold_id=1).outcome == "organization_unknown"
    with pytest.raises(OrganizationUnknown):
        ledger.grant(organization_id=unknown, kind=CreditLot.Kind.PROMOTIONAL, amount_nano=1, reason="r")
    assert not CreditAccount.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_hot_operations_refuse_to_run_inside_an_open_transaction(customer):
    with transaction.atomic(), pytest.raises(InsideTransaction):
        customer.charge(1, key="a")


def test_a_test_cases_own_transaction_is_the_only_one_that_they_run_in(customer):
    customer.give(1)
    with transaction.atomic(), pytest.raises(InsideTransaction):
        customer.charge(1, key="a")
    assert customer.charge(1, key="a").outcome == "charged"


def test_a_refusal_makes_a_reload_due_also_where_credit_had_run_out_before(customer):
    customer.give(10)
    assert not customer.charge(20, key="a").is_newly_low
    ledger.set_reload_line(organization_id=customer.id, below_nano=5)
    account = CreditAccount.objects.get()
    assert (account.exhausted_at is None, account.low_at) == (False, None)
    assert customer.charge(20, key="b").is_newly_low
    account.refresh_from_db()
    assert (account.low_at is None, account.low_cause) == (False, "refusal")
    assert not customer.charge(20, key="c").is_newly_low


@pytest.mark.django_db(transaction=True)
def test_case_010_a_charge_that_fails_halfway_leaves_nothing(customer, owner_connection):
    customer.give(1_000)
    before = customer.footprint()
    # The account is saved last; making that impossible fails the operation after its lots, charge and entries.
    owner_connection.execute("alter table billing_creditaccount add constraint broken check (last_seq < 2)")
    try:
        with pytest.raises(IntegrityError):
            customer.charge(7, key="a")
    finally:
        owner_connection.execute("alter table billing_creditaccount drop constraint broken")
    assert customer.footprint() == before
    assert not Charge.objects.exists()
    assert customer.charge(7, key="a").outcome == "charged"


@pytest.mark.django_db(transaction=True)
def test_case_014_a_wrong_sum_in_the_account_pays_nothing(customer, superuser_connection):
    """The account's sums only make refusals fast: what is charged must be covered by lots."""
    customer.give(10)
    superuser_connection.execute("update billing_creditaccount set unreserved_nano = 1000")
    before = customer.footprint()
    with pytest.raises(DatabaseError, match="do not cover their sum"):
        customer.charge(11, key="a")
    with pytest.raises(DatabaseError, match="do not cover their sum"):
        customer.authorize(11, key="a")
    assert customer.footprint() == before


# Batches


def test_charge_many_answers_as_single_charges_in_order(customer):
    other = Customer("other")
    customer.give(20)
    other.give(5)
    customer.charge(1, key="old")
    results = metering.charge_many(
        [
            customer.event(7, key="a"),
            other.event(5, key="a"),
            customer.event(7, key="a"),
            customer.event(8, key="a"),
            customer.event(13, key="too much"),
            customer.event(12, key="b"),
            other.event(1, key="b"),
            customer.event(1, key="old"),
            metering.Event(organization_id=customer.id + 999, key="a", usage=units(1)),
        ]
    )
    assert [(result.outcome, result.available_nano) for result in results] == [
        ("charged", 12),
        ("charged", 0),
        ("replayed", 12),
        ("conflict", 12),
        ("insufficient", 12),
        ("charged", 0),
        ("insufficient", 0),
        ("replayed", 19),
        ("organization_unknown", None),
    ]


def test_events_of_a_batch_without_a_start_begin_when_they_are_charged(customer):
    """On the running clock: also after a single call (the repeated key) has come in between."""
    customer.give(1_000)
    keys = ["a", "b", "a", "c", "d"]
    outcomes = [result.outcome for result in metering.charge_many([customer.event(7, key=key) for key in keys])]
    assert outcomes == ["charged", "charged", "replayed", "charged", "charged"]
    assert [charge.charged_at - charge.started_at for charge in Charge.objects.all()] == [timedelta(0)] * 4


# Burn order


@pytest.mark.django_db(transaction=True)
def test_case_066_sooner_end_burns_first_then_promotional_then_older_then_id(customer, credits_clock):
    start = datetime(2026, 3, 1, tzinfo=UTC)
    credits_clock.set(start)
    bought = customer.buy(1)
    end = start.replace(year=2027)
    given_same_end = customer.give(5, expires_at=end).lot_id
    credits_clock.set(start + timedelta(days=1))
    later_given_same_end = customer.give(5, expires_at=end).lot_id
    twin = customer.give(5, expires_at=end).lot_id
    later = customer.give(5).lot_id
    soonest = customer.give(5, expires_at=start + timedelta(days=9)).lot_id
    paid = bought.lots.get().pk
    expected = [soonest, given_same_end, later_given_same_end, twin, paid, later]
    assert [lot.id for lot in customer.lots()] == expected
    customer.charge(20 + 10**7 + 5, key="all")
    assert [lot_id for kind, lot_id, _ in customer.entries() if kind == "burn"] == expected


def test_case_066_the_order_is_written_once_and_the_index_serves_it(db):
    assert queries.burn_order() == "expires_at, burn_rank, effective_at, id"
    assert f"order by {queries.burn_order()}\n" in queries._LIVE_LOTS
    with connection.cursor() as cursor:
        cursor.execute("select indexdef from pg_indexes where indexname = 'lot_burn_order'")
        ((definition,),) = cursor.fetchall()
    assert f"(organization_id, {queries.burn_order()})" in definition


def test_case_066_preview_and_burn_agree_on_random_lots(customer):
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    now = customer.now()
    for _ in range(40):
        customer.give(
            chance.randint(1, 9),
            expires_at=now + timedelta(days=chance.randint(1, 4)),
            kind=chance.choice([CreditLot.Kind.PROMOTIONAL, CreditLot.Kind.ADJUSTMENT]),
        )
    preview = [lot.id for lot in customer.lots()]
    total = customer.summary().available_nano
    number = 0
    while total:
        part = chance.randint(1, min(total, 11))
        customer.charge(part, key=f"{number}")
        total -= part
        number += 1
    burned = [lot_id for kind, lot_id, _ in customer.entries() if kind == "burn"]
    assert list(dict.fromkeys(burned)) == preview


def test_a_charge_reads_lots_only_until_it_is_covered(customer):
    first = customer.give(10, expires_at=customer.now() + timedelta(days=1)).lot_id
    second = customer.give(10, expires_at=customer.now() + timedelta(days=2)).lot_id
    third = customer.give(10, expires_at=customer.now() + timedelta(days=3)).lot_id
    customer.charge(15, key="a")
    assert customer.remaining() == {first: 0, second: 5, third: 10}


# Grants and debt


def test_case_067_bought_credit_is_spendable_in_the_same_moment(customer):
    assert customer.authorize(7, key="a").outcome == "insufficient"
    customer.buy(500)
    assert customer.authorize(7, key="a").outcome == "authorized"


def test_case_009_a_purchase_is_granted_once(customer):
    purchase = customer.buy(500)
    before = customer.footprint()
    again = ledger.grant(
        organization_id=customer.id,
        kind=CreditLot.Kind.PURCHASE,
        amount_nano=purchase.credit_nano,
        purchase_id=purchase.pk,
    )
    assert again.is_replay
    assert again.lot_id == purchase.lots.get().pk
    assert customer.footprint() == before


def test_a_purchase_of_another_organization_or_amount_grants_nothing(customer):
    other = Customer("other")
    purchase = customer.begin_purchase(500)
    other.begin_purchase(500)
    for organization_id, amount_nano in [(other.id, purchase.credit_nano), (customer.id, purchase.credit_nano + 1)]:
        with pytest.raises(IntegrityError), transaction.atomic():
            ledger.grant(
                organization_id=organization_id,
                kind=CreditLot.Kind.PURCHASE,
                amount_nano=amount_nano,
                purchase_id=purchase.pk,
            )
    assert not CreditLot.objects.exists()


def test_a_grant_key_gives_once_also_with_the_default_end(customer):
    key = uuid4()
    first = customer.give(100, grant_key=key)
    again = customer.give(100, grant_key=key)
    assert (again.lot_id, again.is_replay) == (first.lot_id, True)
    assert customer.summary().available_nano == 100


@pytest.mark.parametrize("amount_nano", [0, -1])
def test_case_087_grants_of_nothing_or_less_are_refused(customer, amount_nano):
    with pytest.raises(IntegrityError), transaction.atomic():
        customer.give(amount_nano)
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize("quantity", [-1, 10**9 + 1, 2**63, True, 1.0, "1", None])
def test_case_087_quantities_out_of_bounds_are_refused_before_the_database(customer, quantity):
    with pytest.raises(InvalidUsage):
        metering.charge(organization_id=customer.id, key="a", usage=units(quantity))


@pytest.mark.parametrize(
    "quantities",
    ['{"input": -1}', '{"input": 1000000001}', '{"input": null}', '{"input": 1.5}', '{"input": "NaN"}', "[]", "7"],
)
def test_case_087_the_database_refuses_such_quantities_too(customer, quantities):
    customer.give(1_000)
    before = customer.footprint()
    with pytest.raises(DataError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "select * from credits_charge(%s, 'charge', 'a', 'one-nano-a-unit', 'api', '', %s, null)",
            [customer.id, quantities],
        )
    assert customer.footprint() == before


@pytest.mark.parametrize("units", [-1, 10**9 + 1])
@pytest.mark.parametrize("operation", ["charge", "authorize", "capture"])
def test_case_087_the_database_refuses_such_numbers_of_units_too(customer, operation, units):
    customer.give(1_000)
    hold_id = customer.hold(10, key="h")
    before = customer.footprint()
    statement, start = {
        "charge": ("credits_charge(%s, 'charge', 'a', 'one-nano-a-unit', 'api', '', null, null, %s, 7)", []),
        "authorize": ("credits_authorize(%s, 'a', 'one-nano-a-unit', 'api', '', null, 60, %s, 7)", []),
        "capture": ("credits_capture(%s, %s, 'a', null, %s, 7)", [hold_id]),
    }[operation]
    with pytest.raises(DataError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"select {statement}", [customer.id, *start, units])
    assert customer.footprint() == before


def test_case_096_reported_usage_is_charged_in_full_and_the_rest_is_debt(customer):
    lot = customer.give(10).lot_id
    result = customer.report(25, key="a")
    assert (result.outcome, result.amount_nano, result.debt_nano, result.available_nano) == ("charged", 25, 15, -15)
    assert customer.entries()[1:] == [("burn", lot, -10), ("overshoot", None, -15)]
    assert customer.authorize(1, key="b").outcome == "insufficient"
    assert customer.charge(1, key="c").outcome == "insufficient"
    assert customer.summary().is_blocked


def test_case_117_the_next_credit_pays_debt_first_with_entries_for_both(customer):
    customer.give(10)
    customer.report(25, key="a")
    lot = customer.give(100).lot_id
    assert customer.entries()[-3:] == [
        ("grant", lot, 100), ("debt_payment", lot, -15), ("debt_settlement", None, 15)
    ]  # fmt: skip
    summary = customer.summary()
    assert (summary.debt_nano, summary.available_nano, summary.balance_nano) == (0, 85, 85)


def test_credit_that_only_pays_debt_does_not_end_that_credit_ran_out(customer):
    """Whoever has as little as before is not told anew that it ran out."""
    customer.give(10)
    customer.report(25, key="a")
    ran_out_at = CreditAccount.objects.get().exhausted_at
    assert ran_out_at is not None
    customer.give(15)
    assert customer.summary().available_nano == 0
    assert CreditAccount.objects.get().exhausted_at == ran_out_at
    assert customer.charge(1, key="b").outcome == "insufficient"
    assert CreditEvent.objects.filter(kind="exhausted").count() == 1
    customer.give(1)
    assert CreditAccount.objects.get().exhausted_at is None


def test_case_117_a_grant_smaller_than_the_debt_pays_a_part(customer):
    customer.report(25, key="a")
    customer.give(10)
    summary = customer.summary()
    assert (summary.debt_nano, summary.available_nano, summary.balance_nano) == (15, -15, 0)
    assert customer.charge(1, key="b").outcome == "insufficient"


@pytest.mark.django_db(transaction=True)
def test_a_frozen_organization_starts_nothing_and_settles_everything(customer, superuser_connection):
    customer.give(1_000)
    charged = customer.charge(7, key="before")
    first, second = customer.hold(10, key="h1"), customer.hold(10, key="h2")
    superuser_connection.execute("update billing_creditaccount set state = 'frozen'")
    assert customer.authorize(1, key="h3").outcome == "organization_suspended"
    assert customer.charge(1, key="c").outcome == "organization_suspended"
    assert metering.charge_many([customer.event(1, key="m")])[0].outcome == "organization_suspended"
    assert customer.charge(7, key="before").charge_id == charged.charge_id
    assert customer.capture(first, 5).outcome == "charged"
    assert customer.void(second).outcome == "voided"
    assert customer.report(3, key="u").outcome == "charged"
    assert customer.give(5).lot_id


def test_summary_page_lock_and_operations_agree_in_every_state(customer):
    """Case 122: what is shown, gated on and booked is one number. Random histories on the real clock."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    holds: list[int] = []
    for number in range(150):
        act = chance.choice(["give", "charge", "report", "authorize", "capture", "void"])
        if act == "give":
            customer.give(chance.randint(1, 300), expires_at=customer.now() + timedelta(days=chance.randint(1, 400)))
        elif act == "authorize":
            result = customer.authorize(chance.randint(0, 120), key=f"{number}")
            holds += [result.hold_id] if result.hold_id else []
        elif act in ("charge", "report"):
            getattr(customer, act)(chance.randint(0, 120), key=f"{number}")
        elif holds and act == "capture":
            customer.capture(holds.pop(chance.randrange(len(holds))), chance.randint(0, 150))
        elif holds:
            customer.void(holds.pop(chance.randrange(len(holds))))
        summary, locked = customer.summary(), customer.lock()
        assert summary.available_nano == locked.available_nano
        assert summary.balance_nano == sum(lot.left_nano for lot in customer.lots())
        assert summary.held_nano == sum(lot.held_nano for lot in customer.lots())
        assert summary.balance_nano - summary.held_nano - summary.debt_nano == summary.available_nano
        assert locked.level_nano == summary.balance_nano - summary.debt_nano
        assert not (summary.debt_nano and summary.balance_nano > summary.held_nano)
    book = LedgerEntry.objects.filter(organization_id=customer.id).order_by("seq").last()
    assert book is not None
    assert book.balance_after_nano == summary.balance_nano - summary.debt_nano


def test_case_071_entries_sum_to_what_lots_hold_less_debt(customer):
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(60):
        if chance.random() < 0.3:
            customer.give(chance.randint(1, 10**12))
        else:
            customer.report(chance.randint(0, 10**9), key=f"{number}")
    total = sum(amount for _, _, amount in customer.entries())
    account = CreditAccount.objects.get(organization_id=customer.id)
    assert total == sum(customer.remaining().values()) - account.debt_nano


# The line of auto-reload


def test_falling_below_the_line_is_told_once_until_the_line_is_looked_at_again(customer):
    customer.give(1_000)
    assert not ledger.set_reload_line(organization_id=customer.id, below_nano=500)
    assert not customer.charge(500, key="a").is_newly_low
    assert customer.charge(1, key="b").is_newly_low
    assert not customer.charge(1, key="c").is_newly_low
    assert ledger.set_reload_line(organization_id=customer.id, below_nano=500)
    assert not ledger.set_reload_line(organization_id=customer.id, below_nano=None)
    assert not customer.charge(1, key="d").is_newly_low


def test_held_credit_counts_as_there_and_a_refusal_while_armed_as_below(customer):
    customer.give(1_000)
    ledger.set_reload_line(organization_id=customer.id, below_nano=500)
    assert not customer.authorize(900, key="a").is_newly_low
    refused = customer.authorize(200, key="b")
    assert (refused.outcome, refused.is_newly_low) == ("insufficient", True)
    assert customer.authorize(200, key="b").is_newly_low is False
    assert customer.authorize(100, key="c").is_newly_low is False
    assert CreditAccount.objects.get().low_cause == "refusal"


def test_no_reload_is_due_while_nothing_is_armed(customer):
    assert not customer.authorize(1, key="a").is_newly_low
    assert customer.summary().low_at is None


# A history as a whole


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_clock_unsteady", [False, True], ids=["steady clock", "clock set back now and then"])
def test_every_invariant_holds_of_a_random_history(credits_clock, is_clock_unsteady):
    """Fault 33 of the second: the ledger's own time never goes back, whatever the server's clock does."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    history = History(set_clock=credits_clock.set, seed=seed, is_clock_unsteady=is_clock_unsteady)
    history.tell(steps=60)
    with transaction.atomic(), connection.cursor() as cursor:
        broken = [verdict for verdict in invariants.examine(cursor, at=history.at) if not verdict.holds]
    assert [verdict.name for verdict in broken] == ["the_clock_is_the_databases"], broken
