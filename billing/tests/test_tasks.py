"""The entry points for Celery: what they call, and that a broker that is down changes nothing."""

import json
import os
from datetime import timedelta

import pytest
from django.conf import settings as django_settings

from billing import tasks
from billing.models import CreditAccount, Purchase
from billing.payments import stripe_events
from billing.payments.stripe_gateway import EventFacts
from billing.tests.buyer import Buyer
from billing.tests.test_stripe_events import event_of

app = tasks.attempt_reload.app


def make_low(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(600)


def test_the_task_makes_the_reload(buyer):
    make_low(buyer)
    tasks.attempt_reload.apply(args=[buyer.organization.pk], throw=True)
    assert buyer.available_cents == 2_000


def test_case_034_a_task_that_comes_twice_charges_once(buyer):
    make_low(buyer)
    for _ in range(2):
        tasks.attempt_reload.apply(args=[buyer.organization.pk], throw=True)
    assert len(buyer.journal()) == 1


def test_case_056_a_broker_that_is_down_is_no_error_and_the_sweep_still_finds_the_work(buyer):
    make_low(buyer)
    tasks.nudge(tasks.attempt_reload, buyer.organization.pk)
    tasks.sweep_reloads.apply(throw=True)
    assert buyer.is_due()
    tasks.attempt_reload.apply(args=[buyer.organization.pk], throw=True)
    assert buyer.available_cents == 2_000


def test_the_sweep_reloads_each_organization_that_is_low(buyer, stripe_stand_in, at_once_in_this_process):
    others = [Buyer(stripe_stand_in, name="Borealis"), Buyer(stripe_stand_in, name="Cygnus")]
    for one in (buyer, *others):
        make_low(one)
    others[1].disarm()
    tasks.sweep_reloads.apply(throw=True)
    assert [one.available_cents for one in (buyer, *others)] == [2_000, 2_000, 400]


def test_the_event_sweep_works_on_what_is_waiting(buyer, at_once_in_this_process):
    facts = EventFacts("evt_1", "invoice.paid", "in_1", "", False, event_of("invoice.paid", {"id": "in_1"}))
    row = stripe_events.store(facts, at=buyer.now())
    tasks.sweep_stripe_events.apply(throw=True)
    row.refresh_from_db()
    assert row.processed_at is not None


def test_the_reconciler_settles_what_is_open(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    buyer.buy()
    Purchase.objects.update(created_at=buyer.now() - timedelta(minutes=2))
    tasks.reconcile_purchases.apply(throw=True)
    assert buyer.available_cents == 2_500


@pytest.mark.django_db(transaction=True)
def test_credit_that_expires_below_the_line_is_reloaded(buyer, credits_clock, monkeypatch, at_once_in_this_process):
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    monkeypatch.setattr("billing.tasks.timezone.now", buyer.now)
    credits_clock.advance(timedelta(days=366))
    tasks.book_expiry.apply(throw=True)
    assert buyer.available_cents == 2_000


def test_every_scheduled_task_exists():
    app.loader.import_default_modules()
    for entry in django_settings.CELERY_BEAT_SCHEDULE.values():
        assert entry["task"] in app.tasks, entry


@pytest.mark.parametrize(
    "name", ["relay_credit_events", "sweep_reloads", "sweep_stripe_events", "reconcile_purchases", "book_expiry"]
)
def test_every_sweep_is_scheduled(name):
    scheduled = {entry["task"] for entry in django_settings.CELERY_BEAT_SCHEDULE.values()}
    assert f"billing.tasks.{name}" in scheduled


def test_a_worker_says_that_it_is_one_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("PROCESS_NAME", raising=False)
    tasks.note_role()
    assert os.environ["PROCESS_NAME"] == "worker"
    monkeypatch.setenv("PROCESS_NAME", "worker-2")
    tasks.note_role()
    assert os.environ["PROCESS_NAME"] == "worker-2"


def test_the_nightly_proof_keeps_the_heads_out_of_the_database(customer, settings, tmp_path):
    settings.LEDGER_HEADS_FILE = tmp_path / "kept" / "heads.jsonl"
    customer.give(100)
    customer.charge(7, key="k")
    tasks.prove_ledger.apply(throw=True)
    [line] = settings.LEDGER_HEADS_FILE.read_text().splitlines()
    head = json.loads(line)
    account = CreditAccount.objects.get()
    assert (head["organization_id"], head["seq"], head["hash"]) == (customer.id, 2, bytes(account.last_hash).hex())


@pytest.mark.django_db(transaction=True)
def test_the_nightly_proof_is_an_error_in_the_log_when_something_does_not_hold(
    customer, settings, tmp_path, superuser_connection, caplog
):
    settings.LEDGER_HEADS_FILE = tmp_path / "heads.jsonl"
    customer.give(100)
    superuser_connection.execute("update billing_creditaccount set unreserved_nano = 101")
    tasks.prove_ledger.apply(throw=True)
    assert "account_sums_agree" in caplog.text
    assert not settings.LEDGER_HEADS_FILE.exists()


def test_everything_that_is_due_by_the_clock_is_a_task_that_exists():
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert "billing.tasks.prove_ledger" in scheduled
    assert scheduled <= set(app.tasks)
