"""The model and the product agree on every history that Hypothesis finds, whatever its seed.

``--histories N --steps M --seed S`` tells longer ones; the seed is printed, so that a run can be told again. A long run
also has to have met every outcome of every operation.
"""

import itertools
import random
import time
from collections import Counter
from datetime import datetime

import pytest

from billing.tests.proof.machine import run_histories
from billing.tests.proof.side_by_side import CELLS, Counts, SideBySide

pytestmark = pytest.mark.django_db(transaction=True)

LONG_RUN_STEPS = 20_000
PROGRESS_EVERY, PROGRESS_AT = 20, 2


def test_model_and_ledger_agree_on_every_step_of_every_history(proof_clock, observer, pytestconfig, tell):
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
            tell(f"  {number:6,} of {histories:,} histories in {time.monotonic() - begun_at:7,.0f} s")
        return SideBySide(observer, proof_clock, counts, starts_at=at)

    tell(f"\nproof of the ledger: --histories {histories} --steps {steps} --seed {seed}")
    run_histories(begin, histories=histories, steps=steps, seed=seed, shrinks=pytestconfig.getoption("shrink"))
    missing = CELLS - counts.keys()
    for (operation, outcome), number in sorted(counts.items()):
        tell(f"  {operation:16} {outcome:28} {number:9,}")
    tell(f"  {len(CELLS) - len(missing)} of {len(CELLS)} were met; not met: {sorted(missing)}")
    assert counts.keys() <= CELLS, counts.keys() - CELLS
    assert not (is_long and missing), f"a long run is to meet every outcome, and did not: {sorted(missing)}"
