"""How often something was tried of late: one row for each thing counted, changed by one statement only."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class ThrottleCounter(models.Model):
    action = models.CharField(max_length=60)
    key_digest = models.CharField(max_length=64, help_text="Addresses of people and networks are not kept in plain.")
    window_seconds = models.PositiveIntegerField()
    tries = models.PositiveIntegerField()
    ends_at = models.DateTimeField(help_text="From here on the row counts anew, and may be removed.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["action", "key_digest", "window_seconds"], name="throttle_counter_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["ends_at"], name="throttle_counter_ended")]

    def __str__(self) -> str:
        return f"{self.action}: {self.tries} in {self.window_seconds} s"
