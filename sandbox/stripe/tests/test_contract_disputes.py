"""Disputes and early fraud warnings: their life, whose money moves, and what it forbids."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stripe.rules import DISPUTE_AFTER, DISPUTE_FUNDS_ARE_GONE
from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account, cites
from sandbox.stripe.tests.endpoint import Endpoint
from sandbox.stripe.tests.test_contract_refunds import moved, paid, stand_in_of


def events_about(account: Account, *types: str) -> list[str]:
    """The types of the events so far, oldest first."""
    return [event.type for event in account.v1.events.list({"types": list(types), "limit": 100})][::-1]


@cites("https://docs.stripe.com/testing#disputes")
def test_a_disputed_card_is_charged_and_then_disputed(either: Account) -> None:
    payment = paid(either, card="pm_card_createDispute")
    assert payment.status == "succeeded"
    (dispute,) = either.eventually(lambda: either.v1.disputes.list({"payment_intent": payment.id}).data)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 2500)
    assert (dispute.charge, dispute.payment_intent) == (payment.latest_charge, payment.id)
    assert dispute.is_charge_refundable is False
    assert either.v1.charges.retrieve(payment.latest_charge).disputed is True
    error = error_of(lambda: either.v1.refunds.create({"payment_intent": payment.id}))
    assert (error.http_status, body_of(error)["code"]) == (400, "charge_disputed")


@cites("https://docs.stripe.com/webhooks#event-ordering")
def test_a_dispute_may_be_told_before_the_payments_own_success(notified: Account) -> None:
    paid(notified, card="pm_card_createDispute")
    told = events_about(notified, "charge.dispute.*", "payment_intent.succeeded")
    assert told == ["charge.dispute.created", "charge.dispute.funds_withdrawn", "payment_intent.succeeded"]


@cites("https://docs.stripe.com/disputes/how-disputes-work#inquiries")
def test_an_inquiry_moves_no_money_and_allows_a_refund(either: Account) -> None:
    payment = paid(either, card="pm_card_createDisputeInquiry")
    (dispute,) = either.eventually(lambda: either.v1.disputes.list({"charge": payment.latest_charge}).data)
    assert (dispute.status, dispute.is_charge_refundable) == ("warning_needs_response", True)
    assert dispute.balance_transactions == []
    assert dispute.payment_method_details.card.case_type == "inquiry"
    assert either.v1.refunds.create({"payment_intent": payment.id, "amount": 1}).status == "succeeded"


@cites("https://docs.stripe.com/api/disputes/close")
def test_giving_in_loses_a_dispute_for_good(either: Account) -> None:
    payment = paid(either, card="pm_card_createDispute")
    (dispute,) = either.eventually(lambda: either.v1.disputes.list({"payment_intent": payment.id}).data)
    assert either.v1.disputes.close(dispute.id).status == "lost"
    assert either.v1.disputes.retrieve(dispute.id).status == "lost"
    assert error_of(lambda: either.v1.disputes.close(dispute.id)).http_status == 400


@cites("https://docs.stripe.com/disputes/how-disputes-work")
def test_a_won_dispute_gives_the_amount_back_once(account: Account) -> None:
    control = stand_in_of(account).control
    payment = paid(account)
    dispute_id = control.open_dispute(payment.id)
    control.change_dispute(dispute_id, status="under_review")
    control.change_dispute(dispute_id, status="won")
    dispute = account.v1.disputes.retrieve(dispute_id, {"expand": ["charge"]})
    assert [(each.amount, each.fee) for each in dispute.balance_transactions] == [(-2500, 1500), (2500, 0)]
    assert (dispute.charge.disputed, dispute.charge.dispute) == (True, dispute_id)
    assert events_about(account, "charge.dispute.*") == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    assert moved(account) == [("dispute_withdrawn", 2500), ("dispute_reinstated", 2500)]
    assert account.v1.refunds.create({"payment_intent": payment.id}).amount == 2500


@cites("https://docs.stripe.com/disputes/how-disputes-work")
def test_a_lost_dispute_moves_no_more_money(account: Account) -> None:
    control = stand_in_of(account).control
    dispute = control.open_dispute(paid(account).id, amount=1000)
    control.change_dispute(dispute, status="lost")
    assert moved(account) == [("dispute_withdrawn", 1000)]
    assert stand_in_of(account).journal.disputed_cents() == 1000


@cites("https://docs.stripe.com/disputes/how-disputes-work")
def test_an_inquiry_becomes_a_dispute_or_ends(account: Account) -> None:
    control = stand_in_of(account).control
    closed = control.open_dispute(paid(account).id, status="warning_needs_response")
    control.change_dispute(closed, status="warning_under_review")
    control.change_dispute(closed, status="warning_closed")
    assert moved(account) == []
    grown = control.open_dispute(paid(account).id, status="warning_needs_response")
    control.change_dispute(grown, status="needs_response")
    assert moved(account) == [("dispute_withdrawn", 2500)]
    assert account.v1.disputes.retrieve(grown).payment_method_details.card.case_type == "chargeback"


@cites("https://docs.stripe.com/api/disputes/object#dispute_object-is_charge_refundable")
def test_a_payment_refunded_during_an_inquiry_is_spared(account: Account) -> None:
    control = stand_in_of(account).control
    payment = paid(account)
    dispute = control.open_dispute(payment.id, status="warning_needs_response")
    account.v1.refunds.create({"payment_intent": payment.id})
    control.change_dispute(dispute, status="needs_response")
    control.change_dispute(dispute, status="lost")
    assert moved(account) == [("refunded", 2500)]


@cites("https://docs.stripe.com/api/disputes/object#dispute_object-status")
def test_a_prevented_dispute_takes_nothing(account: Account) -> None:
    control = stand_in_of(account).control
    dispute = control.open_dispute(paid(account).id, status="prevented")
    assert account.v1.disputes.retrieve(dispute).status == "prevented"
    assert events_about(account, "charge.dispute.*") == ["charge.dispute.created", "charge.dispute.closed"]
    later = control.open_dispute(paid(account).id)
    control.change_dispute(later, status="prevented")
    assert moved(account) == [("dispute_withdrawn", 2500), ("dispute_reinstated", 2500)]


@pytest.mark.parametrize("before", sorted(DISPUTE_AFTER))
@cites("https://docs.stripe.com/disputes/how-disputes-work")
def test_funds_follow_the_status_on_every_way(account: Account, before: str) -> None:
    """From every status to every one that may follow: the balance says what the rule says, however it came there."""
    control = stand_in_of(account).control
    ways = {
        "warning_needs_response": ["warning_needs_response"],
        "warning_under_review": ["warning_needs_response", "warning_under_review"],
        "warning_closed": ["warning_needs_response", "warning_closed"],
        "needs_response": ["needs_response"],
        "under_review": ["needs_response", "under_review"],
        "won": ["needs_response", "won"],
        "lost": ["needs_response", "lost"],
        "prevented": ["prevented"],
    }
    for after in sorted(DISPUTE_AFTER[before]):
        first, *rest = ways[before]
        dispute_id = control.open_dispute(paid(account).id, status=first)
        for status in (*rest, after):
            control.change_dispute(dispute_id, status=status)
        dispute = account.v1.disputes.retrieve(dispute_id)
        gone = -2500 if after in DISPUTE_FUNDS_ARE_GONE else 0
        assert sum(each.amount for each in dispute.balance_transactions) == gone
    for impossible in set(DISPUTE_AFTER) - DISPUTE_AFTER[before]:
        first, *rest = ways[before]
        dispute_id = control.open_dispute(paid(account).id, status=first)
        for status in rest:
            control.change_dispute(dispute_id, status=status)
        with pytest.raises(ValueError, match="doesn't go from"):
            control.change_dispute(dispute_id, status=impossible)


@cites("https://docs.stripe.com/disputes/how-disputes-work")
def test_what_can_not_be_disputed_is_refused(account: Account) -> None:
    control = stand_in_of(account).control
    payment = paid(account)
    for options in ({"amount": 2501}, {"amount": 0}, {"status": "won"}):
        with pytest.raises(ValueError, match="a dispute"):
            control.open_dispute(payment.id, **options)
    control.open_dispute(payment.id)
    with pytest.raises(ValueError, match="has an open dispute"):
        control.open_dispute(payment.id)
    with pytest.raises(ValueError, match="no payment that succeeded"):
        control.open_dispute("pi_nobody")


@cites("https://docs.stripe.com/radar/early-fraud-warnings")
def test_an_issuers_warning_comes_before_any_dispute(either: Account) -> None:
    payment = paid(either, card="pm_card_createIssuerFraudRecord")
    warnings = either.v1.radar.early_fraud_warnings
    (warning,) = either.eventually(lambda: warnings.list({"payment_intent": payment.id}).data)
    assert (warning.charge, warning.actionable) == (payment.latest_charge, True)
    assert warnings.retrieve(warning.id).fraud_type


@cites("https://docs.stripe.com/api/radar/early_fraud_warnings/object")
def test_a_warning_is_actionable_until_the_charge_is_refunded_or_disputed(account: Account, endpoint: Endpoint) -> None:
    control = stand_in_of(account).control

    def warned(act: Any) -> list[bool]:
        payment = paid(account)
        warning = control.warn_of_fraud(payment.id)
        found = [account.v1.radar.early_fraud_warnings.retrieve(warning).actionable]
        act(payment)
        return [*found, account.v1.radar.early_fraud_warnings.retrieve(warning).actionable]

    assert warned(lambda payment: control.open_dispute(payment.id)) == [True, False]
    assert warned(lambda payment: account.v1.refunds.create({"payment_intent": payment.id})) == [True, False]
    assert warned(lambda payment: account.v1.refunds.create({"payment_intent": payment.id, "amount": 1})) == [
        True,
        True,
    ]
    assert events_about(account, "radar.*").count("radar.early_fraud_warning.updated") == 2
