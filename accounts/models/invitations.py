"""An offer, by mail, to join an organization with a role. Only the digest of its link's secret is kept."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower, Now

from accounts.permissions import Role

from .organizations import Organization
from .users import LowercaseEmailField


class Invitation(models.Model):
    """Open until somebody accepts or withdraws it. One that has expired is still open: it can be sent again."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="invitations")
    email = LowercaseEmailField("e-mail address", max_length=254)
    role = models.CharField(max_length=20, choices=Role.choices)
    token_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(help_text="When the link that works was made; an earlier one is dead.")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "email"],
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="invitation_open_once",
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="invitation_role_known"),
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="invitation_email_lower_case"),
            models.CheckConstraint(
                condition=models.Q(accepted_at=None, accepted_by=None)
                | models.Q(accepted_at__isnull=False, accepted_by__isnull=False, revoked_at=None),
                name="invitation_ends_once",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["email"], condition=models.Q(accepted_at=None, revoked_at=None), name="invitation_open_by_email"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.organization} as {self.get_role_display()}"

    def is_expired(self, at: datetime) -> bool:
        """Whether its link has run out at ``at``."""
        return self.expires_at <= at


class InvitationMail(models.Model):
    """One mail that went out, for the limits: how many to an address, and how many of an organization, in a day."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    invitation = models.ForeignKey(Invitation, on_delete=models.CASCADE, related_name="mails")
    sent_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["organization", "sent_at"], name="invitation_mail_by_day")]

    def __str__(self) -> str:
        return f"mail of invitation {self.invitation_id}"
