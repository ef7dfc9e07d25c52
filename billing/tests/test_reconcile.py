"""``manage.py reconcile``: what it finds between Stripe and us, what it repairs, and what it leaves to people."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.models import Clawback, Dispute, EarlyFraudWarning, Purchase, Refund
from billing.payments import agreement, reconciliation
from billing.tests.buyer import Buyer

PAYMENTS = "/v1/payment_intents"


@pytest.fixture
def bought(buyer: Buyer) -> Purchase:
    """A purchase of $25 that was paid."""
    buyer.save_card()
    return buyer.buy()


def report(buyer):
    return reconciliation.reconcile(since=buyer.now() - timedelta(days=1), at=buyer.now())


def told(*, is_left=False):
    """What the command prints."""
    out = StringIO()
    if is_left:
        with pytest.raises(CommandError):
            call_command("reconcile", "--since", "2026-01-01", stdout=out)
    else:
        call_command("reconcile", "--since", "2026-01-01", stdout=out)
    return out.getvalue()


def returns_verdict():
    _, verdict = agreement.verdicts(rows_shown=10)
    return [(finding.row, finding.detail) for finding in verdict.findings]


def test_where_all_agrees_it_says_what_it_looked_at(buyer, bought):
    buyer.refund(bought, 1_000)
    assert told().splitlines() == [
        "Looked at 1 payments, 1 refunds, 0 disputes, 0 warnings since 2026-01-01 (UTC).",
        "0 repaired, nothing is left.",
    ]


def test_case_132_what_was_paid_without_a_lot_is_granted_once(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path=PAYMENTS, times=3)
    purchase = buyer.buy()
    assert f"repaired  purchase {purchase.pk}: processing here, succeeded at Stripe" in told()
    assert (buyer.grants, buyer.available_cents) == (1, 2_500)
    assert "0 repaired" in told()
    assert buyer.grants == 1


def test_case_132_a_payment_without_a_purchase_and_a_purchase_without_its_payment_are_left(buyer, bought):
    intent = bought.payment_intent_id
    Purchase.objects.filter(pk=bought.pk).update(payment_intent_id="pi_of_nobody")
    text = told(is_left=True)
    assert f"left      PaymentIntent {intent}: 2500 cents without a purchase" in text
    assert f"left      purchase {bought.pk}: Stripe has no pi_of_nobody" in text


def test_case_132_another_amount_is_left(buyer, bought):
    Purchase.objects.filter(pk=bought.pk).update(amount_cents=2_400)
    assert "2400 cents here, 2500 of 2500 at Stripe" in told(is_left=True)


def test_case_132_a_refund_and_a_dispute_nobody_heard_of_are_taken_back(buyer, bought):
    buyer.stripe.control.refund_in_dashboard(bought.payment_intent_id, amount=1_000)
    buyer.stripe.control.open_dispute(bought.payment_intent_id)
    buyer.stripe.control.warn_of_fraud(bought.payment_intent_id)
    assert [row.split()[0] for row, _ in returns_verdict()] == ["refund", "dispute"]
    found = report(buyer)
    assert (len(found.repaired), found.left) == (3, [])
    assert sorted(buyer.movements) == [("grant", 2_500), ("take_back", -1_500), ("take_back", -1_000)]
    assert EarlyFraudWarning.objects.count() == 1
    assert returns_verdict() == []
    assert report(buyer).repaired == []


def test_a_dispute_that_was_decided_without_a_word_is_found_however_old(buyer, bought):
    disputed = buyer.stripe.control.open_dispute(bought.payment_intent_id)
    buyer.hear()
    buyer.stripe.control.change_dispute(disputed, status="won")
    tomorrow = buyer.now() + timedelta(days=1)
    found = reconciliation.reconcile(since=tomorrow, at=tomorrow)
    assert len(found.repaired) == 1
    assert (Dispute.objects.get().status, buyer.available_cents) == ("won", 2_500)


@pytest.mark.django_db(transaction=True)
def test_case_132_a_refund_without_its_clawback_is_found_and_repaired(buyer, superuser_connection):
    buyer.save_card()
    bought = buyer.buy()
    buyer.refund(bought, 1_000)
    superuser_connection.execute("update billing_clawback set undone_at = now()")
    assert returns_verdict() == [(f"purchase {bought.pk}", "what was taken back is not what is asked for")]
    assert report(buyer).repaired == [f"purchase {bought.pk}: what was taken back is not what is asked for"]
    assert Clawback.objects.filter(undone_at=None).count() == 1


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"state": "failed"}, "failed here, succeeded at Stripe"),
        ({"amount_cents": 999}, "999 cents here, 1000 at Stripe"),
        ({"stripe_refund_id": "re_of_nobody"}, "1000 cents succeeded at Stripe, not known here"),
    ],
)
def test_check_ledger_names_a_refund_that_differs(buyer, bought, change, detail):
    refund = buyer.refund(bought, 1_000)
    assert returns_verdict() == []
    Refund.objects.filter(pk=refund.pk).update(**change)
    assert detail in [told for _, told in returns_verdict()]


def test_check_ledger_names_a_dispute_that_differs_or_is_not_there(buyer, bought):
    buyer.stripe.control.open_dispute(bought.payment_intent_id)
    buyer.hear()
    assert returns_verdict() == []
    Dispute.objects.update(amount_cents=2_400)
    assert "2400 cents here, 2500 at Stripe" in [told for _, told in returns_verdict()]
    Dispute.objects.update(stripe_dispute_id="du_of_nobody", amount_cents=2_500)
    assert sorted(told for _, told in returns_verdict()) == [
        "2500 cents needs_response at Stripe, not known here",
        "Stripe has no such object",
    ]


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "2026-02-30", "2999-01-01"])
def test_a_day_that_is_none_is_refused_in_words(db, text):
    with pytest.raises(CommandError, match=r"no day|yet to come"):
        call_command("reconcile", "--since", text)


def test_a_processor_that_is_away_is_said_so(buyer, bought):
    buyer.stripe.control.add_fault("refuse", times=1_000)
    with pytest.raises(CommandError, match="could not be asked"):
        call_command("reconcile", "--since", datetime.now(UTC).date().isoformat())
