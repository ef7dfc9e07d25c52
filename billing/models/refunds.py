"""Money that goes back to the card by a refund: by staff here, or by somebody in the processor's dashboard."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Refund(models.Model):
    """One refund of a purchase. A staff refund is a row, with its credit taken back, before the processor is called."""

    class State(models.TextChoices):
        CREATED = "created", "Being sent"
        PENDING = "pending", "On its way"
        SUCCEEDED = "succeeded", "Refunded"
        FAILED = "failed", "Failed"

    class Origin(models.TextChoices):
        STAFF = "staff", "Staff"
        DASHBOARD = "dashboard", "Stripe's dashboard"
        FRAUD_WARNING = "fraud_warning", "Early fraud warning"

    OPEN_STATES = (State.CREATED, State.PENDING)
    # Credit is taken back while the money is on its way, or may be.
    TAKING_STATES = (State.CREATED, State.PENDING, State.SUCCEEDED)

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="refunds")
    purchase = models.ForeignKey("billing.Purchase", models.PROTECT, related_name="refunds")
    state = models.CharField(max_length=10, choices=State.choices, default=State.CREATED)
    origin = models.CharField(max_length=14, choices=Origin.choices)
    amount_cents = models.BigIntegerField(help_text="Money that goes back to the card.")
    refund_key = models.UUIDField(help_text="Made when the form was rendered: one key, one refund.")
    may_owe = models.BooleanField(help_text="Whether credit that was spent already became debt.")
    stripe_refund_id = models.CharField(max_length=255, unique=True, null=True)
    reason = models.CharField(max_length=500, blank=True, default="", help_text="Why. Staff only.")
    actor = models.ForeignKey("accounts.User", models.PROTECT, null=True, related_name="+")
    failure_code = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, help_text="When the payment processor was first called for it.")
    checked_at = models.DateTimeField(null=True, help_text="When the sweep last looked at it.")
    settled_at = models.DateTimeField(null=True, help_text="When it reached the state in which it is final for now.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "refund_key"], name="refund_key_once"),
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="refund_amount"),
            models.CheckConstraint(
                condition=Q(state__in=["created", "pending"], settled_at__isnull=True)
                | Q(state__in=["succeeded", "failed"], settled_at__isnull=False),
                name="refund_settled_iff_ended",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["pending", "succeeded"]) | Q(stripe_refund_id__isnull=False),
                name="refund_known_at_stripe",
            ),
            models.CheckConstraint(
                condition=(Q(origin="dashboard", actor__isnull=True) & Q(stripe_refund_id__isnull=False))
                | (Q(origin__in=["staff", "fraud_warning"], actor__isnull=False) & ~Q(reason="")),
                name="refund_has_an_origin",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], condition=Q(state__in=["created", "pending"]), name="refund_open"),
        ]

    def __str__(self) -> str:
        return f"Refund {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether its outcome is not known yet."""
        return self.state in self.OPEN_STATES

    @property
    def is_taking(self) -> bool:
        """Whether its credit is taken back."""
        return self.state in self.TAKING_STATES

    @property
    def stripe_key(self) -> str:
        """The idempotency key of the creating call: one for each row, the same for every resend of it."""
        return f"refund-{self.organization_id}-{self.refund_key}"
