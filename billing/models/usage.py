"""What usage adds up to, and usage that could not be charged. Written by the functions of the ledger only."""

from django.db import models


class UsageDay(models.Model):
    """Usage of one day (UTC, by the requests' start), surface, model and key; changed with each charge and reversal.

    Its cost is ``amount_nano`` less ``reversed_nano``. A sum of rows that are kept, so it can be made again from them
    (``manage.py rebuild_usage_days``).
    """

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False, db_constraint=False)
    day = models.DateField()
    surface = models.CharField(max_length=16)
    priced_model = models.ForeignKey("billing.PricedModel", models.PROTECT, db_index=False, db_constraint=False)
    key_ref = models.CharField(max_length=64, blank=True, default="")
    requests = models.BigIntegerField()
    amount_nano = models.BigIntegerField()
    reversed_nano = models.BigIntegerField(default=0, db_default=0)
    input_units = models.BigIntegerField()
    output_units = models.BigIntegerField()
    cache_write_units = models.BigIntegerField()
    cache_read_units = models.BigIntegerField()
    other_units = models.JSONField(default=dict, help_text="Units of the other token classes, by class.")

    class Meta:
        indexes = [models.Index(fields=["organization", "key_ref", "day"], name="usage_day_of_key")]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "day", "surface", "priced_model", "key_ref"], name="usage_day_once"
            ),
        ]

    def __str__(self) -> str:
        return f"Usage on {self.day} of organization {self.organization_id}"


class UnpricedUsage(models.Model):
    """Usage without a price: refused, remembered, and chargeable later by an adjustment.

    What was served already (``usage``, ``capture``) has a row for each key. What was refused before it was served
    (``authorize``, ``charge``) has one row for each model and token class, and no key.
    """

    class Operation(models.TextChoices):
        AUTHORIZE = "authorize", "Authorization"
        CHARGE = "charge", "Charge"
        USAGE = "usage", "Reported usage"
        CAPTURE = "capture", "Capture of a hold"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    operation = models.CharField(max_length=9, choices=Operation.choices)
    idempotency_key = models.CharField(max_length=255, blank=True, default="")
    model = models.CharField(max_length=64)
    token_class = models.CharField(max_length=32, blank=True, default="", help_text="Empty: the model has no price.")
    surface = models.CharField(max_length=16)
    key_ref = models.CharField(max_length=64, blank=True, default="")
    quantities = models.JSONField(help_text="Units by token class, of the latest attempt.")
    started_at = models.DateTimeField()
    attempts = models.BigIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "operation", "idempotency_key", "model", "token_class"],
                name="unpriced_usage_once",
            ),
        ]
        indexes = [
            models.Index(fields=["-last_at", "-id"], name="unpriced_usage_newest"),
            models.Index(fields=["organization", "-id"], name="unpriced_usage_of_one"),
        ]
        verbose_name_plural = "unpriced usage"

    def __str__(self) -> str:
        return f"Unpriced usage {self.pk}"

    @property
    def was_served(self) -> bool:
        """Whether work was done that is not charged yet."""
        return self.operation in (self.Operation.USAGE, self.Operation.CAPTURE)
