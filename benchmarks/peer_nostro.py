"""hf-nostro: a charge that is refused when credit lacks. Runs in the peers' environment, never in the product's.

nostro's debit never refuses; it answers with the balance after it. So the charge is one debit in a transaction that is
rolled back when that balance is below zero: exact under any concurrency, and cheaper than asking for the balance first.
The price is computed here, because nostro owns none; the model and the quantities go along as metadata.

python -m benchmarks.peer_nostro SEED DATABASE_URL
"""

import random
import sys
from uuid import UUID

from nostro import Ledger  # type: ignore[import-not-found]
from nostro.migrate import migrate  # type: ignore[import-not-found]
from psycopg_pool import ConnectionPool

from benchmarks import worker
from benchmarks.worker import Answer, Call, Order

# Nano-USD, as in the product.
SCALE = 9
LOT_NANO = 10**14
PRICES_NANO = {"input": 3_000, "output": 15_000}


def main(seed: str, database_url: str) -> None:
    """Do what the lines on standard input say."""
    source = random.Random(seed)
    pool = ConnectionPool(database_url, min_size=1, max_size=1, open=True)
    ledger = Ledger(pool=pool, scale=SCALE)

    def establish(order: Order) -> Answer:
        migrate(dsn=database_url, scale=SCALE)
        account = ledger.accounts.create("bench", "organization")
        for number in range(order["lots"]):
            ledger.credit(account, ledger.amount_of_units(LOT_NANO), category="grant", idempotency_key=f"lot-{number}")
        for number in range(order["charges"]):
            debit(account.id, f"past-{number}", {"input": 1_000, "output": 50})
        return {"account_id": str(account.id)}

    def debit(account_id: UUID, key: str, quantities: dict[str, int]) -> None:
        amount_nano = sum(units * PRICES_NANO[token_class] for token_class, units in quantities.items())
        with pool.connection() as connection, connection.cursor() as cursor:
            entry = ledger.debit(
                account_id,
                ledger.amount_of_units(amount_nano),
                category="usage",
                idempotency_key=key,
                metadata={"model": "orion-medium", "surface": "api", "quantities": quantities},
                cur=cursor,
            )
            if entry.balance_after < ledger.amount_of_units(0):
                connection.rollback()
                raise AssertionError("credit lacks")

    def charge(order: Order) -> Call:
        account_id = UUID(order["account"])

        def call() -> int:
            debit(
                account_id,
                f"{source.getrandbits(96):024x}",
                {"input": source.randrange(3, 7_437), "output": source.randrange(6, 90)},
            )
            return 1

        return call

    def show(setting: str) -> str:
        with pool.connection() as connection:
            row = connection.execute(f"SHOW {setting}").fetchone()
            assert row is not None
            return str(row[0])

    with pool.connection() as connection:
        backend = connection.info.backend_pid
    worker.serve(show=show, backend=backend, repeated={"charge": charge}, once={"establish": establish})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
