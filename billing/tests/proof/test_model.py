"""The model and the product agree on every history that Hypothesis finds, whatever its seed.

``--histories N --steps M --seed S`` tells longer ones; the seed is printed, so that a run can be told again. A long run
also has to have met every outcome of every operation.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import hypothesis
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from billing.tests.proof import real_ledger
from billing.tests.proof.machine import LedgerMachine
from billing.tests.proof.real_ledger import Clock, Observer
from billing.tests.proof.side_by_side import CELLS, Counts, SideBySide

pytestmark = pytest.mark.django_db(transaction=True)

LONG_RUN_STEPS = 20_000
PROGRESS_EVERY, PROGRESS_AT = 20, 2


def run_settings(histories: int, steps: int, *, shrinks: bool = False) -> settings:
    """How Hypothesis runs a machine: told by a seed, stopped at the first error."""
    return settings(
        max_examples=histories,
        stateful_step_count=steps,
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        database=None,
        report_multiple_bugs=False,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


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
    is_long = histories * steps >= LONG_RUN_STEPS
    counts: Counts = Counter()
    begun_at = time.monotonic()
    begun = itertools.count()

    def begin(at: datetime) -> SideBySide:
        number = next(begun)
        if is_long and number % PROGRESS_EVERY == PROGRESS_AT:
            # What was learned of empty tables makes poor plans.
            observer.analyze()
            with capsys.disabled():
                print(f"  {number:6,} of {histories:,} histories in {time.monotonic() - begun_at:7,.0f} s", flush=True)
        return SideBySide(observer, proof_clock, counts, starts_at=at)

    with capsys.disabled():
        print(f"\nproof of the ledger: --histories {histories} --steps {steps} --seed {seed}", flush=True)
    LedgerMachine.begin = begin
    run_state_machine_as_test(hypothesis.seed(seed)(LedgerMachine), settings=run_settings(histories, steps))
    missing = CELLS - counts.keys()
    with capsys.disabled():
        for (operation, outcome), number in sorted(counts.items()):
            print(f"  {operation:16} {outcome:28} {number:9,}")
        print(f"  {len(CELLS) - len(missing)} of {len(CELLS)} were met; not met: {sorted(missing)}", flush=True)
    assert counts.keys() <= CELLS, counts.keys() - CELLS
    assert not (is_long and missing), f"a long run is to meet every outcome, and did not: {sorted(missing)}"
