"""Who did what, when. Events are never changed or deleted; the database refuses it.

Events hold ids and plain values only. What could identify a person (address of the connection, browser) stands in a
side row that can be deleted, so that a person can be erased without touching history.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from .organizations import Organization


class AuditEvent(models.Model):
    at = models.DateTimeField(db_default=Now(), editable=False)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.PROTECT, related_name="audit_events"
    )
    # An id without a foreign key in the database: the event must outlive the row of the person it names.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    role = models.CharField(
        max_length=20, blank=True, help_text="The actor's role in the organization at that moment, or staff."
    )
    action = models.CharField(max_length=80, help_text="Subject and past verb, such as membership.added.")
    target = models.CharField(max_length=120, blank=True, help_text="Kind and id, such as membership:12.")
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    request_id = models.CharField(max_length=40, blank=True, help_text="The reference that the person saw, or none.")
    # Of what is told once in a while however often it happens; a digest, or null for everything else.
    once_key = models.CharField(max_length=64, null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["once_key"], name="audit_event_told_once")]
        # Each filter of the audit log reads only the rows that it shows; docs/decisions/0132.
        indexes: ClassVar = [
            models.Index(fields=["organization", "-at", "-id"], name="audit_by_time"),
            models.Index(
                fields=["organization", "actor", "-at", "-id"],
                condition=~models.Q(role="staff"),
                name="audit_by_person",
            ),
            models.Index(
                fields=["organization", "-at", "-id"], condition=models.Q(role="staff"), name="audit_by_staff"
            ),
            models.Index(fields=["organization", "action", "-at", "-id"], name="audit_by_action"),
            models.Index(fields=["target", "-at", "-id"], name="audit_by_target"),
            models.Index(fields=["request_id"], condition=~models.Q(request_id=""), name="audit_by_request"),
            # For staff, who look across organizations, and through one in the order of all.
            models.Index(fields=["organization", "-id"], name="audit_by_organization"),
            models.Index(fields=["actor", "-id"], name="audit_by_actor"),
            models.Index(fields=["action", "-id"], name="audit_by_action_alone"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target}".strip()


class AuditOrigin(models.Model):
    """From where an event came. Deletable, and deleted when its person is erased."""

    event = models.OneToOneField(AuditEvent, primary_key=True, on_delete=models.CASCADE, related_name="origin")
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=400, blank=True)

    def __str__(self) -> str:
        return f"origin of event {self.pk}"
