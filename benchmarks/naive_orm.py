"""The charge as it is usually written in Django: atomic, select_for_update, a loop over the lots. Same guarantees.

It promises what the product's charge promises: an idempotency key per account whose repeat answers with the first
charge and whose reuse for something else is a conflict; the price of the model in force, summed exactly and rounded up
once; lots in burn order, never below zero; open holds and debt counted; an entry per lot, numbered without gaps and
chained by hash; the day's usage and an outbox row for auto-reload in the same transaction. Its tables are its own, with
the keys and foreign keys that Django makes and none of the product's further checks, which is in its favour.

python -m benchmarks.naive_orm SEED DATABASE_URL
"""

# The plugin that gives models their managers knows installed apps only, and this one is installed nowhere.
# mypy: disable-error-code="attr-defined, no-any-return"

import hashlib
import json
import random
import sys
from datetime import datetime, timedelta

import django
import environ
from django.conf import settings

from benchmarks import worker
from benchmarks.worker import Answer, Call, Order

if not settings.configured:
    settings.configure(
        DATABASES={"default": environ.Env.db_url_config(sys.argv[2]) | {"CONN_MAX_AGE": None}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[],
        USE_TZ=True,
    )
    django.setup()

from django.db import connection, models, transaction
from django.db.models import Q, Sum
from django.utils import timezone

LOT_NANO = 10**14
PER_MILLION = 1_000_000


class Row(models.Model):
    """What the tables of this peer have in common."""

    class Meta:
        abstract = True
        app_label = "naive"

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.pk}"


class Account(Row):
    """An organization's sums, and the row that is locked."""

    state = models.CharField(max_length=8, default="open")
    last_seq = models.BigIntegerField(default=0)
    last_hash = models.BinaryField(default=b"")
    debt_nano = models.BigIntegerField(default=0)
    balance_nano = models.BigIntegerField(default=0)
    reload_below_nano = models.BigIntegerField(null=True)
    low_at = models.DateTimeField(null=True)


class Lot(Row):
    """Credit that came in at once."""

    account = models.ForeignKey(Account, models.PROTECT)
    kind = models.CharField(max_length=12)
    remaining_nano = models.BigIntegerField()
    effective_at = models.DateTimeField()
    expires_at = models.DateTimeField()


class Hold(Row):
    """Credit put aside."""

    account = models.ForeignKey(Account, models.PROTECT)
    state = models.CharField(max_length=8)
    amount_nano = models.BigIntegerField()
    expires_at = models.DateTimeField()


class PricedModel(Row):
    """A model that has a price."""

    slug = models.SlugField(max_length=64, unique=True)


class PriceVersion(Row):
    """Its prices for a time."""

    priced_model = models.ForeignKey(PricedModel, models.PROTECT)
    effective_at = models.DateTimeField()
    superseded_at = models.DateTimeField(null=True)


class Price(Row):
    """The price of a token class."""

    version = models.ForeignKey(PriceVersion, models.PROTECT, related_name="prices")
    token_class = models.SlugField(max_length=32)
    price_nano_per_million = models.BigIntegerField()


class Charge(Row):
    """What a request cost; the record of its key."""

    account = models.ForeignKey(Account, models.PROTECT)
    idempotency_key = models.CharField(max_length=255)
    price_version = models.ForeignKey(PriceVersion, models.PROTECT)
    surface = models.CharField(max_length=16)
    key_ref = models.CharField(max_length=64)
    quantities = models.JSONField()
    amount_nano = models.BigIntegerField()
    charged_at = models.DateTimeField()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["account", "idempotency_key"], name="naive_key_once")]


class Entry(Row):
    """A movement of credit."""

    account = models.ForeignKey(Account, models.PROTECT)
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=16)
    lot = models.ForeignKey(Lot, models.PROTECT)
    amount_nano = models.BigIntegerField()
    charge = models.ForeignKey(Charge, models.PROTECT)
    booked_at = models.DateTimeField()
    balance_after_nano = models.BigIntegerField()
    hash = models.BinaryField()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["account", "seq"], name="naive_seq_once")]


class UsageDay(Row):
    """Usage of a day."""

    account = models.ForeignKey(Account, models.PROTECT)
    day = models.DateField()
    surface = models.CharField(max_length=16)
    priced_model = models.ForeignKey(PricedModel, models.PROTECT)
    key_ref = models.CharField(max_length=64)
    requests = models.BigIntegerField(default=0)
    amount_nano = models.BigIntegerField(default=0)
    quantities = models.JSONField(default=dict)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["account", "day", "surface", "priced_model", "key_ref"], name="naive_usage_day_once"
            )
        ]


class Event(Row):
    """What must be told after the commit."""

    account = models.ForeignKey(Account, models.PROTECT)
    kind = models.CharField(max_length=16)
    occurred_at = models.DateTimeField()


TABLES = (Account, Lot, Hold, PricedModel, PriceVersion, Price, Charge, Entry, UsageDay, Event)


class Conflict(Exception):
    """The key was used for something else."""


class Insufficient(Exception):
    """Credit lacks, or the account is not open."""


def charge(
    *, account_id: int, key: str, model: str, quantities: dict[str, int], surface: str = "api", key_ref: str = ""
) -> Charge:
    """Charge a request at the price of now.

    Raises:
        Conflict: the key was used for something else.
        Insufficient: credit lacks.
    """
    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=account_id)
        past = Charge.objects.filter(account=account, idempotency_key=key).first()
        if past is not None:
            said = (past.price_version.priced_model.slug, past.surface, past.key_ref, past.quantities)
            if said != (model, surface, key_ref, quantities):
                raise Conflict(key)
            return past
        if account.state != "open":
            raise Insufficient(account.state)
        now = timezone.now()
        version = price_version(model, now)
        amount_nano = cost_nano(version, quantities)
        lots = list(
            Lot.objects.select_for_update()
            .filter(account=account, remaining_nano__gt=0, effective_at__lte=now, expires_at__gt=now)
            .order_by(
                "expires_at", models.Case(models.When(kind="promotional", then=0), default=1), "effective_at", "id"
            )
        )
        held = Hold.objects.filter(account=account, state="open", expires_at__gt=now).aggregate(nano=Sum("amount_nano"))
        available_nano = sum(lot.remaining_nano for lot in lots) - (held["nano"] or 0) - account.debt_nano
        if available_nano < amount_nano or available_nano <= 0:
            raise Insufficient(key)
        made = Charge.objects.create(
            account=account,
            idempotency_key=key,
            price_version=version,
            surface=surface,
            key_ref=key_ref,
            quantities=quantities,
            amount_nano=amount_nano,
            charged_at=now,
        )
        left_nano = amount_nano
        for lot in lots:
            part_nano = min(lot.remaining_nano, left_nano)
            if part_nano == 0:
                break
            lot.remaining_nano -= part_nano
            lot.save(update_fields=["remaining_nano"])
            append(account, lot=lot, amount_nano=-part_nano, charge=made, at=now)
            left_nano -= part_nano
        add_usage(made, day=now, model_id=version.priced_model_id)
        line_nano = account.reload_below_nano
        if line_nano is not None and account.low_at is None and available_nano - amount_nano < line_nano:
            account.low_at = now
            Event.objects.create(account=account, kind="reload_due", occurred_at=now)
        account.save()
        return made


def price_version(model: str, at: datetime) -> PriceVersion:
    """The prices in force."""
    return PriceVersion.objects.filter(
        Q(superseded_at__isnull=True) | Q(superseded_at__gt=at), priced_model__slug=model, effective_at__lte=at
    ).get()


def cost_nano(version: PriceVersion, quantities: dict[str, int]) -> int:
    """What it costs: summed exactly, rounded up once. A class without a price raises KeyError."""
    prices = {price.token_class: price.price_nano_per_million for price in version.prices.all()}
    total = sum(units * prices[token_class] for token_class, units in quantities.items() if units)
    return -(-total // PER_MILLION)


def append(account: Account, *, lot: Lot, amount_nano: int, charge: Charge, at: datetime) -> None:
    """Add an entry to the chain."""
    account.last_seq += 1
    account.balance_nano += amount_nano
    row = [account.pk, account.last_seq, "burn", lot.pk, amount_nano, charge.pk, at.isoformat(), account.balance_nano]
    account.last_hash = hashlib.sha256(bytes(account.last_hash) + json.dumps(row).encode()).digest()
    Entry.objects.create(
        account=account,
        seq=account.last_seq,
        kind="burn",
        lot=lot,
        amount_nano=amount_nano,
        charge=charge,
        booked_at=at,
        balance_after_nano=account.balance_nano,
        hash=account.last_hash,
    )


def add_usage(charge: Charge, *, day: datetime, model_id: int) -> None:
    """Count the charge in its day."""
    line, _ = UsageDay.objects.get_or_create(
        account=charge.account,
        day=day.date(),
        surface=charge.surface,
        priced_model_id=model_id,
        key_ref=charge.key_ref,
    )
    line.requests += 1
    line.amount_nano += charge.amount_nano
    for token_class, units in charge.quantities.items():
        line.quantities[token_class] = line.quantities.get(token_class, 0) + units
    line.save()


def establish(order: Order) -> Answer:
    """Make the tables, an account with its lots, and past charges."""
    with connection.schema_editor() as editor:
        for table in TABLES:
            editor.create_model(table)
    now = timezone.now()
    priced = PricedModel.objects.create(slug="orion-medium")
    version = PriceVersion.objects.create(priced_model=priced, effective_at=now - timedelta(days=36))
    for token_class, price in (("input", 3 * 10**9), ("output", 15 * 10**9)):
        Price.objects.create(version=version, token_class=token_class, price_nano_per_million=price)
    account = Account.objects.create(balance_nano=LOT_NANO * order["lots"])
    for _ in range(order["lots"]):
        Lot.objects.create(
            account=account,
            kind="promotional",
            remaining_nano=LOT_NANO,
            effective_at=now,
            expires_at=now + timedelta(days=365),
        )
    _fill(account, version, count=order["charges"])
    return {"account_id": account.pk}


def _fill(account: Account, version: PriceVersion, *, count: int) -> None:
    """Past charges in bulk, which only the preparation may do."""
    now = timezone.now()
    head = Lot.objects.filter(account=account).earliest("id")
    for first in range(0, count, 1_000):
        made = Charge.objects.bulk_create(
            Charge(
                account=account,
                idempotency_key=f"past-{number}",
                price_version=version,
                surface="api",
                key_ref="",
                quantities={"input": 1_000, "output": 50},
                amount_nano=3_750_000,
                charged_at=now,
            )
            for number in range(first, min(count, first + 1_000))
        )
        entries = []
        for past in made:
            account.last_seq += 1
            account.balance_nano -= past.amount_nano
            head.remaining_nano -= past.amount_nano
            entries.append(
                Entry(
                    account=account,
                    seq=account.last_seq,
                    kind="burn",
                    lot=head,
                    amount_nano=-past.amount_nano,
                    charge=past,
                    booked_at=now,
                    balance_after_nano=account.balance_nano,
                    hash=b"\0" * 32,
                )
            )
        Entry.objects.bulk_create(entries)
    head.save()
    account.save()


def main(seed: str) -> None:
    """Do what the lines on standard input say."""
    source = random.Random(seed)
    connection.ensure_connection()

    def operation(order: Order) -> Call:
        def call() -> int:
            charge(
                account_id=order["account"],
                key=f"{source.getrandbits(96):024x}",
                model="orion-medium",
                quantities={"input": source.randrange(3, 7_437), "output": source.randrange(6, 90)},
            )
            return 1

        return call

    def show(setting: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW {setting}")
            return str(cursor.fetchone()[0])

    worker.serve(
        show=show,
        backend=connection.connection.info.backend_pid,
        repeated={"charge": operation},
        once={"establish": establish},
    )


if __name__ == "__main__":
    main(sys.argv[1])
