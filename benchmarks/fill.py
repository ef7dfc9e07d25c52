"""Big tables in seconds: rows that the shipped calls made, copied by SQL with what must differ.

An organization is established by the shipped calls first; its rows are the patterns. Afterwards the sums and heads of
its account agree with lots and entries, so that operations and reads work as on grown data. What does not hold is what
no measured statement looks at: the hashes of copied entries, and the amounts of copied charges under the prices of
other models.
"""

from collections.abc import Mapping
from typing import cast

from benchmarks.server import Superuser

HISTORY_DAYS = 30
KEY_REFS = 5


def copy(superuser: Superuser, table: str, *, pattern: str, times: str, values: Mapping[str, str]) -> None:
    """Insert a copy of each row ``t`` that the condition ``pattern`` finds, for each row ``n`` of ``times``.

    ``values`` are SQL expressions over `t.*`, `t.rank` (0, 1, ... by id) and `n`; other columns are copied.
    """
    columns = superuser.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' ORDER BY attnum",
        [table],
    ).fetchall()
    names = [str(name) for (name,) in columns]
    unknown = set(values) - set(names)
    if unknown:
        raise ValueError(f"{table} has no {', '.join(sorted(unknown))}")
    order = "seq" if table == "billing_ledgerentry" else names[0]
    superuser.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values.get(name, f't.{name}') for name in names)}"
        f" FROM (SELECT *, row_number() OVER (ORDER BY {order}) - 1 AS rank FROM {table} WHERE {pattern}) t, {times}"
    )


def reserve(superuser: Superuser, table: str, count: int) -> int:
    """Set ids apart; the first of them is the answer plus one."""
    (last,) = one(superuser, f"SELECT coalesce(max(id), 0) FROM {table}")
    superuser.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {max(1, last + count)})")
    return last


def one(superuser: Superuser, statement: str) -> tuple[int, ...]:
    """The one row of a statement over numbers."""
    row = superuser.execute(statement).fetchone()
    assert row is not None
    return cast("tuple[int, ...]", row)


def move_to_the_past(superuser: Superuser, organization: int) -> None:
    """Date what the shipped calls made back before the copied history, since booking times never fall."""
    past = f"now() - interval '{HISTORY_DAYS} days 1 hour'"
    of = f"WHERE organization_id = {organization}"
    superuser.execute(f"UPDATE billing_creditlot SET effective_at = {past} {of}")
    superuser.execute(f"UPDATE billing_ledgerentry SET value_at = {past}, booked_at = {past} {of}")
    superuser.execute(f"UPDATE billing_charge SET started_at = {past}, charged_at = {past} {of}")


def add_charges(superuser: Superuser, organization: int, count: int) -> None:
    """``count`` charges of one entry each over the last thirty days, of all models, paid from the first lot."""
    if count < 1:
        return
    move_to_the_past(superuser, organization)
    superuser.execute(f"SELECT credits__put_back_all(ARRAY[{organization}])")
    of = f"organization_id = {organization}"
    charges, entries = reserve(superuser, "billing_charge", count), reserve(superuser, "billing_ledgerentry", count)
    (lot, amount_nano) = one(
        superuser, f"SELECT lot_id, -amount_nano FROM billing_ledgerentry WHERE {of} AND kind = 'burn' LIMIT 1"
    )
    (seq, balance_nano) = one(
        superuser,
        f"SELECT last_seq, unreserved_nano + held_nano - debt_nano FROM billing_creditaccount WHERE {of}",
    )
    times = f"generate_series(1, {count}::bigint) n"
    at = f"now() - interval '{HISTORY_DAYS} days' + n * (interval '{HISTORY_DAYS} days' / {count})"
    versions = "(SELECT array_agg(id ORDER BY id) FROM billing_priceversion)"
    copy(
        superuser,
        "billing_charge",
        pattern=f"id = (SELECT min(id) FROM billing_charge WHERE {of})",
        times=f"{times}, {versions} AS versions(ids)",
        values={
            "id": f"{charges} + n",
            "idempotency_key": "'filled-' || n",
            "price_version_id": "versions.ids[1 + n % cardinality(versions.ids)]",
            "key_ref": f"'key-' || n % {KEY_REFS}",
            "available_after_nano": f"{balance_nano} - n * {amount_nano}",
            "started_at": at,
            "charged_at": at,
        },
    )
    copy(
        superuser,
        "billing_ledgerentry",
        pattern=f"{of} AND kind = 'burn' AND lot_id = {lot} AND seq = {seq}",
        times=times,
        values={
            "id": f"{entries} + n",
            "seq": f"{seq} + n",
            "cause_id": f"{charges} + n",
            "value_at": at,
            "booked_at": at,
            "balance_after_nano": f"{balance_nano} - n * {amount_nano}",
            "hash": "sha256(int8send(n))",
        },
    )
    superuser.execute(
        f"UPDATE billing_creditlot SET remaining_nano = remaining_nano - {count * amount_nano} WHERE id = {lot}"
    )
    superuser.execute(
        f"UPDATE billing_creditaccount SET unreserved_nano = unreserved_nano - {count * amount_nano},"
        f" last_seq = last_seq + {count}, last_hash = sha256(int8send({count}::bigint)), last_at = now() WHERE {of}"
    )
    add_usage_days(superuser, organization)


def add_usage_days(superuser: Superuser, organization: int) -> None:
    """The daily roll-ups of an organization's charges, anew."""
    superuser.execute(f"DELETE FROM billing_usageday WHERE organization_id = {organization}")
    units = ", ".join(
        f"coalesce(sum((c.quantities ->> '{name}')::bigint), 0)"
        for name in ("input", "output", "cache_write", "cache_read")
    )
    superuser.execute(
        "INSERT INTO billing_usageday (organization_id, day, surface, priced_model_id, key_ref, requests, amount_nano,"
        " reversed_nano, input_units, output_units, cache_write_units, cache_read_units, other_units)"
        " SELECT c.organization_id, (c.started_at AT TIME ZONE 'UTC')::date, c.surface, v.priced_model_id, c.key_ref,"
        f" count(*), sum(c.amount_nano), 0, {units}, '{{}}'"
        " FROM billing_charge c JOIN billing_priceversion v ON v.id = c.price_version_id"
        f" WHERE c.organization_id = {organization} GROUP BY 1, 2, 3, 4, 5"
    )


def add_lots(superuser: Superuser, organization: int, count: int) -> None:
    """``count`` more open lots, like the organization's last one, each with the entry that granted it."""
    of = f"organization_id = {organization}"
    copy_lots(
        superuser,
        organization,
        times=f"(SELECT {organization}::bigint AS o, n FROM generate_series(1, {count}::bigint) n) m",
        count=count,
    )
    (added_nano,) = one(
        superuser, f"SELECT {count} * granted_nano FROM billing_creditlot WHERE {of} ORDER BY id DESC LIMIT 1"
    )
    superuser.execute(
        f"UPDATE billing_creditaccount SET unreserved_nano = unreserved_nano + {added_nano},"
        f" last_seq = last_seq + {count} WHERE {of}"
    )


def copy_lots(superuser: Superuser, organization: int, *, times: str, count: int) -> None:
    """Copies of an organization's last lot and of its entry, for rows `m (o, n)`: n counts all, o is the owner.

    Entries get the numbers after those that their owner has. The caller changes the accounts' sums.
    """
    of = f"organization_id = {organization}"
    lots, entries = reserve(superuser, "billing_creditlot", count), reserve(superuser, "billing_ledgerentry", count)
    last = f"SELECT max(id) FROM billing_creditlot WHERE {of} AND id <= {lots}"
    copy(
        superuser,
        "billing_creditlot",
        pattern=f"id = ({last})",
        times=times,
        values={"id": f"{lots} + m.n", "organization_id": "m.o", "remaining_nano": "t.granted_nano"},
    )
    copy(
        superuser,
        "billing_ledgerentry",
        pattern=f"{of} AND kind = 'grant' AND lot_id = ({last})",
        times=f"(SELECT *, row_number() OVER (PARTITION BY o ORDER BY n) AS k FROM {times}) q"
        " JOIN billing_creditaccount a ON a.organization_id = q.o",
        values={
            "id": f"{entries} + q.n",
            "organization_id": "q.o",
            "seq": "a.last_seq + q.k",
            "lot_id": f"{lots} + q.n",
            "cause_id": f"{lots} + q.n",
            "balance_after_nano": "a.unreserved_nano + a.held_nano - a.debt_nano + q.k * t.amount_nano",
            "hash": "sha256(int8send(q.n))",
        },
    )


def add_organizations(superuser: Superuser, organization: int, count: int) -> tuple[int, int]:
    """``count`` organizations like this one, with all that it has. Returns the first and last id of all of them.

    Its lots and charges must have ids without gaps, as those of the only organization in a database do.
    """
    of = f"organization_id = {organization}"
    organizations = reserve(superuser, "accounts_organization", count)
    times = f"generate_series(1, {count}::bigint) n"
    copy(
        superuser,
        "accounts_organization",
        pattern=f"id = {organization}",
        times=times,
        values={"id": f"{organizations} + n", "slug": "t.slug || '-' || n", "name": "t.name || ' ' || n"},
    )
    owner = f"{organizations} + n"
    offsets = {}
    for table in ("billing_creditlot", "billing_charge", "billing_ledgerentry"):
        rows, first = one(superuser, f"SELECT count(*), coalesce(min(id), 0) FROM {table} WHERE {of}")
        offsets[table] = f"{reserve(superuser, table, rows * count) + 1} - {first} + (n - 1) * {rows}"
    lot, charge = offsets["billing_creditlot"], offsets["billing_charge"]
    copy(
        superuser,
        "billing_creditaccount",
        pattern=of,
        times=times,
        values={"organization_id": owner, "burning_lot_id": f"t.burning_lot_id + {lot}"},
    )
    copy(
        superuser,
        "billing_creditlot",
        pattern=of,
        times=times,
        values={"id": f"t.id + {lot}", "organization_id": owner},
    )
    copy(
        superuser,
        "billing_charge",
        pattern=of,
        times=times,
        values={"id": f"t.id + {charge}", "organization_id": owner},
    )
    copy(
        superuser,
        "billing_ledgerentry",
        pattern=of,
        times=times,
        values={
            "id": f"t.id + {offsets['billing_ledgerentry']}",
            "organization_id": owner,
            "lot_id": f"t.lot_id + {lot}",
            "cause_id": f"CASE t.cause_kind WHEN 'lot' THEN t.cause_id + {lot} ELSE t.cause_id + {charge} END",
        },
    )
    (days,) = one(superuser, f"SELECT count(*) FROM billing_usageday WHERE {of}")
    if days:
        base = reserve(superuser, "billing_usageday", days * count) + 1
        copy(
            superuser,
            "billing_usageday",
            pattern=of,
            times=times,
            values={"id": f"{base} + (n - 1) * {days} + t.rank", "organization_id": owner},
        )
    return organization, organizations + count


def spread_lots(superuser: Superuser, organizations: tuple[int, int], *, first_has: int, total: int) -> None:
    """Copies of the first organization's lot until there are ``total``: many for itself, few for each other one."""
    first, last = organizations
    have = last - first + 1
    count = total - have
    if count < 1:
        return
    others = max(1, last - first)
    other = f"{first} + 1 + (n - {first_has} - 1) % {others}"
    owner = f"CASE WHEN n <= {first_has} OR {first} = {last} THEN {first} ELSE {other} END"
    times = f"(SELECT ({owner})::bigint AS o, n FROM generate_series(1, {count}::bigint) n) m"
    copy_lots(superuser, first, times=times, count=count)
    superuser.execute(
        "UPDATE billing_creditaccount a SET last_seq = a.last_seq + m.lots, unreserved_nano = m.nano FROM"
        " (SELECT organization_id AS o, count(*) - 1 AS lots, sum(remaining_nano) AS nano FROM billing_creditlot"
        "  GROUP BY 1) m WHERE a.organization_id = m.o"
    )


def let_lots_end(superuser: Superuser, condition: str, *, count: int) -> int:
    """Put the end of ``count`` open lots a second ago. Returns how many ended."""
    done = superuser.execute(
        "UPDATE billing_creditlot SET effective_at = now() - interval '1 day', expires_at = now() - interval '1 second'"
        f" WHERE id IN ({condition} LIMIT {count})"
    )
    return done.rowcount
