"""Entry points for Celery: an id in, one call. Each may come twice, late or never; the sweeps find what was left.

A sweep hands its finds to tasks of their own, so that one slow answer from Stripe doesn't hold up the others.
"""

import io
import logging
import os
from datetime import timedelta
from typing import Any

from celery import Task, shared_task
from celery.signals import worker_init, worker_process_init
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone
from kombu.exceptions import OperationalError

from billing.credits import expiry
from billing.payments import auto_reload, credit_events, payment_methods, reconciliation, stripe_events

NUDGE_EXPIRES_SECONDS = 60
RECONCILED = timedelta(days=7)

logger = logging.getLogger(__name__)


@worker_init.connect
@worker_process_init.connect
def note_role(**_: Any) -> None:
    """Say in payments made here that a worker made them, unless whoever started it has said so."""
    os.environ.setdefault("PROCESS_NAME", "worker")


def nudge(task: "Task[Any, Any]", *args: int) -> None:
    """Ask for a task now. A broker that is down is logged and forgotten: the sweep does the work (case 56)."""
    try:
        task.apply_async(args=args, expires=NUDGE_EXPIRES_SECONDS)
    except (OperationalError, OSError) as error:
        logger.warning("%s was not enqueued, its sweep will find it: %s", task.name, error)


@shared_task(ignore_result=True)
def attempt_reload(organization_id: int) -> None:
    """Reload the credits of an organization that is low."""
    auto_reload.attempt(organization_id=organization_id, at=timezone.now())


@shared_task(ignore_result=True)
def relay_credit_events() -> None:
    """Do what follows from the ledger's events: attempt reloads, tell that credit has run out."""
    for organization_id in credit_events.relay(at=timezone.now()):
        nudge(attempt_reload, organization_id)


@shared_task(ignore_result=True)
def sweep_reloads() -> None:
    """Find organizations that are low."""
    for organization_id in auto_reload.due(at=timezone.now()):
        nudge(attempt_reload, organization_id)


@shared_task(ignore_result=True)
def process_stripe_event(event_id: int) -> None:
    """Do what a webhook asked for."""
    stripe_events.process(event_id=event_id, at=timezone.now())


@shared_task(ignore_result=True)
def sweep_stripe_events() -> None:
    """Find webhooks whose effect doesn't stand yet."""
    for event_id in stripe_events.waiting(at=timezone.now()):
        nudge(process_stripe_event, event_id)


@shared_task(ignore_result=True)
def reconcile_purchases() -> None:
    """Find payments that neither a reply nor a webhook has ended."""
    reconciliation.sweep(at=timezone.now())


@shared_task(ignore_result=True)
def reconcile_nightly() -> None:
    """Compare the last days with Stripe, whatever was heard of them. What is left for people is an error."""
    at = timezone.now()
    report = reconciliation.reconcile(since=at - RECONCILED, at=at)
    for line in report.repaired:
        logger.warning("Reconciliation repaired %s", line)
    for line in report.left:
        logger.error("Reconciliation leaves to people: %s", line)


@shared_task(ignore_result=True)
def prove_ledger() -> None:
    """Check every invariant, and keep the heads of the chains out of the database. What does not hold is an error."""
    report = io.StringIO()
    settings.LEDGER_HEADS_FILE.parent.mkdir(parents=True, exist_ok=True)
    try:
        call_command("check_ledger", heads=settings.LEDGER_HEADS_FILE, stdout=report)
    except CommandError:
        logger.exception("The ledger does not hold:\n%s", report.getvalue())


@shared_task(ignore_result=True)
def tell_card_expiry() -> None:
    """Mail that cards end soon, or have ended."""
    payment_methods.tell_expiry(at=timezone.now())


@shared_task(ignore_result=True)
def tidy_customers() -> None:
    """Tell the payment processor who gets billing mail, where that has changed."""
    payment_methods.tidy_stale()


@shared_task(ignore_result=True)
def book_expiry() -> None:
    """Write down what has expired."""
    if expiry.book_due():
        nudge(relay_credit_events)
