"""hf-nostro: a charge that is refused when credit lacks. Runs in the peers' environment, never in the product's.

nostro's debit never refuses: it drives the balance below zero, and callers are told to ask `Ledger.balance` first ("It
runs before every agent run"). That is the charge. With several clients it is not exact; so beside it there is one that
asks nothing, and rolls the debit back where the balance after it is below zero. The price is computed here, because
nostro owns none; the model and the quantities go along as metadata.

python -m benchmarks.peer_nostro SEED DATABASE_URL
"""

import random
import sys
from collections.abc import Callable
from typing import Any
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


def cost_nano(quantities: dict[str, int]) -> int:
    return sum(units * PRICES_NANO[token_class] for token_class, units in quantities.items())


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
            charge(account.id, f"past-{number}", {"input": 1_000, "output": 50})
        return {"account_id": str(account.id)}

    def debit(account_id: UUID, key: str, quantities: dict[str, int], cursor: Any = None) -> Any:
        return ledger.debit(
            account_id,
            ledger.amount_of_units(cost_nano(quantities)),
            category="usage",
            idempotency_key=key,
            metadata={"model": "orion-medium", "surface": "api", "quantities": quantities},
            cur=cursor,
        )

    def charge(account_id: UUID, key: str, quantities: dict[str, int]) -> None:
        if ledger.balance(account_id).balance < ledger.amount_of_units(cost_nano(quantities)):
            raise AssertionError("credit lacks")
        debit(account_id, key, quantities)

    def charge_unasked(account_id: UUID, key: str, quantities: dict[str, int]) -> None:
        with pool.connection() as connection, connection.cursor() as cursor:
            if debit(account_id, key, quantities, cursor).balance_after < ledger.amount_of_units(0):
                connection.rollback()
                raise AssertionError("credit lacks")

    def repeated(operation: Callable[[UUID, str, dict[str, int]], None]) -> Callable[[Order], Call]:
        def ordered(order: Order) -> Call:
            account_id = UUID(order["account"])

            def call() -> int:
                quantities = {"input": source.randrange(3, 7_437), "output": source.randrange(6, 90)}
                operation(account_id, f"{source.getrandbits(96):024x}", quantities)
                return 1

            return call

        return ordered

    def show(setting: str) -> str:
        with pool.connection() as connection:
            row = connection.execute(f"SHOW {setting}").fetchone()
            assert row is not None
            return str(row[0])

    with pool.connection() as connection:
        backend = connection.info.backend_pid
    worker.serve(
        show=show,
        backend=backend,
        repeated={"charge": repeated(charge), "charge_unasked": repeated(charge_unasked)},
        once={"establish": establish},
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
