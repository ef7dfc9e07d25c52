"""An organization in the ledger's tests, and everybody who moves its credit.

One unit of its model costs one nano-USD, so that amounts and quantities are the same numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.db import connection, transaction

from accounts.models import Organization, User
from billing.credits import ledger, metering, prices, queries
from billing.credits.ledger import Granted, LockedAccount, Reversed, TakenBack
from billing.credits.metering import Event, Result, Usage
from billing.credits.queries import LotLine, Summary
from billing.models import CreditLot, LedgerEntry, PaymentMethod, PriceVersion, Purchase, Reversal
from billing.money import nano_from_cents

MODEL = "one-nano-a-unit"
PRICED_SINCE = datetime(2020, 1, 1, tzinfo=UTC)


def publish_price(
    slug: str = MODEL,
    *,
    effective_at: datetime = PRICED_SINCE,
    input_nano: int = 10**6,
    output_nano: int = 10**6,
) -> PriceVersion:
    """Publish prices for a million units; the defaults make a unit cost one nano-USD."""
    return prices.publish(
        prices=prices.ModelPrices(
            slug=slug, name=slug, prices_nano_per_million={"input": input_nano, "output": output_nano}
        ),
        effective_at=effective_at,
    )


def units(count: int, *, model: str = MODEL, **token_classes: int) -> Usage:
    """Usage of `count` input units."""
    return Usage(model=model, quantities={"input": count, **token_classes})


@contextmanager
def clock_that_ticks(owner: Any, clock: Any, start: datetime) -> Iterator[None]:
    """Inside, the ledger's clock goes on by a microsecond each time it is read; afterwards it runs again."""
    owner.execute("create sequence public.reads_of_the_clock")
    try:
        owner.execute(
            "create or replace function public.credits_clock() returns timestamptz language sql volatile as"
            f" $$ select '{start.isoformat()}'::timestamptz"
            " + nextval('public.reads_of_the_clock') * interval '1 microsecond' $$"
        )
        yield
    finally:
        clock.real()
        owner.execute("drop sequence public.reads_of_the_clock")


class Customer:
    """One organization, found by its slug; made when it is new."""

    def __init__(self, slug: str = "acme") -> None:
        self.organization, _ = Organization.objects.get_or_create(slug=slug, defaults={"name": slug.title()})
        self.id: int = self.organization.pk

    def give(self, amount_nano: int, *, expires_at: datetime | None = None, **options: Any) -> Granted:
        """Grant promotional credit."""
        return ledger.grant(
            organization_id=self.id,
            kind=options.pop("kind", CreditLot.Kind.PROMOTIONAL),
            amount_nano=amount_nano,
            expires_at=expires_at,
            reason=options.pop("reason", "for a test"),
            **options,
        )

    def buy(self, amount_cents: int, *, kind: Purchase.Kind = Purchase.Kind.MANUAL, **columns: Any) -> Purchase:
        """A purchase that has succeeded and was granted, as its settlement leaves it."""
        purchase = self.begin_purchase(amount_cents, kind=kind, **columns)
        with transaction.atomic():
            granted = ledger.grant(
                organization_id=self.id,
                kind=CreditLot.Kind.PURCHASE if kind == Purchase.Kind.MANUAL else CreditLot.Kind.AUTO_RELOAD,
                amount_nano=purchase.credit_nano,
                purchase_id=purchase.pk,
                label="Credit purchase",
                actor_id=purchase.actor_id,
            )
            purchase.state = Purchase.State.SUCCEEDED
            purchase.settled_at = granted.effective_at
            purchase.save(update_fields=["state", "settled_at"])
        return purchase

    def reverse(
        self, cause_id: int, *, kind: str = "charge", amount_nano: int | None = None, label: str = ""
    ) -> Reversed:
        """Undo a charge, an adjustment or a take-back, wholly unless an amount is given."""
        return ledger.reverse(
            organization_id=self.id,
            cause_kind=Reversal.Cause(kind),
            cause_id=cause_id,
            amount_nano=amount_nano,
            label=label,
            reason="a secret of staff",
            actor_id=None,
            key=uuid4(),
        )

    def take_back(self, lot_id: int, amount_nano: int, *, rest_as_debt: bool = False) -> TakenBack:
        """Take credit back from a lot."""
        return ledger.take_back(
            organization_id=self.id,
            lot_id=lot_id,
            amount_nano=amount_nano,
            rest_as_debt=rest_as_debt,
            reason="a secret of staff",
            actor_id=None,
            key=uuid4(),
        )

    def begin_purchase(
        self, amount_cents: int, *, kind: Purchase.Kind = Purchase.Kind.MANUAL, **columns: Any
    ) -> Purchase:
        """A purchase that was sent and is not settled yet."""
        buyer = self.buyer()
        card, _ = PaymentMethod.objects.get_or_create(
            stripe_payment_method_id=f"pm_{self.organization.slug}",
            defaults={
                "organization": self.organization,
                "brand": "visa",
                "last4": "4242",
                "exp_month": 12,
                "exp_year": 2040,
                "fingerprint": f"fp_{self.organization.slug}",
                "is_default": True,
                "added_by": buyer,
            },
        )
        return Purchase.objects.create(
            organization=self.organization,
            kind=kind,
            state=columns.pop("state", Purchase.State.PROCESSING),
            amount_cents=amount_cents,
            credit_nano=nano_from_cents(amount_cents),
            attempt_key=uuid4(),
            payment_method=card,
            actor=buyer if kind == Purchase.Kind.MANUAL else None,
            terms_version="test",
            terms_accepted_at=columns.pop("terms_accepted_at", self.now()),
            payment_intent_id=f"pi_{uuid4().hex}",
            created_at=columns.pop("created_at", self.now()),
            sent_at=self.now(),
            sent_by="web:1",
            **columns,
        )

    def buyer(self) -> User:
        """The person who buys for the organization."""
        email = f"buyer@{self.organization.slug}.example"
        return User.objects.filter(email=email).first() or User.objects.create_user(email)

    def authorize(self, count: int, *, key: str, ttl_seconds: int = 600) -> Result:
        return metering.authorize(organization_id=self.id, key=key, usage=units(count), ttl_seconds=ttl_seconds)

    def hold(self, count: int, *, key: str, ttl_seconds: int = 600) -> int:
        """Authorize, and expect it to succeed; the hold's id."""
        result = self.authorize(count, key=key, ttl_seconds=ttl_seconds)
        assert result.outcome == "authorized", result
        assert result.hold_id is not None
        return result.hold_id

    def capture(self, hold_id: int, count: int, *, key: str | None = None) -> Result:
        return metering.capture(
            organization_id=self.id, hold_id=hold_id, key=key or f"capture-{hold_id}", quantities={"input": count}
        )

    def void(self, hold_id: int) -> Result:
        return metering.void(organization_id=self.id, hold_id=hold_id)

    def charge(self, count: int, *, key: str, occurred_at: datetime | None = None) -> Result:
        return metering.charge(organization_id=self.id, key=key, usage=units(count), occurred_at=occurred_at)

    def report(self, count: int, *, key: str, occurred_at: datetime | None = None) -> Result:
        return metering.report_usage(organization_id=self.id, key=key, usage=units(count), occurred_at=occurred_at)

    def event(self, count: int, *, key: str) -> Event:
        return Event(organization_id=self.id, key=key, usage=units(count))

    def summary(self) -> Summary:
        return queries.summary(organization_id=self.id)

    def lots(self) -> list[LotLine]:
        """The lots of the Billing page, at the ledger's own time."""
        return queries.live_lots(organization_id=self.id, at=self.summary().counted_at)

    def lock(self) -> LockedAccount:
        """What the use cases that decide under the lock see."""
        with transaction.atomic():
            return ledger.lock(organization_id=self.id)

    def entries(self) -> list[tuple[str, int | None, int]]:
        """Kind, lot and amount of every entry, in order."""
        rows = LedgerEntry.objects.filter(organization_id=self.id).order_by("seq")
        return [(row.kind, row.lot_id, row.amount_nano) for row in rows]

    def remaining(self) -> dict[int, int]:
        """What each lot has unreserved, booked or not."""
        lots = CreditLot.objects.filter(organization_id=self.id).select_related("organization__creditaccount")
        return {lot.pk: lot.left_nano for lot in lots.order_by("id")}

    def footprint(self) -> tuple[object, ...]:
        """Everything that money consists of here, to compare before and after what must change nothing."""
        with connection.cursor() as cursor:
            cursor.execute(
                "select (select (a.last_seq, a.last_hash, a.unreserved_nano, a.held_nano, a.debt_nano)::text"
                "        from billing_creditaccount a where a.organization_id = %(id)s),"
                " (select count(*) from billing_charge where organization_id = %(id)s),"
                " (select json_agg(h order by h.id)::text from billing_hold h where h.organization_id = %(id)s),"
                " (select json_agg(l order by l.id)::text from billing_creditlot l where l.organization_id = %(id)s)",
                {"id": self.id},
            )
            return tuple(cursor.fetchone())

    @staticmethod
    def now() -> datetime:
        """The time by the ledger's clock."""
        with connection.cursor() as cursor:
            cursor.execute("select credits_clock()")
            (now,) = cursor.fetchone()
        assert isinstance(now, datetime)
        return now
