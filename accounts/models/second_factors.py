"""Codes of authenticator apps that have been used. A unique row makes each work once, whatever becomes of the cache."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class UsedCode(models.Model):
    """The code of one period was taken from this person. Its number counts periods since 1970 (RFC 6238, section 4)."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    counter = models.BigIntegerField()
    used_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "counter"], name="used_code_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["used_at"], name="used_code_by_time")]

    def __str__(self) -> str:
        return f"code {self.counter} of user {self.user_id}"
