"""One client of the hot calls in a process of its own, as a worker of the gate is. Takes its orders on standard input.

    python -m benchmarks.client ORGANIZATION_ID SEED

An order is a line "OPERATION SECONDS"; the answer is how many charges were made in how many microseconds.
"""

import random
import sys
import time
from collections.abc import Callable

import django

BATCH_EVENTS = 100


def main(organization_id: int, seed: str) -> None:
    """Do what the lines on standard input say."""
    django.setup()
    source = random.Random(seed)
    operations = {"charge": charges(organization_id, source), "batch": batches(organization_id, source)}
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        count, started_at = 0, time.perf_counter_ns()
        end_at = started_at + int(seconds) * 1_000_000_000
        while (now := time.perf_counter_ns()) < end_at:
            count += operations[name]()
        print(count, (now - started_at) // 1_000, flush=True)


def charges(organization_id: int, source: random.Random) -> Callable[[], int]:
    """The shipped call, once."""
    from billing.credits import metering

    def operation() -> int:
        result = metering.charge(
            organization_id=organization_id,
            key=f"{source.getrandbits(96):024x}",
            usage=metering.Usage(model="orion-medium", quantities=quantities(source)),
        )
        assert result.outcome is metering.Outcome.CHARGED, result
        return 1

    return operation


def batches(organization_id: int, source: random.Random) -> Callable[[], int]:
    """The shipped call for batches, with 100 events."""
    from billing.credits import metering

    def operation() -> int:
        results = metering.charge_many(
            [
                metering.Event(
                    organization_id=organization_id,
                    key=f"{source.getrandbits(96):024x}",
                    usage=metering.Usage(model="orion-medium", quantities=quantities(source)),
                )
                for _ in range(BATCH_EVENTS)
            ]
        )
        assert all(result.outcome is metering.Outcome.CHARGED for result in results)
        return BATCH_EVENTS

    return operation


def quantities(source: random.Random) -> dict[str, int]:
    """What a request of the code trace uses, roughly."""
    return {"input": source.randrange(3, 7_437), "output": source.randrange(6, 90)}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
