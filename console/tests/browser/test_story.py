"""The whole story of prepaid credit, as the Billing user lives it, against a real `./run --ephemeral`.

Nothing is replaced: PostgreSQL, Valkey, web, gate, worker and beat are processes of their own, the card goes to the
Stripe stand-in over HTTP, usage is a trace replayed through the gate, and what it must cost is computed by a program
that shares no code with the console.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

CHECKOUT = Path(__file__).resolve().parents[3]
REAL_TRACE = CHECKOUT.parent / "shared" / "data" / "azure-llm-code-2023.csv"
ORGANIZATION = "acme-robotics"
LARGE = "orion-large"  # $15 and $75 for a million tokens
SMALL = "orion-small"
CENT_NANO = 10_000_000
USD_NANO = 100 * CENT_NANO
START_SECONDS_MAX = 120
RELOAD_SECONDS_MAX = 60
QUIET_SECONDS = 60
AVAILABLE = "dl.sums dt:text-is('Available') + dd"
USED_THIS_MONTH = "dl.sums dt:text-matches('^Used in') + dd"


@dataclass
class Demo:
    """A running demo, spoken to as its users do."""

    address: str
    gate: str
    stripe: str
    environment: dict[str, str]
    pids: dict[str, int]
    folder: Path
    row: int = 0
    spent_nano: int = 0
    calls: int = field(default=0)

    def manage(self, *arguments: str) -> str:
        """Run a management command beside the demo."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def trace(self) -> Path:
        """The real trace where it is at hand, else a made one of its shape."""
        if REAL_TRACE.exists():
            return REAL_TRACE
        made = self.folder / "trace.csv"
        if not made.exists():
            self.manage("make_trace", "--rows", "9000", "--seed", "2", "--out", str(made))
        return made

    def replay(self, rows: int, *, model: str = LARGE) -> dict[str, Any]:
        """Replay the next rows of the trace through the gate, and check the cost against the recomputation."""
        free = self.folder / "free-rows.csv"
        part = ("--skip", str(self.row), "--limit", str(rows))
        printed = self.manage(
            *("replay", str(self.trace()), "--organization", ORGANIZATION, "--model", model, "--surface", "api"),
            *("--fail-rate", "0.02", "--json", "--concurrency", "4", "--failed-out", str(free), *part),
        )
        result: dict[str, Any] = json.loads(printed)
        self.row += rows
        self.spent_nano += self.recomputed_nano(model, free, part)
        return result

    def recomputed_nano(self, model: str, free: Path, part: tuple[str, ...]) -> int:
        """What those rows cost, by the program that imports nothing of billing."""
        prices = self.folder / "prices.json"
        if not prices.exists():
            self.manage("export_prices", "--out", str(prices))
        command = [sys.executable, "-m", "sandbox.recompute", "--trace", str(self.trace()), "--prices", str(prices)]
        command += ["--model", model, "--failed", str(free), "--json", *part]
        done = subprocess.run(command, cwd=CHECKOUT, env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
        return int(json.loads(done.stdout)["cost_nano"])

    def authorization(self) -> dict[str, str]:
        """The gateway's service key, as a header."""
        return {"Authorization": f"Bearer {self.environment['GATE_SERVICE_KEY']}"}

    def call_gate(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """One call of the gate, as the platform's gateway makes it."""
        headers = {
            "Authorization": f"Bearer {self.environment['GATE_SERVICE_KEY']}",
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(f"{self.gate}/v1/{operation}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def authorize(self, *, output: int = 100) -> tuple[int, dict[str, Any]]:
        """Ask for credit for one request."""
        self.calls += 1
        return self.call_gate(
            "authorize",
            {
                "organization": ORGANIZATION,
                "idempotency_key": f"story-{self.calls}",
                "model": LARGE,
                "surface": "api",
                "quantities": {"input": 1_000, "output": output},
            },
        )

    def available_nano(self) -> int:
        """What the gate says is available."""
        address = f"{self.gate}/v1/balance?organization={ORGANIZATION}"
        request = urllib.request.Request(address, headers=self.authorization())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["available_nano"])

    def card_charges(self) -> list[dict[str, Any]]:
        """Every attempt at charging a card, from the stand-in's own journal."""
        with urllib.request.urlopen(f"{self.stripe}/_sandbox/journal", timeout=30) as answer:
            entries: list[dict[str, Any]] = json.load(answer)["entries"]
        return entries

    def reloads(self) -> list[dict[str, Any]]:
        """The attempts that were made without the customer."""
        return [entry for entry in self.card_charges() if entry["off_session"]]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo of its own, ended with everything it started."""
    ready_file = tmp_path / "ready.json"
    tmp_path.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    log = (tmp_path / "run.log").open("w")
    running = subprocess.Popen(
        ["./run", "--ephemeral", "--ready-file", str(ready_file)], cwd=CHECKOUT, env=clean, stdout=log, stderr=log
    )
    try:
        give_up_at = time.monotonic() + START_SECONDS_MAX
        while not ready_file.exists():
            assert running.poll() is None, (tmp_path / "run.log").read_text()
            assert time.monotonic() < give_up_at, (tmp_path / "run.log").read_text()
            time.sleep(0.2)
        ready = json.loads(ready_file.read_text())
        yield Demo(
            address=ready["address"],
            gate=ready["gate"],
            stripe=ready["stripe"],
            environment=clean | exported(Path(ready["environment"])),
            pids=ready["pids"],
            folder=tmp_path,
        )
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=60)
        log.close()


def exported(path: Path) -> dict[str, str]:
    """The variables that the demo wrote for commands."""
    printed = subprocess.run(["sh", "-c", f". '{path}'; env -0"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)


def shown(nano: int, *, is_owed: bool = False) -> str:
    """An amount written out by hand, with two digits below the cent where they matter.

    What a person has is rounded down, what was used up.
    """
    digits = -(-nano // 100_000) if is_owed else nano // 100_000
    text = f"${digits // 10_000:,}.{digits // 100 % 100:02d}"
    return text + (f"{digits % 100:02d}" if nano % CENT_NANO else "")


def text_of(page: Page, selector: str) -> str:
    """The text of one element, without white space."""
    return re.sub(r"\s+", "", page.locator(selector).inner_text())


def open_billing(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.address}/o/{ORGANIZATION}/settings/billing/")
    expect(page.get_by_role("heading", name="Billing", level=1)).to_be_visible()


def expect_balance(page: Page, demo: Demo, nano: int) -> None:
    """The page, the gate and the recomputation say the same."""
    open_billing(page, demo)
    assert text_of(page, AVAILABLE) == shown(nano)
    assert demo.available_nano() == nano


def log_in(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.address}/")
    page.get_by_label("E-mail").fill("billing@acme.example")
    page.get_by_label("Password").fill("demo-credits-2026")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Billing", level=1)).to_be_visible()


def update_card(page: Page, demo: Demo) -> None:
    open_billing(page, demo)
    page.get_by_role("link", name="Update payment method").first.click()
    dialog = page.get_by_role("dialog", name="Update payment method")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Name on the card").fill("Bela Billing")
    dialog.get_by_role("textbox", name="Card number").fill("4242424242424242")
    dialog.get_by_role("textbox", name=re.compile("^Expir")).fill("12 / 34")
    dialog.get_by_role("textbox", name=re.compile("CVC|Security code")).fill("123")
    dialog.get_by_role("button", name="Update", exact=True).click()
    expect(page.get_by_text("Visa ending in 4242").first).to_be_visible(timeout=20_000)


def buy(page: Page, demo: Demo, dollars: str, *, told: str = "spendable now") -> None:
    open_billing(page, demo)
    page.get_by_role("link", name="Buy credits").first.click()
    dialog = page.get_by_role("dialog", name="Buy credits")
    dialog.get_by_label("Other amount").fill(dollars)
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name=re.compile("Buy")).click()
    expect(page.get_by_text(re.compile(rf"\${dollars}\.00 of credit bought.*{told}"))).to_be_visible(timeout=20_000)


def set_auto_reload(page: Page, demo: Demo, *, is_on: bool) -> None:
    open_billing(page, demo)
    page.get_by_role("link", name="Edit auto-reload").first.click()
    dialog = page.get_by_role("dialog", name="Auto-reload")
    dialog.get_by_role("switch", name="Reload automatically").set_checked(is_on)
    if is_on:
        dialog.get_by_label("Minimum balance").fill("5")
        dialog.get_by_label("Reload to").fill("20")
        dialog.get_by_label("At most a month").fill("100")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden(timeout=20_000)
    if page.get_by_role("heading", name="Confirm that it is you").is_visible():
        # The story takes longer than a sign-in stays recent; the form goes on by itself.
        page.get_by_label("Password").fill("demo-credits-2026")
        page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Auto-reload is on" if is_on else "Auto-reload is off").first).to_be_visible()


def await_reload(demo: Demo) -> None:
    """Wait until the credit of the reload is there."""
    give_up_at = time.monotonic() + RELOAD_SECONDS_MAX
    while demo.available_nano() < 19 * USD_NANO:
        assert time.monotonic() < give_up_at, "the reload never came"
        time.sleep(0.25)


def test_an_organization_buys_uses_reloads_runs_out_and_buys_again(page: Page, demo: Demo) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)

    # No card yet: the page says so, and a card is saved in the dialog behind the pencil.
    log_in(page, demo)
    expect(page.get_by_text("No card yet").first).to_be_visible()
    update_card(page, demo)

    # Bought is spendable at once, to the cent.
    buy(page, demo, "25")
    bought_nano = 25 * USD_NANO
    expect_balance(page, demo, bought_nano)

    # Usage costs what the recomputation says, to the nano; failed requests cost nothing.
    result = demo.replay(120)
    assert result["failed"] > 0
    assert result["refused"] == 0
    assert result["cost_nano"] == demo.spent_nano
    expect_balance(page, demo, bought_nano - demo.spent_nano)
    assert text_of(page, USED_THIS_MONTH) == shown(demo.spent_nano, is_owed=True)

    # Below the line one reload comes, off session, from a worker, and brings credit back to the target.
    set_auto_reload(page, demo, is_on=True)
    while not demo.reloads():
        assert demo.row < 5_000, "usage never crossed the line"
        # Large steps far above the line, small ones near it: a row costs about three cents.
        demo.replay(max(15, (bought_nano - demo.spent_nano - 5 * USD_NANO) // (6 * CENT_NANO)))
        if bought_nano - demo.spent_nano < 5 * USD_NANO:
            await_reload(demo)
    (reload,) = demo.reloads()
    assert reload["outcome"] == "succeeded"
    worker = reload["metadata"]["process"]
    assert worker.startswith("worker:")
    assert int(worker.split(":")[1]) != demo.pids.get("web")
    bought_nano += reload["amount"] * CENT_NANO
    level_nano = bought_nano - demo.spent_nano
    assert 20 * USD_NANO <= level_nano < 20 * USD_NANO + CENT_NANO
    expect_balance(page, demo, level_nano)

    # A minute of usage above the line adds none.
    quiet_until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < quiet_until:
        demo.replay(10, model=SMALL)
        time.sleep(2)
    assert len(demo.reloads()) == 1
    assert len(demo.card_charges()) == 2
    expect_balance(page, demo, bought_nano - demo.spent_nano)

    # Off, and dry: the last request uses more than was held for it, so nothing is left at all.
    set_auto_reload(page, demo, is_on=False)
    while not demo.replay(250)["refused"]:
        assert demo.row < 8_700, "credit never ran out"
    left_nano = bought_nano - demo.spent_nano
    assert demo.available_nano() == left_nano
    overshoot_output = left_nano // 75_000 + 1_000
    status, held = demo.call_gate(
        "authorize",
        {
            "organization": ORGANIZATION,
            "idempotency_key": "story-last",
            "model": LARGE,
            "surface": "workbench",
            "quantities": {"input": 1},
        },
    )
    assert status in (200, 201), held
    demo.call_gate(
        "capture",
        {
            "organization": ORGANIZATION,
            "idempotency_key": "story-last",
            "hold_id": held["hold_id"],
            "quantities": {"input": 1, "output": overshoot_output},
        },
    )
    demo.spent_nano += 15_000 + overshoot_output * 75_000
    debt_nano = demo.spent_nano - bought_nano
    assert demo.available_nano() == -debt_nano
    status, refusal = demo.authorize()
    assert status == 402
    assert refusal["error"]["code"] == "credit_exhausted"
    open_billing(page, demo)
    stopped = page.get_by_role("region", name="The API is stopped: no credits left")
    expect(stopped).to_contain_text("The credits are used up, and auto-reload is off.")
    expect(stopped.get_by_role("link", name="Buy credits")).to_be_visible()
    assert len(demo.reloads()) == 1

    # Buying again pays what is owed and says so, and the very next request is served.
    buy(page, demo, "25", told="paid off debt")
    status, held = demo.authorize()
    assert status in (200, 201), held
    demo.call_gate("void", {"organization": ORGANIZATION, "hold_id": held["hold_id"]})
    bought_nano += 25 * USD_NANO
    expect_balance(page, demo, bought_nano - demo.spent_nano)

    # And all of it adds up.
    assert "ok" in demo.manage("check_ledger").lower()
    assert problems == []
