"""Random histories that a mutant has to live through: the ledger beside its model, then the invariants of all.

Not collected with the suite; the worker of the mutation run asks for this file by its name. The seeds are fixed, so
that a mutant which survives has survived these.
"""

from datetime import timedelta

import hypothesis
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from billing.credits import invariants
from billing.tests.history import History, moving_clock
from billing.tests.proof import real_ledger
from billing.tests.proof.machine import LedgerMachine
from billing.tests.proof.side_by_side import Counts, SideBySide

pytestmark = pytest.mark.django_db(transaction=True)

HISTORIES, STEPS = 8, 40


@pytest.mark.parametrize("seed", [1])
def test_histories_beside_the_model(owner_connection, role_address, seed):
    with (
        real_ledger.clock_in_a_row(owner_connection) as clock,
        psycopg.connect(role_address("superuser"), autocommit=True) as superuser,
    ):
        observer = real_ledger.Observer(superuser)
        LedgerMachine.begin = lambda at: SideBySide(observer, clock, Counts(), starts_at=at)
        run_state_machine_as_test(
            hypothesis.seed(seed)(LedgerMachine),
            settings=settings(
                max_examples=HISTORIES,
                stateful_step_count=STEPS,
                phases=[Phase.generate],
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_invariants_hold_after_a_long_story(role_address):
    with moving_clock(role_address("console_owner")) as set_clock:
        story = History(set_clock=set_clock, seed=7)
        story.tell(steps=60)
        chosen = tuple(
            invariant
            for invariant in invariants.INVARIANTS
            if not invariant.is_of_the_database and invariant.severity is invariants.Severity.VIOLATION
        )
        with psycopg.connect(role_address("superuser")) as superuser, superuser.cursor() as cursor:
            at = story.at + timedelta(minutes=1)
            verdicts = list(invariants.examine(cursor, at=at, invariants=chosen))
    assert [verdict.name for verdict in verdicts if not verdict.holds] == []
