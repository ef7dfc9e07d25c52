"""The daily sums of usage: proven against the charges and reversals they are made of, and made anew from them.

Charging and reversing keep them. Nothing else writes them, so they differ only if somebody meddled with the database.
"""

from django.db import connection


def count_wrong(*, organization_id: int) -> int:
    """How many days differ from what charges and reversals add up to. Changes nothing; reads all charges."""
    return _call("select credits_wrong_usage_days(%s)", organization_id)


def rebuild(*, organization_id: int) -> int:
    """Make the days anew, under the account's lock; how many had differed."""
    return _call("select credits_rebuild_usage_days(%s)", organization_id)


def _call(sql: str, organization_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, [organization_id])
        (days,) = cursor.fetchone()
    return int(days)
