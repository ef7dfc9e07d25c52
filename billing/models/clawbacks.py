"""Which credit was taken back for which refund or dispute, and what has undone it."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Clawback(models.Model):
    """One take-back of a purchase's lot, for one refund or dispute of it. Undone once at most, by one reversal.

    A refund or dispute has more than one where others of the purchase had left no room for all of it at first: the
    standing ones of a purchase never exceed what was paid. Without a take-back the lot had nothing left to take.
    """

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="+")
    purchase = models.ForeignKey("billing.Purchase", models.PROTECT, related_name="clawbacks")
    refund = models.ForeignKey("billing.Refund", models.PROTECT, null=True, related_name="clawbacks")
    dispute = models.ForeignKey("billing.Dispute", models.PROTECT, null=True, related_name="clawbacks")
    amount_cents = models.BigIntegerField(help_text="The part of what was paid that it covers.")
    take_back = models.OneToOneField("billing.TakeBack", models.PROTECT, null=True, related_name="+")
    reversal = models.OneToOneField("billing.Reversal", models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    undone_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="clawback_amount"),
            models.CheckConstraint(
                condition=Q(refund__isnull=False, dispute__isnull=True) | Q(refund__isnull=True, dispute__isnull=False),
                name="clawback_has_one_cause",
            ),
            models.CheckConstraint(
                condition=Q(reversal__isnull=True) | Q(undone_at__isnull=False, take_back__isnull=False),
                name="clawback_reversal_undoes",
            ),
        ]

    def __str__(self) -> str:
        return f"Clawback {self.pk}"
