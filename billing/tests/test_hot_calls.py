"""Calls of hot functions: what is asked again, what is an error at once, and what a caller sees of either."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError, connection, connections

from billing.credits.hot_answers import Row, result_columns
from billing.credits.hot_calls import HotCall, autocommit_database

pytestmark = pytest.mark.django_db(transaction=True)

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def tries(owner_connection: Connection) -> Iterator[Connection]:
    """A hot function that ends with an error as often as it is told to, and counts its calls."""
    owner_connection.execute("create sequence public.tries_of_a_call")
    owner_connection.execute(
        """
        create function public.fails_at_first(p_times integer, p_code text) returns public.credits_result
        language plpgsql security definer set search_path = public, pg_temp as $$
        begin
          if nextval('tries_of_a_call') <= p_times then
            raise exception 'overtaken' using errcode = p_code;
          end if;
          return credits__refused('charged', 7, 5, 'the detail', true);
        end $$;
        grant execute on function public.fails_at_first to console_app
        """
    )
    yield owner_connection
    owner_connection.execute("drop function public.fails_at_first; drop sequence public.tries_of_a_call")


def count(tries: Connection) -> int:
    (number,) = tries.execute("select last_value from public.tries_of_a_call").fetchone() or (0,)
    assert isinstance(number, int)
    return number


fails_at_first = HotCall("fails_at_first", parameters=2, read=result_columns)


@pytest.mark.parametrize("code", ["23505", "40001"])
def test_a_call_that_was_overtaken_is_made_again(tries: Connection, code: str) -> None:
    assert fails_at_first(2, code) == ("charged", None, None, 7, None, 5, None, True, "the detail")
    assert count(tries) == 3


@pytest.mark.parametrize(("code", "error"), [("23505", IntegrityError), ("40001", OperationalError)])
def test_a_call_that_is_overtaken_each_time_ends_with_the_error(
    tries: Connection, code: str, error: type[Exception]
) -> None:
    assert fails_at_first(0, code)[0] == "charged", "the statement is known to this connection"
    before = count(tries)
    with pytest.raises(error, match="overtaken"):
        fails_at_first(100, code)
    assert count(tries) - before == 4


def test_any_other_error_is_one_at_once(tries: Connection) -> None:
    with pytest.raises(DataError, match="overtaken"):
        fails_at_first(100, "22023")
    assert count(tries) == 1


def test_a_function_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(ProgrammingError, match="function no_such_function"):
        HotCall("no_such_function", parameters=0, read=result_columns)()


def test_a_text_that_no_text_of_the_database_can_be_is_refused_and_not_cut_short(tries: Connection) -> None:
    with pytest.raises(DataError, match="NUL"):
        fails_at_first(100, "22023\x00and more")
    assert count(tries) == 1, "nothing was called: the sequence stands at its start"
    assert fails_at_first(0, "22023")[0] == "charged"
    assert count(tries) == 1


def test_a_call_opens_the_connection_and_learns_the_statement_by_itself(tries: Connection) -> None:
    connections.close_all()
    assert fails_at_first(0, "40001")[0] == "charged"


def test_inside_an_event_loop_a_call_takes_the_connection_that_django_has_there() -> None:
    """Else what closes Django's connections there, or waits for their locks, would miss the one that is used."""

    async def inside() -> tuple[Any, Any]:
        taken, of_django = autocommit_database(), connections["default"]
        connections.close_all()
        return taken, of_django

    def outside_and_inside() -> tuple[Any, Any, Any]:
        outside = autocommit_database()
        taken, of_django = asyncio.run(inside())
        connections.close_all()
        return outside, taken, of_django

    with ThreadPoolExecutor(max_workers=1) as thread_without_a_loop:
        outside, taken, of_django = thread_without_a_loop.submit(outside_and_inside).result()
    assert of_django is not outside
    assert taken is of_django


def test_a_connection_that_is_gone_is_told_as_the_database_told_it(
    tries: Connection, superuser_connection: Connection
) -> None:
    fails_at_first(0, "40001")
    superuser_connection.execute("select pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    with pytest.raises(OperationalError, match=r"terminating connection|server closed the connection"):
        fails_at_first(0, "40001")
    connections.close_all()


@pytest.fixture
def echo(owner_connection: Connection) -> Iterator[HotCall[Row]]:
    """A hot function that answers what it is told."""
    owner_connection.execute(
        "create function public.echoed(p_row text) returns public.credits_result language sql"
        " as $$ select p_row::public.credits_result $$; grant execute on function public.echoed to console_app"
    )
    yield HotCall("echoed", parameters=1, read=result_columns)
    owner_connection.execute("drop function public.echoed")


@pytest.mark.parametrize(
    "row",
    [
        "(charged,,8,7,0,93,,f,)",
        "(charged,9,8,7,0,-93,,t,)",
        f"(charged,,{2**63 - 1},{-(2**63)},0,93,,t,)",
        "(authorized,9,,7,0,93,2026-11-26 12:00:00.000001+00,f,)",
        "(replayed,,8,7,9,-2,,f,)",
        "(price_missing,,,,,,,f,orion-medium)",
        ",,,,,,,,".join("()"),
    ],
)
def test_an_answer_reads_as_a_cursor_reads_it(echo: HotCall[Row], row: str) -> None:
    assert echo(row) == as_a_cursor_reads(row)


@pytest.mark.parametrize(
    "row",
    [
        "(chargeX,,8,7,0,93,,f,)",
        "(charged,8,,7,0,93,,f,)",
        "(charged,,8,7,0,,2026-11-26,f,)",
        '(charge,,8,7,0,93,,f,"x")',
    ],
    ids=["another outcome", "another column", "an instant", "a detail"],
)
def test_an_answer_that_is_only_as_long_as_a_usual_one_is_read_as_what_it_is(echo: HotCall[Row], row: str) -> None:
    usual = length("(charged,,8,7,0,93,,f,)")
    assert length(row) == usual
    assert echo(row) == as_a_cursor_reads(row)


def as_a_cursor_reads(row: str) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute("select (%s::public.credits_result).*", [row])
        columns: tuple[Any, ...] | None = cursor.fetchone()
    return columns


def length(row: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select length(record_send(%s::public.credits_result))", [row])
        (count,) = cursor.fetchone() or (0,)
    assert isinstance(count, int)
    return count
