"""What the ledger tells others, as rows: a lost message loses nothing."""

from django.db import models
from django.db.models import Q


class CreditEvent(models.Model):
    """The ledger's outbox: what others must hear of, written in the transaction that made it true."""

    class Kind(models.TextChoices):
        RELOAD_DUE = "reload_due", "A reload is due"
        EXHAUSTED = "exhausted", "Credit ran out"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    occurred_at = models.DateTimeField()
    handled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=["reload_due", "exhausted"]), name="credit_event_kind_known"),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(handled_at__isnull=True), name="credit_event_waiting"),
            models.Index(fields=["organization", "-id"], name="credit_event_of_one"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: organization {self.organization_id}"
