"""The keys with which an organization's programs use the platform's API. Only a digest of each is kept."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from .organizations import Organization


class ApiKey(models.Model):
    """A key of an organization: it outlives the membership of whoever created it.

    It works in ``[created_at, expires_at)`` unless it was revoked, which is final, or is stopped, which is not.
    """

    class Surface(models.TextChoices):
        API = "api", "API"
        WORKBENCH = "workbench", "Workbench"
        CLAUDE_CODE = "claude_code", "Claude Code"

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        STOPPED = "stopped", "Stopped"
        EXPIRED = "expired", "Expired"
        REVOKED = "revoked", "Revoked"

    organization = models.ForeignKey(Organization, models.PROTECT, db_index=False, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16, unique=True, help_text="The public beginning of the key.")
    key_sha256 = models.CharField(max_length=64)
    surface = models.CharField(max_length=16, choices=Surface.choices)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True, help_text="To within a minute.")
    stopped_at = models.DateTimeField(null=True)
    stopped_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    # One to one, so that a key is rotated once, whoever asks at the same moment.
    rotated_from = models.OneToOneField("self", models.PROTECT, null=True, related_name="replacement")

    attempt_key = models.UUIDField(
        null=True, help_text="Of the form that made it, so that one sent twice makes one key."
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "attempt_key"], name="api_key_once_per_attempt"),
            models.CheckConstraint(
                condition=Q(surface__in=["api", "workbench", "claude_code"]), name="api_key_surface_known"
            ),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=F("created_at")), name="api_key_expires_after_start"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["organization", "-id"], condition=Q(revoked_at=None), name="api_key_unrevoked"),
            models.Index(fields=["organization", "-id"], condition=~Q(revoked_at=None), name="api_key_revoked"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    def state(self, *, at: datetime) -> State:
        """What the key is at ``at``; the first reason that stops it, the most final first."""
        if self.revoked_at is not None:
            return self.State.REVOKED
        if self.expires_at is not None and self.expires_at <= at:
            return self.State.EXPIRED
        if self.stopped_at is not None:
            return self.State.STOPPED
        return self.State.ACTIVE
