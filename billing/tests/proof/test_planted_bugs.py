"""The machine finds bugs: each that is planted in a shipped function turns a short run red."""

from collections import Counter
from datetime import datetime

import pytest
from django.db import DatabaseError

from billing.tests.proof.machine import run_histories
from billing.tests.proof.planted_bugs import BUGS, PlantedBug, planted
from billing.tests.proof.side_by_side import Counts, SideBySide

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

HISTORIES = 100
STEPS = 200
SEED = 7


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: PlantedBug, proof_clock, observer, owner_connection, tell):
    counts: Counts = Counter()
    begun: list[SideBySide] = []

    def begin(at: datetime) -> SideBySide:
        begun.append(SideBySide(observer, proof_clock, counts, starts_at=at))
        return begun[-1]

    with planted(owner_connection, bug), pytest.raises((AssertionError, DatabaseError)) as found:
        run_histories(begin, histories=HISTORIES, steps=STEPS, seed=SEED)
    # A red history is told once more, to print it.
    history, steps = len(begun) - 1, sum(one.steps for one in begun[:-1])
    first_line = str(found.value).splitlines()[0]
    tell(f"\n  {bug.name}: history {history}, {steps} operations in all: {first_line:.90}")
