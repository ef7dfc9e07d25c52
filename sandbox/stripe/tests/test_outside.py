"""What banks and people in Stripe's dashboard do to cards and payments, in the process and over HTTP."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sandbox.stripe.rules import CARD_OUTCOME_AFTER_SECONDS
from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account
from sandbox.stripe.tests.test_contract_disputes import events_about
from sandbox.stripe.tests.test_contract_refunds import paid, stand_in_of
from sandbox.stripe.tests.test_control import ask


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_payment_may_be_in_processing_before_it_ends(account: Account, succeeds: bool) -> None:
    stand_in = stand_in_of(account)
    stand_in.control.hold_payments()
    payment = paid(account)
    assert payment.status == "processing"
    assert account.v1.charges.retrieve(payment.latest_charge).status == "pending"
    for refused in (
        lambda: account.v1.payment_intents.cancel(payment.id),
        lambda: account.v1.payment_intents.confirm(payment.id),
        lambda: account.v1.refunds.create({"payment_intent": payment.id}),
    ):
        assert error_of(refused).http_status == 400
    stand_in.control.settle_processing(payment.id, succeeds=succeeds)
    payment = account.v1.payment_intents.retrieve(payment.id, {"expand": ["latest_charge"]})
    assert payment.status == ("succeeded" if succeeds else "requires_payment_method")
    assert payment.latest_charge.paid is succeeds
    assert events_about(account, "charge.*", "payment_intent.*")[-2:] == (
        ["charge.succeeded", "payment_intent.succeeded"]
        if succeeds
        else ["charge.failed", "payment_intent.payment_failed"]
    )
    outcomes = [entry["outcome"] for entry in stand_in.journal.entries()]
    assert outcomes == ["processing", "succeeded" if succeeds else "generic_decline"]
    assert stand_in.journal.charged_cents() == (2500 if succeeds else 0)
    with pytest.raises(ValueError, match="not in processing"):
        stand_in.control.settle_processing(payment.id, succeeds=True)
    assert paid(account).status == "succeeded"


def test_a_card_updater_changes_the_card_and_says_so(account: Account) -> None:
    control = stand_in_of(account).control
    card = account.saved_card(account.customer())
    control.update_card(card, exp_year=2040, last4="9999")
    assert account.v1.payment_methods.retrieve(card).card.last4 == "9999"
    control.update_card(card, by_network=False, exp_month=3)
    assert events_about(account, "payment_method.*") == [
        "payment_method.attached",
        "payment_method.automatically_updated",
        "payment_method.updated",
    ]
    with pytest.raises(ValueError, match="has no colour"):
        control.update_card(card, colour="red")


def test_a_replaced_card_may_behave_like_another(account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    stand_in_of(account).control.update_card(card, behaves_like="4000000000000341")
    error = error_of(lambda: account.pay(customer, card, off_session=True))
    assert body_of(error)["decline_code"] == "generic_decline"
    assert account.v1.payment_methods.retrieve(card).card.last4 == "0341"


def test_a_card_removed_in_the_dashboard_can_not_be_charged(account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    stand_in_of(account).control.detach_card(card)
    assert account.v1.customers.payment_methods.list(customer.id).data == []
    assert error_of(lambda: account.pay(customer, card, off_session=True)).http_status == 400
    with pytest.raises(ValueError, match="not attached"):
        stand_in_of(account).control.detach_card(card)


def test_everything_can_be_steered_by_http(account: Account) -> None:
    url = stand_in_of(account).base_url
    payment = paid(account)

    def order(path: str, **body: Any) -> Any:
        return ask(url, "POST", f"/_sandbox/{path}", body)

    assert order("warnings", payment_intent=payment.id)["warning"].startswith("issfr_")
    refund = order("refunds", payment_intent=payment.id, amount=100)["refund"]
    assert order("refunds", refund=refund, status="failed") == {"refund": refund}
    dispute = order("disputes", payment_intent=payment.id, amount=500)["dispute"]
    assert order("disputes", dispute=dispute, status="won") == {"dispute": dispute}
    assert order("disputes", dispute=dispute, status="warning_closed")[0] == 400
    order("payments", hold=1)
    order("refunds", hold=1)
    held = paid(account)
    order("payments", payment_intent=held.id, succeeds=True)
    assert account.v1.refunds.create({"payment_intent": held.id}).status == "pending"
    order("cards", payment_method=held.payment_method, exp_year=2041)
    order("cards", payment_method=held.payment_method, expire=True)
    order("cards", payment_method=held.payment_method, detach=True)
    assert order("cards", payment_method="pm_nobody", exp_year=2041)[0] == 400
    kinds = {entry["kind"] for entry in ask(url, "GET", "/_sandbox/journal")["entries"]}
    assert kinds == {"payment", "refund", "dispute"}
    (entry,) = ask(url, "GET", "/_sandbox/journal?kind=dispute&outcome=dispute_withdrawn")["entries"]
    assert entry["dispute"] == dispute


def test_what_is_planned_happens_without_anybody_asking(account: Account) -> None:
    """The thread that looks at the clock: nobody moves it here after the refund was made."""
    stand_in = stand_in_of(account)
    payment = paid(account, card="pm_card_refundFail")
    refund = account.v1.refunds.create({"payment_intent": payment.id})
    stand_in.control._state.move_clock(offset_seconds=CARD_OUTCOME_AFTER_SECONDS + 1)
    for _ in range(100):
        if account.v1.refunds.retrieve(refund.id).status == "failed":
            break
        time.sleep(0.1)
    assert account.v1.refunds.retrieve(refund.id).status == "failed"
