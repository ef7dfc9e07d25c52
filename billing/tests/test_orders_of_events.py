"""The six events of one purchase's life, in every order, each once and twice: the ledger ends the same.

A life is recorded once at the stand-in, over HTTP: bought and held in ``processing``, paid, refunded in part, disputed,
decided. Its objects are then shown to the shipped gateway from memory, through the SDK, so that thousands of orders
take minutes. In one mode they show everything at every delivery; in the other only the least that the events delivered
so far imply. ``--all-orders`` tells all 720 orders instead of a sample.
"""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import stripe
from django.utils import timezone

from accounts.models import Organization, User
from accounts.tests import cast
from billing.credits import queries
from billing.models import (
    Clawback,
    CreditNote,
    Dispute,
    LedgerEntry,
    PaymentMethod,
    Purchase,
    Refund,
    StripeCustomer,
)
from billing.payments import clawbacks, stripe_events, stripe_gateway
from billing.tests.buyer import Buyer

EVENTS = ("created", "processing", "succeeded", "refund", "dispute_opened", "dispute_closed")
TYPES = {
    "created": "payment_intent.created",
    "processing": "payment_intent.processing",
    "succeeded": "payment_intent.succeeded",
    "refund": "charge.refunded",
    "dispute_opened": "charge.dispute.created",
    "dispute_closed": "charge.dispute.closed",
}
PAID = {"succeeded", "refund", "dispute_opened", "dispute_closed"}
# Of each of the eight ways to tell them, without telling an order twice.
SAMPLE = 16
WAYS = 8
SEED = 20_261_125

Objects = dict[str, Any]
Order = tuple[str, ...]


@dataclass(frozen=True)
class Life:
    """What the stand-in showed of one purchase, step by step: its objects and what it told of them."""

    intents: Mapping[str, Objects]
    refund: Objects
    disputes: Mapping[str, Objects]
    events: Mapping[str, Objects]


@dataclass
class Told:
    """One purchase of an organization of its own, whose processor shows what ``shown`` allows."""

    life: Life
    is_full: bool
    purchase: Purchase
    names: Mapping[str, str]
    delivered: set[str] = field(default_factory=set)

    def shown(self, *events: str) -> bool:
        return self.is_full or bool(self.delivered & set(events))

    def of(self, thing: Objects) -> Objects:
        """A recorded object as this purchase's own."""
        text = json.dumps(thing)
        for recorded, own in self.names.items():
            text = text.replace(f'"{recorded}"', f'"{own}"')
        own_object: Objects = json.loads(text)
        return own_object

    def intent(self) -> Objects:
        if self.shown(*PAID):
            state = "succeeded"
        else:
            state = "processing" if self.shown("processing") else "created"
        intent = self.of(self.life.intents[state])
        intent["metadata"] = {
            "purchase_id": str(self.purchase.pk),
            "organization_id": str(self.purchase.organization_id),
        }
        return intent

    def refunds(self) -> list[Objects]:
        return [self.of(self.life.refund)] if self.shown("refund") else []

    def disputes(self) -> list[Objects]:
        if self.shown("dispute_closed"):
            return [self.of(self.life.disputes["closed"])]
        return [self.of(self.life.disputes["opened"])] if self.shown("dispute_opened") else []


class Replayed(stripe.HTTPClient):
    """What the SDK speaks to instead of the network. It answers reads, and nothing else."""

    name = "replayed"

    def __init__(self) -> None:
        super().__init__()
        self.told: Told | None = None

    def request(  # type: ignore[override]
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        assert method == "get", f"{method} {url}"
        assert self.told is not None
        parts = urlsplit(url)
        kind, *rest = parts.path.removeprefix("/v1/").split("/")
        own = self.told.names
        if kind == "payment_intents" and rest:
            return self._answer(self.told.intent())
        assert parse_qs(parts.query)["payment_intent"] == [own["intent"]]
        found = {"refunds": self.told.refunds, "disputes": self.told.disputes}[kind]()
        return self._answer({"object": "list", "data": found, "has_more": False, "url": f"/v1/{kind}"})

    def close(self) -> None:
        """Nothing is open."""

    @staticmethod
    def _answer(body: Objects) -> tuple[bytes, int, Mapping[str, str]]:
        return json.dumps(body).encode(), 200, {"Request-Id": "req_replayed"}


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Replayed:
    """The shipped gateway, in front of recorded objects."""
    http_client = Replayed()
    client = stripe.StripeClient("sk_test_replayed", http_client=http_client, max_network_retries=0)
    monkeypatch.setattr(stripe_gateway, "_client", lambda: client)
    return http_client


def record(buyer: Buyer, *, outcome: str) -> Life:
    """Live one life at the stand-in. What the product makes of it meanwhile doesn't matter."""
    client = stripe.StripeClient("sk_test_reader", base_addresses={"api": buyer.stripe.base_url})
    buyer.save_card()
    buyer.stripe.control.hold_payments()
    intent_id = buyer.buy().payment_intent_id or ""
    intents = {"processing": client.v1.payment_intents.retrieve(intent_id).to_dict()}
    buyer.stripe.control.settle_processing(intent_id, succeeds=True)
    intents["succeeded"] = client.v1.payment_intents.retrieve(intent_id).to_dict()
    refund_id = buyer.stripe.control.refund_in_dashboard(intent_id, amount=1_000)
    dispute_id = buyer.stripe.control.open_dispute(intent_id)
    disputes = {"opened": client.v1.disputes.retrieve(dispute_id).to_dict()}
    buyer.stripe.control.change_dispute(dispute_id, status=outcome)
    disputes["closed"] = client.v1.disputes.retrieve(dispute_id).to_dict()
    told = [event.to_dict() for event in client.v1.events.list({"limit": 100}).auto_paging_iter()]
    events = {event["type"]: event for event in told if intent_id in json.dumps(event)}
    intents["created"] = events["payment_intent.created"]["data"]["object"]
    return Life(
        intents=intents,
        refund=client.v1.refunds.retrieve(refund_id).to_dict(),
        disputes=disputes,
        events={name: events[type_] for name, type_ in TYPES.items()},
    )


def begin(life: Life, *, is_full: bool, person: User) -> Told:
    """A purchase that was sent and of which nobody has heard since, in an organization of its own."""
    mark = uuid4().hex[:16]
    organization = Organization.objects.create(name=mark, slug=mark)
    names = {
        "intent": f"pi_{mark}",
        life.intents["succeeded"]["id"]: f"pi_{mark}",
        life.intents["succeeded"]["customer"]: f"cus_{mark}",
        life.refund["id"]: f"re_{mark}",
        life.disputes["opened"]["id"]: f"du_{mark}",
    }
    StripeCustomer.objects.create(organization=organization, stripe_customer_id=f"cus_{mark}")
    card = PaymentMethod.objects.create(
        organization=organization,
        stripe_payment_method_id=f"pm_{mark}",
        brand="visa",
        last4="4242",
        exp_month=8,
        exp_year=2034,
        fingerprint=mark,
        is_default=True,
        added_by=person,
    )
    at = timezone.now()
    purchase = Purchase.objects.create(
        organization=organization,
        kind=Purchase.Kind.MANUAL,
        state=Purchase.State.PROCESSING,
        amount_cents=2_500,
        credit_nano=25 * 10**9,
        attempt_key=uuid4(),
        payment_method=card,
        actor=person,
        terms_version="test",
        terms_accepted_at=at,
        created_at=at,
        sent_at=at,
        sent_by="web:1",
    )
    return Told(life, is_full, purchase, names)


def tell(told: Told, order: Sequence[str], *, times: int) -> None:
    """Deliver the events in this order, each ``times`` times: as events of their own that say the same."""
    for name in order:
        told.delivered.add(name)
        for number in range(times):
            payload = told.of(told.life.events[name])
            payload["id"] = f"evt_{name}_{number}_{told.purchase.pk}"
            subject = payload["data"]["object"]
            if TYPES[name].startswith("payment_intent."):
                subject["metadata"] = {"purchase_id": str(told.purchase.pk)}
            facts = stripe_gateway.EventFacts(payload["id"], TYPES[name], subject["id"], "", False, payload)
            stripe_events.process(event_id=stripe_events.store(facts, at=timezone.now()).pk, at=timezone.now())


def end_of(told: Told) -> dict[str, Any]:
    """Everything that must be the same whatever the order was."""
    organization = told.purchase.organization
    told.purchase.refresh_from_db()
    summary = queries.summary(organization_id=organization.pk)
    entries = LedgerEntry.objects.filter(organization=organization).values_list("kind", "amount_nano")
    return {
        "purchase": told.purchase.state,
        "entries": Counter((kind, amount // 10**7) for kind, amount in entries),
        "available_cents": summary.available_nano // 10**7,
        "debt_cents": summary.debt_nano // 10**7,
        "refunds": sorted(Refund.objects.filter(purchase=told.purchase).values_list("state", "amount_cents")),
        "disputes": sorted(Dispute.objects.filter(purchase=told.purchase).values_list("status", "amount_cents")),
        "standing_cents": sum(
            Clawback.objects.filter(purchase=told.purchase, undone_at=None).values_list("amount_cents", flat=True)
        ),
        "credited_cents": sum(
            CreditNote.objects.filter(organization=organization, cancels=None, canceled_by=None).values_list(
                "total_cents", flat=True
            )
        ),
    }


def expected(outcome: str) -> dict[str, Any]:
    won = outcome == "won"
    entries = [("grant", 2_500), ("take_back", -1_000), ("take_back", -1_500)] + [("reversal", 1_500)] * won
    return {
        "purchase": "succeeded",
        "entries": Counter(entries),
        "available_cents": 1_500 if won else 0,
        "debt_cents": 0,
        "refunds": [("succeeded", 1_000)],
        "disputes": [(outcome, 1_500)],
        "standing_cents": 1_000 if won else 2_500,
        "credited_cents": 1_000 if won else 2_500,
    }


def orders(*, is_all: bool, way: int) -> list[Order]:
    every = list(itertools.permutations(EVENTS))
    assert len(every) == 720
    sample = random.Random(SEED).sample(every, WAYS * SAMPLE)
    return every if is_all else sample[way::WAYS]


def wrong(
    replayed: Replayed, life: Life, outcome: str, chosen: Sequence[Order], *, is_full: bool, times: int
) -> Iterator[tuple[Order, dict[str, Any]]]:
    """The orders that end otherwise, and how."""
    person = cast.person()
    for order in chosen:
        told = replayed.told = begin(life, is_full=is_full, person=person)
        tell(told, order, times=times)
        end = end_of(told)
        if end != expected(outcome):
            yield order, {name: value for name, value in end.items() if value != expected(outcome)[name]}


@pytest.fixture
def lives(buyer: Buyer) -> dict[str, Life]:
    """A life whose dispute is won, and one whose is lost, recorded before the gateway is turned to what is recorded."""
    return {
        outcome: record(Buyer(buyer.stripe, name=f"Life {outcome}"), outcome=outcome) for outcome in ("won", "lost")
    }


@pytest.mark.parametrize("outcome", ["won", "lost"])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("is_full", [False, True], ids=["least", "full"])
def test_every_order_of_a_purchases_events_ends_the_same(lives, replayed, pytestconfig, outcome, times, is_full):
    way = 4 * is_full + 2 * (times == 2) + (outcome == "won")
    chosen = orders(is_all=pytestconfig.getoption("all_orders"), way=way)
    found = list(wrong(replayed, lives[outcome], outcome, chosen, is_full=is_full, times=times))
    assert found == []


def test_the_recorded_life_is_what_it_should_be(lives):
    for outcome, life in lives.items():
        assert [life.intents[name]["status"] for name in ("processing", "succeeded")] == ["processing", "succeeded"]
        assert [life.disputes[name]["status"] for name in ("opened", "closed")] == ["needs_response", outcome]
        assert (life.refund["amount"], life.disputes["opened"]["amount"]) == (1_000, 1_500)
        assert [event["type"] for event in life.events.values()] == list(TYPES.values())


# Planted: what these orders must find


def take_again(purchase, cause, *, at):
    """Each event takes the credit anew, as if it were the first."""
    Clawback.objects.filter(purchase=purchase, undone_at=None).update(undone_at=at)
    return real_take(purchase, cause, at=at)


def forget_what_was_won_unseen(*, purchase, at):
    """A dispute that was won before it was ever seen open leaves no trace."""
    unseen = [dispute.pk for dispute in Dispute.objects.filter(purchase=purchase, status="won", clawbacks=None)]
    Dispute.objects.filter(pk__in=unseen).update(status="prevented")
    debt_nano = real_balance(purchase=purchase, at=at)
    Dispute.objects.filter(pk__in=unseen).update(status="won")
    return debt_nano


def believe_the_event(event, *, at):
    """What an event is about counts only if the payment's own success was heard of before."""
    purchase = Purchase.objects.filter(payment_intent_id=event.payload["data"]["object"]["payment_intent"]).first()
    if purchase is None:
        return "ignored: unknown payment"
    return real_settle_returns(event, at=at)


real_take, real_balance = clawbacks._take, clawbacks.balance
real_settle_returns = stripe_events._settle_returns


@pytest.mark.parametrize(
    ("where", "name", "planted", "outcome", "is_full"),
    [
        (clawbacks, "_take", take_again, "lost", False),
        (clawbacks, "balance", forget_what_was_won_unseen, "won", True),
        (stripe_events, "_settle_returns", believe_the_event, "lost", False),
    ],
    ids=["taken again by each event", "won unseen leaves no trace", "order of events matters"],
)
def test_a_planted_fault_is_seen(lives, replayed, monkeypatch, where, name, planted, outcome, is_full):
    monkeypatch.setattr(where, name, planted)
    life = deepcopy(lives[outcome])
    assert list(wrong(replayed, life, outcome, orders(is_all=False, way=0), is_full=is_full, times=1))
