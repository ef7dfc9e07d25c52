"""The processes that make charges, and what was measured of them."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.worker import Answer, Order

ROOT = Path(__file__).resolve().parent.parent
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement gave. Processor times are for one charge (or read), where the system tells them."""

    per_second: Fraction
    microseconds: int
    server_nanoseconds: int | None = None
    client_nanoseconds: int | None = None
    longest_microseconds: int | None = None


class Worker:
    """A process that does what it is told, one order at a time."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self._name = " ".join(command[1:3])
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def check_durability(self) -> None:
        """Wait until it is ready. Its session must be durable by what the database says."""
        durability: dict[str, str] = self.answer()["durability"]
        if durability != DURABLE:
            raise SystemExit(f"{self._name} is not measured with durable settings: {durability}")

    def begin(self, order: Order) -> None:
        """Give an order, without waiting for its end."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        """Wait for the answer to an order."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._name} ended early.")
        answer: Answer = json.loads(line)
        return answer

    def ask(self, operation: str, **order: Any) -> Answer:
        """Give an order and wait for the answer."""
        self.begin({"operation": operation} | order)
        return self.answer()

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


def python(module: str, *arguments: str, interpreter: str = sys.executable) -> list[str]:
    """The command that runs a module of the benchmarks."""
    return [interpreter, "-m", f"benchmarks.{module}", *arguments]


def together(workers: Sequence[Worker], order: Order) -> Measured:
    """Let workers repeat an operation at the same time."""
    for worker in workers:
        worker.begin(order)
    answers = [worker.answer() for worker in workers]
    count = sum(answer["count"] for answer in answers)
    return Measured(
        per_second=sum(
            (Fraction(answer["count"] * 1_000_000, answer["microseconds"]) for answer in answers), Fraction()
        ),
        microseconds=max(answer["microseconds"] for answer in answers),
        server_nanoseconds=_each(answers, "server_nanoseconds", count),
        client_nanoseconds=_each(answers, "client_nanoseconds", count),
    )


def _each(answers: Sequence[Answer], name: str, count: int) -> int | None:
    if count == 0 or any(answer[name] is None for answer in answers):
        return None
    return sum(int(answer[name]) for answer in answers) // count
