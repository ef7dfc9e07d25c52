"""Who an organization is at the payment processor, and the cards it has given. No card number ever comes here."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class StripeCustomer(models.Model):
    """The organization's Customer object at Stripe. The row comes first, so the creation key survives a lost reply."""

    organization = models.OneToOneField("accounts.Organization", models.PROTECT, related_name="stripe_customer")
    stripe_customer_id = models.CharField(max_length=255, unique=True, null=True)
    created_at = models.DateTimeField(db_default=Now())
    is_stale = models.BooleanField(
        default=False, help_text="Whether Stripe has to be told again who gets the organization's billing mail."
    )

    class Meta:
        indexes = [models.Index(fields=["id"], condition=Q(is_stale=True), name="stripe_customer_stale")]

    def __str__(self) -> str:
        return self.stripe_customer_id or f"customer of organization {self.organization_id}"


class CardSetup(models.Model):
    """One opening of the card form: a SetupIntent, who opened it, and the consent as it was shown.

    ``failures`` counts the cards that the bank refused in this one form; the codes are those of the last.
    """

    class State(models.TextChoices):
        CREATED = "created", "Created"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"

    organization = models.ForeignKey("accounts.Organization", models.PROTECT)
    stripe_setup_intent_id = models.CharField(max_length=255, unique=True, null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.CREATED)
    actor = models.ForeignKey("accounts.User", models.PROTECT, related_name="+")
    consent_version = models.CharField(max_length=32)
    consent_text = models.TextField(
        blank=True, default="", db_default="", help_text="As it was shown. Empty for forms from before it was kept."
    )
    failures = models.PositiveSmallIntegerField(default=0, db_default=0)
    failure_code = models.CharField(max_length=64, blank=True, default="", db_default="")
    decline_code = models.CharField(max_length=64, blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="card_setup_newest"),
            models.Index(fields=["actor", "-created_at"], name="card_setup_of_person"),
        ]

    def __str__(self) -> str:
        return f"Card setup {self.pk}"


class PaymentMethod(models.Model):
    """A saved card: brand, last four digits and expiry, nothing more."""

    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="payment_methods")
    stripe_payment_method_id = models.CharField(max_length=255, unique=True)
    brand = models.CharField(max_length=32)
    last4 = models.CharField(max_length=4)
    exp_month = models.PositiveSmallIntegerField()
    exp_year = models.PositiveSmallIntegerField()
    fingerprint = models.CharField(max_length=255)
    is_default = models.BooleanField(default=False)
    card_setup = models.ForeignKey(CardSetup, models.PROTECT, null=True, related_name="+")
    added_by = models.ForeignKey("accounts.User", models.PROTECT, related_name="+")
    added_at = models.DateTimeField(db_default=Now())
    removed_at = models.DateTimeField(null=True, help_text="When it was replaced: from then on it is never charged.")
    detached_at = models.DateTimeField(null=True, help_text="When the payment processor let go of it too.")
    expiry_told = models.CharField(
        max_length=16, blank=True, default="", db_default="", help_text="The last mail about its end: soon-2027-08."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization"], condition=Q(is_default=True), name="payment_method_one_default"
            ),
            models.CheckConstraint(
                condition=Q(is_default=False) | Q(removed_at__isnull=True), name="payment_method_default_is_kept"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.brand_name} ending in {self.last4}"

    @property
    def brand_name(self) -> str:
        """The brand as people write it."""
        return {"visa": "Visa", "mastercard": "Mastercard", "amex": "American Express"}.get(
            self.brand, self.brand.title()
        )
