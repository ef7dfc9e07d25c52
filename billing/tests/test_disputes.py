"""Disputes and early fraud warnings: what they take, what they give back, in any order with refunds."""

import pytest

from billing.errors import Refused
from billing.models import Clawback, CreditNote, Dispute, EarlyFraudWarning, Purchase, Refund
from billing.payments import clawbacks, returns, stripe_events, stripe_gateway
from billing.tests.buyer import DISPUTED_LATER, Buyer

Status = Dispute.Status


@pytest.fixture
def bought(buyer: Buyer) -> Purchase:
    """A purchase of $25 that was paid."""
    buyer.save_card()
    return buyer.buy()


def dispute(buyer, bought, status="needs_response", amount=None):
    opened = buyer.stripe.control.open_dispute(bought.payment_intent_id, status=status, amount=amount)
    buyer.hear()
    return opened


def decide(buyer, disputed, *statuses):
    for status in statuses:
        buyer.stripe.control.change_dispute(disputed, status=status)
        buyer.hear()


def test_case_106_opening_takes_the_credit_and_winning_gives_back_exactly_that(buyer, bought):
    buyer.spend(1_000)
    disputed = dispute(buyer, bought)
    assert buyer.movements[2:] == [("take_back", -1_500), ("take_back_debt", -1_000)]
    assert buyer.account.debt_nano == 10 * 10**9
    decide(buyer, disputed, "under_review", "won")
    assert buyer.movements[4:] == [("debt_reversal", 1_000), ("reversal", 1_500)]
    assert (buyer.available_cents, buyer.account.debt_nano) == (1_500, 0)


def test_case_106_losing_keeps_what_was_taken_and_makes_a_credit_note(buyer, bought):
    disputed = dispute(buyer, bought)
    assert not CreditNote.objects.exists()
    decide(buyer, disputed, "lost")
    assert (buyer.available_cents, buyer.movements[1:]) == (0, [("take_back", -2_500)])
    note = CreditNote.objects.get()
    assert (note.cause_kind, note.total_cents) == ("dispute", 2_500)


def test_debt_that_a_later_purchase_has_paid_returns_to_its_lot_when_the_dispute_is_won(buyer, bought):
    buyer.spend(2_500)
    disputed = dispute(buyer, bought)
    buyer.buy(4_000)
    assert (buyer.account.debt_nano, buyer.available_cents) == (0, 1_500)
    decide(buyer, disputed, "won")
    assert [lot.left_nano // 10**7 for lot in buyer.lots] == [0, 4_000]


@pytest.mark.parametrize("status", ["warning_needs_response", "prevented"])
def test_an_inquiry_and_a_prevented_dispute_take_nothing(buyer, bought, status):
    dispute(buyer, bought, status=status)
    assert buyer.movements == [("grant", 2_500)]
    assert Dispute.objects.get().status == status
    assert not buyer.mails("disputes a payment")


def test_an_inquiry_that_becomes_a_dispute_takes_then(buyer, bought):
    disputed = dispute(buyer, bought, status="warning_needs_response")
    decide(buyer, disputed, "needs_response")
    assert buyer.movements[1:] == [("take_back", -2_500)]


def test_events_about_the_funds_of_a_dispute_add_nothing(buyer, bought):
    disputed = dispute(buyer, bought)
    buyer.hear("charge.dispute.funds_withdrawn", times=5)
    assert buyer.movements[1:] == [("take_back", -2_500)]
    decide(buyer, disputed, "won")
    buyer.hear("charge.dispute.funds_reinstated", times=5)
    assert buyer.movements[2:] == [("reversal", 2_500)]


def test_decisions_that_are_turned_round_and_round_end_where_the_money_is(buyer, bought):
    disputed = dispute(buyer, bought)
    decide(buyer, disputed, "won", "lost")
    assert buyer.available_cents == 0
    decide(buyer, disputed, "won")
    assert buyer.available_cents == 2_500
    assert Clawback.objects.filter(undone_at=None).count() == 0
    standing = CreditNote.objects.filter(cancels=None, canceled_by=None)
    assert not standing.exists()


def test_case_105_a_dispute_and_a_refund_of_the_same_money_take_it_once(buyer, bought):
    # Refunded in full during an inquiry that becomes a dispute after all.
    disputed = dispute(buyer, bought, status="warning_needs_response")
    buyer.stripe.control.refund_in_dashboard(bought.payment_intent_id)
    buyer.stripe.control.change_dispute(disputed, status="needs_response")
    buyer.hear(times=2)
    assert buyer.movements == [("grant", 2_500), ("take_back", -2_500)]


@pytest.mark.parametrize("first", ["charge.refunded", "charge.dispute.created"])
def test_a_dispute_of_more_than_refunds_have_left_is_capped_at_what_was_paid(buyer, bought, first):
    buyer.stripe.control.refund_in_dashboard(bought.payment_intent_id, amount=1_000)
    buyer.stripe.control.open_dispute(bought.payment_intent_id, amount=2_500)
    buyer.hear(first)
    buyer.hear()
    assert buyer.movements == [("grant", 2_500), ("take_back", -1_000), ("take_back", -1_500)]
    assert buyer.available_cents == 0


def test_room_that_a_failed_refund_leaves_is_taken_by_the_dispute_that_was_capped(buyer, bought):
    refund = buyer.refund(bought, 1_000)
    disputed = dispute(buyer, bought, amount=2_500)
    buyer.stripe.control.fail_refund(refund.stripe_refund_id)
    buyer.hear()
    assert (buyer.available_cents, sum(amount for _, amount in buyer.movements)) == (0, 0)
    decide(buyer, disputed, "won")
    assert buyer.available_cents == 2_500


def test_case_108_after_a_won_dispute_a_refund_takes_all_of_it(buyer, bought):
    decide(buyer, dispute(buyer, bought), "won")
    refund = buyer.refund(bought, 2_500)
    assert refund.state == Refund.State.SUCCEEDED
    assert buyer.movements[1:] == [("take_back", -2_500), ("reversal", 2_500), ("take_back", -2_500)]
    assert buyer.available_cents == 0


def test_a_dispute_heard_of_before_the_payment_settles_the_payment_first(buyer):
    buyer.save_card(DISPUTED_LATER)
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    purchase = buyer.buy()
    intent = buyer.journal("succeeded")[0]["payment_intent"]
    if not any(event.type == "charge.dispute.created" for event in buyer.hear("charge.dispute.created")):
        buyer.stripe.control.open_dispute(intent)
        buyer.hear("charge.dispute.created")
    purchase.refresh_from_db()
    assert purchase.state == Purchase.State.SUCCEEDED
    assert buyer.movements == [("grant", 2_500), ("take_back", -2_500)]


def test_a_dispute_stops_auto_reload_and_tells_admins_and_billing(buyer, bought):
    buyer.arm()
    disputed = dispute(buyer, bought)
    assert buyer.reload.suspension == "disputed"
    assert len(buyer.mails("disputes a payment of $25.00")) == 1
    decide(buyer, disputed, "won")
    assert buyer.reload.suspension == ""
    assert len(buyer.mails("The disputed payment of $25.00 stands")) == 1


def test_a_lost_dispute_leaves_auto_reload_stopped(buyer, bought):
    buyer.arm()
    decide(buyer, dispute(buyer, bought), "lost")
    assert buyer.reload.suspension == "disputed"
    assert len(buyer.mails("was paid back")) == 1


def test_an_early_fraud_warning_is_kept_for_staff_and_moves_nothing(buyer, bought):
    buyer.stripe.control.warn_of_fraud(bought.payment_intent_id)
    buyer.hear(times=2)
    warning = EarlyFraudWarning.objects.get()
    assert (warning.purchase, warning.is_actionable) == (bought, True)
    assert buyer.movements == [("grant", 2_500)]
    refund = buyer.refund(bought, 2_500)
    assert refund.origin == Refund.Origin.FRAUD_WARNING
    buyer.hear()
    warning.refresh_from_db()
    assert not warning.is_actionable


def test_staff_can_not_refund_what_is_disputed(buyer, bought):
    dispute(buyer, bought, amount=1_000)
    assert clawbacks.left_cents(bought) == 1_500
    with pytest.raises(Refused, match=r"\$15\.00 can still be refunded"):
        buyer.refund(bought, 2_000)


def test_what_was_read_before_somebody_else_booked_is_read_again(buyer, bought, monkeypatch):
    disputed = buyer.stripe.control.open_dispute(bought.payment_intent_id)
    real, calls = stripe_gateway.disputes_of, []

    def slow(**options):
        found = real(**options)
        calls.append([facts.status for facts in found])
        if len(calls) == 1:
            # While the first answer is on its way, the dispute is won and booked by others.
            buyer.stripe.control.change_dispute(disputed, status="won")
            returns.settle(purchase_id=bought.pk, at=buyer.now())
        return found

    monkeypatch.setattr(stripe_gateway, "disputes_of", slow)
    returns.settle(purchase_id=bought.pk, at=buyer.now())
    assert calls == [["needs_response"], ["won"], ["won"]]
    assert (Dispute.objects.get().status, buyer.available_cents) == ("won", 2_500)


def test_an_event_of_another_account_or_mode_is_refused_and_does_nothing(buyer, bought):
    buyer.stripe.control.open_dispute(bought.payment_intent_id)
    subject = {"id": "du_1", "payment_intent": bought.payment_intent_id}
    for changes, outcome in (
        ({"account": "acct_of_somebody"}, "refused: other account"),
        ({"livemode": True}, "refused: other mode"),
    ):
        payload = {"id": f"evt_{outcome}", "type": "charge.dispute.created", "data": {"object": subject}, **changes}
        facts = stripe_gateway.EventFacts(payload["id"], payload["type"], "du_1", "", False, payload)
        row = stripe_events.store(facts, at=buyer.now())
        stripe_events.process(event_id=row.pk, at=buyer.now())
        row.refresh_from_db()
        assert row.outcome == outcome
    assert buyer.movements == [("grant", 2_500)]


def test_the_billing_page_says_what_went_back_of_each_purchase(buyer, bought, client):
    buyer.refund(bought, 1_000)
    disputed = buyer.stripe.control.open_dispute(buyer.buy(3_000).payment_intent_id)
    lost = buyer.stripe.control.open_dispute(buyer.buy(4_000).payment_intent_id)
    buyer.stripe.control.change_dispute(lost, status="lost")
    buyer.refund(buyer.buy(5_000), 5_000)
    buyer.hear()
    assert disputed != lost
    client.force_login(buyer.billing)
    page = client.get(f"/o/{buyer.organization.slug}/settings/billing/", follow=True).content.decode()
    for words in ("Partly refunded, $10.00", "Disputed, $30.00", "Dispute lost, $40.00", ">Refunded<"):
        assert words in page, words


def test_the_billing_page_does_not_call_credit_used_up_that_was_taken_back(buyer, bought, client):
    disputed = buyer.stripe.control.open_dispute(bought.payment_intent_id)
    buyer.hear()
    client.force_login(buyer.billing)
    address = f"/o/{buyer.organization.slug}/settings/billing/"
    page = client.get(address).content.decode()
    assert "of credit was taken back, because its payment was refunded or disputed. Auto-reload is off." in page
    assert "Taken back" in page
    assert "Used up<" not in page
    buyer.stripe.control.change_dispute(disputed, status="won")
    buyer.hear()
    buyer.spend(2_500)
    page = client.get(address).content.decode()
    assert "The credits are used up, and auto-reload is off." in page
    assert "Taken back" not in page
