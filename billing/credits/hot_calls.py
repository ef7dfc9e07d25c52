"""Calls of the hot functions of the ledger: one prepared statement and one round trip, on Django's own connection.

A cursor spends as much time on such a call as all the rest of the client: it works out types and waits in Python. Here
libpq is called directly, through the interface that psycopg documents for it (``psycopg.pq.PGconn``); the errors are
those that a cursor raises.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import errors, pq

from billing.errors import InsideTransaction

Parameter = str | int | None
Answer = TypeVar("Answer")

# https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES
_BINARY = 1
# https://www.postgresql.org/docs/current/errcodes-appendix.html
INVALID_SQL_STATEMENT_NAME = b"26000"
# unique_violation and serialization_failure
OVERTAKEN = (b"23505", b"40001")
TRIES = 4


class HotCall(Generic[Answer]):
    """A function of the ledger that answers with one value, which ``read`` takes apart: a ``credits_result`` mostly."""

    def __init__(self, function: str, *, parameters: int, read: Callable[[bytes], Answer]) -> None:
        self._name = f"hot_{function}".encode()
        self._function = function
        self._parameters = parameters
        self._read = read

    def __call__(self, *parameters: Parameter) -> Answer:
        """Its answer, in a transaction of its own.

        Raises:
            InsideTransaction: a transaction is open, so the lock would outlive the call.
            DatabaseError: Django's, as from a cursor.
        """
        database = autocommit_database()
        connection: psycopg.Connection[Any] = database.connection
        try:
            if connection.autocommit:
                result = self._result(connection, parameters)
            else:
                result = self._by_cursor(connection, parameters)
        except psycopg.Error:
            with database.wrap_database_errors:
                raise
        value = result.get_value(0, 0)
        assert value is not None
        return self._read(value)

    def _result(self, connection: "psycopg.Connection[Any]", parameters: tuple[Parameter, ...]) -> pq.abc.PGresult:
        written: Any = [
            None if parameter is None else _encoded(parameter) if isinstance(parameter, str) else b"%d" % parameter
            for parameter in parameters
        ]
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

    def _by_cursor(self, connection: "psycopg.Connection[Any]", parameters: tuple[Parameter, ...]) -> pq.abc.PGresult:
        """The same inside a test case's transaction, where a failed attempt would spoil it."""
        with psycopg.RawCursor(connection) as cursor:
            cursor.execute(f"select {self._call()}", parameters, binary=True)
            assert cursor.pgresult is not None
            return cursor.pgresult

    def _call(self) -> str:
        return f"{self._function}({', '.join(f'${number}' for number in range(1, self._parameters + 1))})"


def autocommit_database() -> Any:
    """Django's connection, open, with no transaction of its caller's.

    Raises:
        InsideTransaction: there is one.
    """
    # Asked for each time, although it is half of what is done before a call: which one it is may change within a
    # thread, for code inside an event loop has another than code outside.
    database: Any = connections[DEFAULT_DB_ALIAS]
    # A test case's own transaction is the one exception: it is rolled back, and nobody else waits for its locks.
    if database.atomic_blocks and not database.atomic_blocks[-1]._from_testcase:
        raise InsideTransaction("metering must not run inside an open transaction")
    # Asking for one that is there already costs as much as reading an answer.
    if database.connection is None:
        database.ensure_connection()
    return database


def _encoded(text: str) -> bytes:
    """A text as PostgreSQL reads it."""
    if "\x00" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text.encode()


def _error(connection: "psycopg.Connection[Any]", result: pq.abc.PGresult) -> psycopg.Error:
    """What a cursor would raise."""
    if connection.pgconn.status == pq.ConnStatus.BAD:
        return psycopg.OperationalError(result.get_error_message() or "the connection is lost")
    return errors.error_from_result(result, encoding=connection.info.encoding)
