"""The Celery application.

Celery makes things faster, never possible: every effect that matters is a row with a state, and a periodic sweep
finds the rows that a lost message left behind. So a flushed broker loses time and nothing else.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

app = Celery("console")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
