"""The inbox of webhooks: order, repetition, loss and forgery change nothing."""

import itertools
import json
import time
from datetime import timedelta

import pytest
import stripe
from django.test import Client

from accounts.models import Membership
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import PaymentMethod, Purchase, StripeEvent
from billing.payments import payment_methods, reconciliation, stripe_events, stripe_gateway
from billing.tests.buyer import ASKS_ALWAYS, MASTERCARD, at_once

State = Purchase.State
PATH = "/webhooks/stripe/"
PAYMENTS = "/v1/payment_intents"


@pytest.fixture
def events(buyer, settings):
    """What Stripe would send, as signed bodies, oldest first; nothing is delivered by itself."""

    def listed(*types):
        client = stripe.StripeClient("sk_test_reader", base_addresses={"api": buyer.stripe.base_url})
        found = [event.to_dict() for event in client.v1.events.list({"limit": 100}).auto_paging_iter()]
        return [event for event in reversed(found) if not types or event["type"] in types]

    return listed


def signed(body, settings, *, at=None, secret=None):
    text = body if isinstance(body, str) else body.decode()
    return stripe.WebhookSignature.generate_signature_header(
        text, secret or settings.STRIPE_WEBHOOK_SECRET, at or int(time.time())
    )


def receive(event, settings, buyer):
    body = json.dumps(event)
    return stripe_events.receive(body=body.encode(), signature=signed(body, settings), at=buyer.now())


def deliver(event, settings, buyer):
    """Receive and work on one event, as the view and the task do."""
    row = receive(event, settings, buyer)
    stripe_events.process(event_id=row.pk, at=buyer.now())
    row.refresh_from_db()
    return row


def lose_the_reply(buyer):
    """A purchase that is paid at Stripe and open here."""
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path=PAYMENTS, times=3)
    purchase = buyer.buy()
    assert purchase.state == State.PROCESSING
    return purchase


# What an event does


def test_case_029_the_webhook_grants_when_nobody_heard_the_reply(buyer, events, settings):
    lose_the_reply(buyer)
    (event,) = events("payment_intent.succeeded")
    row = deliver(event, settings, buyer)
    assert row.processed_at is not None
    assert (row.type, row.api_version) == ("payment_intent.succeeded", "2026-10-28.endive")
    assert (buyer.available_cents, buyer.grants) == (2_500, 1)
    assert Purchase.objects.get().payment_intent_id == event["data"]["object"]["id"]


def test_a_webhook_after_the_reply_does_nothing_more(buyer, events, settings):
    buyer.save_card()
    buyer.buy()
    for event in events("payment_intent.created", "payment_intent.succeeded"):
        deliver(event, settings, buyer)
    assert (buyer.available_cents, buyer.grants) == (2_500, 1)
    assert len(buyer.mails("Receipt")) == 1


def test_the_same_event_ten_times_is_one_row_and_one_effect(buyer, events, settings):
    lose_the_reply(buyer)
    (event,) = events("payment_intent.succeeded")
    rows = {deliver(event, settings, buyer).pk for _ in range(10)}
    assert len(rows) == 1
    assert StripeEvent.objects.get().attempts == 1
    assert buyer.grants == 1


@pytest.mark.django_db(transaction=True)
def test_case_026_ten_deliveries_at_once_are_one_row_and_one_effect(buyer, events, settings):
    lose_the_reply(buyer)
    (event,) = events("payment_intent.succeeded")
    results = at_once([lambda: deliver(event, settings, buyer).pk] * 10)
    assert len(set(results)) == 1, results
    assert (StripeEvent.objects.count(), buyer.grants, buyer.available_cents) == (1, 1, 2_500)


def test_case_031_every_order_of_a_payments_events_ends_the_same(buyer, events, settings):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    buyer.answer_bank(purchase)
    told = [event for event in events() if event["type"].startswith(("payment_intent.", "charge."))]
    assert {"payment_intent.requires_action", "payment_intent.succeeded"} <= {event["type"] for event in told}
    for order in itertools.permutations(told):
        StripeEvent.objects.all().delete()
        for event in order:
            deliver(event, settings, buyer)
        assert (Purchase.objects.get().state, buyer.grants, buyer.available_cents) == (State.SUCCEEDED, 1, 2_500)


def test_an_old_event_does_not_turn_back_what_has_happened_since(buyer, events, settings):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    (asked,) = events("payment_intent.requires_action")
    buyer.answer_bank(purchase)
    deliver(asked, settings, buyer)
    assert Purchase.objects.get().state == State.SUCCEEDED


def test_a_card_is_saved_though_its_page_was_closed(buyer, events, settings):
    form = payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    buyer.type_card(form)
    (event,) = events("setup_intent.succeeded")
    deliver(event, settings, buyer)
    assert payment_methods.default_card(organization=buyer.organization).last4 == "4242"
    assert buyer.finish_card(form) == PaymentMethod.objects.get()


def test_the_card_of_somebody_who_was_removed_meanwhile_is_not_taken(buyer, events, settings):
    form = payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    buyer.type_card(form)
    Membership.objects.filter(user=buyer.billing).delete()
    (event,) = events("setup_intent.succeeded")
    assert deliver(event, settings, buyer).outcome == "refused: permission"
    assert not PaymentMethod.objects.exists()


def test_a_card_detached_at_stripe_is_no_default_any_more(buyer, events, settings):
    card = buyer.save_card()
    stripe_gateway.detach_card(payment_method_id=card.stripe_payment_method_id)
    for event in events("payment_method.detached"):
        deliver(event, settings, buyer)
    assert payment_methods.default_card(organization=buyer.organization) is None


def test_the_detaching_of_a_replaced_card_takes_nothing_from_the_new_one(buyer, events, settings):
    buyer.save_card()
    card = buyer.save_card(MASTERCARD)
    for event in events("payment_method.detached", "payment_method.attached"):
        deliver(event, settings, buyer)
    assert payment_methods.default_card(organization=buyer.organization) == card


# What an event does not do


def event_of(type_, subject, **changes):
    return {
        "id": f"evt_{type_}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "livemode": False,
        "type": type_,
        "data": {"object": subject},
    } | changes


def test_an_unknown_payment_is_kept_and_does_nothing(buyer, settings):
    row = deliver(event_of("payment_intent.succeeded", {"id": "pi_unknown", "metadata": {}}), settings, buyer)
    assert row.outcome == "ignored: unknown payment"
    assert buyer.grants == 0


@pytest.mark.parametrize("named", ["0", "-1", "1e3", "9" * 30, "x", "٣", "", None])
def test_metadata_that_names_no_purchase_does_nothing(buyer, settings, named):
    subject = {"id": "pi_unknown", "metadata": {"purchase_id": named}}
    assert deliver(event_of("payment_intent.succeeded", subject), settings, buyer).outcome.startswith("ignored")


def test_an_event_that_lies_about_its_payment_is_not_believed(buyer, settings, events):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    lie = {"id": purchase.payment_intent_id, "status": "succeeded", "amount_received": 2_500, "metadata": {}}
    deliver(event_of("payment_intent.succeeded", lie), settings, buyer)
    assert Purchase.objects.get().state == State.REQUIRES_ACTION
    assert buyer.available_cents == 0


@pytest.mark.parametrize("type_", ["customer.created", "invoice.paid", "thing.of_next_year"])
def test_an_event_without_a_handler_is_kept_and_does_nothing(buyer, settings, type_):
    row = deliver(event_of(type_, {"id": "x"}), settings, buyer)
    assert row.outcome == "ignored: no handler"
    assert row.processed_at is not None


def test_an_event_of_the_other_mode_is_kept_refused_and_does_nothing(buyer, settings, events):
    lose_the_reply(buyer)
    (event,) = events("payment_intent.succeeded")
    row = deliver(event | {"livemode": True}, settings, buyer)
    assert row.outcome == "refused: other mode"
    assert buyer.grants == 0


# Faults in between


def test_case_027_what_failed_is_done_on_the_next_try(buyer, events, settings):
    lose_the_reply(buyer)
    (event,) = events("payment_intent.succeeded")
    row = receive(event, settings, buyer)
    buyer.stripe.control.add_fault("cut_before", method="GET", path=PAYMENTS, times=3)
    with pytest.raises(PaymentProcessorUnavailable):
        stripe_events.process(event_id=row.pk, at=buyer.now())
    row.refresh_from_db()
    assert (row.processed_at, row.attempts) == (None, 1)
    assert row.outcome.startswith("failed: PaymentProcessorUnavailable")
    assert row.pk not in stripe_events.waiting(at=buyer.now())
    assert stripe_events.waiting(at=buyer.now() + timedelta(minutes=1)) == [row.pk]
    stripe_events.process(event_id=row.pk, at=buyer.now())
    assert buyer.grants == 1


def test_case_028_an_event_whose_task_was_lost_is_found_by_the_sweep(buyer, events, settings):
    lose_the_reply(buyer)
    (event,) = events("payment_intent.succeeded")
    row = receive(event, settings, buyer)
    assert stripe_events.waiting(at=buyer.now()) == [row.pk]
    stripe_events.process(event_id=row.pk, at=buyer.now())
    assert stripe_events.waiting(at=buyer.now()) == []


def test_an_event_is_tried_for_hours_and_then_left_to_staff(buyer, settings):
    row = receive(event_of("payment_intent.succeeded", {"id": "pi_x"}), settings, buyer)
    tried = [stripe_events.retry_after(attempts) for attempts in range(stripe_events.ATTEMPTS_MAX)]
    assert tried == sorted(tried)
    assert tried[-1] >= timedelta(hours=6)
    StripeEvent.objects.filter(pk=row.pk).update(attempts=stripe_events.ATTEMPTS_MAX)
    assert stripe_events.waiting(at=buyer.now() + timedelta(days=9)) == []


def test_an_event_that_stripe_could_not_deliver_is_fetched(buyer, settings, live_server_without_answer):
    lose_the_reply(buyer)
    Purchase.objects.update(checked_at=buyer.now())
    assert reconciliation.fetch_events(at=buyer.now()) >= 1
    for event_id in stripe_events.waiting(at=buyer.now()):
        stripe_events.process(event_id=event_id, at=buyer.now())
    assert buyer.grants == 1


@pytest.fixture
def live_server_without_answer(buyer, settings):
    """An endpoint that is known to Stripe and never answers."""
    buyer.stripe.control.webhooks.send_to(url="http://127.0.0.1:9/", secret=settings.STRIPE_WEBHOOK_SECRET)


# The door


@pytest.fixture
def door(settings, buyer):
    """Our endpoint, as Stripe reaches it."""

    def post(body, signature, **headers):
        return Client().post(
            PATH, body, content_type="application/json", headers={"Stripe-Signature": signature} | headers
        )

    return post


def body_of(event):
    return json.dumps(event)


GOOD = event_of("payment_intent.succeeded", {"id": "pi_unknown", "metadata": {}})


def test_a_signed_event_is_stored_and_answered_though_the_broker_is_down(door, settings):
    body = body_of(GOOD)
    assert door(body, signed(body, settings)).status_code == 200
    assert StripeEvent.objects.get().processed_at is None
    assert door(body, signed(body, settings)).status_code == 200
    assert StripeEvent.objects.count() == 1


def test_what_is_not_signed_leaves_no_row(door, settings):
    body = body_of(GOOD)
    now = int(time.time())
    for signature in (
        "",
        "nonsense",
        "t=,v1=",
        "t=1,v1=é",
        signed(body, settings, secret="whsec_other"),
        signed(body + " ", settings),
        signed(body, settings, at=now - 301),
        signed(body, settings).replace("v1=", "v0="),
    ):
        assert door(body, signature).status_code == 400, signature
    assert not StripeEvent.objects.exists()


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", "null", "1", '{"id": "evt_1"}', '{"id":"e","type":"t","data":{}}', "[" * 10_000, "\x00"],
)
def test_a_signed_body_that_is_no_event_leaves_no_row(door, settings, body):
    assert door(body, signed(body, settings)).status_code == 400
    assert not StripeEvent.objects.exists()


def test_a_large_body_is_refused_before_it_is_looked_at(door, settings):
    body = body_of(event_of("payment_intent.succeeded", {"id": "x", "padding": "x" * 300_000}))
    assert door(body, signed(body, settings)).status_code == 413
    assert not StripeEvent.objects.exists()


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head"])
def test_only_post_is_answered(buyer, method):
    assert getattr(Client(), method)(PATH).status_code == 405


def test_the_door_asks_for_no_cookie_and_no_csrf_token(settings, buyer):
    body = body_of(GOOD)
    client = Client(enforce_csrf_checks=True)
    answer = client.post(
        PATH, body, content_type="application/json", headers={"Stripe-Signature": signed(body, settings)}
    )
    assert answer.status_code == 200
    assert not answer.cookies


def test_two_secrets_are_taken_while_one_replaces_the_other(settings, buyer):
    settings.STRIPE_WEBHOOK_SECRET = "whsec_old,whsec_new"
    body = body_of(GOOD)
    for secret in ("whsec_old", "whsec_new"):
        stripe_events.receive(body=body.encode(), signature=signed(body, settings, secret=secret), at=buyer.now())
    with pytest.raises(Refused):
        stripe_events.receive(body=body.encode(), signature=signed(body, settings, secret=","), at=buyer.now())


def test_without_a_secret_nothing_is_taken(settings, buyer):
    settings.STRIPE_WEBHOOK_SECRET = ""
    body = body_of(GOOD)
    with pytest.raises(Refused):
        stripe_events.receive(body=body.encode(), signature=signed(body, settings, secret="x"), at=buyer.now())


@pytest.mark.django_db(transaction=True)
def test_stripes_own_deliveries_over_http_end_in_credit(buyer, settings, live_server):
    hooks = buyer.stripe.control.webhooks
    hooks.send_to(url=f"{live_server.url}{PATH}", secret=settings.STRIPE_WEBHOOK_SECRET)
    hooks.orders.duplicate = 20
    hooks.orders.copies = 3
    lose_the_reply(buyer)
    assert hooks.wait_until_idle(timeout_seconds=30)
    types = set(StripeEvent.objects.values_list("type", flat=True))
    assert {"setup_intent.succeeded", "payment_intent.succeeded"} <= types
    for event_id in stripe_events.waiting(at=buyer.now()):
        stripe_events.process(event_id=event_id, at=buyer.now())
    assert (buyer.available_cents, buyer.grants) == (2_500, 1)
