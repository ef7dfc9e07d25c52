"""A history of credit with everything in it: what the ledger's checks are tried on.

Four organizations, four hundred days, told by the real functions on a clock that the story moves. The same seed tells
the same story, beginning at another instant.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count

import psycopg
from django.utils import timezone

from billing.credits import expiry, ledger, metering
from billing.models import AutoReload, AutoReloadConsent, CreditLot, Purchase, StripeCustomer, StripeEvent
from billing.money import nano_from_cents
from billing.tests.customer import MODEL, Customer, publish_price, units

DAYS = 400
OTHER_MODEL = "two-nano-a-unit"
SetClock = Callable[[datetime], None]


class History:
    """Tells the story and remembers where its clock stands."""

    def __init__(self, *, set_clock: SetClock, seed: int, is_clock_unsteady: bool = False) -> None:
        self._set_clock = set_clock
        self._is_clock_unsteady = is_clock_unsteady
        self._chance = random.Random(seed)
        self._keys = count(1)
        self.at = timezone.now().replace(microsecond=123_456) - timedelta(days=DAYS + 20)

    def wait(self, by: timedelta) -> None:
        """Move the clock on. An unsteady one is set back by two seconds now and then."""
        self.at += by
        if self._is_clock_unsteady and self._chance.random() < 0.1:
            self.at -= timedelta(seconds=2)
        self._set_clock(self.at)

    def key(self) -> str:
        """A key that was not used before, for an operation at an instant of its own."""
        self.wait(timedelta(milliseconds=1))
        return f"key-{next(self._keys)}"

    def tell(self, *, steps: int) -> None:
        """Tell it."""
        self.wait(timedelta())
        publish_price()
        publish_price(OTHER_MODEL, input_nano=2 * 10**6, output_nano=777)
        self.busy, self.owing, self.quiet, self.reloading = (
            Customer(slug) for slug in ("busy", "owing", "quiet", "reloading")
        )
        for customer in (self.busy, self.owing, self.reloading):
            StripeCustomer.objects.create(
                organization=customer.organization, stripe_customer_id=f"cus_{customer.organization.slug}"
            )
        self.quiet.give(5_000, expires_at=self.at + timedelta(days=2 * DAYS), actor_id=self.quiet.buyer().pk)
        self.busy.buy(500)
        ends_at = self.at + timedelta(days=DAYS)
        pause = 2 * timedelta(days=DAYS) / steps
        for number in range(steps):
            self._act(self.busy, usage_most=3 * 10**8)
            if number % 25 == 10:
                self._owe(self.owing)
            if number == steps // 2:
                self.wait(timedelta(seconds=1))
                publish_price(effective_at=self.at + timedelta(days=1), input_nano=1_500_000)
            self.wait(timedelta(seconds=7))
            if number % 2 and self.at < ends_at:
                self.wait(min(2 * pause * self._chance.random(), ends_at - self.at))
        self._reload()
        self._end()

    def _act(self, customer: Customer, *, usage_most: int) -> None:
        """One thing that happens to a customer."""
        chance = self._chance
        act = chance.choices(
            ["give", "buy", "charge", "report", "hold", "several", "across", "late", "sweep"],
            [3, 2, 6, 2, 8, 2, 2, 1, 1],
        )[0]
        amount = chance.randint(0, usage_most)
        if act == "give":
            ends_at = self.at + timedelta(minutes=chance.choice([3, 60, 10_000, 300_000]))
            customer.give(chance.randint(1, usage_most), expires_at=ends_at, label="Welcome")
        elif act == "buy":
            customer.buy(chance.randint(50, 500))
        elif act in ("charge", "report"):
            operate = metering.charge if act == "charge" else metering.report_usage
            operate(
                organization_id=customer.id,
                key=self.key(),
                usage=units(amount, model=chance.choice([MODEL, OTHER_MODEL]), output=chance.randint(0, 10**6)),
                occurred_at=None if chance.random() < 0.5 else self.at - timedelta(minutes=chance.randint(0, 40_000)),
            )
        elif act == "hold":
            self._hold(customer, amount, over=chance.random() < 0.2)
        elif act == "several":
            customer.give(10, expires_at=self.at + timedelta(minutes=30))
            customer.give(10, expires_at=self.at + timedelta(minutes=31))
            self._hold(customer, 15, over=False)
        elif act == "across":
            # The lot ends while a hold pins it.
            customer.give(1_000, expires_at=self.at + timedelta(minutes=2))
            hold_id = customer.authorize(900, key=self.key()).hold_id
            self.wait(timedelta(minutes=3))
            if hold_id:
                customer.void(hold_id) if chance.random() < 0.5 else customer.capture(hold_id, 600, key=self.key())
        elif act == "late":
            hold_id = customer.authorize(amount // 2, key=self.key(), ttl_seconds=60).hold_id
            self.wait(timedelta(seconds=90))
            if chance.random() < 0.5:
                customer.charge(1, key=self.key())
            if hold_id:
                customer.capture(hold_id, amount, key=self.key())
        else:
            expiry.book_due()

    def _hold(self, customer: Customer, amount: int, *, over: bool) -> None:
        """A request: captured, voided or forgotten."""
        hold_id = customer.authorize(amount, key=self.key(), ttl_seconds=self._chance.randint(30, 3_600)).hold_id
        if not hold_id:
            return
        self.wait(timedelta(seconds=self._chance.randint(1, 25)))
        ending = self._chance.choice(["capture", "capture", "capture", "void", "forget"])
        if ending == "capture":
            used = amount + self._chance.randint(1, 1_000) if over else self._chance.randint(0, amount)
            customer.capture(hold_id, used, key=self.key())
        elif ending == "void":
            customer.void(hold_id)

    def _owe(self, customer: Customer) -> None:
        """Every way into debt, and every way out of it."""
        spare = customer.summary().available_nano
        customer.give(100, expires_at=self.at + timedelta(days=30))
        late = customer.hold(60, key=self.key(), ttl_seconds=60)
        self.wait(timedelta(seconds=90))
        customer.report(spare + 100, key=self.key())
        customer.capture(late, 40, key=self.key())
        customer.give(10)
        self.wait(timedelta(seconds=5))
        customer.give(5_000)
        voided, captured = customer.hold(300, key=self.key()), customer.hold(300, key=self.key())
        forgotten = customer.hold(300, key=self.key(), ttl_seconds=30)
        customer.report(6_000, key=self.key())
        self.wait(timedelta(seconds=5))
        customer.void(voided)
        self.wait(timedelta(seconds=5))
        customer.capture(captured, 100, key=self.key())
        self.wait(timedelta(seconds=60))
        customer.charge(1, key=self.key())
        customer.void(forgotten)
        customer.give(20_000, expires_at=self.at + timedelta(hours=1))
        self.wait(timedelta(seconds=5))

    def _reload(self) -> None:
        """Auto-reload is switched on, fires twice, is declined once, and waits for its customer at the end."""
        customer = self.reloading
        customer.buy(2_000)
        self.wait(timedelta(hours=1))
        AutoReload.objects.create(
            organization=customer.organization,
            is_enabled=True,
            minimum_cents=500,
            target_cents=2_000,
            monthly_cap_cents=6_000,
            updated_at=self.at,
        )
        consent = AutoReloadConsent.objects.create(
            organization=customer.organization,
            actor=customer.buyer(),
            is_enabled=True,
            minimum_cents=500,
            target_cents=2_000,
            monthly_cap_cents=6_000,
            consent_version="test",
            consent_text="Charge the card.",
            consented_at=self.at,
        )
        line_nano = nano_from_cents(500)
        ledger.set_reload_line(organization_id=customer.id, below_nano=line_nano)
        for _ in range(2):
            self._use(customer, down_to_nano=nano_from_cents(400))
            self.wait(timedelta(minutes=1))
            customer.buy(1_600, kind=Purchase.Kind.AUTO_RELOAD, terms_accepted_at=consent.consented_at)
            ledger.set_reload_line(organization_id=customer.id, below_nano=line_nano)
        self._use(customer, down_to_nano=nano_from_cents(400))
        for state in (Purchase.State.FAILED, Purchase.State.NEEDS_CUSTOMER):
            self.wait(timedelta(days=1))
            customer.begin_purchase(
                1_600,
                kind=Purchase.Kind.AUTO_RELOAD,
                state=state,
                terms_accepted_at=consent.consented_at,
                settled_at=self.at if state == Purchase.State.FAILED else None,
            )

    def _use(self, customer: Customer, *, down_to_nano: int) -> None:
        """Spend credit down to about that much, at one and a half nano a unit."""
        while (over := customer.summary().available_nano - down_to_nano) > 2:
            customer.charge(min(10**9, over * 2 // 3), key=self.key())

    def _end(self) -> None:
        """Everything that is due is done; some holds are open, and somebody owes."""
        self.wait(timedelta(hours=2))
        expiry.book_due()
        self.busy.give(10**9, reason="so that there is something to hold", kind=CreditLot.Kind.ADJUSTMENT)
        for amount in (100, 200, 300):
            self.busy.hold(amount, key=self.key(), ttl_seconds=3_600)
        self.quiet.hold(50, key=self.key())
        self._use(self.owing, down_to_nano=0)
        self.owing.report(5_000, key=self.key())
        StripeEvent.objects.create(
            stripe_event_id="evt_1",
            type="payment_intent.succeeded",
            payload={},
            received_at=self.at,
            processed_at=self.at,
        )
        self.wait(timedelta(minutes=1))


@contextmanager
def moving_clock(owner_address: str) -> Iterator[SetClock]:
    """The money clock under the story's hand, by the right of its owner; it runs again afterwards."""
    with psycopg.connect(owner_address, autocommit=True) as owner:
        row = owner.execute("select pg_get_functiondef('public.credits_clock()'::regprocedure)").fetchone()
        assert row is not None

        def set_clock(at: datetime) -> None:
            owner.execute(
                "create or replace function public.credits_clock() returns timestamptz language sql volatile"
                f" as $$ select '{at.isoformat()}'::timestamptz $$"
            )

        try:
            yield set_clock
        finally:
            owner.execute(row[0])
