"""Putting credit right: what each correction changes, that it is audited and made once, and what is refused."""

import dataclasses
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4, uuid5

import pytest
from django.db import IntegrityError, transaction

from accounts.models import AuditEvent
from billing.credits import corrections, ledger, metering, prices, promotions, queries
from billing.credits.metering import Usage
from billing.errors import OrganizationUnknown, Refused
from billing.models import (
    Charge,
    CreditAccount,
    CreditEvent,
    CreditLot,
    DebitAdjustment,
    LedgerEntry,
    Reversal,
    TakeBack,
    UnpricedUsage,
    UsageDay,
)
from billing.tests import staff
from billing.tests.buyer import at_once
from billing.tests.customer import MODEL, Customer, publish_price, units

pytestmark = pytest.mark.django_db

REASON = "Wrong price last week, ticket 4711"


@pytest.fixture
def actor():
    return staff.superuser()


def words(actor, **more):
    """What every correction is told."""
    return {"label": "Correction", "reason": REASON, "actor": actor, "key": uuid4(), **more}


def later(days: int = 30) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def give(customer: Customer, actor, amount_nano: int, **more):
    arguments = {"expires_at": later(), **words(actor), **more}
    return corrections.give_credit(organization=customer.organization, amount_nano=amount_nano, **arguments)


def take(customer: Customer, actor, amount_nano: int, *, may_owe: bool = False, **more):
    return corrections.take_credit(
        organization=customer.organization, amount_nano=amount_nano, may_owe=may_owe, **words(actor, **more)
    )


def reverse(customer: Customer, actor, cause_id: int | None, *, amount_nano: int | None = None, **more):
    arguments = {"cause_kind": Reversal.Cause.CHARGE, **words(actor), **more}
    assert cause_id is not None
    return corrections.reverse(
        organization=customer.organization, cause_id=cause_id, amount_nano=amount_nano, **arguments
    )


def take_back(customer: Customer, actor, lot_id: int, amount_nano: int, *, rest_as_debt: bool = False, **more):
    return corrections.take_back(
        organization=customer.organization,
        lot_id=lot_id,
        amount_nano=amount_nano,
        rest_as_debt=rest_as_debt,
        **words(actor, **more),
    )


def audited(action: str) -> AuditEvent:
    (event,) = AuditEvent.objects.filter(action=action)
    return event


# --- Given and taken -------------------------------------------------------------------------------------------------


def test_correction_credit_is_a_lot_that_pays_debt_first(customer, actor):
    customer.report(30, key="owed")
    granted = give(customer, actor, 100)
    lot = CreditLot.objects.get()
    assert (lot.kind, lot.granted_nano, lot.remaining_nano, lot.actor_id) == ("adjustment", 100, 70, actor.pk)
    assert (lot.label, lot.reason) == ("Correction", REASON)
    assert customer.summary().debt_nano == 0
    event = audited("correction_credit.given")
    assert (event.organization, event.actor, event.target) == (customer.organization, actor, f"lot:{granted.lot_id}")


def test_case_118_given_credit_and_its_entries_carry_one_date(customer, actor):
    """Nothing is ever backdated: an end can be chosen, a beginning can't."""
    give(customer, actor, 100)
    lot, entry = CreditLot.objects.get(), LedgerEntry.objects.get()
    assert lot.effective_at == entry.value_at == entry.booked_at
    with pytest.raises(TypeError, match="effective_at"):
        give(customer, actor, 100, effective_at=later(-5))
    with pytest.raises(Refused, match="future"):
        give(customer, actor, 100, expires_at=later(-1))


def test_case_035_a_gift_to_many_that_fails_halfway_is_given_once_to_each_on_retry(customer, actor):
    """The key of each recipient's gift is made from the occasion's, so that whoever has it is not given it again."""
    occasion = UUID("8f14e45f-ceea-467f-8a4b-1b0d5f4c1a11")
    many = [customer, Customer("borealis"), Customer("cygnus")]
    expires_at = later()

    def give_all(*, fails_at: int | None = None) -> None:
        for number, one in enumerate(many):
            if number == fails_at:
                raise RuntimeError("the worker died")
            promotions.give_promotional_credit(
                organization=one.organization,
                amount_cents=100,
                expires_at=expires_at,
                label="Thank you",
                reason=REASON,
                actor=actor,
                grant_key=uuid5(occasion, one.organization.slug),
            )

    with pytest.raises(RuntimeError):
        give_all(fails_at=2)
    give_all()
    assert [one.summary().balance_nano for one in many] == [10**9] * 3
    assert AuditEvent.objects.filter(action="promotional_credit.given").count() == 3


def test_a_debit_takes_live_credit_in_burn_order(customer, actor):
    later_lot = customer.give(100, expires_at=later(60)).lot_id
    sooner_lot = customer.give(100, expires_at=later(30)).lot_id
    adjusted = take(customer, actor, 150)
    assert customer.entries()[2:] == [("adjustment", sooner_lot, -100), ("adjustment", later_lot, -50)]
    row = DebitAdjustment.objects.get()
    assert (row.pk, row.amount_nano, row.debt_nano, row.actor_id) == (adjusted.adjustment_id, 150, 0, actor.pk)
    assert audited("correction.debited").target == f"adjustment:{row.pk}"


def test_a_debit_above_the_credit_is_refused_unless_it_may_be_owed(customer, actor):
    customer.give(100)
    before = customer.footprint()
    with pytest.raises(Refused) as refusal:
        take(customer, actor, 101)
    assert (refusal.value.code, refusal.value.field) == ("insufficient", "may_owe")
    assert customer.footprint() == before
    assert not AuditEvent.objects.exists()
    assert take(customer, actor, 101, may_owe=True).debt_nano == 1
    assert customer.summary().debt_nano == 1


@pytest.mark.parametrize("amount_nano", [0, -1, corrections.DEBIT_MAXIMUM_NANO + 1, 2**63])
def test_case_087_amounts_out_of_bounds_are_refused(customer, actor, amount_nano):
    lot_id = customer.give(10**9).lot_id
    customer.charge(5, key="c")
    before = customer.footprint()
    for correct in (
        partial(give, customer, actor, amount_nano),
        partial(take, customer, actor, amount_nano, may_owe=True),
        partial(take_back, customer, actor, lot_id, amount_nano, rest_as_debt=True),
        partial(reverse, customer, actor, Charge.objects.get().pk, amount_nano=amount_nano),
        partial(settle, unpriced(customer), actor, amount_nano),
    ):
        with pytest.raises(Refused) as refusal:
            correct()
        assert refusal.value.field == "amount_nano"
    assert customer.footprint() == before


def test_a_million_dollars_at_once_are_the_most_that_is_taken(customer, actor):
    assert take(customer, actor, 10**15, may_owe=True).debt_nano == 10**15
    with pytest.raises(Refused):
        take(customer, actor, 10**15 + 1, may_owe=True)


@pytest.mark.parametrize("amount_nano", [0, -1])
def test_case_087_the_database_refuses_such_amounts_too(customer, actor, amount_nano):
    customer.give(100)
    with pytest.raises(IntegrityError, match="adjustment_amounts"), transaction.atomic():
        ledger.adjust(
            organization_id=customer.id, amount_nano=amount_nano, key=uuid4(), label="x", reason="y",
            actor_id=None, may_owe=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "text"), [("label", ""), ("label", "a\nb"), ("label", "x" * 81), ("reason", "short")]
)
def test_no_correction_without_a_label_and_a_reason(customer, actor, field, text):
    lot_id = customer.give(100).lot_id
    customer.charge(5, key="c")
    before = customer.footprint()
    for correct in (
        partial(give, customer, actor, 1),
        partial(take, customer, actor, 1),
        partial(take_back, customer, actor, lot_id, 1),
        partial(reverse, customer, actor, Charge.objects.get().pk),
        partial(settle, unpriced(customer), actor),
    ):
        with pytest.raises(Refused) as refusal:
            correct(**{field: text})
        assert refusal.value.field == field
    assert customer.footprint() == before


def test_correction_and_audit_event_stand_or_fall_together(customer, actor, monkeypatch):
    lot_id = customer.give(100).lot_id
    customer.charge(5, key="c")
    before = customer.footprint()

    def fail(**_):
        raise IntegrityError

    monkeypatch.setattr("accounts.audit.record", fail)
    for correct in (
        partial(give, customer, actor, 1),
        partial(take, customer, actor, 1),
        partial(take_back, customer, actor, lot_id, 1),
        partial(reverse, customer, actor, Charge.objects.get().pk),
        partial(
            corrections.set_state,
            organization=customer.organization,
            state=CreditAccount.State.FROZEN,
            reason=REASON,
            actor=actor,
        ),
    ):
        with pytest.raises(IntegrityError):
            correct()
    assert customer.footprint() == before
    assert CreditAccount.objects.get().state == "open"


# --- Undone ----------------------------------------------------------------------------------------------------------


def test_case_101_a_reversed_charge_restores_the_balance_and_what_was_used(customer, actor):
    customer.give(100)
    charged = customer.charge(40, key="failed")
    reverse(customer, actor, charged.charge_id)
    assert customer.summary().available_nano == 100
    day = UsageDay.objects.get()
    assert (day.amount_nano, day.reversed_nano, day.requests) == (40, 40, 1)
    event = audited("correction.reversed")
    assert event.after["cause"] == f"charge:{charged.charge_id}"


def test_case_112_a_part_goes_back_in_reverse_burn_order_and_the_rest_can_follow(customer, actor):
    first = customer.give(30, expires_at=later(10)).lot_id
    second = customer.give(30, expires_at=later(20)).lot_id
    charged = customer.charge(50, key="c")
    reverse(customer, actor, charged.charge_id, amount_nano=25)
    assert customer.remaining() == {first: 5, second: 30}
    assert reverse(customer, actor, charged.charge_id).amount_nano == 25
    assert customer.remaining() == {first: 30, second: 30}
    with pytest.raises(Refused) as refusal:
        reverse(customer, actor, charged.charge_id)
    assert refusal.value.code == "nothing_left"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=1)], ids=["at its very end", "a day later"])
def test_case_112_what_comes_back_to_a_lot_past_its_end_expires_at_once(customer, actor, credits_clock, late):
    end = datetime(2026, 3, 2, tzinfo=UTC)
    credits_clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    customer.give(100, expires_at=end)
    charged = customer.charge(40, key="c")
    credits_clock.set(end + late)
    done = reverse(customer, actor, charged.charge_id)
    assert (done.amount_nano, done.expired_nano) == (40, 40)
    assert customer.summary().balance_nano == 0


def test_more_than_is_left_is_refused_at_its_field(customer, actor):
    customer.give(100)
    charged = customer.charge(40, key="c")
    with pytest.raises(Refused) as refusal:
        reverse(customer, actor, charged.charge_id, amount_nano=41)
    assert (refusal.value.code, refusal.value.field) == ("too_much", "amount_nano")
    assert not Reversal.objects.exists()


def test_a_correction_can_be_undone_like_a_charge(customer, actor):
    lot_id = customer.give(100).lot_id
    adjusted = take(customer, actor, 120, may_owe=True)
    reverse(customer, actor, adjusted.adjustment_id, cause_kind=Reversal.Cause.ADJUSTMENT)
    assert (customer.summary().available_nano, customer.summary().debt_nano) == (100, 0)
    taken = take_back(customer, actor, lot_id, 60)
    reverse(customer, actor, taken.take_back_id, cause_kind=Reversal.Cause.TAKE_BACK)
    assert customer.remaining() == {lot_id: 100}


def test_case_113_a_charge_of_a_closed_account_can_be_reversed_and_that_is_reported(customer, actor):
    customer.give(100)
    charged = customer.charge(40, key="c")
    close(customer, actor)
    assert reverse(customer, actor, charged.charge_id).amount_nano == 40
    assert customer.summary().balance_nano == 100
    assert audited("correction.reversed").target == f"reversal:{Reversal.objects.get().pk}"


def test_case_086_a_wrong_price_is_put_right_by_entries_and_nobody_is_blocked_meanwhile(customer, actor):
    """Ten times the price was charged: nine tenths go back, history stays, and requests go on."""
    customer.give(1_000)
    publish_price(effective_at=customer.now(), input_nano=10**7)
    charged = customer.charge(50, key="wrong")
    history = list(LedgerEntry.objects.order_by("seq").values())
    charge_row = Charge.objects.values().get()
    reverse(customer, actor, charged.charge_id, amount_nano=450, label="Wrong price on 3 March")
    assert list(LedgerEntry.objects.order_by("seq").values())[: len(history)] == history
    assert Charge.objects.values().get() == charge_row
    assert customer.summary().available_nano == 950
    assert customer.charge(1, key="next").outcome == "charged"


def test_case_111_a_purchase_that_is_undone_twice_leaves_nothing_and_not_less(customer, actor):
    """Paid, then taken back, then voided once more: the balance is 0, and there is no debt of the second time."""
    customer.buy(100)
    lot = CreditLot.objects.get()
    take_back(customer, actor, lot.pk, lot.granted_nano, rest_as_debt=True)
    with pytest.raises(Refused) as refusal:
        take_back(customer, actor, lot.pk, lot.granted_nano, rest_as_debt=True)
    assert refusal.value.code == "nothing_left"
    assert (customer.summary().balance_nano, customer.summary().debt_nano) == (0, 0)
    assert TakeBack.objects.count() == 1


def test_case_114_taking_back_what_was_never_granted_changes_nothing(customer, actor):
    customer.give(100)
    before = customer.footprint()
    with pytest.raises(Refused) as refusal:
        take_back(customer, actor, 10**9, 5, rest_as_debt=True)
    assert refusal.value.code == "lot_unknown"
    assert customer.footprint() == before
    assert not AuditEvent.objects.exists()


def test_case_115_a_take_back_takes_what_is_left_of_its_lot_and_of_no_other(customer, actor):
    lot_id = customer.give(100, expires_at=later(10)).lot_id
    other_id = customer.give(100, expires_at=later(20)).lot_id
    customer.charge(30, key="c")
    customer.hold(20, key="h")
    taken = take_back(customer, actor, lot_id, 100)
    assert (taken.taken_nano, taken.debt_nano) == (50, 0)
    assert customer.remaining() == {lot_id: 0, other_id: 100}


@pytest.mark.django_db(transaction=True)
def test_case_115_the_cap_is_computed_under_the_lock(customer, actor):
    lot_id = customer.give(100).lot_id
    results = at_once([partial(take_back, customer, actor, lot_id, 80, rest_as_debt=True) for _ in range(4)])
    taken = [result for result in results if isinstance(result, ledger.TakenBack)]
    assert sum(one.taken_nano + one.debt_nano for one in taken) == 100
    assert customer.remaining() == {lot_id: 0}


def test_case_117_what_was_spent_already_is_debt_that_the_next_credit_pays(customer, actor):
    lot_id = customer.give(100).lot_id
    customer.charge(70, key="c")
    taken = take_back(customer, actor, lot_id, 100, rest_as_debt=True)
    assert (taken.taken_nano, taken.debt_nano) == (30, 70)
    assert customer.charge(1, key="blocked").outcome == "insufficient"
    next_id = customer.give(200).lot_id
    assert customer.entries()[-2:] == [("debt_payment", next_id, -70), ("debt_settlement", None, 70)]
    assert customer.summary().available_nano == 130


def test_case_128_nothing_of_another_organization_can_be_corrected(customer, actor):
    other = Customer("other")
    lot_id = other.give(100).lot_id
    charged = other.charge(40, key="c")
    adjusted = take(other, actor, 10)
    usage = unpriced(other)
    customer.give(100)
    before = (customer.footprint(), other.footprint())
    for correct in (
        partial(reverse, customer, actor, charged.charge_id),
        partial(reverse, customer, actor, adjusted.adjustment_id, cause_kind=Reversal.Cause.ADJUSTMENT),
        partial(take_back, customer, actor, lot_id, 10, rest_as_debt=True),
    ):
        with pytest.raises(Refused):
            correct()
    assert (
        corrections.left_to_reverse_nano(
            organization=customer.organization, cause_kind=Reversal.Cause.CHARGE, cause_id=charged.charge_id or 0
        )
        is None
    )
    with pytest.raises(IntegrityError, match="no unpriced usage"), transaction.atomic():
        ledger.adjust(
            organization_id=customer.id, amount_nano=5, key=uuid4(), label="x", reason="y", actor_id=None,
            may_owe=False, unpriced_usage_id=usage.pk,
        )  # fmt: skip
    assert (customer.footprint(), other.footprint()) == before


@pytest.mark.django_db(transaction=True)
def test_case_116_a_form_that_is_sent_many_times_at_once_corrects_once(customer, actor):
    lot_id = customer.give(1_000).lot_id
    charged = customer.charge(40, key="c")
    key = uuid4()
    for number, correct in enumerate(
        (
            partial(reverse, customer, actor, charged.charge_id, amount_nano=10, key=key),
            partial(take, customer, actor, 10, key=key),
            partial(take_back, customer, actor, lot_id, 10, key=key),
            partial(give, customer, actor, 10, key=key, expires_at=datetime(2027, 1, 1, tzinfo=UTC)),
        )
    ):
        results = at_once([correct] * 4)
        assert [getattr(result, "is_replay", result) for result in results].count(False) == 1, results
        assert [getattr(result, "is_replay", result) for result in results].count(True) == 3, results
        assert AuditEvent.objects.count() == number + 1
    assert Reversal.objects.count() == DebitAdjustment.objects.count() == TakeBack.objects.count() == 1
    assert customer.summary().available_nano == 1_000 - 40 + 10 - 10 - 10 + 10


def test_a_key_with_other_content_is_refused(customer, actor):
    customer.give(1_000)
    charged = customer.charge(40, key="c")
    key = uuid4()
    reverse(customer, actor, charged.charge_id, amount_nano=10, key=key)
    take(customer, actor, 10, key=key)
    before = customer.footprint()
    for correct in (
        partial(reverse, customer, actor, charged.charge_id, amount_nano=11, key=key),
        partial(take, customer, actor, 11, key=key),
    ):
        with pytest.raises(Refused) as refusal:
            correct()
        assert refusal.value.code == "conflict"
    assert customer.footprint() == before


# --- What the ledger answers -----------------------------------------------------------------------------------------


def of_nobody_in_particular(customer: Customer, **more):
    """What every correction tells the ledger."""
    return {"organization_id": customer.id, "label": "Correction", "reason": REASON, "actor_id": None, **more}


def test_a_repeated_correction_is_answered_as_the_first_was(customer):
    """Every field, but that it is a repeat, by which nothing becomes due."""
    lot_id = customer.give(100, expires_at=later()).lot_id
    charged = customer.charge(40, key="c")
    key = uuid4()
    for correct in (
        partial(ledger.adjust, amount_nano=70, may_owe=True, **of_nobody_in_particular(customer, key=key)),
        partial(ledger.take_back, lot_id=lot_id, amount_nano=90, rest_as_debt=True,
                **of_nobody_in_particular(customer, key=key)),
        partial(ledger.reverse, cause_kind=Reversal.Cause.CHARGE, cause_id=charged.charge_id, amount_nano=30,
                **of_nobody_in_particular(customer, key=key)),
    ):  # fmt: skip
        first = correct()
        before = customer.footprint()
        assert correct() == dataclasses.replace(first, is_replay=True)
        assert customer.footprint() == before


@pytest.mark.django_db(transaction=True)
def test_a_repeated_reversal_tells_what_of_it_had_expired_and_of_no_other(customer, credits_clock):
    customer.give(100, expires_at=later(1))
    first, second = customer.charge(40, key="a"), customer.charge(30, key="b")
    credits_clock.advance(timedelta(days=2))
    reverse_one = [
        partial(ledger.reverse, cause_kind=Reversal.Cause.CHARGE, cause_id=charged.charge_id,
                **of_nobody_in_particular(customer, key=uuid4()))
        for charged in (first, second)
    ]  # fmt: skip
    assert [(done.amount_nano, done.expired_nano, done.is_replay) for done in (one() for one in reverse_one)] == [
        (40, 40, False), (30, 30, False),
    ]  # fmt: skip
    assert [(done.amount_nano, done.expired_nano, done.is_replay) for done in (one() for one in reverse_one)] == [
        (40, 40, True), (30, 30, True),
    ]  # fmt: skip


def test_a_key_with_any_other_content_is_a_conflict(customer, actor):
    lot_id, other_lot_id = customer.give(1_000).lot_id, customer.give(1_000).lot_id
    charged, other = customer.charge(40, key="c"), customer.charge(40, key="d")
    usage = unpriced(customer)
    key = uuid4()
    both = of_nobody_in_particular(customer, key=key)
    others = ({"label": "Other"}, {"reason": "For another reason"})
    corrections_and_others = (
        (ledger.adjust, {"amount_nano": 5, "may_owe": True},
         ({"amount_nano": 6}, {"unpriced_usage_id": usage.pk})),
        (ledger.take_back, {"lot_id": lot_id, "amount_nano": 5, "rest_as_debt": False},
         ({"lot_id": other_lot_id}, {"amount_nano": 6}, {"rest_as_debt": True})),
        (ledger.reverse, {"cause_kind": Reversal.Cause.CHARGE, "cause_id": charged.charge_id, "amount_nano": 5},
         ({"cause_id": other.charge_id}, {"amount_nano": 6}, {"amount_nano": None},
          {"cause_kind": Reversal.Cause.ADJUSTMENT})),
    )  # fmt: skip
    for correct, content, more in corrections_and_others:
        correct(**both | content)
        before = customer.footprint()
        for change in (*others, *more):
            with pytest.raises(Refused) as refusal:
                correct(**both | content | change)
            assert refusal.value.code == "conflict", change
        assert customer.footprint() == before


def test_corrections_of_an_organization_that_is_not_there_are_refused_and_make_no_account(customer):
    nobody = of_nobody_in_particular(customer, organization_id=customer.id + 1_000, key=uuid4())
    for correct in (
        partial(ledger.adjust, amount_nano=5, may_owe=True, **nobody),
        partial(ledger.take_back, lot_id=1, amount_nano=5, rest_as_debt=True, **nobody),
        partial(ledger.reverse, cause_kind=Reversal.Cause.CHARGE, cause_id=1, **nobody),
        partial(ledger.set_state, organization_id=customer.id + 1_000, state=CreditAccount.State.FROZEN),
    ):
        with pytest.raises(OrganizationUnknown):
            correct()
    with pytest.raises(OrganizationUnknown), transaction.atomic():
        ledger.lock(organization_id=customer.id + 1_000)
    assert not ledger.set_reload_line(organization_id=customer.id + 1_000, below_nano=5)
    assert not CreditAccount.objects.exists()


def test_a_correction_tells_once_that_a_reload_is_due(customer):
    lot_id = customer.give(1_000).lot_id
    for correct in (
        partial(ledger.adjust, may_owe=False),
        partial(ledger.take_back, lot_id=lot_id, rest_as_debt=False),
    ):
        ledger.set_reload_line(organization_id=customer.id, below_nano=customer.summary().available_nano - 5)
        told = [
            correct(amount_nano=amount_nano, **of_nobody_in_particular(customer, key=uuid4())).is_newly_low
            for amount_nano in (5, 1, 1)
        ]
        assert told == [False, True, False]


def test_a_take_back_that_finds_half_of_its_credit_owes_the_other_half(customer, actor):
    lot_id = customer.give(100).lot_id
    customer.charge(80, key="c")
    taken = take_back(customer, actor, lot_id, 40, rest_as_debt=True)
    assert (taken.taken_nano, taken.debt_nano) == (20, 20)
    assert customer.summary().debt_nano == 20


def test_what_a_take_back_owes_is_paid_at_once_from_other_credit(customer, actor):
    lot_id = customer.give(100, expires_at=later(10)).lot_id
    other_id = customer.give(100, expires_at=later(20)).lot_id
    customer.charge(100, key="c")
    taken = take_back(customer, actor, lot_id, 30, rest_as_debt=True)
    assert (taken.taken_nano, taken.debt_nano) == (0, 30)
    assert (customer.summary().debt_nano, customer.summary().available_nano) == (0, 70)
    assert customer.entries()[-3:] == [
        ("take_back_debt", None, -30), ("debt_payment", other_id, -30), ("debt_settlement", None, 30),
    ]  # fmt: skip


def test_credit_that_comes_back_ends_that_credit_ran_out(customer, actor):
    customer.give(100)
    charged = customer.charge(100, key="c")
    assert CreditAccount.objects.get().exhausted_at is not None
    reverse(customer, actor, charged.charge_id, amount_nano=1)
    assert CreditAccount.objects.get().exhausted_at is None


def test_closing_a_closed_account_is_no_mistake(customer):
    for before in ("open", "closed"):
        assert ledger.set_state(organization_id=customer.id, state=CreditAccount.State.CLOSED) == before


def test_debt_that_goes_away_after_it_was_paid_gives_its_newest_payments_back_to_their_lots(customer, actor):
    """Another organization's debt was paid in between; that stays as it is."""
    other = Customer("other")
    owed = customer.report(30, key="owed")
    lots = [customer.give(10).lot_id]
    other.report(40, key="owed")
    other.give(50)
    before = other.footprint()
    lots += [customer.give(amount_nano).lot_id for amount_nano in (15, 100)]
    assert customer.remaining() == dict(zip(lots, (0, 0, 95), strict=True))
    known = len(customer.entries())
    reverse(customer, actor, owed.charge_id, amount_nano=12)
    assert customer.entries()[known:] == [
        ("debt_reopened", None, -5), ("reversal", lots[2], 5),
        ("debt_reopened", None, -7), ("reversal", lots[1], 7),
        ("debt_reversal", None, 12),
    ]  # fmt: skip
    known += 5
    reverse(customer, actor, owed.charge_id)
    assert customer.entries()[known:] == [
        ("debt_reopened", None, -8), ("reversal", lots[1], 8),
        ("debt_reopened", None, -10), ("reversal", lots[0], 10),
        ("debt_reversal", None, 18),
    ]  # fmt: skip
    assert customer.remaining() == dict(zip(lots, (10, 15, 100), strict=True))
    assert customer.summary().debt_nano == 0
    assert other.footprint() == before


def test_a_debt_that_two_lots_paid_at_once_returns_to_the_later_one_first(customer, actor):
    spent = customer.give(50, expires_at=later(10)).lot_id
    first = customer.give(20, expires_at=later(20)).lot_id
    second = customer.give(30, expires_at=later(30)).lot_id
    customer.charge(50, key="c")
    taken = take_back(customer, actor, spent, 40, rest_as_debt=True)
    assert customer.entries()[-4:] == [
        ("take_back_debt", None, -40),
        ("debt_payment", first, -20), ("debt_payment", second, -20), ("debt_settlement", None, 40),
    ]  # fmt: skip
    undo = partial(reverse, customer, actor, taken.take_back_id, cause_kind=Reversal.Cause.TAKE_BACK)
    undo(amount_nano=15)
    assert customer.remaining() == {spent: 0, first: 0, second: 25}
    undo(amount_nano=15)
    assert customer.remaining() == {spent: 0, first: 10, second: 30}
    undo()
    assert customer.remaining() == {spent: 0, first: 20, second: 30}


def test_a_reversal_counts_on_the_day_surface_model_and_key_of_its_charge_and_on_no_other(customer, actor):
    customer.give(1_000)
    publish_price("other")
    usages = [
        Usage(model=MODEL, quantities={"input": 10}, surface="api", key_ref="k"),
        Usage(model="other", quantities={"input": 10}, surface="api", key_ref="k"),
        Usage(model=MODEL, quantities={"input": 10}, surface="workbench", key_ref="k"),
        Usage(model=MODEL, quantities={"input": 10}, surface="api", key_ref="l"),
    ]
    days = (None, customer.now() - timedelta(days=2))
    charges = [
        metering.report_usage(organization_id=customer.id, key=f"{number}-{day}", usage=usage, occurred_at=day)
        for number, usage in enumerate(usages)
        for day in days
    ]
    reverse(customer, actor, charges[0].charge_id, amount_nano=7)
    reversed_days = UsageDay.objects.filter(reversed_nano__gt=0)
    assert UsageDay.objects.count() == 8
    assert [
        (day.day, day.surface, day.priced_model.slug, day.key_ref, day.reversed_nano) for day in reversed_days
    ] == [(customer.now().astimezone(UTC).date(), "api", MODEL, "k", 7)]  # fmt: skip


def test_what_is_left_to_give_back_is_told_for_each_kind_and_to_nobody_else(customer, actor):
    lot_id = customer.give(100).lot_id
    causes = {
        Reversal.Cause.CHARGE: (customer.charge(40, key="c").charge_id, 40),
        Reversal.Cause.ADJUSTMENT: (take(customer, actor, 30).adjustment_id, 30),
        # 30 of the lot are left, so 20 of it are owed.
        Reversal.Cause.TAKE_BACK: (take_back(customer, actor, lot_id, 50, rest_as_debt=True).take_back_id, 50),
    }
    other = Customer("other").organization
    for kind, (cause_id, whole_nano) in causes.items():
        left = partial(corrections.left_to_reverse_nano, cause_kind=kind, cause_id=cause_id or 0)
        assert left(organization=customer.organization) == whole_nano
        reverse(customer, actor, cause_id, cause_kind=kind, amount_nano=7)
        reverse(customer, actor, cause_id, cause_kind=kind, amount_nano=2)
        assert left(organization=customer.organization) == whole_nano - 9
        assert left(organization=other) is None


def test_case_115_take_backs_of_a_lot_add_up_to_what_it_granted_whatever_was_taken_of_others(customer, actor):
    lot_id, other_id = customer.give(100).lot_id, customer.give(100).lot_id
    take_back(customer, actor, other_id, 90)
    taken = [take_back(customer, actor, lot_id, amount_nano, rest_as_debt=True) for amount_nano in (30, 40, 50)]
    assert [one.taken_nano + one.debt_nano for one in taken] == [30, 40, 30]
    with pytest.raises(Refused):
        take_back(customer, actor, lot_id, 1, rest_as_debt=True)


def test_case_115_what_was_given_back_of_a_take_back_can_be_taken_again(customer, actor):
    """That of it, and nothing that was given back of anything else."""
    lot_id, other_id = customer.give(100).lot_id, customer.give(100).lot_id
    charged = customer.charge(40, key="c")
    first, other = take_back(customer, actor, lot_id, 100, rest_as_debt=True), take_back(customer, actor, other_id, 50)
    of_take_backs = partial(reverse, customer, actor, cause_kind=Reversal.Cause.TAKE_BACK)
    of_take_backs(first.take_back_id, amount_nano=10)
    of_take_backs(first.take_back_id, amount_nano=20)
    of_take_backs(other.take_back_id, amount_nano=7)
    reverse(customer, actor, charged.charge_id, amount_nano=5)
    again = take_back(customer, actor, lot_id, 100, rest_as_debt=True)
    assert again.taken_nano + again.debt_nano == 30


def test_case_100_that_other_usage_was_charged_since_does_not_keep_one_from_being_settled(customer, actor):
    customer.give(10**6)
    waiting, other = unpriced(customer, key="waiting"), unpriced(customer, key="other")
    publish_price("unheard-of", effective_at=customer.now() - timedelta(seconds=1))
    usage = Usage(model="unheard-of", quantities={"input": 1_000, "output": 10}, key_ref="key_12")
    assert metering.report_usage(organization_id=customer.id, key="other", usage=usage).outcome == "charged"
    assert settle(waiting, actor).debt_nano == 0
    with pytest.raises(Refused) as refusal:
        ledger.adjust(amount_nano=5, may_owe=True, unpriced_usage_id=other.pk,
                      **of_nobody_in_particular(customer, key=uuid4()))  # fmt: skip
    assert refusal.value.code == "already_charged"


# --- Rehearsed -------------------------------------------------------------------------------------------------------


def test_a_rehearsal_tells_the_very_numbers_and_leaves_nothing(customer, actor):
    lot_id = customer.give(100).lot_id
    before = customer.footprint()
    rehearsal = corrections.rehearse(
        organization=customer.organization, correct=lambda: take(customer, actor, 130, may_owe=True)
    )
    assert customer.footprint() == before
    assert not AuditEvent.objects.exists()
    assert not CreditEvent.objects.exists()
    assert (rehearsal.before.available_nano, rehearsal.after.available_nano) == (100, -30)
    told = [(entry.kind, entry.lot_id, entry.amount_nano) for entry in rehearsal.entries]
    take(customer, actor, 130, may_owe=True)
    assert told == customer.entries()[1:] == [("adjustment", lot_id, -100), ("adjustment_debt", None, -30)]


def test_a_rehearsal_for_an_organization_that_never_had_credit_tells_the_same(customer, actor):
    rehearsal = corrections.rehearse(organization=customer.organization, correct=partial(give, customer, actor, 100))
    assert (rehearsal.before.available_nano, rehearsal.after.available_nano) == (0, 100)
    assert not CreditAccount.objects.exists()


def test_a_price_version_that_is_not_there_can_not_be_chosen(customer):
    with pytest.raises(Refused) as refusal:
        corrections.price_version(version_id=0)
    assert (refusal.value.code, refusal.value.field) == ("price_version", "price_version")


def test_a_rehearsal_refuses_what_the_correction_would(customer, actor):
    customer.give(100)
    with pytest.raises(Refused, match="less credit"):
        corrections.rehearse(organization=customer.organization, correct=lambda: take(customer, actor, 101))
    assert customer.charge(1, key="still works").outcome == "charged"


# --- Frozen and closed -----------------------------------------------------------------------------------------------


def set_state(customer: Customer, actor, state: CreditAccount.State, *, reason: str = REASON) -> str:
    return corrections.set_state(organization=customer.organization, state=state, reason=reason, actor=actor)


def close(customer: Customer, actor) -> None:
    set_state(customer, actor, CreditAccount.State.CLOSED)


@pytest.mark.parametrize("state", [CreditAccount.State.FROZEN, CreditAccount.State.CLOSED])
def test_an_account_that_is_not_open_lets_work_end_and_begins_none(customer, actor, state):
    customer.give(100)
    hold_id = customer.hold(10, key="h")
    assert set_state(customer, actor, state) == "open"
    assert customer.authorize(1, key="new").outcome == "organization_suspended"
    assert customer.charge(1, key="new").outcome == "organization_suspended"
    assert customer.capture(hold_id, 5).outcome == "charged"
    assert customer.report(5, key="served").outcome == "charged"
    event = audited(f"credit_account.{state}")
    assert (event.before, event.after) == ({"state": "open"}, {"state": state.value, "reason": REASON})


def test_a_frozen_account_is_opened_again_and_a_closed_one_never(customer, actor):
    customer.give(100)
    set_state(customer, actor, CreditAccount.State.FROZEN)
    assert set_state(customer, actor, CreditAccount.State.OPEN) == "frozen"
    assert customer.charge(1, key="c").outcome == "charged"
    close(customer, actor)
    for state in (CreditAccount.State.OPEN, CreditAccount.State.FROZEN):
        with pytest.raises(Refused) as refusal:
            set_state(customer, actor, state)
        assert refusal.value.code == "closed"
    assert CreditAccount.objects.get().state == "closed"


def test_the_ledger_itself_refuses_to_open_what_is_closed(customer, actor):
    customer.give(100)
    assert ledger.set_state(organization_id=customer.id, state=CreditAccount.State.CLOSED) == "open"
    for state in (CreditAccount.State.OPEN, CreditAccount.State.FROZEN):
        with pytest.raises(Refused) as refusal:
            ledger.set_state(organization_id=customer.id, state=state)
        assert refusal.value.code == "closed"
    assert ledger.set_state(organization_id=customer.id, state=CreditAccount.State.CLOSED) == "closed"
    assert CreditAccount.objects.get().state == "closed"


def test_the_same_state_again_is_no_event_and_a_state_needs_a_reason(customer, actor):
    set_state(customer, actor, CreditAccount.State.OPEN)
    assert not AuditEvent.objects.exists()
    with pytest.raises(Refused) as refusal:
        set_state(customer, actor, CreditAccount.State.FROZEN, reason="why not")
    assert refusal.value.field == "reason"


# --- Usage without a price -------------------------------------------------------------------------------------------


def unpriced(customer: Customer, *, key: str = "late", operation=metering.report_usage) -> UnpricedUsage:
    """Work that was served by a model that nobody has priced."""
    usage = Usage(model="unheard-of", quantities={"input": 1_000, "output": 10}, key_ref="key_12")
    assert operation(organization_id=customer.id, key=key, usage=usage).outcome == "price_missing"
    return UnpricedUsage.objects.filter(organization_id=customer.id).latest("pk")


def settle(usage: UnpricedUsage, actor, amount_nano: int = 40, *, may_owe: bool = True, **more):
    return corrections.settle_unpriced(usage=usage, amount_nano=amount_nano, may_owe=may_owe, **words(actor, **more))


def test_case_078_what_was_served_without_a_price_is_recorded_and_charged_later(customer, actor):
    customer.give(100)
    usage = unpriced(customer)
    assert (usage.operation, usage.idempotency_key, usage.model, usage.token_class) == (
        "usage", "late", "unheard-of", "",
    )  # fmt: skip
    assert (usage.quantities, usage.key_ref, usage.attempts) == ({"input": 1_000, "output": 10}, "key_12", 1)
    assert not Charge.objects.exists()
    adjusted = settle(usage, actor)
    row = DebitAdjustment.objects.get()
    assert (row.pk, row.unpriced_usage, row.amount_nano) == (adjusted.adjustment_id, usage, 40)
    assert customer.summary().available_nano == 60
    assert audited("unpriced_usage.settled").after["unpriced_usage_id"] == usage.pk


def test_case_100_settled_usage_is_not_charged_again_unless_that_is_said(customer, actor):
    customer.give(100)
    usage = unpriced(customer)
    settle(usage, actor)
    before = customer.footprint()
    with pytest.raises(Refused, match=r"settled by correction \d+ of \$0.0001") as refusal:
        settle(usage, actor)
    assert (refusal.value.code, refusal.value.field) == ("settled", "is_again")
    assert customer.footprint() == before
    assert settle(usage, actor, is_again=True).is_replay is False
    assert DebitAdjustment.objects.filter(unpriced_usage=usage).count() == 2


def test_case_100_usage_that_was_charged_since_under_its_own_key_is_not_settled(customer, actor):
    """The gateway sent it again after the model had got a price."""
    customer.give(10**6)
    usage = unpriced(customer)
    publish_price("unheard-of", effective_at=customer.now() - timedelta(seconds=1))
    again = Usage(model="unheard-of", quantities={"input": 1_000, "output": 10}, key_ref="key_12")
    assert metering.report_usage(organization_id=customer.id, key="late", usage=again).outcome == "charged"
    charge = Charge.objects.get()
    with pytest.raises(Refused, match=f"charged since, as charge {charge.pk} of \\$0.0001") as refusal:
        settle(usage, actor)
    assert (refusal.value.code, refusal.value.field) == ("settled", "is_again")


def test_case_100_usage_that_was_settled_is_not_charged_when_the_gateway_sends_it_again(customer, actor):
    """Staff have charged it; then the model gets a price, and the gateway's retry arrives with the key of then."""
    customer.give(10**6)
    usage = unpriced(customer)
    settle(usage, actor)
    publish_price("unheard-of", effective_at=customer.now() - timedelta(seconds=1))
    again = Usage(model="unheard-of", quantities={"input": 1_000, "output": 10}, key_ref="key_12")
    # A lot burns, so that nothing but the settlement is unusual.
    assert customer.charge(1, key="a").outcome == "charged"
    before = customer.footprint()
    assert metering.report_usage(organization_id=customer.id, key="late", usage=again).outcome == "conflict"
    batch = [metering.Event(customer.id, "late", again, operation="usage")]
    assert [result.outcome for result in metering.charge_many(batch)] == ["conflict"]
    assert customer.footprint() == before
    other = Customer("other")
    other.give(10**6)
    assert metering.report_usage(organization_id=other.id, key="late", usage=again).outcome == "charged"


def test_case_100_a_capture_that_was_settled_is_not_made_when_the_gateway_sends_less(customer, actor):
    """The class without a price is left out of the second try; staff have charged the whole by then."""
    customer.give(10**6)
    hold_id = customer.hold(100, key="h")
    refused = metering.capture(
        organization_id=customer.id, hold_id=hold_id, key="late", quantities={"input": 5, "thought": 5}
    )
    assert refused.outcome == "price_missing"
    settle(UnpricedUsage.objects.get(), actor)
    assert customer.capture(hold_id, 5, key="late").outcome == "conflict"
    assert customer.void(hold_id).outcome == "voided"


def test_the_same_form_settles_once(customer, actor):
    customer.give(100)
    usage = unpriced(customer)
    key = uuid4()
    first, second = settle(usage, actor, key=key), settle(usage, actor, key=key)
    assert (first.is_replay, second.is_replay, second.adjustment_id) == (False, True, first.adjustment_id)
    assert customer.summary().available_nano == 60


@pytest.mark.django_db(transaction=True)
def test_two_who_settle_at_once_charge_once(customer, actor):
    customer.give(100)
    usage = unpriced(customer)
    results = at_once([partial(settle, usage, actor) for _ in range(4)])
    assert sum(isinstance(result, ledger.Adjusted) for result in results) == 1
    assert customer.summary().available_nano == 60


def test_what_was_refused_before_it_was_served_is_nothing_to_charge(customer, actor):
    customer.give(100)
    usage = unpriced(customer, operation=metering.authorize)
    assert (usage.operation, usage.idempotency_key) == ("authorize", "")
    with pytest.raises(Refused) as refusal:
        settle(usage, actor)
    assert refusal.value.code == "not_served"


def test_what_a_version_makes_of_unpriced_usage_is_what_a_charge_would_cost(customer, actor):
    version = prices.publish(
        prices=prices.ModelPrices("other", "Other", {"input": 1_234_567, "output": 7, "request": 3 * 10**6}),
        effective_at=datetime(2020, 1, 1, tzinfo=UTC),
    )
    customer.give(10**9)
    quantities = {"input": 1_001, "output": 13}
    charged = metering.charge(organization_id=customer.id, key="c", usage=Usage(model="other", quantities=quantities))
    assert prices.cost_nano(rates=prices.rates_of(version), quantities=quantities) == charged.amount_nano
    with pytest.raises(Refused) as refusal:
        prices.cost_nano(rates=prices.rates_of(version), quantities={"thought": 1})
    assert (refusal.value.code, refusal.value.field) == ("price_missing", "thought")


def test_a_refused_correction_leaves_the_account_open_for_everybody(customer, actor):
    """The lock ends with the transaction that was refused."""
    customer.give(100)
    with pytest.raises(Refused):
        take(customer, actor, 101)
    assert customer.charge(1, key="c").outcome == "charged"
    assert queries.summary(organization_id=customer.id).available_nano == 99
    assert metering.charge(organization_id=customer.id, key="d", usage=units(1, model=MODEL)).outcome == "charged"
