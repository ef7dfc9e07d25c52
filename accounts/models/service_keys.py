"""The key with which the platform's gateway speaks to ``/v1/``. Only its digest is kept."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Scope(models.TextChoices):
    """What a service key may do at the gate."""

    METER = "meter", "Authorize, capture, void, charge and report usage"
    READ = "read", "Read balances"
    KEYS = "keys", "Learn whose an API key is"


class ServiceKey(models.Model):
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=24, unique=True, editable=False, help_text="The public beginning of the key.")
    secret_sha256 = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(
        models.CharField(max_length=16, choices=Scope.choices),
        help_text="What the key may do. A gateway that does everything needs all of it.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(scopes__contained_by=["meter", "read", "keys"], scopes__len__gt=0),
                name="service_key_scopes_known",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    def may(self, scope: Scope) -> bool:
        """Whether the key holds ``scope``."""
        return scope.value in self.scopes

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None
