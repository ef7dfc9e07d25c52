"""The Celery application.

Celery makes things faster, never possible: every effect that matters is a row with a state, and a periodic sweep
finds the rows that a lost message left behind. So a flushed broker loses time and nothing else.
"""

import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

PROOF_EXPIRES_SECONDS = 12 * 3_600


@app.on_after_configure.connect
def prove_nightly(sender: Celery, **_: Any) -> None:
    """The sweeps are intervals and stand in the settings; a time of the day is Celery's own kind of value."""
    sender.add_periodic_task(
        crontab(hour="3", minute="30"),
        sender.signature("billing.tasks.prove_ledger"),
        name="prove-ledger",
        expires=PROOF_EXPIRES_SECONDS,
    )
    sender.add_periodic_task(
        crontab(hour="4", minute="0"),
        sender.signature("billing.tasks.reconcile_nightly"),
        name="reconcile-nightly",
        expires=PROOF_EXPIRES_SECONDS,
    )


@worker_init.connect
def refuse_excess_rights(**_: Any) -> None:
    """End a worker that could rewrite the ledger; signals swallow every exception but an exit."""
    from django.core.exceptions import ImproperlyConfigured

    from console import checks

    try:
        checks.refuse_excess_rights()
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from error
