"""Booking of lots past their end. The credit is unspendable from its instant already: this only writes it down."""

from billing.credits import ledger

LOTS_PER_TRANSACTION = 250


def book_due(*, limit: int = 100_000) -> list[int]:
    """Book expiry in every organization that has lots past their end by the ledger's clock, active or not (case 61).

    Returns the organizations for which a reload became due by it.
    """
    newly_low: list[int] = []
    left = limit
    while left > 0:
        done = ledger.expire_due(limit=min(left, LOTS_PER_TRANSACTION))
        newly_low += done.newly_low
        left -= done.booked
        if done.booked == 0:
            break
    return newly_low
