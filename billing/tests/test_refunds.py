"""Refunds: by staff and in Stripe's dashboard, whole, in parts, failed, and with every reply lost."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction

from accounts.models import AuditEvent
from accounts.tests import cast
from billing.errors import Refused
from billing.models import Clawback, CreditNote, Purchase, Refund
from billing.payments import clawbacks, reconciliation, refunds, returns
from billing.tests.buyer import Buyer, at_once

State = Refund.State
REFUNDS = "/v1/refunds"


@pytest.fixture
def bought(buyer: Buyer) -> Purchase:
    """A purchase of $25 that was paid."""
    buyer.save_card()
    return buyer.buy()


def given_back(buyer):
    """What Stripe has refunded, in cents."""
    made = [entry["amount"] for entry in buyer.journal("refunded")]
    return sum(made) - sum(entry["amount"] for entry in buyer.journal("refund_failed"))


# By staff


def test_a_refund_takes_its_credit_back_from_its_own_lot_and_pays_the_card(buyer, bought):
    buyer.fund(1_000)
    refund = buyer.refund(bought, 1_000)
    assert (refund.state, refund.origin) == (State.SUCCEEDED, Refund.Origin.STAFF)
    assert buyer.movements == [("grant", 2_500), ("grant", 1_000), ("take_back", -1_000)]
    assert (buyer.lots[0].left_nano, buyer.available_cents) == (15 * 10**9, 2_500)
    assert given_back(buyer) == 1_000


def test_the_rest_can_be_refunded_and_no_cent_more(buyer, bought):
    buyer.refund(bought, 1_000)
    buyer.refund(bought, 1_500)
    with pytest.raises(Refused, match="refunded or disputed already") as refusal:
        buyer.refund(bought, 1)
    assert (refusal.value.code, refusal.value.field) == ("too_much", "amount_cents")
    assert (buyer.available_cents, given_back(buyer)) == (0, 2_500)


@pytest.mark.parametrize(
    ("amount_cents", "code"), [(0, "amount"), (-1, "amount"), (2_501, "too_much"), (10**15, "too_much")]
)
def test_an_amount_that_wont_do_is_refused_and_nothing_is_left_of_it(buyer, bought, amount_cents, code):
    with pytest.raises(Refused) as refusal:
        buyer.refund(bought, amount_cents)
    assert refusal.value.code == code
    assert not Refund.objects.exists()
    assert buyer.available_cents == 2_500


def test_a_purchase_that_was_not_paid_is_not_refunded(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_before", method="POST", path="/v1/payment_intents", times=9)
    with pytest.raises(Refused, match="was paid"):
        buyer.refund(buyer.buy(), 100)


def test_a_refund_needs_a_reason(buyer, bought):
    with pytest.raises(Refused) as refusal:
        buyer.refund(bought, 100, reason="because")
    assert refusal.value.field == "reason"


def test_case_104_spent_credit_is_refused_unless_staff_say_that_it_becomes_debt(buyer, bought):
    buyer.spend(2_000)
    with pytest.raises(Refused, match="spent already") as refusal:
        buyer.refund(bought, 1_000)
    assert (refusal.value.code, refusal.value.field) == ("spent", "may_owe")
    assert buyer.movements == [("grant", 2_500), ("burn", -2_000)]
    buyer.refund(bought, 1_000, may_owe=True)
    assert buyer.movements[2:] == [("take_back", -500), ("take_back_debt", -500)]
    assert buyer.account.debt_nano == 5 * 10**9


def test_case_115_no_more_is_taken_than_is_left_of_the_lot_under_the_lock(buyer, bought):
    buyer.fund(10_000)
    buyer.refund(bought, 2_500)
    assert buyer.lots[0].left_nano == 0
    assert buyer.available_cents == 10_000


def test_case_116_a_form_that_is_sent_twice_refunds_once(buyer, bought):
    key = uuid4()
    first, again = buyer.refund(bought, 1_000, key=key), buyer.refund(bought, 1_000, key=key)
    assert first == again
    assert (given_back(buyer), buyer.available_cents) == (1_000, 1_500)
    with pytest.raises(Refused) as refusal:
        buyer.refund(bought, 900, key=key)
    assert refusal.value.code == "conflict"


@pytest.mark.django_db(transaction=True)
def test_case_116_ten_clicks_at_once_refund_once(buyer):
    buyer.save_card()
    bought, key, at = buyer.buy(), uuid4(), buyer.now()
    results = at_once([lambda: buyer.refund(bought, 1_000, key=key, at=at).pk] * 6)
    assert len(set(results)) == 1, results
    assert (given_back(buyer), buyer.available_cents) == (1_000, 1_500)


@pytest.mark.django_db(transaction=True)
def test_two_of_staff_at_once_refund_what_was_paid_and_no_more(buyer):
    buyer.save_card()
    bought, at = buyer.buy(), buyer.now()
    results = at_once([lambda: buyer.refund(bought, 1_500, at=at)] * 4)
    assert sorted(type(result).__name__ for result in results) == ["Refund", "Refused", "Refused", "Refused"]
    assert (given_back(buyer), buyer.available_cents) == (1_500, 1_000)


def test_case_117_debt_of_a_refund_is_paid_first_by_the_next_purchase(buyer, bought):
    buyer.spend(2_500)
    buyer.refund(bought, 1_000, may_owe=True)
    buyer.buy(2_000)
    assert buyer.movements[-3:] == [("grant", 2_000), ("debt_payment", -1_000), ("debt_settlement", 1_000)]
    assert (buyer.account.debt_nano, buyer.available_cents) == (0, 1_000)


def test_case_107_credit_goes_back_in_proportion_where_it_is_not_the_price(buyer, bought, superuser_connection):
    # A bonus: $25 that bought $30 of credit. Thirds of the price must add up to all of the credit.
    lot = buyer.lots[0]
    assert lot.granted_nano == 25 * 10**9
    standing = []
    bought.credit_nano, bought.amount_cents = 25 * 10**9, 2_099
    bought.save(update_fields=["credit_nano", "amount_cents"])
    for cents in (700, 700, 699):
        with transaction.atomic():
            purchase, at = clawbacks.lock(purchase_id=bought.pk)
            Refund.objects.create(
                organization=buyer.organization,
                purchase=purchase,
                origin="staff",
                amount_cents=cents,
                refund_key=uuid4(),
                may_owe=True,
                reason="Thirds of it, ticket 1",
                actor=buyer.admin,
            )
            clawbacks.balance(purchase=purchase, at=at)
        standing.append(Clawback.objects.order_by("-id")[0].take_back.taken_nano)
    assert standing[0] == 25 * 10**9 * 700 // 2_099
    assert sum(standing) == 25 * 10**9


def test_case_128_a_refund_of_one_organization_leaves_another_alone(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    for one in (buyer, other):
        one.save_card()
    mine, theirs = buyer.buy(), other.buy()
    buyer.refund(mine, 2_500)
    assert other.movements == [("grant", 2_500)]
    assert Refund.objects.get().organization == buyer.organization
    returns.settle(purchase_id=theirs.pk, at=other.now())
    assert not Refund.objects.filter(purchase=theirs).exists()


def test_a_refund_is_audited_with_its_actor_and_has_its_credit_note_and_mail(buyer, bought):
    staff = cast.person(is_staff=True)
    refund = buyer.refund(bought, 1_000, actor=staff)
    told = AuditEvent.objects.filter(target=f"refund:{refund.pk}").order_by("id")
    assert [(event.action, event.actor_id) for event in told] == [
        ("refund.created", staff.pk),
        ("refund.succeeded", staff.pk),
    ]
    note = CreditNote.objects.get()
    assert (note.total_cents, note.cause_kind, note.cause_id) == (1_000, "refund", refund.pk)
    assert len(buyer.mails("Refund of $10.00")) == 1


# What Stripe answers


def test_case_110_a_refund_of_what_was_refunded_in_the_dashboard_ends_in_words(buyer, bought):
    buyer.stripe.control.refund_in_dashboard(bought.payment_intent_id)
    refund = buyer.refund(bought, 1_000)
    assert (refund.state, refund.failure_code) == (State.FAILED, "charge_already_refunded")
    assert given_back(buyer) == 2_500
    assert sorted(Refund.objects.values_list("origin", "state", "amount_cents")) == [
        ("dashboard", "succeeded", 2_500),
        ("staff", "failed", 1_000),
    ]
    assert buyer.available_cents == 0


def test_case_110_a_refund_of_what_is_disputed_ends_in_words(buyer, bought):
    buyer.stripe.control.open_dispute(bought.payment_intent_id)
    refund = buyer.refund(bought, 1_000)
    assert (refund.state, refund.failure_code) == (State.FAILED, "charge_disputed")
    assert (given_back(buyer), buyer.available_cents) == (0, 0)


def test_a_refund_that_fails_days_later_gives_its_credit_back_once(buyer, bought):
    refund = buyer.refund(bought, 1_000)
    buyer.stripe.control.fail_refund(refund.stripe_refund_id)
    buyer.hear(times=2)
    refund.refresh_from_db()
    assert refund.state == State.FAILED
    assert buyer.movements == [("grant", 2_500), ("take_back", -1_000), ("reversal", 1_000)]
    assert [note.cancels_id is not None for note in CreditNote.objects.order_by("id")] == [False, True]
    assert len(buyer.mails("did not reach your bank")) == 1
    again = buyer.refund(bought, 2_500)
    assert (again.state, buyer.available_cents) == (State.SUCCEEDED, 0)


def test_a_pending_refund_has_taken_its_credit_and_is_told_when_it_succeeds(buyer, bought):
    buyer.stripe.control.hold_refunds()
    refund = buyer.refund(bought, 1_000)
    assert (refund.state, buyer.available_cents) == (State.PENDING, 1_500)
    assert not buyer.mails("Refund of")
    buyer.stripe.control.succeed_refund(refund.stripe_refund_id)
    buyer.hear()
    refund.refresh_from_db()
    assert (refund.state, len(buyer.mails("Refund of"))) == (State.SUCCEEDED, 1)


# In the dashboard


def test_case_103_two_partial_refunds_take_each_difference_once(buyer, bought):
    buyer.stripe.control.refund_in_dashboard(bought.payment_intent_id, amount=700)
    buyer.stripe.control.refund_in_dashboard(bought.payment_intent_id, amount=300)
    buyer.hear(times=3)
    assert sorted(buyer.movements) == [("grant", 2_500), ("take_back", -700), ("take_back", -300)]
    assert [refund.actor for refund in Refund.objects.filter(origin="dashboard")] == [None, None]


def test_case_109_a_refund_that_nobody_here_asked_for_takes_credit_and_owes_the_spent(buyer, bought):
    buyer.spend(2_000)
    buyer.stripe.control.refund_in_dashboard(bought.payment_intent_id)
    buyer.hear("charge.refunded")
    assert buyer.movements[2:] == [("take_back", -500), ("take_back_debt", -2_000)]


def test_case_111_paid_then_refunded_then_failed_ends_where_the_money_is(buyer, bought):
    refund = buyer.refund(bought, 2_500)
    buyer.hear(times=2)
    assert buyer.available_cents == 0
    buyer.stripe.control.fail_refund(refund.stripe_refund_id)
    buyer.hear(times=2)
    assert (buyer.available_cents, given_back(buyer)) == (2_500, 0)


def test_case_114_a_refund_of_a_payment_that_granted_nothing_takes_nothing(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=9)
    lost = buyer.buy()
    Purchase.objects.filter(pk=lost.pk).update(amount_cents=2_400, credit_nano=24 * 10**9)
    intent = buyer.journal("succeeded")[0]["payment_intent"]
    buyer.stripe.control.refund_in_dashboard(intent)
    (row,) = buyer.hear("charge.refunded")
    assert "nothing was granted" in row.outcome
    assert buyer.movements == []


# Replies that are lost


@pytest.mark.parametrize("fault", ["cut_before", "cut_after", "half_body", "error_500_after_effect"])
def test_a_lost_reply_leaves_the_refund_open_and_the_sweep_ends_it_once(buyer, bought, fault):
    buyer.stripe.control.add_fault(fault, method="POST", path=REFUNDS, times=3)
    refund = buyer.refund(bought, 1_000)
    assert (refund.state, buyer.available_cents) == (State.CREATED, 1_500)
    for minutes in (2, 4):
        reconciliation.sweep(at=buyer.now() + timedelta(minutes=minutes))
    refund.refresh_from_db()
    assert (refund.state, given_back(buyer)) == (State.SUCCEEDED, 1_000)
    assert buyer.movements == [("grant", 2_500), ("take_back", -1_000)]


def test_a_refund_that_nobody_has_looked_at_is_due_before_those_that_wait_for_long(buyer, bought):
    """Banks may take days; refunds that wait for them must not keep the sweep from a lost reply."""
    buyer.stripe.control.add_fault("cut_before", method="POST", path=REFUNDS, times=6)
    waits, is_new = buyer.refund(bought, 100), buyer.refund(bought, 200)
    Refund.objects.filter(pk=waits.pk).update(checked_at=buyer.now())
    later = buyer.now() + timedelta(minutes=5)
    assert refunds.due(at=later, first_look_after=timedelta(0), limit=1) == [is_new.pk]
    assert refunds.due(at=later, first_look_after=timedelta(0), limit=5) == [is_new.pk, waits.pk]


def test_a_webhook_before_the_reply_books_the_refund_once(buyer, bought):
    buyer.stripe.control.add_fault("cut_after", method="POST", path=REFUNDS, times=3)
    refund = buyer.refund(bought, 1_000)
    buyer.hear(times=10)
    refund.refresh_from_db()
    assert refund.state == State.SUCCEEDED
    assert buyer.movements == [("grant", 2_500), ("take_back", -1_000)]


def test_a_refund_that_never_arrived_is_given_back_when_its_key_has_ended(buyer, bought):
    buyer.stripe.control.add_fault("cut_before", method="POST", path=REFUNDS, times=10_000)
    refund = buyer.refund(bought, 1_000)
    reconciliation.sweep(at=buyer.now() + timedelta(hours=24))
    refund.refresh_from_db()
    assert refund.state == State.CREATED
    reconciliation.sweep(at=buyer.now() + timedelta(hours=26))
    refund.refresh_from_db()
    assert (refund.state, refund.failure_code) == (State.FAILED, "never_received")
    assert buyer.movements == [("grant", 2_500), ("take_back", -1_000), ("reversal", 1_000)]


def test_a_refund_that_was_planned_and_never_sent_is_sent_by_the_sweep(buyer, bought):
    planned = refunds.plan(
        purchase_id=bought.pk,
        amount_cents=1_000,
        may_owe=False,
        reason="The process died after this",
        actor=buyer.admin,
        key=uuid4(),
        at=buyer.now(),
    )
    reconciliation.sweep(at=buyer.now() + timedelta(minutes=1))
    planned.refresh_from_db()
    assert (planned.state, given_back(buyer)) == (State.SUCCEEDED, 1_000)
