"""Every fault on the way to Stripe, for everything that moves money there: it ends once, and both sides agree.

Buying, reloading and refunding each meet each fault for real: over HTTP, with killed processes and signed webhooks. A
cell counts how often its fault has struck, because a fault that never struck shows nothing. `-s` prints the table.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from django.db import connections
from django.urls import reverse

from billing.models import CreditLot, LedgerEntry, Purchase, Refund, StripeEvent
from billing.payments import agreement, reconciliation, stripe_events, stripe_gateway
from billing.tests.buyer import Buyer

pytestmark = pytest.mark.django_db(transaction=True)

PAYMENTS: Final = "/v1/payment_intents"
REFUNDS: Final = "/v1/refunds"
# The SDK tries a call three times, so a fault that is to last for a call strikes three times.
TRIES: Final = 3
SWEEPS_MAX: Final = 2
# Longer than all tries of one call together, after which a sweep may send again.
CALL_IS_OVER: Final = timedelta(minutes=2)

Work = Callable[[], object]
_table: list[str] = []


@dataclass(frozen=True, slots=True)
class Operation:
    """What moves money: how it is made ready, what is called, and how much credit there is once it has ended."""

    path: str
    prepare: Callable[[Buyer], Work]
    available_cents: int
    outcome: str
    is_unknown: Callable[[], bool]


def ready_to_buy(buyer: Buyer) -> Work:
    buyer.save_card()
    return partial(buyer.buy, 2_500, key=uuid4())


def ready_to_reload(buyer: Buyer) -> Work:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(600)
    return buyer.attempt


def ready_to_refund(buyer: Buyer) -> Work:
    buyer.save_card()
    return partial(buyer.refund, buyer.buy(2_500), 1_000, key=uuid4())


def no_purchase_failed() -> bool:
    return not Purchase.objects.filter(state=Purchase.State.FAILED).exists()


def no_refund_failed() -> bool:
    return not Refund.objects.filter(state=Refund.State.FAILED).exists()


OPERATIONS: Final = {
    "buy": Operation(PAYMENTS, ready_to_buy, 2_500, "succeeded", no_purchase_failed),
    "reload": Operation(PAYMENTS, ready_to_reload, 2_000, "succeeded", no_purchase_failed),
    "refund": Operation(REFUNDS, ready_to_refund, 1_500, "refunded", no_refund_failed),
}


@dataclass
class Scene:
    """One cell: the organization, the endpoint that hears webhooks, and the operation."""

    buyer: Buyer
    operation: Operation
    endpoint: str
    monkeypatch: pytest.MonkeyPatch

    def fault(self, kind: Any, **options: Any) -> Any:
        return self.buyer.stripe.control.add_fault(kind, method="POST", path=self.operation.path, **options)

    def effects(self) -> list[dict[str, Any]]:
        return self.buyer.stripe.journal.entries(outcome=self.operation.outcome)

    def events(self) -> list[str]:
        """What Stripe has to tell of the operation, in its order."""
        return [row["event"] for row in self.buyer.stripe.control.webhooks.deliveries()]

    def listen(self, *, is_paused: bool = False) -> None:
        """Let Stripe tell everything from now on to the shipped view, over HTTP and signed."""
        hooks = self.buyer.stripe.control.webhooks
        if is_paused:
            hooks.pause()
        hooks.send_to(url=self.endpoint, secret=os.environ["STRIPE_WEBHOOK_SECRET"])


# Faults: each does the work in its own trouble and returns how often it has struck.


def never_sent(scene: Scene, work: Work) -> int:
    fault = scene.fault("cut_before", times=TRIES)
    work()
    return int(fault.hit)


def reply_lost(scene: Scene, work: Work) -> int:
    fault = scene.fault("cut_after", times=TRIES)
    work()
    return int(fault.hit)


def error_500_after_the_effect(scene: Scene, work: Work) -> int:
    fault = scene.fault("error_500_after_effect")
    work()
    return int(fault.hit)


def too_many_requests(scene: Scene, work: Work) -> int:
    fault = scene.fault("rate_limited", times=TRIES)
    work()
    return int(fault.hit)


def conflict_in_flight(scene: Scene, work: Work) -> int:
    """The first try runs into its time limit while it still goes on at Stripe; the next ones meet it there: 409."""
    scene.monkeypatch.setattr(stripe_gateway, "READ_TIMEOUT_SECONDS", 1)
    stripe_gateway._client_for.cache_clear()
    scene.fault("delay", delay_seconds=5)
    work()
    stripe_gateway._client_for.cache_clear()
    wait_for(lambda: bool(scene.effects()))
    return sum(request["status"] == 409 for request in scene.buyer.stripe.control._requests())


def process_killed(scene: Scene, work: Work) -> int:
    """`kill -9` while the request is at Stripe: it has its effect, and nobody is there to hear of it."""
    fault = scene.fault("delay", delay_seconds=1)
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
    wait_for(lambda: bool(scene.effects()))
    return int(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)


def webhook_first(scene: Scene, work: Work) -> int:
    """Stripe tells of it before its own answer has come back."""
    struck = 0
    name = "create_refund" if scene.operation.path == REFUNDS else "create_payment"
    ask = getattr(stripe_gateway, name)

    def answer_late(*arguments: Any) -> Any:
        nonlocal struck
        before = set(scene.events())
        answer = ask(*arguments)
        news = [event for event in scene.events() if event not in before]
        statuses = elsewhere(partial(scene.buyer.stripe.control.webhooks.deliver, news))
        elsewhere(work_on_events)
        struck = statuses.count(200)
        return answer

    scene.listen(is_paused=True)
    scene.monkeypatch.setattr(stripe_gateway, name, answer_late)
    work()
    return struck


def webhook_never(scene: Scene, work: Work) -> int:
    """The answer is lost, and so is every webhook."""
    scene.buyer.stripe.control.webhooks.orders.drop = 1_000
    scene.listen()
    scene.fault("cut_after", times=TRIES)
    work()
    scene.buyer.stripe.control.webhooks.wait_until_idle()
    assert not StripeEvent.objects.exists()
    return sum(row["state"] == "lost" for row in scene.buyer.stripe.control.webhooks.deliveries())


def webhook_ten_times(scene: Scene, work: Work) -> int:
    """Every webhook comes ten times, all at the same moment."""
    scene.listen(is_paused=True)
    work()
    statuses = scene.buyer.stripe.control.webhooks.deliver(scene.events() * 10, is_concurrent=True)
    work_on_events()
    assert set(statuses) == {200}
    return len(statuses)


FAULTS: Final = {
    "never sent": never_sent,
    "reply lost": reply_lost,
    "500 after the effect": error_500_after_the_effect,
    "409": conflict_in_flight,
    "429": too_many_requests,
    "process killed": process_killed,
    "webhook first": webhook_first,
    "webhook never": webhook_never,
    "webhook ten times": webhook_ten_times,
}


@pytest.fixture(scope="module", autouse=True)
def _print_table() -> Iterator[None]:
    yield
    print("\noperation  fault                    struck  sweeps  effects at Stripe  in the ledger")
    print(*_table, sep="\n")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_it_ends_once_and_both_sides_agree(buyer, live_server, settings, monkeypatch, name, fault):
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", settings.STRIPE_WEBHOOK_SECRET)
    operation = OPERATIONS[name]
    scene = Scene(buyer, operation, live_server.url + reverse("billing:stripe_webhook"), monkeypatch)
    work = operation.prepare(buyer)
    struck = FAULTS[fault](scene, work)
    assert struck > 0, "the fault has not struck, so this shows nothing"
    # Nobody is told that it has failed while nobody knows.
    assert operation.is_unknown()
    buyer.stripe.control.faults.clear()

    sweeps = 0
    while not has_ended(buyer, operation) and sweeps < SWEEPS_MAX:
        sweeps += 1
        reconciliation.sweep(at=buyer.now() + CALL_IS_OVER * sweeps)
        work_on_events()
    _table.append(
        f"{name:10} {fault:24} {struck:6} {sweeps:7} {len(scene.effects()):18} {len(in_the_ledger(operation)):14}"
    )
    assert has_ended(buyer, operation)
    assert len(scene.effects()) == 1
    assert len(in_the_ledger(operation)) == 1
    assert_agree(buyer)

    # And once more from everywhere: nothing comes of it.
    work()
    buyer.stripe.control.webhooks.deliver(scene.events())
    work_on_events()
    reconciliation.sweep(at=buyer.now() + timedelta(hours=2))
    assert (len(scene.effects()), len(in_the_ledger(operation))) == (1, 1)
    assert buyer.available_cents == operation.available_cents
    assert_agree(buyer)


def has_ended(buyer: Buyer, operation: Operation) -> bool:
    purchases = Purchase.objects.filter(organization=buyer.organization)
    is_open = purchases.filter(state__in=Purchase.OPEN_STATES).exists()
    is_returning = Refund.objects.filter(state__in=Refund.OPEN_STATES).exists()
    return not is_open and not is_returning and len(in_the_ledger(operation)) == 1


def in_the_ledger(operation: Operation) -> list[Any]:
    """What the operation has left in the ledger: lots that were paid, or take-backs."""
    if operation.path == REFUNDS:
        return list(LedgerEntry.objects.filter(kind__in=["take_back", "take_back_debt"]))
    return list(CreditLot.objects.filter(purchase__isnull=False))


def assert_agree(buyer: Buyer) -> None:
    """Stripe's journal and the ledger say the same, to the cent, and so does the check that runs each night."""
    paid_nano = sum(CreditLot.objects.filter(purchase__isnull=False).values_list("granted_nano", flat=True))
    taken = LedgerEntry.objects.filter(kind__in=["take_back", "take_back_debt"]).values_list("amount_nano", flat=True)
    assert buyer.stripe.journal.charged_cents() * 10**7 == paid_nano
    assert buyer.stripe.journal.refunded_cents() * 10**7 == -sum(taken)
    for verdict in agreement.verdicts(organization_id=buyer.organization.pk, rows_shown=5):
        assert verdict.count == 0, verdict.findings


def work_on_events() -> None:
    """What the worker does with the inbox."""
    for event in StripeEvent.objects.filter(processed_at__isnull=True).order_by("pk"):
        stripe_events.process(event_id=event.pk, at=event.received_at)


def elsewhere(act: Callable[[], Any]) -> Any:
    """Do something in another thread, with a database connection of its own, while this one waits."""

    def run() -> Any:
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(run).result()


def wait_for(is_so: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")
