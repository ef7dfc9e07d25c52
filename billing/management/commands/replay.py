"""Replays a trace of usage through the gate: what a gateway does, one request of the trace after the other."""

import csv
import hashlib
import json
import os
import secrets
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from billing.management import traces
from billing.management.gate_client import GateAnswer, GateClient, GateUnreachable
from billing.management.traces import TraceRow
from billing.models import Surface
from billing.money import exact_usd

OUTPUT_CEILING_STEP = 256
FAIL_RATE_STEPS = 1_000_000
PROGRESS_SECONDS = 0.2
BAR_LENGTH = 30
CONCURRENCY_MAX = 64

# Without these nothing of the trace can be replayed, so the first one ends the run.
HOPELESS = {
    "service_key_invalid": "The gate doesn't know this service key. GATE_SERVICE_KEY or --service-key names it.",
    "organization_unknown": "There is no such organization.",
    "organization_suspended": "The organization is suspended.",
    "price_missing": "The model has no price.",
    "conflict": "This run id was used for another trace, model or surface. Choose another --run-id.",
    "not_found": "What answers there is not the gate.",
}


class ReplayStopped(Exception):
    """The run can't go on. The text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every row of a run has in common."""

    run_id: str
    organization: str
    model: str
    surface: str
    seed: int
    fail_rate_millionths: int

    def key(self, row: TraceRow) -> str:
        """The idempotency key of a row: the same in every run with this id, so that a run can be resumed."""
        return f"{self.run_id}-{row.number}"

    def fails(self, row: TraceRow) -> bool:
        """Whether the model fails this request. Decided by the seed and the row alone."""
        draw = hashlib.sha256(f"fail:{self.seed}:{row.number}".encode("ascii")).digest()
        return int.from_bytes(draw[:8], "big") * FAIL_RATE_STEPS < self.fail_rate_millionths << 64


@dataclass(slots=True)
class Tally:
    """What happened so far."""

    requests: int = 0
    charged: int = 0
    failed: int = 0
    refused: int = 0
    cost_nano: int = 0
    # Rows that cost nothing, with the reason.
    free_rows: dict[int, str] = field(default_factory=dict)


class Command(BaseCommand):
    """See ``help``."""

    help = (
        "Replays a usage trace (CSV: TIMESTAMP,ContextTokens,GeneratedTokens) through the gate: authorizes each "
        "request at its worst case, then captures what it used, or voids it where it fails."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Read what to replay, for whom, and how fast."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--organization", required=True, metavar="SLUG")
        parser.add_argument("--model", required=True, help="the model, as the price list names it")
        parser.add_argument("--surface", choices=Surface.values, default=Surface.API.value)
        parser.add_argument("--fail-rate", default="0", help="share of requests that the model fails, as 0.02")
        parser.add_argument("--seed", type=int, default=1, help="which requests fail (default 1)")
        parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N rows")
        parser.add_argument("--limit", type=int, metavar="N", help="replay at most N rows")
        parser.add_argument("--concurrency", type=int, default=1, metavar="C", help="connections at once (default 1)")
        parser.add_argument("--run-id", help="resume the run with this id (default: a new one)")
        parser.add_argument("--gate", default=settings.GATE_URL, metavar="URL", help="default: GATE_URL")
        parser.add_argument("--service-key", default="", help="default: GATE_SERVICE_KEY, which other users can't see")
        parser.add_argument(
            "--failed-out", type=Path, metavar="FILE", help="write the rows that cost nothing, for a recomputation"
        )
        parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
        parser.add_argument("--progress", action="store_true", help="draw the progress bar even without a terminal")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replay, then print the tally."""
        plan = plan_of(options)
        service_key = options["service_key"] or os.environ.get("GATE_SERVICE_KEY", "")
        if not service_key:
            raise CommandError("No service key: set GATE_SERVICE_KEY. One is made by the command create_service_key.")
        if options["concurrency"] not in range(1, CONCURRENCY_MAX + 1):
            raise CommandError(f"--concurrency is from 1 to {CONCURRENCY_MAX}.")
        try:
            total = traces.count(options["file"], skip=options["skip"], limit=options["limit"])
            clients = [GateClient(url=options["gate"], service_key=service_key) for _ in range(options["concurrency"])]
        except (traces.TraceError, ValueError) as error:
            raise CommandError(str(error)) from error
        rows = traces.read(options["file"], skip=options["skip"], limit=options["limit"])
        bar = Bar(sys.stderr, total=total) if options["progress"] or sys.stderr.isatty() else None
        run = Run(plan=plan, rows=rows, clients=clients, bar=bar)
        started_at = time.monotonic()
        stopped = run.to_the_end()
        milliseconds = max(1, int((time.monotonic() - started_at) * 1000))
        if bar:
            bar.end()
        if options["failed_out"]:
            write_free_rows(options["failed_out"], run.tally)
        self.stdout.write(result_text(plan, run.tally, milliseconds=milliseconds, as_json=options["json"]), ending="")
        if stopped:
            again = f" The run can be resumed: --run-id {plan.run_id}" if run.tally.requests else ""
            raise CommandError(
                f"Stopped after {run.tally.requests:,} of {total:,} requests. {stopped.rstrip('.')}.{again}"
            )


def plan_of(options: dict[str, Any]) -> Plan:
    """The options as a plan. Raises CommandError."""
    for name in ("skip", "limit"):
        if options[name] is not None and options[name] < 0:
            raise CommandError(f"--{name} is a number of rows.")
    return Plan(
        run_id=options["run_id"] or f"replay-{secrets.token_hex(6)}",
        organization=options["organization"],
        model=options["model"],
        surface=options["surface"],
        seed=options["seed"],
        fail_rate_millionths=millionths(options["fail_rate"]),
    )


def millionths(text: str) -> int:
    """A share such as "0.02" in millionths, exactly. Raises CommandError for what is not from 0 to 1."""
    whole, _, digits = text.partition(".")
    digits = digits.ljust(6, "0")
    if not (whole.isascii() and whole.isdigit() and digits.isascii() and digits.isdigit() and len(digits) == 6):
        raise CommandError("--fail-rate is a share such as 0.02, with at most six digits.")
    share = int(whole) * FAIL_RATE_STEPS + int(digits)
    if share > FAIL_RATE_STEPS:
        raise CommandError("--fail-rate is from 0 to 1.")
    return share


class Run:
    """One run over the rows, with a thread for each client."""

    def __init__(self, *, plan: Plan, rows: Iterator[TraceRow], clients: list[GateClient], bar: "Bar | None") -> None:
        self.tally = Tally()
        self._plan = plan
        self._rows = rows
        self._clients = clients
        self._bar = bar
        self._lock = threading.Lock()
        self._is_stopped = False

    def to_the_end(self) -> str:
        """Replay all rows. Returns why it stopped before, or nothing."""
        try:
            with ThreadPoolExecutor(len(self._clients)) as pool:
                working = [pool.submit(self._work, client) for client in self._clients]
                try:
                    wait(working, return_when=FIRST_EXCEPTION)
                finally:
                    self._is_stopped = True
            for work in working:
                work.result()
        except (ReplayStopped, GateUnreachable, traces.TraceError) as error:
            return str(error)
        except KeyboardInterrupt:
            return "Interrupted."
        return ""

    def _work(self, client: GateClient) -> None:
        with closing(client):
            while not self._is_stopped:
                with self._lock:
                    row = next(self._rows, None)
                if row is None:
                    return
                outcome, cost_nano = replay_row(client, self._plan, row)
                with self._lock:
                    self._count(row, outcome, cost_nano)

    def _count(self, row: TraceRow, outcome: str, cost_nano: int) -> None:
        tally = self.tally
        tally.requests += 1
        tally.cost_nano += cost_nano
        if outcome == "charged":
            tally.charged += 1
        else:
            tally.free_rows[row.number] = outcome
            if outcome == "failed":
                tally.failed += 1
            else:
                tally.refused += 1
        if self._bar:
            self._bar.show(tally)


def replay_row(client: GateClient, plan: Plan, row: TraceRow) -> tuple[str, int]:
    """Authorize one request at its worst case, then capture or void it. Returns the outcome and what it cost.

    Raises ReplayStopped, GateUnreachable.
    """
    held = client.post(
        "authorize",
        {
            "organization": plan.organization,
            "idempotency_key": plan.key(row),
            "model": plan.model,
            "surface": plan.surface,
            "key_ref": "replay",
            "quantities": {"input": row.context_tokens, "output": output_ceiling(row)},
        },
    )
    if held.code == "credit_exhausted":
        return "refused", 0
    hold_id = expect_success(held, row)["hold_id"]
    if plan.fails(row):
        voided = client.post("void", {"organization": plan.organization, "hold_id": hold_id})
        expect_success(voided, row)
        return "failed", 0
    captured = client.post(
        "capture",
        {
            "organization": plan.organization,
            "hold_id": hold_id,
            "idempotency_key": plan.key(row),
            "quantities": {"input": row.context_tokens, "output": row.generated_tokens},
        },
    )
    return "charged", int(expect_success(captured, row)["amount_nano"])


def output_ceiling(row: TraceRow) -> int:
    """The output that the caller asked for at most: what was generated, rounded up to a usual limit."""
    steps = max(1, -(-row.generated_tokens // OUTPUT_CEILING_STEP))
    return min(steps * OUTPUT_CEILING_STEP, traces.TOKENS_MAX)


def expect_success(answer: GateAnswer, row: TraceRow) -> dict[str, Any]:
    """The body of a successful answer. Raises ReplayStopped with what is wrong."""
    if answer.status in {200, 201}:
        return answer.body
    reason = HOPELESS.get(answer.code) or f"The gate answers {answer.status} {answer.code}."
    raise ReplayStopped(f"{reason} (row {row.number})")


class Bar:
    """A progress bar on a terminal, drawn a few times a second."""

    def __init__(self, stream: TextIO, *, total: int) -> None:
        self._stream = stream
        self._total = total
        self._started_at = time.monotonic()
        self._shown_at = 0.0

    def show(self, tally: Tally, *, now: float | None = None) -> None:
        """Draw how far it is, unless that was done just before."""
        now = time.monotonic() if now is None else now
        if now - self._shown_at < PROGRESS_SECONDS and tally.requests < self._total:
            return
        self._shown_at = now
        filled = BAR_LENGTH * tally.requests // max(1, self._total)
        speed = int(tally.requests / max(0.001, now - self._started_at))
        self._stream.write(
            f"\r{'█' * filled}{'░' * (BAR_LENGTH - filled)} {tally.requests:,}/{self._total:,}"
            f"  {speed:,} requests/s  refused {tally.refused:,} "
        )
        self._stream.flush()

    def end(self) -> None:
        """Leave the line."""
        self._stream.write("\n")


def write_free_rows(path: Path, tally: Tally) -> None:
    """Write the rows that cost nothing, by number. Raises CommandError."""
    try:
        with path.open("w", encoding="ascii", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["row", "outcome"])
            writer.writerows(sorted(tally.free_rows.items()))
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error}") from error


def result_text(plan: Plan, tally: Tally, *, milliseconds: int, as_json: bool) -> str:
    """What the run did, for people or for programs."""
    per_second = tally.requests * 10_000 // milliseconds
    speed = f"{per_second // 10:,}.{per_second % 10}"
    if as_json:
        facts = {
            "run_id": plan.run_id,
            "requests": tally.requests,
            "charged": tally.charged,
            "failed": tally.failed,
            "refused": tally.refused,
            "cost_nano": tally.cost_nano,
            "cost_usd": exact_usd(tally.cost_nano),
            "milliseconds": milliseconds,
            "requests_per_second": speed.replace(",", ""),
        }
        return json.dumps(facts) + "\n"
    lines = (
        ("run id", plan.run_id),
        ("requests", f"{tally.requests:,}"),
        ("charged", f"{tally.charged:,}"),
        ("failed", f"{tally.failed:,}"),
        ("refused", f"{tally.refused:,}"),
        ("total cost", f"${exact_usd(tally.cost_nano)} ({tally.cost_nano:,} nano-USD)"),
        ("requests/s", speed),
    )
    return "".join(f"{name:<11} {value}\n" for name, value in lines)
