"""The model and the product agree on every history that Hypothesis finds, whatever its seed.

``--histories N --steps M --seed S`` tells longer ones; the seed is printed, so that a run can be told again. A long run
also has to have met every outcome of every operation.
"""

import random
from collections import Counter
from collections.abc import Iterator

import hypothesis
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from billing.tests.proof import real_ledger
from billing.tests.proof.machine import LedgerMachine
from billing.tests.proof.real_ledger import Clock, Observer
from billing.tests.proof.side_by_side import Counts, SideBySide

pytestmark = pytest.mark.django_db(transaction=True)

LONG_RUN_STEPS = 20_000


@pytest.fixture
def proof_clock(owner_connection) -> Iterator[Clock]:
    with real_ledger.clock_in_a_row(owner_connection) as clock:
        yield clock


@pytest.fixture
def observer(role_address) -> Iterator[Observer]:
    with psycopg.connect(role_address("superuser"), autocommit=True) as superuser:
        yield Observer(superuser)


def test_model_and_ledger_agree_on_every_step_of_every_history(proof_clock, observer, pytestconfig, capsys):
    histories, steps = pytestconfig.getoption("histories"), pytestconfig.getoption("steps")
    seed = pytestconfig.getoption("seed") or random.SystemRandom().randrange(10**9)
    counts: Counts = Counter()
    with capsys.disabled():
        print(f"\nproof of the ledger: --histories {histories} --steps {steps} --seed {seed}")
    LedgerMachine.begin = lambda at: SideBySide(observer, proof_clock, counts, starts_at=at)
    is_long = histories * steps >= LONG_RUN_STEPS
    run_state_machine_as_test(
        hypothesis.seed(seed)(LedgerMachine),
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            phases=[Phase.generate] if is_long else [Phase.generate, Phase.shrink],
            database=None,
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    with capsys.disabled():
        for (operation, outcome), number in sorted(counts.items()):
            print(f"  {operation:16} {outcome:28} {number:9,}")
