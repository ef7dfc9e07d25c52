"""Payments while processes are killed and replies are lost: afterwards Stripe and the ledger agree to the cent.

A run of the random history prints its seed; PAYMENTS_SEED repeats it.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import stripe
from django.db import connections

from billing.errors import BillingError
from billing.models import Purchase
from billing.payments import purchases, reconciliation, stripe_events
from billing.payments.stripe_gateway import EventFacts
from billing.tests.buyer import ASKS_ALWAYS, DECLINES_WHEN_CHARGED, MASTERCARD, VISA, Buyer, at_once, hours

PAYMENTS = "/v1/payment_intents"
State = Purchase.State
SETTLED_SOON = (State.CREATED, State.PROCESSING)


def kill_while_stripe_works(buyer: Buyer, work: Callable[[], Any]) -> None:
    """Begin the work in a process of its own and kill it, as `kill -9` does, while its request is at Stripe."""
    fault = buyer.stripe.control.add_fault("delay", method="POST", path=PAYMENTS, delay_seconds=1.5)
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    wait_for(lambda: fault.hit == 1)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    wait_for(lambda: bool(buyer.journal()))


def wait_for(is_so: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


@pytest.mark.django_db(transaction=True)
def test_a_purchase_whose_process_is_killed_after_the_charge_is_granted_once(buyer):
    buyer.save_card()
    kill_while_stripe_works(buyer, buyer.buy)
    (purchase,) = buyer.purchases
    assert (purchase.state, purchase.payment_intent_id) == (State.PROCESSING, None)
    reconciliation.sweep(at=buyer.now() + timedelta(seconds=31))
    assert (buyer.available_cents, buyer.grants, len(buyer.journal())) == (2_500, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_case_034_a_reload_whose_worker_is_killed_is_not_charged_again_by_the_next(buyer):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(600)
    kill_while_stripe_works(buyer, buyer.attempt)
    assert not buyer.is_due()
    assert at_once([buyer.attempt] * 4) == [None] * 4
    reconciliation.sweep(at=buyer.now() + timedelta(seconds=31))
    assert (buyer.available_cents, buyer.grants, len(buyer.journal())) == (2_000, 1, 1)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_after_any_history_of_faults_stripe_and_the_ledger_agree(buyer):
    seed = int(os.environ.get("PAYMENTS_SEED") or random.randrange(10**9))
    print(f"PAYMENTS_SEED={seed}")
    history = History(buyer, random.Random(seed))
    buyer.save_card()
    buyer.arm(500, 2_000, 9_000)
    for _ in range(60):
        history.step()
    history.end()

    assert history.faults > 0, "a history without faults shows nothing"
    assert buyer.journal("succeeded"), "nor does one without payments"
    assert not [purchase for purchase in buyer.purchases if purchase.state in SETTLED_SOON]
    buyer.assert_stripe_agrees()
    reloads = [entry["amount"] for entry in buyer.journal("succeeded", kind="auto_reload")]
    assert sum(reloads) <= 9_000
    assert len(reloads) <= 5
    for purchase in buyer.purchases:
        entries = buyer.journal(purchase_id=str(purchase.pk))
        assert len({entry["payment_intent"] for entry in entries}) <= 1
        assert len([entry for entry in entries if entry["outcome"] == "succeeded"]) <= 1
    assert not [purchase for purchase in buyer.purchases if purchase.failure_code.startswith("mismatch_")]


class History:
    """Random work of one organization, with trouble on the way to Stripe, and webhooks as they please."""

    def __init__(self, buyer: Buyer, chance: random.Random) -> None:
        self.buyer = buyer
        self.chance = chance
        self.faults = 0
        self.at: datetime = buyer.now()

    def step(self) -> None:
        self.buyer.stripe.control.faults.clear()
        if self.chance.random() < 0.5:
            self.trouble()
        work = self.chance.choices(
            [self.buy, self.use, self.answer, self.card, self.switch, self.webhooks, self.sweep, self.cancel],
            weights=[5, 6, 4, 1, 1, 4, 3, 1],
        )[0]
        # Refused, or Stripe could not be asked: what was begun must still end well.
        with contextlib.suppress(BillingError):
            work()
        self.faults += sum(fault["hit"] for fault in self.buyer.stripe.control.faults.listed())

    def end(self) -> None:
        """The trouble is over: two rounds of sweeps, and the webhooks that are still to come."""
        self.buyer.stripe.control.faults.clear()
        for round_ in range(1, 3):
            self.at += hours(2 * round_)
            reconciliation.sweep(at=self.at)
            self.webhooks(everything=True)

    def trouble(self) -> None:
        kind = self.chance.choice(["cut_after", "cut_before", "half_body", "error_500_after_effect", "rate_limited"])
        self.buyer.stripe.control.add_fault(
            kind, path=PAYMENTS, times=self.chance.choice([1, 3]), method=self.chance.choice(["POST", "POST", "GET"])
        )

    def buy(self) -> None:
        copies = self.chance.choice([1, 1, 3])
        key = self.chance.randrange(2**128)
        amount_cents = self.chance.randrange(500, 2_000)
        at_once([partial(self.buyer.buy, amount_cents, key=UUID(int=key))] * copies)

    def use(self) -> None:
        available_cents = self.buyer.available_cents
        if available_cents > 10:
            self.buyer.spend(self.chance.randrange(1, available_cents))
        at_once([self.buyer.attempt] * self.chance.choice([1, 3]))

    def answer(self) -> None:
        for purchase in self.buyer.purchases:
            if purchase.state == State.NEEDS_CUSTOMER:
                purchases.confirm(
                    organization=self.buyer.organization,
                    purchase_id=purchase.pk,
                    actor=self.buyer.billing,
                    at=self.buyer.now(),
                )
            if purchase.state in (State.REQUIRES_ACTION, State.NEEDS_CUSTOMER):
                try:
                    self.buyer.answer_bank(purchase, complete=self.chance.random() < 0.7)
                except ValueError:
                    continue
                purchases.refresh(purchase_id=purchase.pk, at=self.buyer.now())

    def card(self) -> None:
        self.buyer.save_card(self.chance.choice([VISA, VISA, MASTERCARD, ASKS_ALWAYS, DECLINES_WHEN_CHARGED]))

    def switch(self) -> None:
        if self.chance.random() < 0.5:
            self.buyer.disarm()
        else:
            self.buyer.arm(500, 2_000, 9_000)

    def cancel(self) -> None:
        for purchase in self.buyer.purchases:
            if purchase.is_open:
                purchases.cancel(
                    organization=self.buyer.organization,
                    purchase_id=purchase.pk,
                    actor=self.buyer.billing,
                    at=self.buyer.now(),
                )

    def sweep(self) -> None:
        self.at = max(self.at, self.buyer.now()) + timedelta(seconds=self.chance.randrange(1, 300))
        reconciliation.sweep(at=self.at)

    def webhooks(self, *, everything: bool = False) -> None:
        """Some of the events so far, in any order, some of them again."""
        told = every_event(self.buyer)
        self.chance.shuffle(told)
        for facts in told if everything else told[:5]:
            row = stripe_events.store(facts, at=self.buyer.now())
            try:
                stripe_events.process(event_id=row.pk, at=self.buyer.now())
            except BillingError:
                continue


def every_event(buyer: Buyer) -> list[EventFacts]:
    """What Stripe would tell, as facts."""
    client = stripe.StripeClient("sk_test_reader", base_addresses={"api": buyer.stripe.base_url})
    found = []
    for event in client.v1.events.list({"limit": 100}).auto_paging_iter():
        payload = event.to_dict()
        subject = payload["data"]["object"]
        found.append(EventFacts(payload["id"], payload["type"], subject["id"], "", False, payload))
    return found
