"""Entry points for Celery. Each takes the clock, makes one call, and may run twice or not at all: a sweep follows."""

from celery import shared_task
from django.utils import timezone

from accounts import outbox, sessions, throttles, used_codes


@shared_task(ignore_result=True)
def deliver_outbox() -> None:
    """Send the mails that are due."""
    outbox.deliver(at=timezone.now())


@shared_task(ignore_result=True)
def remove_ended_throttles() -> None:
    """Remove counters of tries whose time is over."""
    throttles.remove_ended(at=timezone.now())


@shared_task(ignore_result=True)
def remove_ended_sessions() -> None:
    """Remove sessions that are over."""
    sessions.remove_ended(at=timezone.now())


@shared_task(ignore_result=True)
def forget_used_codes() -> None:
    """Delete notes of codes that have run out long ago."""
    used_codes.forget(at=timezone.now())
