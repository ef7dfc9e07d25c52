"""Receipts and credit notes: documents, each with a number of its own from a row of numbers without gaps.

What is printed stands on the row as it was when the document was issued, so a later change of the seller's settings or
of the buyer's details changes no document. Rows are immutable, and numbered by a trigger of migration 0006: a number is
taken in the transaction that keeps the document, or not at all.
"""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

ADDRESS_LENGTH = 700


class DocumentCounter(models.Model):
    """The last number that was given in one series. Only the numbering trigger writes it, one by one."""

    series = models.CharField(max_length=16, primary_key=True)
    last_number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.series} {self.last_number}"


class Document(models.Model):
    """What receipts and credit notes have in common: number, both parties, the sums in cents.

    ``total_cents`` is ``net_cents`` and ``tax_cents`` together. Names of people are not on it, only the parties'.
    """

    PREFIX: ClassVar[str]

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="+", db_index=False)
    number = models.BigIntegerField(unique=True, editable=False, help_text="Given by the database when it is issued.")
    issued_at = models.DateTimeField()
    time_zone = models.CharField(max_length=64, help_text="The zone in which its dates are printed.")
    platform_name = models.CharField(max_length=200, help_text="Whose credits were sold.")
    seller_name = models.CharField(max_length=200)
    seller_address = models.CharField(max_length=ADDRESS_LENGTH, blank=True)
    seller_tax_id = models.CharField(max_length=64, blank=True)
    seller_email = models.CharField(max_length=254, blank=True)
    buyer_name = models.CharField(max_length=200)
    buyer_address = models.CharField(max_length=ADDRESS_LENGTH, blank=True)
    buyer_tax_id = models.CharField(max_length=64, blank=True)
    reference = models.CharField(max_length=64, blank=True, help_text="The customer's own, such as a PO number.")
    net_cents = models.BigIntegerField()
    tax_text = models.CharField(max_length=100, blank=True, help_text="The rate in words; empty: no tax is charged.")
    tax_cents = models.BigIntegerField()
    total_cents = models.BigIntegerField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.number_text

    @property
    def number_text(self) -> str:
        """The number as it is printed, "R-000042"."""
        return f"{self.PREFIX}-{self.number:06d}"


class Receipt(Document):
    """What one purchase that was paid has bought."""

    PREFIX: ClassVar[str] = "R"

    purchase = models.OneToOneField("billing.Purchase", models.PROTECT, related_name="receipt")
    purchase_kind = models.CharField(max_length=12)
    card_brand = models.CharField(max_length=32)
    card_last4 = models.CharField(max_length=4)
    credit_nano = models.BigIntegerField(help_text="Credit bought, in nano-USD.")
    debt_paid_nano = models.BigIntegerField(help_text="The part of it that paid what was owed, at once.")
    expires_at = models.DateTimeField(help_text="When what is left of the credit is lost.")
    terms_version = models.CharField(max_length=32)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(number__gt=0)
                & Q(net_cents__gt=0)
                & Q(tax_cents__gte=0)
                & Q(total_cents=F("net_cents") + F("tax_cents")),
                name="receipt_sums",
            ),
            models.CheckConstraint(
                condition=Q(debt_paid_nano__gte=0) & Q(credit_nano__gte=F("debt_paid_nano")), name="receipt_credit"
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="receipt_newest")]

    @property
    def spendable_nano(self) -> int:
        """What was left to spend of the credit once debt was paid."""
        return self.credit_nano - self.debt_paid_nano


class CreditNote(Document):
    """Takes back a receipt, wholly or in part, after a refund or a lost dispute.

    One that turned out not to hold (a refund that failed afterwards) is canceled by another one, which names it.
    """

    PREFIX: ClassVar[str] = "CN"

    class Cause(models.TextChoices):
        REFUND = "refund", "Refund"
        DISPUTE = "dispute", "Dispute"

    receipt = models.ForeignKey(Receipt, models.PROTECT, related_name="credit_notes")
    cause_kind = models.CharField(max_length=12, choices=Cause.choices)
    cause_id = models.BigIntegerField()
    cancels = models.OneToOneField(
        "self", models.PROTECT, null=True, related_name="canceled_by", help_text="The credit note that it undoes."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cause_kind", "cause_id"], condition=Q(cancels__isnull=True), name="credit_note_once_per_cause"
            ),
            models.CheckConstraint(
                condition=Q(number__gt=0)
                & Q(net_cents__gte=0)
                & Q(tax_cents__gte=0)
                & Q(total_cents__gt=0)
                & Q(total_cents=F("net_cents") + F("tax_cents")),
                name="credit_note_sums",
            ),
            models.CheckConstraint(condition=Q(cause_kind__in=["refund", "dispute"]), name="credit_note_cause_known"),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="credit_note_newest")]
