"""An organization that pays by card in the tests: its people, its browser, and the stand-in for Stripe behind it.

Everything goes over HTTP to the stand-in with the shipped gateway. The world moves by a clock of its own for what takes
``at``; the ledger keeps the database's.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from uuid import UUID, uuid4

import stripe
from django.conf import settings
from django.db import connection, connections

from accounts.models import OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import ledger, metering, prices, queries
from billing.models import (
    AutoReload,
    CreditAccount,
    CreditLot,
    LedgerEntry,
    PaymentMethod,
    PricedModel,
    Purchase,
    Refund,
    StripeEvent,
)
from billing.money import nano_from_cents
from billing.payments import auto_reload, payment_methods, purchases, refunds, stripe_events, stripe_gateway
from billing.terms import CREDIT_TERMS
from sandbox.stripe.server import StandIn

VISA = "4242424242424242"
MASTERCARD = "5555555555554444"
DECLINES_WHEN_CHARGED = "4000000000000341"
ASKS_ALWAYS = "4000002760003184"
ASKS_UNLESS_SET_UP = "4000002500003155"
ASKS_THEN_INSUFFICIENT_FUNDS = "4000008260003178"
ASKS_THEN_DECLINES = "4000008400001629"
DISPUTED_LATER = "4000000000000259"

MODEL = "cent-a-unit"
T = TypeVar("T")
_number = count(1)


@dataclass
class Buyer:
    """One organization with an Admin and a Billing member, at one stand-in."""

    stripe: StandIn
    name: str = "Acme Robotics"
    keys: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.organization = cast.organization(f"{self.name} {next(_number)}")
        self.admin = cast.member(self.organization, role=Role.ADMIN, name="Maya Lindqvist").user
        self.billing = cast.member(self.organization, role=Role.BILLING, name="Jonas Weber").user
        self.developer = cast.member(self.organization, role=Role.DEVELOPER).user
        if not PricedModel.objects.filter(slug=MODEL).exists():
            prices.publish(
                prices=prices.ModelPrices(slug=MODEL, name=MODEL, prices_nano_per_million={"input": 10**13}),
                effective_at=datetime(2020, 1, 1, tzinfo=UTC),
            )

    # Cards

    def save_card(self, number: str = VISA) -> PaymentMethod:
        """What the card dialog does, from opening it to the answer of our server."""
        form = payment_methods.begin_setup(organization=self.organization, actor=self.billing)
        self.type_card(form, number)
        return self.finish_card(form)

    def type_card(self, form: payment_methods.CardForm, number: str = VISA) -> dict[str, Any]:
        """The browser sends the card to Stripe; a card that asks for the bank is confirmed there."""
        answer = self.browser(
            f"setup_intents/{form.setup_intent_id}/confirm",
            client_secret=form.client_secret,
            **{
                "payment_method_data[type]": "card",
                "payment_method_data[card][number]": number,
                "payment_method_data[card][exp_month]": "8",
                "payment_method_data[card][exp_year]": "2034",
                "payment_method_data[card][cvc]": "123",
            },
        )
        if answer.get("status") == "requires_action":
            self.stripe.control.answer_challenge(form.setup_intent_id, complete=True)
        return answer

    def finish_card(self, form: payment_methods.CardForm) -> PaymentMethod:
        """Our server learns that the browser is done."""
        return payment_methods.finish_setup(
            organization=self.organization, actor=self.billing, setup_intent_id=form.setup_intent_id, at=self.now()
        )

    def browser(self, path: str, **fields: str) -> dict[str, Any]:
        """One request as Stripe.js makes it, with the publishable key."""
        request = Request(
            f"{self.stripe.base_url}/v1/{path}",
            data=urlencode({"key": settings.STRIPE_PUBLISHABLE_KEY, **fields}).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        try:
            with urlopen(request, timeout=10) as response:
                answer: dict[str, Any] = json.load(response)
        except OSError as error:
            answer = json.load(error)  # type: ignore[arg-type]
        return answer

    # Buying

    def buy(self, amount_cents: int = 2_500, *, key: UUID | None = None, at: datetime | None = None) -> Purchase:
        """Press Pay."""
        return purchases.buy(
            organization=self.organization,
            actor=self.billing,
            amount_cents=amount_cents,
            attempt_key=key or uuid4(),
            terms_version=CREDIT_TERMS.version,
            at=at or self.now(),
        )

    def answer_bank(self, purchase: Purchase, *, complete: bool = True) -> None:
        """The customer answers the bank's question in the browser."""
        purchase.refresh_from_db()
        self.stripe.control.answer_challenge(purchase.payment_intent_id or "", complete=complete)

    # What comes back

    def refund(self, purchase: Purchase, amount_cents: int, **options: Any) -> Refund:
        """Staff refund a purchase."""
        return refunds.refund(
            purchase_id=purchase.pk,
            amount_cents=amount_cents,
            may_owe=options.pop("may_owe", False),
            reason=options.pop("reason", "The customer asked for it, ticket 1"),
            actor=options.pop("actor", self.admin),
            key=options.pop("key", None) or uuid4(),
            at=options.pop("at", None) or self.now(),
        )

    def hear(self, *types: str, times: int = 1) -> list[StripeEvent]:
        """Deliver what Stripe has to tell of the account, the oldest first; all of it, or what is of these types."""
        client = stripe.StripeClient("sk_test_reader", base_addresses={"api": self.stripe.base_url})
        told = [event.to_dict() for event in client.v1.events.list({"limit": 100}).auto_paging_iter()]
        heard = []
        for event in reversed(told):
            if not types or event["type"] in types:
                facts = stripe_gateway.EventFacts(
                    event["id"], event["type"], event["data"]["object"]["id"], event["api_version"], False, event
                )
                for _ in range(times):
                    row = stripe_events.store(facts, at=self.now())
                    StripeEvent.objects.filter(pk=row.pk).update(processed_at=None)
                    stripe_events.process(event_id=row.pk, at=self.now())
                row.refresh_from_db()
                heard.append(row)
        return heard

    # Auto-reload

    def arm(self, minimum_cents: int = 500, target_cents: int = 2_000, cap_cents: int = 10_000) -> AutoReload:
        """Switch auto-reload on."""
        return self.save_reload(True, minimum_cents, target_cents, cap_cents)

    def disarm(self) -> AutoReload:
        """Switch auto-reload off, the numbers as they stand."""
        return self.save_reload(False, 500, 2_000, 10_000)

    def save_reload(self, is_enabled: bool, minimum: int, target: int, cap: int) -> AutoReload:
        return auto_reload.save(
            organization=self.organization,
            actor=self.billing,
            is_enabled=is_enabled,
            minimum_cents=minimum,
            target_cents=target,
            monthly_cap_cents=cap,
            at=self.now(),
        )

    def attempt(self, *, at: datetime | None = None) -> Purchase | None:
        """What the task does."""
        return auto_reload.attempt(organization_id=self.organization.pk, at=at or self.now())

    def is_due(self, *, at: datetime | None = None) -> bool:
        """Whether the sweep would find the organization."""
        return self.organization.pk in auto_reload.due(at=at or self.now())

    # Credit

    def fund(self, amount_cents: int) -> None:
        """Credit from staff, without any payment."""
        ledger.grant(
            organization_id=self.organization.pk,
            kind=CreditLot.Kind.PROMOTIONAL,
            amount_nano=nano_from_cents(amount_cents),
            reason="for a test",
        )

    def spend(self, amount_cents: int) -> metering.Result:
        """Use that much credit, or be refused."""
        return metering.charge(
            organization_id=self.organization.pk,
            key=str(uuid4()),
            usage=metering.Usage(model=MODEL, quantities={"input": amount_cents}),
        )

    def overspend(self, amount_cents: int) -> metering.Result:
        """Report work that was done already; what no credit covers becomes debt."""
        return metering.report_usage(
            organization_id=self.organization.pk,
            key=str(uuid4()),
            usage=metering.Usage(model=MODEL, quantities={"input": amount_cents}),
        )

    # What stands afterwards

    @property
    def available_cents(self) -> int:
        """Credit that can be used, in whole cents."""
        return queries.summary(organization_id=self.organization.pk).available_nano // 10**7

    @property
    def movements(self) -> list[tuple[str, int]]:
        """Kind and amount of every entry, in whole cents, in order."""
        rows = LedgerEntry.objects.filter(organization=self.organization).order_by("seq")
        return [(kind, amount // 10**7) for kind, amount in rows.values_list("kind", "amount_nano")]

    @property
    def account(self) -> CreditAccount:
        return CreditAccount.objects.get(organization=self.organization)

    @property
    def reload(self) -> AutoReload:
        return AutoReload.objects.get(organization=self.organization)

    @property
    def lots(self) -> list[CreditLot]:
        return list(CreditLot.objects.filter(organization=self.organization, purchase__isnull=False).order_by("id"))

    @property
    def grants(self) -> int:
        """How many times paid credit came in, by the ledger."""
        return LedgerEntry.objects.filter(
            organization=self.organization, kind="grant", lot__purchase__isnull=False
        ).count()

    @property
    def purchases(self) -> list[Purchase]:
        return list(Purchase.objects.filter(organization=self.organization).order_by("id"))

    def journal(self, outcome: str | None = None, **metadata: str) -> list[dict[str, Any]]:
        """What Stripe has done for this organization."""
        mine = {"organization_id": str(self.organization.pk), **metadata}
        return self.stripe.journal.entries(outcome=outcome, metadata=mine)

    @property
    def charged_cents(self) -> int:
        """What Stripe took from this organization."""
        return sum(entry["amount"] for entry in self.journal("succeeded"))

    def mails(self, containing: str = "") -> list[OutboxMessage]:
        """Mails to this organization's Billing member whose subject contains the text."""
        rows = OutboxMessage.objects.filter(subject__contains=containing).order_by("id")
        return [mail for mail in rows if self.billing.email in mail.recipients]

    def assert_stripe_agrees(self) -> None:
        """Money taken is credit granted, payment by payment (I26)."""
        paid = {entry["payment_intent"]: entry["amount"] for entry in self.journal("succeeded")}
        granted = {
            lot.purchase.payment_intent_id: lot.granted_nano // 10**7
            for lot in CreditLot.objects.select_related("purchase").filter(
                organization=self.organization, purchase__isnull=False
            )
            if lot.purchase is not None
        }
        assert paid == granted

    def now(self) -> datetime:
        """The ledger's clock, which a test may have moved."""
        with connection.cursor() as cursor:
            cursor.execute("select public.credits_clock()")
            at: datetime = cursor.fetchone()[0]
        return at


def at_once(work: Sequence[Callable[[], T]]) -> list[T | BaseException]:
    """Run all of it at the same time, each on a database connection of its own; results in order, errors as values."""
    barrier = threading.Barrier(len(work))
    results: list[T | BaseException] = [RuntimeError("not run")] * len(work)

    def run(place: int) -> None:
        try:
            barrier.wait(timeout=20)
            results[place] = work[place]()
        except BaseException as error:
            results[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def hours(number: float) -> timedelta:
    return timedelta(seconds=number * 3600)
