"""One row for each attempt at charging a card, written before the payment processor is called."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Purchase(models.Model):
    """An attempt to buy credits with a card: exactly one PaymentIntent, one key, and on success one lot.

    Money charged (``amount_cents``) and credit granted (``credit_nano``) are separate columns, so that tax, fees and
    bonus can differ (case 54).
    """

    class Kind(models.TextChoices):
        MANUAL = "manual", "Bought"
        AUTO_RELOAD = "auto_reload", "Auto-reload"

    class State(models.TextChoices):
        CREATED = "created", "Being sent"
        PROCESSING = "processing", "Processing"
        REQUIRES_ACTION = "requires_action", "Needs confirmation"
        NEEDS_CUSTOMER = "needs_customer", "Needs the customer"
        SUCCEEDED = "succeeded", "Paid"
        FAILED = "failed", "Declined"
        CANCELED = "canceled", "Canceled"

    OPEN_STATES = (State.CREATED, State.PROCESSING, State.REQUIRES_ACTION, State.NEEDS_CUSTOMER)

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="purchases")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.CREATED)
    amount_cents = models.BigIntegerField(help_text="Money charged to the card.")
    credit_nano = models.BigIntegerField(help_text="Credit granted on success, in nano-USD.")
    attempt_key = models.UUIDField(help_text="Made when the form was rendered: one key, one purchase.")
    payment_method = models.ForeignKey("billing.PaymentMethod", models.PROTECT, related_name="+")
    actor = models.ForeignKey("accounts.User", models.PROTECT, null=True, related_name="+")
    terms_version = models.CharField(max_length=32, help_text="The Credit Terms or reload consent that was accepted.")
    terms_accepted_at = models.DateTimeField()
    reference = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="The customer's own, such as a PO number. Printed on the receipt.",
    )
    payment_intent_id = models.CharField(max_length=255, unique=True, null=True)
    failure_code = models.CharField(max_length=64, blank=True, default="")
    decline_code = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, help_text="When the payment processor was first called for it.")
    sent_by = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text="The process that sent it first. Part of the request, so kept for every resend under the same key.",
    )
    checked_at = models.DateTimeField(null=True, help_text="When the PaymentIntent was last read again.")
    settled_at = models.DateTimeField(null=True, help_text="When it ended, in either way.")
    returns_read = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How often its refunds and disputes were read and booked."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "attempt_key"], name="purchase_once_per_attempt"),
            models.UniqueConstraint(
                fields=["organization"],
                condition=Q(
                    kind="auto_reload", state__in=["created", "processing", "requires_action", "needs_customer"]
                ),
                name="purchase_one_reload_in_flight",
            ),
            models.CheckConstraint(condition=Q(amount_cents__gt=0) & Q(credit_nano__gt=0), name="purchase_amounts"),
            models.CheckConstraint(
                condition=Q(
                    state__in=["created", "processing", "requires_action", "needs_customer"], settled_at__isnull=True
                )
                | Q(state__in=["succeeded", "failed", "canceled"], settled_at__isnull=False),
                name="purchase_settled_iff_ended",
            ),
            models.CheckConstraint(
                condition=~Q(state="succeeded") | Q(payment_intent_id__isnull=False), name="purchase_paid_has_intent"
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="purchase_newest"),
            models.Index(
                fields=["created_at"],
                condition=Q(state__in=["created", "processing", "requires_action", "needs_customer"]),
                name="purchase_open",
            ),
        ]

    def __str__(self) -> str:
        return f"Purchase {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether its outcome is not known yet."""
        return self.state in self.OPEN_STATES

    @property
    def stripe_key(self) -> str:
        """The idempotency key of the creating call: one for each row, the same for every resend of it."""
        return f"purchase-{self.organization_id}-{self.attempt_key}"
