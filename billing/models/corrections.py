"""Corrections by people, each with a key of its own, a reason and an actor. Rows of history: never edited."""

from django.db import models
from django.db.models import F, Q


class Reversal(models.Model):
    """Undoes a charge, an adjustment or a take-back, wholly or in part, in the reverse order of its entries."""

    class Cause(models.TextChoices):
        CHARGE = "charge", "Charge"
        ADJUSTMENT = "adjustment", "Correction"
        TAKE_BACK = "take_back", "Take-back"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    reversal_key = models.UUIDField(help_text="Made when the form was rendered: one key, one reversal.")
    cause_kind = models.CharField(max_length=12, choices=Cause.choices)
    cause_id = models.BigIntegerField()
    asked_nano = models.BigIntegerField(null=True, help_text="Empty: all that was left of it.")
    amount_nano = models.BigIntegerField()
    label = models.CharField(max_length=80, blank=True, default="", help_text="What the customer reads.")
    reason = models.CharField(max_length=500, help_text="Why. Staff only.")
    actor_id = models.BigIntegerField(null=True, help_text="The user who caused it; empty for the system.")
    reversed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "reversal_key"], name="reversal_key_once"),
            models.CheckConstraint(condition=Q(amount_nano__gt=0) & ~Q(reason=""), name="reversal_with_reason"),
            models.CheckConstraint(
                condition=Q(cause_kind__in=["charge", "adjustment", "take_back"]), name="reversal_cause_known"
            ),
        ]
        indexes = [models.Index(fields=["organization", "cause_kind", "cause_id"], name="reversal_of_cause")]

    def __str__(self) -> str:
        return f"Reversal {self.pk}"


class DebitAdjustment(models.Model):
    """Credit taken by staff to put something right; what no credit covered is debt."""

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    adjustment_key = models.UUIDField(help_text="Made when the form was rendered: one key, one adjustment.")
    amount_nano = models.BigIntegerField()
    debt_nano = models.BigIntegerField(help_text="The part that no credit covered.")
    unpriced_usage = models.ForeignKey("billing.UnpricedUsage", models.PROTECT, null=True, related_name="adjustments")
    label = models.CharField(max_length=80, help_text="What the customer reads.")
    reason = models.CharField(max_length=500, help_text="Why. Staff only.")
    actor_id = models.BigIntegerField(null=True, help_text="The user who caused it; empty for the system.")
    adjusted_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "adjustment_key"], name="adjustment_key_once"),
            models.CheckConstraint(
                condition=Q(amount_nano__gt=0) & Q(debt_nano__gte=0) & Q(debt_nano__lte=F("amount_nano")),
                name="adjustment_amounts",
            ),
            models.CheckConstraint(condition=~Q(reason="") & ~Q(label=""), name="adjustment_with_reason"),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="adjustment_newest")]

    def __str__(self) -> str:
        return f"Correction {self.pk}"


class TakeBack(models.Model):
    """Credit of one lot taken back: what is left of it, and the rest as debt where that is owed."""

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    take_back_key = models.UUIDField(help_text="One key, one take-back.")
    lot = models.ForeignKey("billing.CreditLot", models.PROTECT, related_name="take_backs")
    asked_nano = models.BigIntegerField()
    is_rest_owed = models.BooleanField(help_text="Whether what was spent already became debt.")
    taken_nano = models.BigIntegerField()
    debt_nano = models.BigIntegerField()
    label = models.CharField(max_length=80, blank=True, default="", help_text="What the customer reads.")
    reason = models.CharField(max_length=500, help_text="Why. Staff only.")
    actor_id = models.BigIntegerField(null=True, help_text="The user who caused it; empty for the system.")
    taken_back_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "take_back_key"], name="take_back_key_once"),
            models.CheckConstraint(
                condition=Q(taken_nano__gte=0)
                & Q(debt_nano__gte=0)
                & Q(asked_nano__gt=0)
                & Q(asked_nano__gte=F("taken_nano") + F("debt_nano")),
                name="take_back_amounts",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="take_back_with_reason"),
        ]

    def __str__(self) -> str:
        return f"Take-back {self.pk}"
