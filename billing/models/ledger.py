"""The rows that are the truth about credits. All amounts are integers of nano-USD.

Every write goes through the functions of ``billing/credits/sql``; the runtime role of the database may only read
these tables. Nothing here is ever edited by hand: a correction is a new entry.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class CreditAccount(models.Model):
    """One row for each organization: the only lock of its money, and sums that the lots and holds must agree with."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        FROZEN = "frozen", "Frozen"
        CLOSED = "closed", "Closed"

    organization = models.OneToOneField("accounts.Organization", models.PROTECT, primary_key=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    last_seq = models.BigIntegerField(default=0)
    last_hash = models.BinaryField(default=b"")
    last_at = models.DateTimeField(
        null=True, help_text="The latest time that an operation was stamped with; none is stamped earlier."
    )
    unreserved_nano = models.BigIntegerField(default=0, help_text="Sum of the lots' remainders, booked or not.")
    held_nano = models.BigIntegerField(default=0, help_text="Sum of the allocations of open holds.")
    debt_nano = models.BigIntegerField(default=0)
    reload_below_nano = models.BigIntegerField(
        null=True, help_text="The line of auto-reload while it is armed; empty when it is not."
    )
    low_at = models.DateTimeField(null=True, help_text="When a reload became due; the next attempt clears it.")
    low_cause = models.CharField(
        max_length=8,
        blank=True,
        default="",
        help_text="Why: credit below the line (level) or a refused request (refusal).",
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(unreserved_nano__gte=0) & Q(held_nano__gte=0) & Q(debt_nano__gte=0),
                name="account_sums_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(reload_below_nano__isnull=True) | Q(reload_below_nano__gte=0),
                name="account_line_not_negative",
            ),
            models.CheckConstraint(condition=Q(state__in=["open", "frozen", "closed"]), name="account_state_known"),
        ]
        indexes = [models.Index(fields=["low_at"], condition=Q(low_at__isnull=False), name="account_low")]

    def __str__(self) -> str:
        return f"Credit account of organization {self.organization_id}"


class CreditLot(models.Model):
    """Credit that came in at once and ends at one instant. Spent in burn order, never extended.

    ``remaining_nano`` is what no hold has reserved. The lot may be spent in ``[effective_at, expires_at)``.
    """

    class Kind(models.TextChoices):
        PROMOTIONAL = "promotional", "Promotional credit"
        PURCHASE = "purchase", "Credit purchase"
        AUTO_RELOAD = "auto_reload", "Auto-reload"
        ADJUSTMENT = "adjustment", "Correction"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    granted_nano = models.BigIntegerField()
    remaining_nano = models.BigIntegerField()
    effective_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    purchase = models.ForeignKey("billing.Purchase", models.PROTECT, null=True, db_index=False, related_name="lots")
    label = models.CharField(max_length=80, blank=True, default="", help_text="What the customer reads.")
    reason = models.CharField(max_length=500, blank=True, default="", help_text="Why staff gave it. Staff only.")
    actor_id = models.BigIntegerField(null=True, help_text="The user who caused it; empty for the system.")
    grant_key = models.UUIDField(null=True, help_text="Made when staff's form was rendered: one key, one lot.")
    # A generated column, because an index predicate on remaining_nano itself would end HOT updates of the lot.
    is_open = models.GeneratedField(
        expression=Q(remaining_nano__gt=0),  # type: ignore[arg-type]
        output_field=models.BooleanField(),
        db_persist=True,
    )
    # Burn order: sooner expiry, then promotional before paid, then older, then id.
    burn_rank = models.GeneratedField(
        expression=models.Case(models.When(kind="promotional", then=0), default=1),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(granted_nano__gt=0) & Q(remaining_nano__gte=0) & Q(remaining_nano__lte=F("granted_nano")),
                name="lot_bounds",
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("effective_at")), name="lot_ends_after_start"),
            models.CheckConstraint(
                condition=Q(kind__in=["promotional", "purchase", "auto_reload", "adjustment"]), name="lot_kind_known"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["purchase", "auto_reload"], purchase__isnull=False)
                | Q(kind__in=["promotional", "adjustment"], purchase__isnull=True),
                name="lot_paid_iff_purchase",
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=["promotional", "adjustment"]) | ~Q(reason=""), name="lot_given_with_reason"
            ),
            models.UniqueConstraint(
                fields=["organization", "purchase"],
                condition=Q(purchase__isnull=False),
                name="lot_one_per_purchase",
            ),
            models.UniqueConstraint(
                fields=["organization", "grant_key"],
                condition=Q(grant_key__isnull=False),
                name="lot_one_per_grant_key",
            ),
        ]
        indexes = [
            models.Index(
                fields=["organization", "expires_at", "burn_rank", "effective_at", "id"],
                condition=Q(is_open=True),
                name="lot_burn_order",
            ),
            models.Index(
                fields=["organization", "effective_at"], condition=Q(is_open=True), name="lot_not_yet_effective"
            ),
            models.Index(fields=["expires_at", "organization"], condition=Q(is_open=True), name="lot_due"),
            models.Index(fields=["organization", "-id"], name="lot_newest"),
        ]
        permissions = [("give_promotional_credit", "Can give promotional credit")]

    def __str__(self) -> str:
        return f"Lot {self.pk}"


class Hold(models.Model):
    """Credit put aside for one request until it is captured, voided or lapses.

    ``lot_ids`` and ``lot_amounts_nano`` are the allocation, in burn order: the hold pins its lots, so a request that
    was authorized before a lot's end is paid by that lot.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        CAPTURED = "captured", "Captured"
        VOIDED = "voided", "Voided"
        LAPSED = "lapsed", "Lapsed"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    idempotency_key = models.CharField(max_length=255)
    fingerprint = models.BinaryField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN, db_default=State.OPEN)
    amount_nano = models.BigIntegerField()
    lot_ids = ArrayField(models.BigIntegerField())
    lot_amounts_nano = ArrayField(models.BigIntegerField())
    price_version = models.ForeignKey("billing.PriceVersion", models.PROTECT, db_index=False)
    surface = models.CharField(max_length=16)
    key_ref = models.CharField(max_length=64, blank=True, default="")
    quantities = models.JSONField()
    started_at = models.DateTimeField(help_text="When the request began; picks the price.")
    authorized_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, help_text="When it was captured, voided or given back.")
    available_after_nano = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "idempotency_key"], name="hold_key_once"),
            models.CheckConstraint(condition=Q(amount_nano__gte=0), name="hold_amount_not_negative"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("authorized_at")), name="hold_ends_after_start"),
            models.CheckConstraint(
                condition=Q(state__in=["open", "captured", "voided", "lapsed"]), name="hold_state_known"
            ),
            models.CheckConstraint(
                condition=Q(state="open", settled_at__isnull=True) | (~Q(state="open") & Q(settled_at__isnull=False)),
                name="hold_settled_iff_not_open",
            ),
        ]
        indexes = [models.Index(fields=["organization", "expires_at"], condition=Q(state="open"), name="hold_open")]

    def __str__(self) -> str:
        return f"Hold {self.pk}"


class Charge(models.Model):
    """What one request cost. The row is also the record of its idempotency key, for ever."""

    class Operation(models.TextChoices):
        CAPTURE = "capture", "Capture of a hold"
        CHARGE = "charge", "Charge"
        USAGE = "usage", "Reported usage"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    idempotency_key = models.CharField(max_length=255)
    fingerprint = models.BinaryField()
    operation = models.CharField(max_length=8, choices=Operation.choices)
    hold = models.ForeignKey("billing.Hold", models.PROTECT, null=True, db_index=False)
    price_version = models.ForeignKey("billing.PriceVersion", models.PROTECT, db_index=False)
    surface = models.CharField(max_length=16)
    key_ref = models.CharField(max_length=64, blank=True, default="")
    quantities = models.JSONField(help_text="Units by token class.")
    amount_nano = models.BigIntegerField()
    debt_nano = models.BigIntegerField(default=0, help_text="The part that no credit covered.")
    available_after_nano = models.BigIntegerField()
    started_at = models.DateTimeField(help_text="When the request began; picks the price and the day of usage.")
    charged_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "idempotency_key"], name="charge_key_once"),
            models.UniqueConstraint(
                fields=["organization", "hold"], condition=Q(hold__isnull=False), name="charge_once_per_hold"
            ),
            models.CheckConstraint(
                condition=Q(amount_nano__gte=0) & Q(debt_nano__gte=0) & Q(debt_nano__lte=F("amount_nano")),
                name="charge_amounts",
            ),
            models.CheckConstraint(
                condition=Q(operation="capture", hold__isnull=False)
                | Q(operation__in=["charge", "usage"], hold__isnull=True),
                name="charge_hold_iff_capture",
            ),
            models.CheckConstraint(
                condition=Q(surface__in=["api", "workbench", "claude_code"]), name="charge_surface_known"
            ),
        ]
        indexes = [models.Index(fields=["organization", "started_at"], name="charge_usage_day")]

    def __str__(self) -> str:
        return f"Charge {self.pk}"


class LedgerEntry(models.Model):
    """One movement of credit. Append-only, numbered without gaps for each account, chained by hash.

    ``amount_nano`` is signed: what the movement does to the book balance (remainders + held - debt). Inserted by the
    SQL function ``credits__append`` and by nothing else.
    """

    class Kind(models.TextChoices):
        GRANT = "grant", "Credit granted"
        BURN = "burn", "Usage"
        EXPIRY = "expiry", "Expired"
        RETURN_EXPIRED = "return_expired", "Returned after its end"
        OVERSHOOT = "overshoot", "Usage above the credit"
        LATE_CAPTURE = "late_capture", "Usage settled late"
        DEBT_PAYMENT = "debt_payment", "Credit used for debt"
        DEBT_SETTLEMENT = "debt_settlement", "Debt paid"

    class Cause(models.TextChoices):
        CHARGE = "charge", "Charge"
        HOLD = "hold", "Hold"
        LOT = "lot", "Lot"
        PURCHASE = "purchase", "Purchase"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False)
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    lot = models.ForeignKey(CreditLot, models.PROTECT, null=True, db_index=False)
    amount_nano = models.BigIntegerField()
    cause_kind = models.CharField(max_length=10, choices=Cause.choices)
    cause_id = models.BigIntegerField()
    actor_id = models.BigIntegerField(null=True)
    value_at = models.DateTimeField()
    booked_at = models.DateTimeField()
    balance_after_nano = models.BigIntegerField()
    hash = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "seq"], name="entry_seq_once"),
            models.UniqueConstraint(
                fields=["organization", "lot"], condition=Q(kind="expiry"), name="entry_one_expiry_per_lot"
            ),
            models.CheckConstraint(condition=~Q(amount_nano=0), name="entry_moves_something"),
            models.CheckConstraint(
                condition=Q(kind__in=["grant", "debt_settlement"], amount_nano__gt=0)
                | Q(
                    kind__in=["burn", "expiry", "return_expired", "overshoot", "late_capture", "debt_payment"],
                    amount_nano__lt=0,
                ),
                name="entry_sign_of_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["overshoot", "late_capture", "debt_settlement"], lot__isnull=True)
                | Q(kind__in=["grant", "burn", "expiry", "return_expired", "debt_payment"], lot__isnull=False),
                name="entry_lot_iff_credit",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "lot"], condition=Q(lot__isnull=False), name="entry_of_lot"),
        ]
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"Entry {self.seq} of organization {self.organization_id}"
