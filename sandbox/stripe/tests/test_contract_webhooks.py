"""Events and their delivery: what happened, told with a genuine signature, in any order, until it is heard."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import stripe

from sandbox.stripe import API_VERSION
from sandbox.stripe.control import Control
from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.conftest import error_of
from sandbox.stripe.tests.contract import WEBHOOK_SECRET, Account, cites
from sandbox.stripe.tests.endpoint import Endpoint

BUY = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


def types(account: Account) -> list[str]:
    """The types of all events, oldest first."""
    return [event.type for event in account.v1.events.list({"limit": 100}).data][::-1]


@cites("https://docs.stripe.com/api/events/types")
def test_saving_and_charging_a_card_is_told_step_by_step(notified: Account, endpoint: Endpoint) -> None:
    customer = notified.customer()
    payment = notified.pay(customer, notified.saved_card(customer), metadata={"purchase_id": "7"})
    told = ["customer.created", "setup_intent.created", "payment_method.attached", "setup_intent.succeeded", *BUY]
    assert types(notified) == told
    received = endpoint.wait_for(len(told))
    assert sorted(event.type for event in received) == sorted(told)
    (succeeded,) = [event for event in received if event.type == "payment_intent.succeeded"]
    assert succeeded.api_version == API_VERSION == stripe.api_version
    assert isinstance(succeeded.data.object, stripe.PaymentIntent)
    assert (succeeded.data.object.id, succeeded.data.object.status) == (payment.id, "succeeded")
    assert succeeded.data.object.metadata["purchase_id"] == "7"
    assert succeeded.data.object.latest_charge == payment.latest_charge
    assert succeeded.request is not None
    assert succeeded.request.idempotency_key is not None
    assert succeeded.livemode is False


@cites("https://docs.stripe.com/api/events/types")
def test_failures_changes_and_the_end_of_a_card_are_told(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    card = account.saved_card(customer)
    seen = len(types(account))
    error_of(lambda: account.pay(customer, "pm_card_chargeCustomerFail"))
    assert types(account)[seen:] == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]
    seen = len(types(account))
    payment = account.pay(customer, "pm_card_authenticationRequired", use_stripe_sdk=True)
    account.stand_in.control.answer_challenge(payment.id, complete=False)
    assert types(account)[seen:] == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.payment_failed",
    ]
    seen = len(types(account))
    account.v1.payment_intents.cancel(payment.id)
    account.v1.payment_methods.detach(card)
    account.v1.customers.update(customer.id, {"name": "Acme"})
    account.v1.customers.update(customer.id, {"name": "Acme"})
    assert types(account)[seen:] == ["payment_intent.canceled", "payment_method.detached", "customer.updated"]
    detached = account.v1.events.list({"type": "payment_method.detached"}).data[0]
    assert detached.data.previous_attributes["customer"] == customer.id
    seen = len(types(account))
    error_of(
        lambda: account.v1.setup_intents.create(
            {
                "customer": customer.id,
                "payment_method": "pm_card_visa_chargeDeclined",
                "confirm": True,
                "allowed_payment_method_types": ["card"],
            }
        )
    )
    assert types(account)[seen:] == ["setup_intent.created", "setup_intent.setup_failed"]


@cites("https://docs.stripe.com/api/events/object")
def test_an_event_keeps_the_object_as_it_was(account: Account) -> None:
    customer = account.customer()
    account.v1.customers.update(customer.id, {"name": "Later"})
    (created,) = account.v1.events.list({"type": "customer.created"}).data
    assert created.data.object.name is None
    assert account.v1.events.retrieve(created.id).data.object.id == customer.id


@cites("https://docs.stripe.com/api/events/list")
def test_events_are_found_by_type_and_by_delivery(notified: Account, endpoint: Endpoint) -> None:
    assert notified.stand_in is not None
    webhooks = notified.stand_in.control.webhooks
    customer = notified.customer()
    card = notified.saved_card(customer)
    assert webhooks.wait_until_idle()
    webhooks.orders.drop = len(BUY)
    notified.pay(customer, card)
    assert webhooks.wait_until_idle()
    events = notified.v1.events
    missed = events.list({"types": BUY, "delivery_success": False})
    assert [event.type for event in missed.data] == BUY[::-1]
    assert {event.pending_webhooks for event in missed.data} == {1}
    assert events.list({"types": BUY, "delivery_success": True}).data == []
    assert len(events.list({"delivery_success": True}).data) == 4
    assert [event.type for event in events.list({"type": "payment_intent.*"}).data] == [
        "payment_intent.succeeded",
        "payment_intent.created",
    ]
    assert error_of(lambda: events.list({"type": "x", "types": ["y"]})).http_status == 400
    assert "payment_intent.succeeded" not in endpoint.types()


@cites("https://docs.stripe.com/webhooks/process-undelivered-events")
def test_events_after_the_last_one_seen_are_found_with_ending_before(account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    last_seen = account.v1.events.list({"limit": 1}).data[0].id
    account.pay(customer, card)
    newer = account.v1.events.list({"ending_before": last_seen, "limit": 100})
    assert [event.type for event in newer.data] == BUY[::-1]


@cites("https://docs.stripe.com/webhooks#retries")
def test_a_refused_delivery_is_tried_again_later_and_later(notified: Account, endpoint: Endpoint) -> None:
    assert notified.stand_in is not None
    control = notified.stand_in.control
    endpoint.statuses = [500, 503]
    notified.customer()
    assert control.webhooks.wait_until_idle()
    (delivery,) = control.webhooks.deliveries()
    assert (delivery["state"], delivery["attempts"], delivery["last_status"]) == ("pending", 1, "500")
    first_pause = delivery["next_at"] - time.time()
    control.move_clock(offset_seconds=10)
    wait_for_attempts(control, 2)
    second_pause = control.webhooks.deliveries()[0]["next_at"] - time.time() - 10
    assert second_pause > first_pause
    control.move_clock(offset_seconds=60)
    endpoint.wait_for(1)
    assert control.webhooks.wait_until_idle()
    (delivery,) = control.webhooks.deliveries()
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 3)


@cites("https://docs.stripe.com/webhooks#retries")
def test_after_three_days_it_gives_up_and_the_event_remains(notified: Account, endpoint: Endpoint) -> None:
    assert notified.stand_in is not None
    control = notified.stand_in.control
    endpoint.statuses = [500] * 100
    notified.customer()
    days = 0
    while control.webhooks.deliveries()[0]["state"] == "pending":
        assert control.webhooks.wait_until_idle()
        days += 1
        assert days < 20
        control.move_clock(offset_seconds=days * 86_400.0)
        time.sleep(0.05)
    assert control.webhooks.deliveries()[0]["state"] == "failed"
    assert len(notified.v1.events.list({"delivery_success": False}).data) == 1


@cites("https://docs.stripe.com/webhooks")
def test_paused_deliveries_come_when_resumed(notified: Account, endpoint: Endpoint) -> None:
    assert notified.stand_in is not None
    webhooks = notified.stand_in.control.webhooks
    webhooks.pause()
    notified.customer()
    assert webhooks.wait_until_idle()
    assert endpoint.accepted == []
    webhooks.resume()
    endpoint.wait_for(1)


@cites("https://docs.stripe.com/webhooks#event-ordering")
def test_deliveries_can_be_duplicated_reordered_delayed_and_lost(notified: Account, endpoint: Endpoint) -> None:
    assert notified.stand_in is not None
    control = notified.stand_in.control
    customer = notified.customer()
    card = notified.saved_card(customer)
    assert control.webhooks.wait_until_idle()
    endpoint.accepted.clear()

    control.webhooks.orders.duplicate = 1
    notified.v1.customers.update(customer.id, {"name": "A"})
    assert endpoint.wait_for(2)[0].id == endpoint.accepted[1].id
    assert control.webhooks.wait_until_idle()
    endpoint.accepted.clear()

    control.webhooks.orders.reorder = len(BUY)
    notified.pay(customer, card)
    endpoint.wait_for(len(BUY))
    assert endpoint.types() == BUY[::-1]
    assert control.webhooks.wait_until_idle()
    endpoint.accepted.clear()

    control.webhooks.orders.delay_seconds = 30
    notified.v1.customers.update(customer.id, {"name": "B"})
    assert control.webhooks.wait_until_idle()
    assert endpoint.accepted == []
    control.move_clock(offset_seconds=31)
    endpoint.wait_for(1)
    control.webhooks.reset()
    assert control.webhooks.wait_until_idle()
    endpoint.accepted.clear()

    control.webhooks.orders.drop = 1
    notified.v1.customers.update(customer.id, {"name": "C"})
    notified.v1.customers.update(customer.id, {"name": "D"})
    endpoint.wait_for(1)
    assert control.webhooks.wait_until_idle()
    assert [event.data.object.name for event in endpoint.accepted] == ["D"]


@pytest.mark.parametrize("order", ["bad_signature", "stale"])
@cites("https://docs.stripe.com/webhooks#verify-manually")
def test_a_forged_or_outdated_delivery_is_recognized_and_the_genuine_one_follows(
    notified: Account, endpoint: Endpoint, order: str
) -> None:
    assert notified.stand_in is not None
    control = notified.stand_in.control
    setattr(control.webhooks.orders, order, 1)
    notified.customer()
    assert control.webhooks.wait_until_idle()
    assert (len(endpoint.refused), endpoint.accepted) == (1, [])
    assert ("tolerance" in endpoint.refused[0]) == (order == "stale")
    control.move_clock(offset_seconds=5)
    endpoint.wait_for(1)


@cites("https://docs.stripe.com/webhooks#handle-duplicate-events")
def test_any_order_and_any_copies_can_be_delivered_by_hand(notified: Account, endpoint: Endpoint) -> None:
    assert notified.stand_in is not None
    control = notified.stand_in.control
    control.webhooks.pause()
    customer = notified.customer()
    notified.pay(customer, notified.saved_card(customer))
    ids = [delivery["event"] for delivery in control.webhooks.deliveries()]
    wanted = [ids[-1], ids[0], ids[-1], ids[2]]
    assert control.webhooks.deliver(wanted) == [200] * 4
    assert [event.id for event in endpoint.accepted] == wanted
    assert control.webhooks.deliver([ids[1]] * 8, is_concurrent=True) == [200] * 8
    assert control.webhooks.deliver([ids[3]], signature="bad") == [400]
    assert control.webhooks.deliver([ids[3]], signature="stale") == [400]
    states = {delivery["event"]: delivery["state"] for delivery in control.webhooks.deliveries()}
    assert [states[event_id] for event_id in ids[:4]] == ["delivered", "delivered", "delivered", "pending"]


@cites("https://docs.stripe.com/webhooks")
def test_what_is_still_owed_is_delivered_after_a_restart(tmp_path: Path, endpoint: Endpoint) -> None:
    with StandIn(folder=tmp_path, webhook_url="http://127.0.0.1:9/nobody", webhook_secret="whsec_x") as stand_in:
        client = stripe.StripeClient("sk_test_restart", base_addresses={"api": stand_in.base_url})
        customer = client.v1.customers.create({})
        assert stand_in.control.webhooks.wait_until_idle()
    with StandIn(folder=tmp_path, webhook_url=endpoint.url, webhook_secret=WEBHOOK_SECRET) as stand_in:
        stand_in.control.move_clock(offset_seconds=60)
        (event,) = endpoint.wait_for(1)
        assert event.data.object.id == customer.id


@cites("https://docs.stripe.com/webhooks")
def test_without_an_endpoint_nothing_is_owed(account: Account) -> None:
    assert account.stand_in is not None
    account.customer()
    assert account.stand_in.control.webhooks.deliveries() == []
    (event,) = account.v1.events.list({"delivery_success": True}).data
    assert event.pending_webhooks == 0


@cites("https://docs.stripe.com/webhooks")
def test_an_address_without_its_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="signing secret"):
        StandIn(webhook_url="http://127.0.0.1:9/")


def wait_for_attempts(control: Control, count: int) -> None:
    """Wait until the one delivery has been tried so often."""
    end = time.monotonic() + 10
    while control.webhooks.deliveries()[0]["attempts"] < count:
        assert time.monotonic() < end
        time.sleep(0.01)


@cites("https://docs.stripe.com/webhooks")
def test_recording_and_delivering_at_once_never_block_each_other(notified: Account, endpoint: Endpoint) -> None:
    """Many requests record events while earlier ones are delivered and somebody asks for the state of affairs."""
    assert notified.stand_in is not None
    webhooks = notified.stand_in.control.webhooks
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            webhooks.wait_until_idle(timeout_seconds=0.01)
            webhooks.deliveries()

    def create() -> None:
        for _ in range(25):
            notified.customer()

    asking = threading.Thread(target=ask, daemon=True)
    creating = [threading.Thread(target=create, daemon=True) for _ in range(4)]
    for thread in (asking, *creating):
        thread.start()
    for thread in creating:
        thread.join(timeout=60)
    is_over.set()
    assert not any(thread.is_alive() for thread in creating)
    assert len({event.id for event in endpoint.wait_for(100, timeout_seconds=30)}) == 100
