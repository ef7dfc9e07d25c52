"""Why an organization's new requests are refused whatever credit it has: one open row for each reason that stands."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class UsageBlock(models.Model):
    """A stop of all usage, from when to when. Who begins one kind ends that kind and no other.

    The account's state follows from the open rows (:mod:`billing.credits.usage_blocks`), and the gate asks the state.
    """

    class Kind(models.TextChoices):
        STAFF = "staff", "Frozen by staff"
        SUSPENSION = "suspension", "Organization suspended"
        STOP = "stop", "Stopped by an Admin"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    reason = models.CharField(max_length=500, blank=True, default="", help_text="Why, where it was said. Staff only.")
    notice = models.CharField(max_length=300, blank=True, default="", help_text="What its members read.")
    actor_id = models.BigIntegerField(null=True, help_text="The user who began it; empty for the system.")
    begun_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    ended_by_id = models.BigIntegerField(null=True, help_text="The user who ended it; empty for the system.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "kind"], condition=Q(ended_at=None), name="usage_block_open_once"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["staff", "suspension", "stop"]), name="usage_block_kind_known"
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None, ended_by_id=None) | Q(ended_at__gte=models.F("begun_at")),
                name="usage_block_ends_after_begin",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["organization", "-id"], name="usage_block_newest")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.pk})"
