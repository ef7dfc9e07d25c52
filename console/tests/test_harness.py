"""The test harness itself: which role tests run as, and that a committing test leaves nothing behind."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.sessions.models import Session
from django.db import ProgrammingError, connection, connections
from django.utils import timezone


@pytest.mark.django_db
def test_tests_run_as_the_runtime_role():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, session_user, current_database()")
        assert cursor.fetchone() == ("console_app", "console_app", "test_console")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE mine (id int)", "CREATE TEMPORARY TABLE mine (id int)", "SET session_replication_role = replica"],
)
def test_the_runtime_role_creates_nothing_and_switches_no_trigger_off(statement):
    with pytest.raises(ProgrammingError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("time", ["first", "second"])
def test_a_committed_row_is_gone_in_the_next_test(time):
    assert not Session.objects.exists()
    Session.objects.create(session_key=time, expire_date=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_a_forked_child_opens_a_connection_of_its_own_though_a_browsers_loop_hid_the_inherited_one():
    # In a thread of its own: in the main one a browser's loop may be running, and one loop starts no other.
    with ThreadPoolExecutor(1) as threads:
        inherited, childs = threads.submit(fork_inside_a_loop).result()
    assert childs != inherited


def fork_inside_a_loop() -> tuple[int, int]:
    """The server's number of the connection from before the loop, and of the one that a forked child uses."""
    inherited = backend()

    async def fork() -> int:
        # As with a browser: inside the loop, this closes the loop's own connections only.
        connections.close_all()
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tell, str(backend()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        return int(os.read(told, 20))

    try:
        return inherited, asyncio.run(fork())
    finally:
        connections.close_all()


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
