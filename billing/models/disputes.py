"""What card holders and their banks say against a payment: disputes, and warnings that come before them."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Dispute(models.Model):
    """A dispute of a purchase, as the processor last showed it.

    ``status`` is Stripe's own word, so that one of a later API version is kept as it is:
    https://docs.stripe.com/api/disputes/object#dispute_object-status
    """

    class Status(models.TextChoices):
        WARNING_NEEDS_RESPONSE = "warning_needs_response", "Inquiry: needs an answer"
        WARNING_UNDER_REVIEW = "warning_under_review", "Inquiry: under review"
        WARNING_CLOSED = "warning_closed", "Inquiry: closed"
        NEEDS_RESPONSE = "needs_response", "Needs an answer"
        UNDER_REVIEW = "under_review", "Under review"
        WON = "won", "Won"
        LOST = "lost", "Lost"
        PREVENTED = "prevented", "Prevented"

    CLOSED = (Status.WARNING_CLOSED, Status.WON, Status.LOST, Status.PREVENTED)

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="disputes")
    purchase = models.ForeignKey("billing.Purchase", models.PROTECT, related_name="disputes")
    stripe_dispute_id = models.CharField(max_length=255, unique=True)
    amount_cents = models.BigIntegerField(help_text="What is disputed of the payment.")
    status = models.CharField(max_length=32, choices=Status.choices)
    reason = models.CharField(max_length=64, blank=True, default="", help_text="The card holder's, in Stripe's word.")
    evidence_due_at = models.DateTimeField(null=True, help_text="Until when the bank takes an answer.")
    opened_at = models.DateTimeField(help_text="When it was opened, by Stripe.")
    seen_at = models.DateTimeField(db_default=Now(), help_text="When it was first booked here.")
    closed_at = models.DateTimeField(null=True, help_text="When its end was booked here.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="dispute_amount"),
            models.CheckConstraint(condition=~Q(status=""), name="dispute_has_a_status"),
            models.CheckConstraint(
                condition=Q(status__in=["warning_closed", "won", "lost", "prevented"], closed_at__isnull=False)
                | (~Q(status__in=["warning_closed", "won", "lost", "prevented"]) & Q(closed_at__isnull=True)),
                name="dispute_closed_iff_ended",
            ),
        ]
        indexes = [models.Index(fields=["opened_at"], condition=Q(closed_at__isnull=True), name="dispute_open")]

    def __str__(self) -> str:
        return f"Dispute {self.pk}"

    @property
    def is_inquiry(self) -> bool:
        """Whether the bank only asks, and has moved no money."""
        return self.status.startswith("warning_")

    @property
    def is_open(self) -> bool:
        """Whether the bank has not decided yet."""
        return self.closed_at is None

    @property
    def is_taking(self) -> bool:
        """Whether its credit is taken back: from its opening on, unless it is an inquiry, won or prevented.

        A status that is not known here takes too: the money is more likely gone than not.
        """
        return not self.is_inquiry and self.status not in (self.Status.WON, self.Status.PREVENTED)


class EarlyFraudWarning(models.Model):
    """A card issuer's word that a payment was fraudulent, before any dispute."""

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="+")
    purchase = models.ForeignKey("billing.Purchase", models.PROTECT, related_name="fraud_warnings")
    stripe_warning_id = models.CharField(max_length=255, unique=True)
    fraud_type = models.CharField(max_length=64, blank=True, default="")
    is_actionable = models.BooleanField(help_text="Whether a refund may still prevent a dispute, by Stripe.")
    warned_at = models.DateTimeField(help_text="When the issuer warned, by Stripe.")
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["-id"], condition=Q(is_actionable=True), name="fraud_warning_actionable")]

    def __str__(self) -> str:
        return f"Early fraud warning {self.pk}"
