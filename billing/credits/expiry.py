"""Booking of lots past their end. The credit is unspendable from its instant already: this only writes it down."""

from datetime import datetime

from billing.credits import ledger, queries


def book_due(*, at: datetime, limit: int = 1_000) -> list[int]:
    """Book expiry in every organization that has lots past their end at ``at``, active or not (case 61).

    Each organization is a transaction of its own. Returns the organizations for which a reload became due by it.
    """
    newly_low = []
    for organization_id in queries.due_organizations(at=at, limit=limit):
        if ledger.expire(organization_id=organization_id).is_newly_low:
            newly_low.append(organization_id)
    return newly_low
