"""The rows that are the truth about credits. All amounts are integers of nano-USD.

Every write goes through the functions of ``billing/credits/sql``; the runtime role of the database may only read
these tables. Nothing here is ever edited by hand: a correction is a new entry.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q
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
    exhausted_at = models.DateTimeField(
        null=True, help_text="Since when requests are refused for lack of credit; credit that comes in clears it."
    )
    burning_lot_id = models.BigIntegerField(null=True, help_text="The lot that usual charges burn.")
    burning_remaining_nano = models.BigIntegerField(
        null=True, help_text="What is left of the burning lot; its own row says what was left when it was taken up."
    )
    burning_ends_at = models.DateTimeField(null=True, help_text="When the burning lot expires.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        # Of accounts, holds, charges and entries triggers check each row (billing/credits/sql/v2/row_checks.sql).
        indexes = [models.Index(fields=["low_at"], condition=Q(low_at__isnull=False), name="account_low")]

    def __str__(self) -> str:
        return f"Credit account of organization {self.organization_id}"


class CreditLot(models.Model):
    """Credit that came in at once and ends at one instant. Spent in burn order, never extended.

    ``remaining_nano`` is what no hold has reserved, except for the lot that its account burns: there the account knows
    (``left_nano``). The lot may be spent in ``[effective_at, expires_at)``.
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
                # A function, because the text of a check is read anew in every statement that writes the row.
                condition=Func(
                    "kind",
                    "granted_nano",
                    "remaining_nano",
                    "effective_at",
                    "expires_at",
                    "purchase",
                    "reason",
                    function="creditlot_is_sound",
                    output_field=models.BooleanField(),
                ),
                name="lot_sound",
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
            models.Index(fields=["expires_at", "organization"], condition=Q(is_open=True), name="lot_due"),
            models.Index(fields=["organization", "-id"], name="lot_newest"),
        ]
        permissions = [("give_promotional_credit", "Can give promotional credit")]

    def __str__(self) -> str:
        return f"Lot {self.pk}"

    @property
    def left_nano(self) -> int:
        """What no hold has reserved. Load the lot with ``select_related("organization__creditaccount")``."""
        account = self.organization.creditaccount
        if account.burning_lot_id == self.pk:
            assert account.burning_remaining_nano is not None
            return account.burning_remaining_nano
        return self.remaining_nano


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

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False, db_constraint=False)
    idempotency_key = models.CharField(max_length=255)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN, db_default=State.OPEN)
    amount_nano = models.BigIntegerField()
    lot_ids = ArrayField(models.BigIntegerField())
    lot_amounts_nano = ArrayField(models.BigIntegerField())
    price_version = models.ForeignKey("billing.PriceVersion", models.PROTECT, db_index=False, db_constraint=False)
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
        ]
        indexes = [
            models.Index(fields=["organization", "expires_at"], condition=Q(state="open"), name="hold_open"),
            # Rare, and what a balance of the past has to know.
            models.Index(
                fields=["organization", "settled_at"],
                condition=Q(state="captured", settled_at__gt=F("expires_at")),
                name="hold_captured_late",
            ),
        ]

    def __str__(self) -> str:
        return f"Hold {self.pk}"


class Charge(models.Model):
    """What one request cost. The row is also the record of its idempotency key, for ever."""

    class Operation(models.TextChoices):
        CAPTURE = "capture", "Capture of a hold"
        CHARGE = "charge", "Charge"
        USAGE = "usage", "Reported usage"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False, db_constraint=False)
    idempotency_key = models.CharField(max_length=255)
    operation = models.CharField(max_length=8, choices=Operation.choices)
    hold = models.ForeignKey("billing.Hold", models.PROTECT, null=True, db_index=False, db_constraint=False)
    price_version = models.ForeignKey("billing.PriceVersion", models.PROTECT, db_index=False, db_constraint=False)
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
        ]

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
        REVERSAL = "reversal", "Given back"
        DEBT_REVERSAL = "debt_reversal", "Debt forgiven"
        DEBT_REOPENED = "debt_reopened", "Debt open again"
        ADJUSTMENT = "adjustment", "Correction"
        ADJUSTMENT_DEBT = "adjustment_debt", "Correction above the credit"
        TAKE_BACK = "take_back", "Taken back"
        TAKE_BACK_DEBT = "take_back_debt", "Taken back after it was spent"

    class Cause(models.TextChoices):
        CHARGE = "charge", "Charge"
        HOLD = "hold", "Hold"
        LOT = "lot", "Lot"
        PURCHASE = "purchase", "Purchase"
        REVERSAL = "reversal", "Reversal"
        ADJUSTMENT = "adjustment", "Correction"
        TAKE_BACK = "take_back", "Take-back"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, db_index=False, db_constraint=False)
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    lot = models.ForeignKey(CreditLot, models.PROTECT, null=True, db_index=False, db_constraint=False)
    amount_nano = models.BigIntegerField()
    cause_kind = models.CharField(max_length=12, choices=Cause.choices)
    cause_id = models.BigIntegerField()
    reverses_seq = models.BigIntegerField(null=True, help_text="The entry of this account that this one undoes.")
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
        ]
        indexes = [
            # Usage is left out: it is nearly all of the table, and nobody asks for the usage of a lot.
            models.Index(
                fields=["organization", "lot"], condition=Q(lot__isnull=False) & ~Q(kind="burn"), name="entry_of_lot"
            ),
            models.Index(fields=["organization", "seq"], condition=~Q(kind="burn"), name="entry_not_usage"),
            models.Index(
                fields=["organization", "reverses_seq"], condition=Q(reverses_seq__isnull=False), name="entry_reverses"
            ),
            # What was booked later than it counts: a balance of the past asks for it. No usage is among it.
            models.Index(
                fields=["organization", "booked_at", "value_at"],
                condition=Q(value_at__lt=F("booked_at")) & ~Q(kind="burn"),
                name="entry_booked_late",
            ),
        ]
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"Entry {self.seq} of organization {self.organization_id}"
