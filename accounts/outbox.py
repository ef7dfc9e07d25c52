"""Mail that leaves after the transaction that asked for it, once per key, and never silently not at all.

A message is a row, written in the caller's transaction: rolled back with it, sent after it. Delivery claims due rows,
commits, and only then speaks SMTP, so no lock is held over the network. A delivery that dies between sending and
noting it lets the row fall due again: a mail may arrive twice then (with the same Message-ID), but none is lost. After
the last try a row is `given up`: logged as an error and listed in the admin, where staff can send it again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F, QuerySet
from django.template.loader import render_to_string

from accounts.models import OutboxMessage

ATTEMPTS_MAX = 10
BATCH_SIZE = 20
# Longer than a batch can take with every send at the mail server's time limit.
LEASE = timedelta(minutes=10)
BACKOFF_FIRST = timedelta(seconds=30)
BACKOFF_MAX = timedelta(hours=6)
ERROR_LENGTH = 500
SUBJECT_LENGTH = 200

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What one round of delivery did."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0


def send_mail_later(*, to: Sequence[str], subject: str, body: str, key: str, html_body: str = "") -> None:
    """Put one mail into the outbox, in the current transaction. A key that is there already changes nothing.

    ``key`` names the occasion, such as ``receipt:purchase:12``; asking twice for it sends one mail.
    """
    if not to:
        return
    OutboxMessage.objects.bulk_create(
        [
            OutboxMessage(
                key=key, recipients=list(to), subject=" ".join(subject.split()), body=body, html_body=html_body
            )
        ],
        ignore_conflicts=True,
    )


def rendered(template: str, context: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of templates/emails/<template>.txt: the first line, maybe after "Subject:", and the rest.

    A subject that long names have made longer than a mail's may be is cut.
    """
    subject, _, body = render_to_string(f"emails/{template}.txt", dict(context)).lstrip().partition("\n")
    return subject.removeprefix("Subject: ")[:SUBJECT_LENGTH], body.lstrip("\n")


def deliver(*, at: datetime, limit: int = BATCH_SIZE) -> Delivery:
    """Send up to ``limit`` mails that are due at ``at``. Two deliveries at once share the work, never a row."""
    messages = _claim(at=at, limit=limit)
    if not messages:
        return Delivery()
    sent = failed = given_up = 0
    # Not opened here: a mail server that is down must be noted on each mail, not end the round.
    connection = get_connection()
    for message in messages:
        error = _send(message, connection=connection)
        if error is None:
            _note_sent(message, at=at)
            sent += 1
        elif message.attempts >= ATTEMPTS_MAX:
            _note_given_up(message, error=error)
            given_up += 1
        else:
            _note_failed(message, error=error, at=at)
            failed += 1
    return Delivery(sent=sent, failed=failed, given_up=given_up)


def try_again(messages: QuerySet[OutboxMessage], *, at: datetime) -> int:
    """Make given-up messages due again, with all tries ahead; returns how many there were."""
    return messages.filter(state=OutboxMessage.State.GIVEN_UP).update(
        state=OutboxMessage.State.PENDING, attempts=0, due_at=at
    )


def backoff(attempts: int) -> timedelta:
    """How long to wait after the given number of failed tries: doubling, at most six hours."""
    doublings: int = min(attempts - 1, 20)
    return min(BACKOFF_FIRST * (1 << doublings), BACKOFF_MAX)


def _claim(*, at: datetime, limit: int) -> list[OutboxMessage]:
    """Lease due rows: until the lease ends no other delivery sees them, whatever becomes of this one."""
    with transaction.atomic():
        messages = list(
            OutboxMessage.objects.select_for_update(skip_locked=True)
            .filter(state=OutboxMessage.State.PENDING, due_at__lte=at)
            .order_by("due_at", "id")[:limit]
        )
        OutboxMessage.objects.filter(pk__in=[message.pk for message in messages]).update(
            due_at=at + LEASE, attempts=F("attempts") + 1
        )
    for message in messages:
        message.attempts += 1
    return messages


def _send(message: OutboxMessage, *, connection: BaseEmailBackend) -> str | None:
    """Send one mail; the error as text, or None when the server took it."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    mail = EmailMultiAlternatives(
        subject=message.subject,
        body=message.body,
        to=message.recipients,
        headers={"Message-ID": f"<outbox.{message.pk}@{domain}>", "Auto-Submitted": "auto-generated"},
        connection=connection,
    )
    if message.html_body:
        mail.attach_alternative(message.html_body, "text/html")
    try:
        mail.send()
    except Exception as error:  # Whatever a backend raises for one mail must not stop the others.
        return f"{type(error).__name__}: {error}"[:ERROR_LENGTH]
    return None


def _note_sent(message: OutboxMessage, *, at: datetime) -> None:
    # The text goes: it may hold a link that opens an account, and its work is done.
    OutboxMessage.objects.filter(pk=message.pk).update(
        state=OutboxMessage.State.SENT, sent_at=at, body="", html_body="", last_error=""
    )


def _note_failed(message: OutboxMessage, *, error: str, at: datetime) -> None:
    logger.warning("Mail %s was not sent (try %s): %s", message.pk, message.attempts, error)
    OutboxMessage.objects.filter(pk=message.pk).update(due_at=at + backoff(message.attempts), last_error=error)


def _note_given_up(message: OutboxMessage, *, error: str) -> None:
    logger.error("Mail %s is given up after %s tries: %s", message.pk, message.attempts, error)
    OutboxMessage.objects.filter(pk=message.pk).update(state=OutboxMessage.State.GIVEN_UP, last_error=error)
