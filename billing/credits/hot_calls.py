"""Calls of the hot functions of the ledger: one prepared statement and one round trip, on Django's own connection.

A cursor spends as much time on such a call as all the rest of the client: it works out types and waits in Python. Here
libpq is called directly, through the interface that psycopg documents for it (``psycopg.pq.PGconn``); the errors are
those that a cursor raises.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from struct import Struct
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import errors, pq

from billing.errors import InsideTransaction

Parameter = str | int | None
Row = tuple[Any, ...]

# PostgreSQL's binary forms, which no setting of a session changes: instants are microseconds since 2000.
# https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES
_BINARY = 1
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def _integer(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def _instant(value: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=_integer(value))


# The columns of `credits_result`, in its order.
_READERS: tuple[Callable[[bytes], object], ...] = (
    bytes.decode,
    _integer,
    _integer,
    _integer,
    _integer,
    _integer,
    _instant,
    b"\x01".__eq__,
    bytes.decode,
)
# A row in binary form is the number of its columns, then of each its type, its length (negative for NULL) and its bytes
# (`record_send` in PostgreSQL's rowtypes.c).
_COUNT_BYTES = 4
_TYPE_BYTES = 4
_HEAD_BYTES = 8
_length_at = Struct(">i").unpack_from


# Where a layout finds what it appends to what it unpacked.
_NULL_AT, _OUTCOME_AT = -2, -1


class _Layout:
    """The bytes of answers with one outcome, whose columns from the second on are numbers, truths or nothing.

    Reading one is a single unpacking, a quarter of the time that going through the columns takes.
    """

    def __init__(self, outcome: str, forms: str) -> None:
        """``forms`` has a character for each column after the outcome: q, ? (as in a Struct), or - for NULL."""
        columns = (f"{len(outcome)}s", *forms)
        layout = Struct(f">{_COUNT_BYTES}x" + "".join(f"{_TYPE_BYTES}xi{form.removeprefix('-')}" for form in columns))
        lengths, lengths_at, values_at, place = [], [], [], 0
        for form in columns:
            is_null = form == "-"
            lengths.append(-1 if is_null else Struct(f">{form}").size)
            lengths_at.append(place)
            values_at.append(_NULL_AT if is_null else place + 1)
            place += 1 if is_null else 2
        self.size = layout.size
        self._unpack = layout.unpack
        self._lengths, self._lengths_of = tuple(lengths), itemgetter(*lengths_at)
        self._outcome, self._values_of = outcome.encode(), itemgetter(_OUTCOME_AT, *values_at[1:])
        self._appended = (None, outcome)

    def read(self, row: bytes) -> Row | None:
        """Its columns; None where it is laid out otherwise, although it is as long."""
        parts = self._unpack(row)
        if self._lengths_of(parts) != self._lengths or parts[1] != self._outcome:
            return None
        columns: Row = self._values_of(parts + self._appended)
        return columns


# What nearly every charge and every capture answers.
_LAYOUTS = {layout.size: layout for layout in (_Layout("charged", "-qqqq-?-"), _Layout("charged", "qqqqq-?-"))}


def _columns(row: bytes) -> Row:
    """The columns of a `credits_result` that came as one value: that spares the server an eighth of an empty call."""
    layout = _LAYOUTS.get(len(row))
    return (layout.read(row) if layout else None) or _columns_one_by_one(row)


def _columns_one_by_one(row: bytes) -> Row:
    values: list[object] = []
    start = _COUNT_BYTES
    for read in _READERS:
        (length,) = _length_at(row, start + _TYPE_BYTES)
        start += _HEAD_BYTES
        if length < 0:
            values.append(None)
        else:
            values.append(read(row[start : start + length]))
            start += length
    return tuple(values)


# https://www.postgresql.org/docs/current/errcodes-appendix.html
INVALID_SQL_STATEMENT_NAME = b"26000"
# unique_violation and serialization_failure
OVERTAKEN = (b"23505", b"40001")
TRIES = 4


class HotCall:
    """A function of the ledger that answers with one ``credits_result``."""

    def __init__(self, function: str, *, parameters: int) -> None:
        self._name = f"hot_{function}".encode()
        self._function = function
        self._parameters = parameters

    def __call__(self, *parameters: Parameter) -> Row:
        """Its answer, column by column, in a transaction of its own.

        Raises:
            InsideTransaction: a transaction is open, so the lock would outlive the call.
            DatabaseError: Django's, as from a cursor.
        """
        database = autocommit_database()
        with database.wrap_database_errors:
            connection: psycopg.Connection[Any] = database.connection
            if not connection.autocommit:
                return self._by_cursor(connection, parameters)
            written: Any = [_written(parameter) for parameter in parameters]
            result = self._result(connection, written)
        row = result.get_value(0, 0)
        assert row is not None
        return _columns(row)

    def _result(self, connection: "psycopg.Connection[Any]", written: Any) -> pq.abc.PGresult:
        for _ in range(TRIES):
            result = connection.pgconn.exec_prepared(self._name, written, None, _BINARY)
            if result.status == pq.ExecStatus.TUPLES_OK:
                return result
            self._mend(connection, result)
        raise _error(connection, result)

    def _mend(self, connection: "psycopg.Connection[Any]", result: pq.abc.PGresult) -> None:
        """Return if the call did nothing, and for a reason that is gone; raise its error otherwise.

        The statement was not prepared: a new connection doesn't know it yet, and psycopg lets a connection forget all
        it knew after a rollback. Or the function ended because of what happened while it waited (see ``charge.sql``).
        """
        reason = result.error_field(pq.DiagnosticField.SQLSTATE)
        if reason == INVALID_SQL_STATEMENT_NAME:
            prepared = connection.pgconn.prepare(self._name, f"select {self._call()}".encode())
            if prepared.status != pq.ExecStatus.COMMAND_OK:
                raise _error(connection, prepared)
        elif reason not in OVERTAKEN:
            raise _error(connection, result)

    def _by_cursor(self, connection: "psycopg.Connection[Any]", parameters: tuple[Parameter, ...]) -> Row:
        """The same inside a test case's transaction, where a failed attempt would spoil it."""
        with psycopg.RawCursor(connection) as cursor:
            row = cursor.execute(f"select * from {self._call()}", parameters).fetchone()
        assert row is not None
        return tuple(row)

    def _call(self) -> str:
        return f"{self._function}({', '.join(f'${number}' for number in range(1, self._parameters + 1))})"


def autocommit_database() -> Any:
    """Django's connection, open, with no transaction of its caller's.

    Raises:
        InsideTransaction: there is one.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    # A test case's own transaction is the one exception: it is rolled back, and nobody else waits for its locks.
    if database.atomic_blocks and not database.atomic_blocks[-1]._from_testcase:
        raise InsideTransaction("metering must not run inside an open transaction")
    # Asking for one that is there already costs as much as reading an answer.
    if database.connection is None:
        database.ensure_connection()
    return database


def _written(parameter: Parameter) -> bytes | None:
    """A parameter as PostgreSQL reads it."""
    if parameter is None:
        return None
    if isinstance(parameter, int):
        return b"%d" % parameter
    if "\x00" in parameter:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return parameter.encode()


def _error(connection: "psycopg.Connection[Any]", result: pq.abc.PGresult) -> psycopg.Error:
    """What a cursor would raise."""
    if connection.pgconn.status == pq.ConnStatus.BAD:
        return psycopg.OperationalError(result.get_error_message() or "the connection is lost")
    return errors.error_from_result(result, encoding=connection.info.encoding)
