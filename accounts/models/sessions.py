"""Where somebody is signed in: one row beside each session, for people to see and to end."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class BrowserSession(models.Model):
    user = models.ForeignKey("accounts.User", models.CASCADE, related_name="browser_sessions")
    session_key = models.CharField(max_length=40, unique=True)
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=400, blank=True)
    signed_in_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="Coarse: marked once a minute at most.")

    class Meta:
        indexes: ClassVar = [models.Index(fields=["seen_at"], name="browser_session_seen")]

    def __str__(self) -> str:
        return f"session {self.pk} of user {self.user_id}"
