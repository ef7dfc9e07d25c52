"""django-hordak: a charge that is refused when credit lacks. Runs in the peers' environment, never in the product's.

hordak keeps double entries and no lock, so the charge locks the customer's account row, asks for its balance and
transfers to the income account, in one transaction. It has no idempotency key, no lots and no price; the price is
computed here and nothing stands in for the rest, which is in its favour.

python -m benchmarks.peer_hordak SEED DATABASE_URL
"""

import random
import sys
from decimal import Decimal

import dj_database_url  # type: ignore[import-not-found]
import django
from django.conf import settings

from benchmarks import worker
from benchmarks.worker import Answer, Call, Order

LOT_USD = 10**5
PRICES_USD = {"input": Decimal("0.000003"), "output": Decimal("0.000015")}


def main(seed: str, database_url: str) -> None:
    """Do what the lines on standard input say."""
    settings.configure(
        DATABASES={"default": dj_database_url.parse(database_url, conn_max_age=None)},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DEFAULT_CURRENCY="USD",
        HORDAK_CURRENCIES=["USD"],
        HORDAK_DECIMAL_PLACES=9,
        HORDAK_INTERNAL_CURRENCY="USD",
        HORDAK_MAX_DIGITS=24,
        CURRENCIES=["USD"],
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "mptt", "hordak"],
        USE_TZ=True,
    )
    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction
    from hordak.models import Account, AccountType  # type: ignore[import-not-found]
    from moneyed import Money  # type: ignore[import-not-found]

    source = random.Random(seed)
    connection.ensure_connection()

    def establish(order: Order) -> Answer:
        call_command("migrate", verbosity=0)
        cash = Account.objects.create(name="Cash", code="1", type=AccountType.asset, currencies=["USD"])
        income = Account.objects.create(name="Usage", code="2", type=AccountType.income, currencies=["USD"])
        customer = Account.objects.create(name="Bench", code="3", type=AccountType.liability, currencies=["USD"])
        for _ in range(order["lots"]):
            customer.transfer_to(cash, Money(LOT_USD, "USD"))
        for _ in range(order["charges"]):
            debit(customer.pk, income.pk, {"input": 1_000, "output": 50})
        return {"account_id": customer.pk, "income_id": income.pk}

    def debit(customer_id: int, income_id: int, quantities: dict[str, int]) -> None:
        amount = sum(units * PRICES_USD[token_class] for token_class, units in quantities.items())
        with transaction.atomic():
            customer = Account.objects.select_for_update().get(pk=customer_id)
            # The fastest of its three ways to a balance: one call of its database function.
            available = Account.objects.with_balances().get(pk=customer_id).balance
            if available < Money(amount, "USD"):
                raise AssertionError("credit lacks")
            income = Account(pk=income_id)
            income.transfer_to(customer, Money(amount, "USD"), description="orion-medium")
            del customer

    def charge(order: Order) -> Call:
        def call() -> int:
            debit(
                order["account"],
                order["income"],
                {"input": source.randrange(3, 7_437), "output": source.randrange(6, 90)},
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
        repeated={"charge": charge},
        once={"establish": establish},
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
