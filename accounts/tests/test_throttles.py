"""Limits on tries: exact under parallel tries, and in the database, so that nothing but time lifts them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache
from django.db import connection

from accounts import tasks, throttles
from accounts.models import ThrottleCounter

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=5)
TRIES = 12
LIMIT = 3


def try_once(at: datetime = NOW, *, key: str = "maya", action: str = "test", limit: int = LIMIT) -> bool:
    return throttles.allow(action=action, key=key, limit=limit, window=WINDOW, at=at)


@pytest.mark.django_db
def test_tries_up_to_the_limit_are_allowed_until_the_window_ends():
    assert [try_once() for _ in range(4)] == [True, True, True, False]
    assert not try_once(NOW + WINDOW - timedelta(microseconds=1))
    assert [try_once(NOW + WINDOW) for _ in range(4)] == [True, True, True, False]


@pytest.mark.django_db
def test_refused_tries_neither_count_nor_push_the_end_on():
    for second in range(60):
        try_once(NOW + timedelta(seconds=second))
    assert ThrottleCounter.objects.get().tries == LIMIT
    assert throttles.wait_seconds(action="test", key="maya", window=WINDOW, at=NOW + timedelta(seconds=60)) == 240
    assert try_once(NOW + WINDOW)


@pytest.mark.django_db
def test_keys_and_actions_count_apart_and_are_kept_as_digests():
    for _ in range(LIMIT):
        try_once()
    assert try_once(key="noor")
    assert try_once(action="other")
    assert "maya" not in repr(list(ThrottleCounter.objects.values()))


@pytest.mark.django_db
def test_a_try_that_was_right_is_given_back():
    for _ in range(10):
        assert try_once()
        throttles.give_back(action="test", key="maya", window=WINDOW, at=NOW)
    assert ThrottleCounter.objects.get().tries == 0
    throttles.give_back(action="test", key="maya", window=WINDOW, at=NOW)
    assert ThrottleCounter.objects.get().tries == 0


@pytest.mark.django_db
def test_a_limit_of_nothing_allows_nothing():
    assert not try_once(limit=0)


@pytest.mark.django_db
def test_ended_counters_are_removed_and_live_ones_are_kept():
    try_once(datetime(2020, 1, 1, tzinfo=UTC), key="old")
    try_once(datetime(2120, 1, 1, tzinfo=UTC), key="live")
    tasks.remove_ended_throttles()
    assert [counter.ends_at.year for counter in ThrottleCounter.objects.all()] == [2120]


@pytest.mark.django_db(transaction=True)
def test_a_limit_outlives_the_cache_and_the_process():
    for _ in range(LIMIT):
        try_once()
    cache.clear()
    # What a restarted process has: another connection, and nothing in memory.
    connection.close()
    assert not try_once()


def all_at_once(attempt) -> int:
    """How many of TRIES parallel calls were allowed."""
    start = threading.Barrier(TRIES)

    def run(_: int) -> bool:
        start.wait(timeout=30)
        try:
            return attempt()
        finally:
            connection.close()

    with ThreadPoolExecutor(TRIES) as pool:
        return sum(pool.map(run, range(TRIES)))


@pytest.mark.django_db(transaction=True)
def test_parallel_tries_never_pass_the_limit():
    readers = threading.Barrier(TRIES)

    def read_then_write() -> bool:
        counter, _ = ThrottleCounter.objects.get_or_create(
            action="unguarded",
            key_digest="x",
            window_seconds=300,
            defaults={"tries": 0, "ends_at": NOW + WINDOW},
        )
        tries = ThrottleCounter.objects.get(pk=counter.pk).tries
        readers.wait(timeout=30)
        if tries >= LIMIT:
            return False
        ThrottleCounter.objects.filter(pk=counter.pk).update(tries=tries + 1)
        return True

    # With the guard off, all of them read the count before any writes it.
    assert all_at_once(read_then_write) == TRIES
    for number in range(5):
        assert all_at_once(lambda number=number: try_once(key=f"race {number}")) == LIMIT
