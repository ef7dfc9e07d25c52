"""Refunds: bounds, statuses, what fails later, and what the charge, the balance and the journal say of it."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stripe.rules import CARD_OUTCOME_AFTER_SECONDS
from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account, cites
from sandbox.stripe.tests.endpoint import Endpoint


def paid(account: Account, *, card: str = "pm_card_visa", **fields: Any) -> Any:
    """A payment of 25 dollars with a saved card."""
    customer = account.customer()
    return account.pay(customer, account.saved_card(customer, card=card), off_session=True, **fields)


def stand_in_of(account: Account) -> StandIn:
    """The stand-in behind an account that isn't real."""
    assert account.stand_in is not None
    return account.stand_in


def moved(account: Account) -> list[tuple[str, int]]:
    """What the journal says of money that went back."""
    entries = stand_in_of(account).journal.entries()
    return [(entry["outcome"], entry["amount"]) for entry in entries if entry["kind"] != "payment"]


@cites("https://docs.stripe.com/api/refunds/create")
def test_a_refund_gives_back_all_that_is_left(either: Account) -> None:
    payment = paid(either)
    part = either.v1.refunds.create({"payment_intent": payment.id, "amount": 700, "metadata": {"refund_id": "7"}})
    assert (part.amount, part.status, part.charge, part.payment_intent) == (
        700,
        "succeeded",
        payment.latest_charge,
        payment.id,
    )
    assert part.metadata.to_dict() == {"refund_id": "7"}
    charge = either.v1.charges.retrieve(payment.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (700, False)
    rest = either.v1.refunds.create({"charge": payment.latest_charge, "reason": "duplicate"})
    assert (rest.amount, rest.reason) == (1800, "duplicate")
    charge = either.v1.charges.retrieve(payment.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (2500, True)
    assert either.v1.payment_intents.retrieve(payment.id).status == "succeeded"
    assert [each.id for each in either.v1.refunds.list({"payment_intent": payment.id})] == [rest.id, part.id]
    assert [each.id for each in either.v1.refunds.list({"charge": payment.latest_charge, "limit": 1})] == [rest.id]
    assert either.v1.refunds.retrieve(part.id).amount == 700


@cites("https://docs.stripe.com/api/refunds/create")
def test_refunds_never_exceed_the_charge(either: Account) -> None:
    payment = paid(either)
    error = error_of(lambda: either.v1.refunds.create({"payment_intent": payment.id, "amount": 2501}))
    assert (error.http_status, body_of(error)["param"]) == (400, "amount")
    either.v1.refunds.create({"payment_intent": payment.id, "amount": 2000})
    error = error_of(lambda: either.v1.refunds.create({"payment_intent": payment.id, "amount": 501}))
    assert (error.http_status, body_of(error)["param"]) == (400, "amount")
    either.v1.refunds.create({"payment_intent": payment.id, "amount": 500})
    error = error_of(lambda: either.v1.refunds.create({"payment_intent": payment.id}))
    assert (error.http_status, body_of(error)["code"]) == (400, "charge_already_refunded")


@pytest.mark.parametrize("amount", [0, -1, "2.50"])
@cites("https://docs.stripe.com/api/refunds/create")
def test_a_refund_is_of_at_least_a_cent(either: Account, amount: Any) -> None:
    payment = paid(either)
    error = error_of(lambda: either.v1.refunds.create({"payment_intent": payment.id, "amount": amount}))
    assert (error.http_status, body_of(error)["param"]) == (400, "amount")


@cites("https://docs.stripe.com/api/refunds/create")
def test_a_refund_names_one_payment_that_succeeded(either: Account) -> None:
    assert error_of(lambda: either.v1.refunds.create({})).http_status == 400
    assert error_of(lambda: either.v1.refunds.create({"payment_intent": "pi_nobody"})).http_status in (400, 404)
    waiting = either.v1.payment_intents.create(
        {"amount": 2500, "currency": "usd", "allowed_payment_method_types": ["card"]}
    )
    assert error_of(lambda: either.v1.refunds.create({"payment_intent": waiting.id})).http_status == 400
    assert (
        error_of(lambda: either.v1.refunds.create({"reason": "bored", "payment_intent": waiting.id})).http_status == 400
    )


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_a_repeated_refund_key_refunds_once(either: Account) -> None:
    payment = paid(either)
    given = {"payment_intent": payment.id, "amount": 1000}
    key = f"refund-{payment.id}"
    first = either.v1.refunds.create(given, {"idempotency_key": key})
    assert either.v1.refunds.create(given, {"idempotency_key": key}).id == first.id
    assert either.v1.charges.retrieve(payment.latest_charge).amount_refunded == 1000


@cites("https://docs.stripe.com/api/events/types")
def test_a_refund_is_told_by_its_own_event_and_the_charges(notified: Account, endpoint: Endpoint) -> None:
    payment = paid(notified)
    before = len(endpoint.wait_for(7))
    refund = notified.v1.refunds.create({"payment_intent": payment.id, "amount": 700})
    told = {event.type: event for event in endpoint.wait_for(before + 2)[before:]}
    assert set(told) == {"refund.created", "charge.refunded"}
    assert told["refund.created"].data.object.id == refund.id
    assert told["charge.refunded"].data.object.amount_refunded == 700
    assert told["charge.refunded"].data.previous_attributes.to_dict() == {"amount_refunded": 0}


@cites("https://docs.stripe.com/testing#refunds")
def test_a_pending_refund_succeeds_later_on_the_stand_ins_clock(account: Account) -> None:
    stand_in = stand_in_of(account)
    refund = account.v1.refunds.create({"payment_intent": paid(account, card="pm_card_pendingRefund").id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    stand_in.control.move_clock(offset_seconds=CARD_OUTCOME_AFTER_SECONDS - 10)
    assert account.v1.refunds.retrieve(refund.id).status == "pending"
    stand_in.control.move_clock(offset_seconds=CARD_OUTCOME_AFTER_SECONDS + 1)
    assert account.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert moved(account) == [("refunded", 2500)]


@cites("https://docs.stripe.com/testing#refunds")
def test_a_refund_that_fails_later_gives_the_money_back_to_the_account(account: Account) -> None:
    stand_in = stand_in_of(account)
    payment = paid(account, card="pm_card_refundFail")
    refund = account.v1.refunds.create({"payment_intent": payment.id, "amount": 700})
    assert refund.status == "succeeded"
    assert "failure_reason" not in refund
    stand_in.control.move_clock(offset_seconds=CARD_OUTCOME_AFTER_SECONDS + 1)
    refund = account.v1.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction", "balance_transaction"]})
    assert refund.status == "failed"
    assert refund.failure_reason == "lost_or_stolen_card"
    assert (refund.balance_transaction.net, refund.failure_balance_transaction.net) == (-700, 700)
    assert account.v1.charges.retrieve(payment.latest_charge).amount_refunded == 0
    types = [event.type for event in account.v1.events.list({"types": ["refund.*", "charge.refund.updated"]})]
    assert types == ["charge.refund.updated", "refund.updated", "refund.failed", "refund.created"]
    assert moved(account) == [("refunded", 700), ("refund_failed", 700)]
    assert stand_in.journal.refunded_cents() == 0
    assert account.v1.refunds.create({"payment_intent": payment.id}).amount == 2500


@cites("https://docs.stripe.com/refunds#failed-refunds")
def test_the_bank_answers_on_demand(account: Account) -> None:
    control = stand_in_of(account).control
    control.hold_refunds()
    held = account.v1.refunds.create({"payment_intent": paid(account).id})
    assert (held.status, held.pending_reason) == ("pending", "insufficient_funds")
    control.succeed_refund(held.id)
    control.fail_refund(held.id)
    assert account.v1.refunds.retrieve(held.id).status == "failed"
    with pytest.raises(ValueError, match="from failed to succeeded"):
        control.succeed_refund(held.id)
    assert account.v1.refunds.create({"payment_intent": paid(account).id}).status == "succeeded"


@cites("https://docs.stripe.com/refunds#issue-a-refund")
def test_a_refund_in_the_dashboard_carries_no_metadata(account: Account) -> None:
    payment = paid(account, metadata={"purchase_id": "7"})
    refund = account.v1.refunds.retrieve(stand_in_of(account).control.refund_in_dashboard(payment.id, amount=300))
    assert (refund.amount, refund.metadata.to_dict()) == (300, {})
    (entry,) = stand_in_of(account).journal.entries(kind="refund")
    assert (entry["refund"], entry["made_by"], entry["metadata"]) == (refund.id, "outside", {"purchase_id": "7"})
    with pytest.raises(ValueError, match="greater than unrefunded"):
        stand_in_of(account).control.refund_in_dashboard(payment.id, amount=2300)


@cites("https://docs.stripe.com/api/refunds/update")
def test_only_a_refunds_metadata_can_be_changed(either: Account) -> None:
    refund = either.v1.refunds.create({"payment_intent": paid(either).id, "metadata": {"a": "1"}})
    changed = either.v1.refunds.update(refund.id, {"metadata": {"a": "", "b": "2"}})
    assert changed.metadata.to_dict() == {"b": "2"}
    assert error_of(lambda: either.v1.refunds.update(refund.id, {"amount": 1})).http_status == 400


@cites("https://docs.stripe.com/api/balance_transactions/object")
def test_the_balance_adds_up(account: Account) -> None:
    payment = paid(account)
    refund = account.v1.refunds.create({"payment_intent": payment.id, "amount": 700})
    charge = account.v1.charges.retrieve(payment.latest_charge, {"expand": ["balance_transaction"]})
    assert (charge.balance_transaction.amount, charge.balance_transaction.fee) == (2500, 103)
    rows = account.v1.balance_transactions.list({"limit": 100}).data
    assert [(row.type, row.net) for row in rows] == [("refund", -700), ("charge", 2397)]
    assert [row.source for row in rows] == [refund.id, charge.id]
    assert [row.id for row in account.v1.balance_transactions.list({"type": "charge"})] == [rows[1].id]
    assert account.v1.balance_transactions.retrieve(rows[0].id, {"expand": ["source"]}).source.id == refund.id
