"""The key with which the platform's gateway speaks to ``/v1/``. Only its digest is kept."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class ServiceKey(models.Model):
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=24, unique=True, editable=False, help_text="The public beginning of the key.")
    secret_sha256 = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None
