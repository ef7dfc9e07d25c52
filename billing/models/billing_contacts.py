"""Addresses beside the members that get the mails about payments and credit. A change of roles doesn't touch them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now


class BillingContact(models.Model):
    """An address that gets billing mail once its owner has confirmed it by a link, of which only the digest is kept."""

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="billing_contacts")
    name = models.CharField(max_length=120)
    email = models.EmailField("e-mail address", max_length=254)
    token_sha256 = models.CharField(max_length=64, unique=True, null=True, editable=False)
    token_expires_at = models.DateTimeField(null=True, editable=False)
    confirmed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "email"], name="billing_contact_once"),
            models.CheckConstraint(condition=Q(email=Lower("email")), name="billing_contact_lower_case"),
            models.CheckConstraint(
                condition=Q(token_sha256=None, token_expires_at=None, confirmed_at__isnull=False)
                | Q(token_sha256__isnull=False, token_expires_at__isnull=False, confirmed_at=None),
                name="billing_contact_confirmed_or_asked",
            ),
        ]

    def __str__(self) -> str:
        return f"billing contact {self.pk}"

    @property
    def is_confirmed(self) -> bool:
        """Whether its owner has agreed to get the mails."""
        return self.confirmed_at is not None
