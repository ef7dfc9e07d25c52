"""A history of credit with everything in it: what the ledger's checks are tried on.

Seven organizations, four hundred days, told by the real functions on a clock that the story moves. The same seed tells
the same story, beginning at another instant.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

import psycopg
from django.utils import timezone

from billing.credits import expiry, ledger, metering, prices
from billing.errors import Refused
from billing.models import (
    AutoReload,
    AutoReloadConsent,
    Charge,
    CreditAccount,
    CreditLot,
    DebitAdjustment,
    Purchase,
    Reversal,
    StripeCustomer,
    StripeEvent,
    TakeBack,
    UnpricedUsage,
)
from billing.money import nano_from_cents
from billing.tests.customer import MODEL, PRICED_SINCE, Customer, publish_price, units

DAYS = 400
OTHER_MODEL = "two-nano-a-unit"
FEE_MODEL = "seven-nano-a-request"
UNPRICED_MODEL = "nobody-priced-it"
STAFF_ID = 4_711
SetClock = Callable[[datetime], None]


class History:
    """Tells the story and remembers where its clock stands."""

    def __init__(self, *, set_clock: SetClock, seed: int, is_clock_unsteady: bool = False) -> None:
        self._set_clock = set_clock
        self._is_clock_unsteady = is_clock_unsteady
        self._chance = random.Random(seed)
        self._keys = count(1)
        self._told_at = timezone.now().replace(microsecond=123_456)
        self.at = self._told_at - timedelta(days=DAYS + 20)

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
        prices.publish(
            prices=prices.ModelPrices(
                FEE_MODEL, FEE_MODEL, {"input": 10**6, "output": 0, "batch_input": 500_000, "request": 7 * 10**6}
            ),
            effective_at=PRICED_SINCE,
        )
        self.busy, self.owing, self.quiet, self.reloading, self.closed, self.first, self.second = (
            Customer(slug) for slug in ("busy", "owing", "quiet", "reloading", "closed", "first", "second")
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
                self._undo_debt(self.owing)
            if number % 10 == 5:
                self._correct(self.busy, usage_most=3 * 10**8)
            if number % 20 == 15:
                self._go_without_price(self.busy)
                self._charge_runs()
                self._expire_many()
            if number == steps // 2:
                self.wait(timedelta(seconds=1))
                publish_price(effective_at=self.at + timedelta(days=1), input_nano=1_500_000)
            self.wait(timedelta(seconds=7))
            if number % 2 and self.at < ends_at:
                self.wait(min(2 * pause * self._chance.random(), ends_at - self.at))
        self._undo_late(self.owing)
        self._close(self.closed)
        self._reload()
        self._end()

    def _act(self, customer: Customer, *, usage_most: int) -> None:
        """One thing that happens to a customer."""
        chance = self._chance
        act = chance.choices(
            ["give", "buy", "charge", "report", "hold", "several", "across", "late", "sweep", "correct", "freeze"],
            [3, 2, 6, 2, 8, 2, 2, 1, 1, 5, 1],
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
                usage=units(
                    amount, model=chance.choice([MODEL, OTHER_MODEL, FEE_MODEL]), output=chance.randint(0, 10**6)
                ),
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
        elif act == "correct":
            self._correct(customer, usage_most=usage_most)
        elif act == "freeze":
            ledger.set_state(organization_id=customer.id, state=CreditAccount.State.FROZEN)
            customer.charge(amount, key=self.key())
            customer.report(amount, key=self.key())
            ledger.set_state(organization_id=customer.id, state=CreditAccount.State.OPEN)
        else:
            expiry.book_due()

    def _uuid(self) -> UUID:
        """A key for a correction, at an instant of its own."""
        self.wait(timedelta(milliseconds=1))
        return UUID(int=self._chance.getrandbits(128), version=4)

    def _correct(self, customer: Customer, *, usage_most: int) -> None:
        """Staff puts something right: takes credit, takes a lot back, or gives something back, in part or wholly."""
        chance = self._chance
        act = chance.choice(["adjust", "take back", "reverse", "reverse", "reverse"])
        amount = chance.randint(1, usage_most)
        if act == "adjust":
            self._adjust(customer, amount, may_owe=chance.random() < 0.3)
        elif act == "take back":
            lot = chance.choice(list(CreditLot.objects.filter(organization_id=customer.id).order_by("-id")[:8]))
            self._take_back(customer, lot.pk, min(amount, 2 * lot.granted_nano), rest_as_debt=chance.random() < 0.3)
        elif Charge.objects.filter(organization_id=customer.id, amount_nano__gt=0).exists():
            for _ in range(chance.randint(1, 3)):
                kind, cause_id, moved = self._something_that_moved(customer)
                part = None if chance.random() < 0.5 else chance.randint(1, moved)
                self._reverse(customer, kind, cause_id, part)

    def _something_that_moved(self, customer: Customer) -> tuple[Reversal.Cause, int, int]:
        """A charge or a correction of somebody, and how much it moved: usually a recent one."""
        charges = Charge.objects.filter(organization_id=customer.id, amount_nano__gt=0).order_by("-id")
        causes = [(Reversal.Cause.CHARGE, charge.pk, charge.amount_nano) for charge in charges[:30]]
        for debit in DebitAdjustment.objects.filter(organization_id=customer.id).order_by("-id")[:5]:
            causes.append((Reversal.Cause.ADJUSTMENT, debit.pk, debit.amount_nano))
        for taken in TakeBack.objects.filter(organization_id=customer.id).order_by("-id")[:5]:
            causes.append((Reversal.Cause.TAKE_BACK, taken.pk, taken.taken_nano + taken.debt_nano))
        return self._chance.choice(causes)

    def _adjust(
        self, customer: Customer, amount_nano: int, *, may_owe: bool, unpriced_usage_id: int | None = None
    ) -> int | None:
        """Take credit to put something right; the adjustment's id, or nothing where credit lacked."""
        try:
            return ledger.adjust(
                organization_id=customer.id,
                amount_nano=amount_nano,
                key=self._uuid(),
                label="Correction",
                reason="for the story",
                actor_id=STAFF_ID,
                may_owe=may_owe,
                unpriced_usage_id=unpriced_usage_id,
            ).adjustment_id
        except Refused:
            return None

    def _take_back(self, customer: Customer, lot_id: int, amount_nano: int, *, rest_as_debt: bool) -> int | None:
        """Take credit of a lot back; the take-back's id, or nothing where nothing was left."""
        return ledger.take_back(
            organization_id=customer.id,
            lot_id=lot_id,
            amount_nano=amount_nano,
            key=self._uuid(),
            reason="for the story",
            actor_id=None if self._chance.random() < 0.5 else STAFF_ID,
            rest_as_debt=rest_as_debt,
        ).take_back_id

    def _reverse(
        self, customer: Customer, kind: Reversal.Cause, cause_id: int | None, amount_nano: int | None = None
    ) -> None:
        """Give something back; nothing happens where that much is not left of it."""
        assert cause_id is not None
        with suppress(Refused):
            ledger.reverse(
                organization_id=customer.id,
                cause_kind=kind,
                cause_id=cause_id,
                key=self._uuid(),
                reason="for the story",
                actor_id=STAFF_ID,
                amount_nano=amount_nano,
            )

    def _undo_debt(self, customer: Customer) -> None:
        """What made debt is given back: usage, adjustments and take-backs, while it is open and after it was paid."""
        spare = customer.summary().available_nano
        lot_id = customer.give(400, expires_at=self.at + timedelta(minutes=1)).lot_id
        customer.give(100, expires_at=self.at + timedelta(days=1))
        open_id = customer.report(spare + 1_000, key=self.key()).charge_id
        self._reverse(customer, Reversal.Cause.CHARGE, open_id, 300)
        adjusted = self._adjust(customer, 250, may_owe=True)
        self._reverse(customer, Reversal.Cause.ADJUSTMENT, adjusted, 50)
        # The debt is paid from three lots and in two settlements; one lot ends before it is given back.
        self.wait(timedelta(seconds=1))
        customer.give(30, expires_at=self.at + timedelta(minutes=2))
        self.wait(timedelta(seconds=1))
        customer.give(40)
        self.wait(timedelta(seconds=1))
        last = customer.give(5_000, expires_at=self.at + timedelta(days=60)).lot_id
        taken = self._take_back(customer, last, 5_000, rest_as_debt=True)
        self._take_back(customer, lot_id, 500, rest_as_debt=self._chance.random() < 0.5)
        self.wait(timedelta(minutes=3))
        self._reverse(customer, Reversal.Cause.CHARGE, open_id, 500)
        self._reverse(customer, Reversal.Cause.ADJUSTMENT, adjusted)
        self._reverse(customer, Reversal.Cause.CHARGE, open_id)
        self._reverse(customer, Reversal.Cause.TAKE_BACK, taken, 700)
        self._reverse(customer, Reversal.Cause.TAKE_BACK, taken)
        self.wait(timedelta(seconds=5))
        customer.give(20_000, expires_at=self.at + timedelta(hours=1))
        self.wait(timedelta(seconds=5))

    def _undo_late(self, customer: Customer) -> None:
        """A late capture, which made debt that was paid since, is given back."""
        self.wait(timedelta(hours=2))
        customer.give(90 + customer.summary().debt_nano, expires_at=self.at + timedelta(days=1))
        late = customer.hold(60, key=self.key(), ttl_seconds=60)
        self.wait(timedelta(seconds=90))
        customer.give(10, expires_at=self.at + timedelta(days=1))
        charge_id = customer.capture(late, 5 * 10**8, key=self.key()).charge_id
        customer.give(10**9, expires_at=self.at + timedelta(days=1))
        self._reverse(customer, Reversal.Cause.CHARGE, charge_id, 4 * 10**8)
        self._reverse(customer, Reversal.Cause.CHARGE, charge_id)
        self.wait(timedelta(days=2))
        expiry.book_due()

    def _go_without_price(self, customer: Customer) -> None:
        """Usage of a model, or of a token class, that has no price; what was served is charged by an adjustment."""
        unpriced = metering.Usage(model=UNPRICED_MODEL, quantities={"input": 5})
        for operate in (metering.authorize, metering.charge, metering.report_usage):
            operate(organization_id=customer.id, key=self.key(), usage=unpriced)
        key = self.key()
        for _ in range(2):
            metering.report_usage(organization_id=customer.id, key=key, usage=units(3, audio=4))
        hold_id = customer.authorize(10, key=self.key()).hold_id
        if hold_id:
            metering.capture(organization_id=customer.id, hold_id=hold_id, key=self.key(), quantities={"audio": 1})
        known = UnpricedUsage.objects.get(organization_id=customer.id, idempotency_key=key)
        self._adjust(customer, 33, may_owe=True, unpriced_usage_id=known.pk)

    def _charge_runs(self) -> None:
        """Many charges at once, of several organizations, with everything that ends a run in the middle."""
        for customer in (self.first, self.second):
            customer.give(1_000, expires_at=self.at + timedelta(minutes=self._chance.randint(1, 30)))
        events = []
        for number in range(30):
            customer = self._chance.choice([self.first, self.second, self.busy])
            key = f"run-{next(self._keys)}" if self._chance.random() < 0.9 or not events else events[-1].key
            usage = units(
                self._chance.randint(0, 100),
                model=self._chance.choice([MODEL, MODEL, OTHER_MODEL, FEE_MODEL, UNPRICED_MODEL]),
                batch_input=0 if number % 2 else self._chance.randint(0, 3),
            )
            occurred_at = None if number % 3 else self.at - timedelta(hours=self._chance.randint(0, 60))
            events.append(
                metering.Event(customer.id, key, usage, occurred_at, self._chance.choice(["charge", "charge", "usage"]))
            )
        self.wait(timedelta(milliseconds=1))
        metering.charge_many(events)

    def _expire_many(self) -> None:
        """Lots of several organizations end, and one sweep books them; one of them has a hold that lapses with it."""
        for customer in (self.first, self.second, self.owing):
            customer.give(70_000, expires_at=self.at + timedelta(minutes=2))
        self.second.authorize(69_000, key=self.key(), ttl_seconds=60)
        self.wait(timedelta(minutes=5))
        ledger.expire_due(limit=2)
        ledger.expire_due(limit=100)

    def _close(self, customer: Customer) -> None:
        """An account is closed with a hold open: what is under way ends, nothing new begins, credit is given back."""
        customer.give(10_000, expires_at=self.at + timedelta(days=1))
        charge_id = customer.charge(300, key=self.key()).charge_id
        captured, voided = customer.hold(50, key=self.key()), customer.hold(60, key=self.key())
        ledger.set_state(organization_id=customer.id, state=CreditAccount.State.CLOSED)
        customer.authorize(1, key=self.key())
        customer.capture(captured, 55, key=self.key())
        customer.void(voided)
        customer.report(12, key=self.key())
        self._reverse(customer, Reversal.Cause.CHARGE, charge_id, 100)
        self._adjust(customer, 20, may_owe=False)
        self.wait(timedelta(days=2))
        self._reverse(customer, Reversal.Cause.CHARGE, charge_id)
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
        self.wait(max(timedelta(hours=2), self._told_at - timedelta(hours=3) - self.at))
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
