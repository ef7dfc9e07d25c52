"""Real usage through a real gate: what is charged equals what a program that shares no code with it computes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import service_keys
from accounts.models import Organization
from billing.credits import ledger, prices, queries
from billing.management import traces
from billing.management.gate_client import GateClient, GateUnreachable
from billing.models import Charge, CreditLot, Hold
from billing.tests.gate_process import ROOT, running_gate

REAL_TRACE = ROOT.parent / "shared" / "data" / "azure-llm-code-2023.csv"
MODEL = "orion-large"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def gate_url(
    role_address: Callable[[str], str], django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    log = tmp_path_factory.mktemp("gate") / "gate.log"
    with running_gate(database_url=role_address("console_app"), log=log) as address:
        yield address


class Rehearsal:
    """An organization with credit, and the commands as an operator gives them."""

    def __init__(self, *, gate_url: str, folder: Path) -> None:
        prices.seed(effective_at=timezone.now() - timedelta(days=36))
        self.organization = Organization.objects.create(name="Acme", slug="acme")
        self.folder = folder
        self._gate_url = gate_url
        self._key_text = service_keys.issue(name="replay", actor=None).key_text

    def fund(self, amount_usd: int) -> None:
        ledger.grant(
            organization_id=self.organization.pk,
            kind=CreditLot.Kind.PROMOTIONAL,
            amount_nano=amount_usd * 10**9,
            reason="for a test",
        )

    def trace(self, *, rows: int, seed: int = 7) -> Path:
        path = self.folder / f"trace-{rows}-{seed}.csv"
        call_command("make_trace", rows=rows, seed=seed, out=path)
        return path

    def replay(self, trace: Path, **options: Any) -> dict[str, Any]:
        output = StringIO()
        options = {"gate": self._gate_url, "service_key": self._key_text, "model": MODEL, "surface": "api"} | options
        call_command("replay", trace, organization="acme", json=True, stdout=output, **options)
        result: dict[str, Any] = json.loads(output.getvalue())
        return result

    def recompute(self, trace: Path, *arguments: str, model: str = MODEL) -> dict[str, Any]:
        """What the separate program makes of the same trace, in a process without Django."""
        price_file = self.folder / "prices.json"
        call_command("export_prices", out=price_file)
        command = [sys.executable, "-m", "sandbox.recompute", "--trace", str(trace), "--prices", str(price_file)]
        done = subprocess.run(
            [*command, "--model", model, "--json", *arguments], cwd=ROOT, env={}, check=True, capture_output=True
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def spent_nano(self) -> int:
        return queries.cost_nano(
            organization_id=self.organization.pk,
            start=timezone.now() - timedelta(days=1),
            end=timezone.now() + timedelta(days=1),
        )


@pytest.fixture
def rehearsal(transactional_db: None, gate_url: str, tmp_path: Path) -> Rehearsal:
    return Rehearsal(gate_url=gate_url, folder=tmp_path)


def test_a_made_trace_costs_what_the_recomputation_says(rehearsal: Rehearsal) -> None:
    rehearsal.fund(100)
    trace, failed = rehearsal.trace(rows=200), rehearsal.folder / "failed.csv"

    result = rehearsal.replay(trace, fail_rate="0.1", failed_out=failed, concurrency=3)

    expected = rehearsal.recompute(trace, "--failed", str(failed))
    assert result["cost_nano"] == expected["cost_nano"] == rehearsal.spent_nano()
    assert result["charged"] == expected["charged"] == Charge.objects.count()
    assert result["failed"] == Hold.objects.filter(state="voided").count() > 0
    assert result["charged"] + result["failed"] == result["requests"] == 200
    summary = queries.summary(organization_id=rehearsal.organization.pk)
    assert summary.available_nano == 100 * 10**9 - result["cost_nano"]
    assert summary.held_nano == 0


def test_fractions_of_a_nano_are_rounded_up_once_for_each_request(rehearsal: Rehearsal) -> None:
    rehearsal.fund(1)
    trace, odd = rehearsal.trace(rows=100), {"input": 333_333, "output": 7_777_777}
    prices.publish(
        prices=prices.ModelPrices(slug="odd", name="Odd", prices_nano_per_million=odd),
        effective_at=timezone.now() - timedelta(seconds=1),
    )

    result = rehearsal.replay(trace, model="odd")

    assert result["cost_nano"] == rehearsal.recompute(trace, model="odd")["cost_nano"] == rehearsal.spent_nano()
    exact = sum(row.context_tokens * 333_333 + row.generated_tokens * 7_777_777 for row in traces.read(trace))
    assert 0 < result["cost_nano"] * 1_000_000 - exact < 100 * 1_000_000


@pytest.mark.skipif(not REAL_TRACE.exists(), reason="the real trace is not beside this checkout")
def test_the_real_trace_costs_what_the_recomputation_says(rehearsal: Rehearsal) -> None:
    rehearsal.fund(100)
    failed = rehearsal.folder / "failed.csv"

    result = rehearsal.replay(REAL_TRACE, limit=300, fail_rate="0.02", failed_out=failed)

    expected = rehearsal.recompute(REAL_TRACE, "--limit", "300", "--failed", str(failed))
    assert result["cost_nano"] == expected["cost_nano"] == rehearsal.spent_nano()
    assert result["requests"] == 300
    assert result["charged"] == expected["charged"]


def test_rows_refused_for_lack_of_credit_cost_nothing(rehearsal: Rehearsal) -> None:
    rehearsal.fund(1)
    trace, failed = rehearsal.trace(rows=120), rehearsal.folder / "failed.csv"

    result = rehearsal.replay(trace, failed_out=failed)

    expected = rehearsal.recompute(trace, "--failed", str(failed))
    assert 0 < result["refused"] < 120
    assert result["cost_nano"] == expected["cost_nano"] == rehearsal.spent_nano() <= 10**9


def test_a_run_that_is_repeated_charges_nothing_twice(rehearsal: Rehearsal) -> None:
    rehearsal.fund(100)
    trace = rehearsal.trace(rows=60)

    half = rehearsal.replay(trace, run_id="night", fail_rate="0.2", limit=30)
    whole = rehearsal.replay(trace, run_id="night", fail_rate="0.2")
    again = rehearsal.replay(trace, run_id="night", fail_rate="0.2")

    assert half["cost_nano"] < whole["cost_nano"] == again["cost_nano"] == rehearsal.spent_nano()
    assert Charge.objects.count() == whole["charged"] == again["charged"]
    assert whole["failed"] == again["failed"]


def test_a_second_half_begins_where_the_first_ended(rehearsal: Rehearsal) -> None:
    rehearsal.fund(100)
    trace = rehearsal.trace(rows=40)

    first = rehearsal.replay(trace, limit=15)
    second = rehearsal.replay(trace, skip=15)

    assert second["requests"] == 25
    assert first["cost_nano"] + second["cost_nano"] == rehearsal.recompute(trace)["cost_nano"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": "no-such-model"}, "no price"),
        ({"service_key": "ck_live_00000000_" + "0" * 43}, "service key"),
        ({"fail_rate": "1.5"}, "fail-rate"),
        ({"fail_rate": "1e-2"}, "fail-rate"),
        ({"concurrency": 0}, "concurrency"),
        ({"gate": "localhost:8001"}, "no address"),
    ],
)
def test_what_can_not_be_replayed_is_said_in_words(rehearsal: Rehearsal, options: dict[str, Any], text: str) -> None:
    rehearsal.fund(1)
    with pytest.raises(CommandError, match=text):
        rehearsal.replay(rehearsal.trace(rows=3), **options)
    assert rehearsal.spent_nano() == 0


def test_a_file_that_is_no_trace_is_refused_before_anything_is_sent(rehearsal: Rehearsal) -> None:
    trace = rehearsal.folder / "broken.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00,10,5\n2026-01-01 00:00:01,-1,5\n")
    with pytest.raises(CommandError, match="row 2: '-1'"):
        rehearsal.replay(trace)
    assert Hold.objects.count() == 0


def test_the_result_for_people_names_the_sums(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal.fund(100)
    monkeypatch.setenv("GATE_SERVICE_KEY", service_keys.issue(name="shell", actor=None).key_text)
    output, trace = StringIO(), rehearsal.trace(rows=5)
    call_command(
        "replay", trace, organization="acme", model=MODEL, gate=rehearsal._gate_url, run_id="r1", stdout=output
    )
    cost_nano = rehearsal.recompute(trace)["cost_nano"]
    assert f"({cost_nano:,} nano-USD)" in output.getvalue()
    assert "requests    5\ncharged     5\nfailed      0\nrefused     0\n" in output.getvalue()


def test_failures_follow_from_seed_and_row_alone(rehearsal: Rehearsal) -> None:
    from billing.management.commands.replay import Plan

    def failing(seed: int) -> set[int]:
        plan = Plan("r", "acme", MODEL, "api", seed, 20_000)
        return {number for number in range(1, 20_001) if plan.fails(traces.TraceRow(number, 1, 1))}

    assert failing(1) == failing(1) != failing(2)
    assert 300 < len(failing(1)) < 500


def test_a_run_that_broke_off_between_two_calls_is_resumed_by_its_id(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.fund(100)
    trace, calls = rehearsal.trace(rows=20), iter(range(15))
    send = GateClient.post

    def send_until_cut(client: GateClient, operation: str, body: dict[str, Any]) -> Any:
        if next(calls, None) is None:
            raise GateUnreachable("cut")
        return send(client, operation, body)

    with monkeypatch.context() as patch:
        patch.setattr(GateClient, "post", send_until_cut)
        with pytest.raises(
            CommandError, match=r"Stopped after 7 of 20 requests\. cut\. The run can be resumed: --run-id r7"
        ):
            rehearsal.replay(trace, run_id="r7")
    assert Hold.objects.filter(state="open").count() == 1, "authorized, and then nothing"

    result = rehearsal.replay(trace, run_id="r7")

    assert result["cost_nano"] == rehearsal.recompute(trace)["cost_nano"] == rehearsal.spent_nano()
    assert Hold.objects.filter(state="open").count() == 0


def test_a_gate_that_does_not_answer_is_said_in_words(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.management.gate_client.TRIES", 2)
    with pytest.raises(CommandError, match=r"Stopped after 0 of 3 requests\. authorize: ConnectionRefusedError"):
        rehearsal.replay(rehearsal.trace(rows=3), gate="http://127.0.0.1:9")
