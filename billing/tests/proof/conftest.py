"""What the proofs share: the money clock in a row, and a superuser who looks on."""

import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest

from billing.tests.proof import real_ledger
from billing.tests.proof.real_ledger import Clock, Observer


@pytest.fixture
def proof_clock(owner_connection) -> Iterator[Clock]:
    """The money clock of the test database, moved by an UPDATE."""
    with real_ledger.clock_in_a_row(owner_connection) as clock:
        yield clock


@pytest.fixture
def observer(role_address) -> Iterator[Observer]:
    """Rows and invariants, read by somebody who may read everything."""
    with psycopg.connect(role_address("superuser"), autocommit=True) as superuser:
        yield Observer(superuser)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print a line, captured or not: seeds and counts are part of a proof. A worker of several has only stderr."""

    def told(line: str) -> None:
        with capsys.disabled():
            print(line, file=sys.stderr if hasattr(pytestconfig, "workerinput") else sys.stdout, flush=True)

    return told
