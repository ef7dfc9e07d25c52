"""The inbox of webhooks: an event is stored once, answered at once and worked on from its row."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class StripeEvent(models.Model):
    """A verified event. ``processed_at`` is empty until its effect stands; a sweep finishes what was left."""

    stripe_event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=255, blank=True, default="")
    api_version = models.CharField(max_length=32, blank=True, default="")
    payload = models.JSONField()
    received_at = models.DateTimeField(db_default=Now())
    processed_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    outcome = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["received_at"], condition=Q(processed_at__isnull=True), name="event_waiting")]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_event_id}"
