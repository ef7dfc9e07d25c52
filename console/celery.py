"""The Celery application.

Celery makes things faster, never possible: every effect that matters is a row with a state, and a periodic sweep
finds the rows that a lost message left behind. So a flushed broker loses time and nothing else.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def refuse_excess_rights(**_: Any) -> None:
    """End a worker that could rewrite the ledger; signals swallow every exception but an exit."""
    from django.core.exceptions import ImproperlyConfigured

    from console import checks

    try:
        checks.refuse_excess_rights()
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from error
