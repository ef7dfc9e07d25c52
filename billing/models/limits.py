"""What a key may spend in a month (UTC). Without a row it has no limit of its own."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class KeyLimit(models.Model):
    api_key = models.OneToOneField("accounts.ApiKey", models.PROTECT, primary_key=True, related_name="limit")
    amount_cents = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="key_limit_is_an_amount"),
        ]

    def __str__(self) -> str:
        return f"Limit of key {self.pk}"
