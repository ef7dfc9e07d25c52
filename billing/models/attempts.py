"""Attempts with a card that were refused here, before the bank was asked."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class RefusedAttempt(models.Model):
    """A purchase or a card form that this console refused by itself, kept because customers ask what became of it.

    What reached the bank has a row of its own: a purchase or a card setup.
    """

    class Kind(models.TextChoices):
        PURCHASE = "purchase", "Purchase"
        CARD = "card", "New card"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    actor = models.ForeignKey("accounts.User", models.PROTECT, related_name="+")
    payment_method = models.ForeignKey("billing.PaymentMethod", models.PROTECT, null=True, related_name="+")
    amount_cents = models.BigIntegerField(null=True)
    code = models.CharField(max_length=32, help_text="Why: the refusal's code.")
    reason = models.CharField(max_length=300, help_text="Why, as the customer was told.")
    attempted_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="card", amount_cents__isnull=True) | Q(kind="purchase", amount_cents__gt=0),
                name="refused_attempt_amount",
            ),
        ]
        indexes = [models.Index(fields=["organization", "-attempted_at"], name="refused_attempt_newest")]

    def __str__(self) -> str:
        return f"Refused attempt {self.pk}"
