"""The answers of hot functions as they come over the wire: PostgreSQL's binary forms, read without a cursor.

A cursor works out the type of each column in each call; here the types are known.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

Row = tuple[Any, ...]

# PostgreSQL's binary forms, which no setting of a session changes: instants are microseconds since 2000.
# https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES
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


def result_columns(row: bytes) -> Row:
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


# An array in binary form is its number of dimensions, whether there are NULLs, the type of its elements, then of each
# dimension its size and first index; then of each element its length and its bytes (`array_send` in PostgreSQL's
# arrayfuncs.c). An empty one ends before the dimensions.
_ARRAY_HEAD_BYTES = 20


def _numbers(array: bytes, form: str) -> tuple[int, ...]:
    """The elements of an array of numbers without NULLs; ``form`` as in a Struct."""
    count = (len(array) - _ARRAY_HEAD_BYTES) // (4 + Struct(f">{form}").size)
    return Struct(">" + f"4x{form}" * count).unpack_from(array, _ARRAY_HEAD_BYTES) if count > 0 else ()


def _rows(array: bytes) -> list[Row]:
    """The elements of an array of `credits_result`."""
    rows, start = [], _ARRAY_HEAD_BYTES
    while start < len(array):
        (length,) = _length_at(array, start)
        start += 4
        rows.append(result_columns(array[start : start + length]))
        start += length
    return rows


class Batch(NamedTuple):
    """The answers to a batch, column by column: those of usual charges, and all others by their place from 1."""

    charge_ids: tuple[int, ...]
    amounts_nano: tuple[int, ...]
    availables_nano: tuple[int, ...]
    others: dict[int, Row]


def batch_columns(row: bytes) -> Batch:
    """A `credits_results` that came as one value."""
    arrays, start = [], _COUNT_BYTES
    for _ in range(5):
        (length,) = _length_at(row, start + _TYPE_BYTES)
        start += _HEAD_BYTES
        arrays.append(row[start : start + length])
        start += length
    charge_ids, amounts, availables, places, others = arrays
    return Batch(
        charge_ids=_numbers(charge_ids, "q"),
        amounts_nano=_numbers(amounts, "q"),
        availables_nano=_numbers(availables, "q"),
        others=dict(zip(_numbers(places, "i"), _rows(others), strict=True)),
    )
