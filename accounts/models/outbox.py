"""A mail that must leave after the transaction that wrote it has committed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class OutboxMessage(models.Model):
    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        SENT = "sent", "Sent"
        GIVEN_UP = "given_up", "Given up"

    key = models.CharField(max_length=200, unique=True, help_text="One message per key, whoever asks again.")
    recipients = models.JSONField(help_text="A list of e-mail addresses.")
    subject = models.CharField(max_length=300)
    body = models.TextField(blank=True, help_text="Emptied once the mail is out: it may hold a secret link.")
    html_body = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    # Doubles as the lease: a delivery that claims the row moves it ahead, and a dead delivery lets it fall due again.
    due_at = models.DateTimeField(db_default=Now())
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(state="sent", sent_at__isnull=False)
                | models.Q(state__in=["pending", "given_up"], sent_at__isnull=True),
                name="outbox_state_agrees",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["due_at", "id"], condition=models.Q(state="pending"), name="outbox_due"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} ({self.get_state_display()})"
