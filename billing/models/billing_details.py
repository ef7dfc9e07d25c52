"""Who buys, as it is printed on receipts from now on. What was printed already stands on the receipts."""

from django.db import models
from django.db.models import Q


class BillingDetails(models.Model):
    """The legal person behind an organization: its name, address and tax ID, and the reference it wants to see."""

    organization = models.OneToOneField(
        "accounts.Organization", models.PROTECT, primary_key=True, related_name="billing_details"
    )
    legal_name = models.CharField(max_length=200)
    address_line1 = models.CharField("address", max_length=120)
    address_line2 = models.CharField("address, second line", max_length=120, blank=True, default="")
    postal_code = models.CharField(max_length=20, blank=True, default="")
    city = models.CharField(max_length=100)
    region = models.CharField(max_length=100, blank=True, default="")
    country = models.CharField(max_length=2, help_text="ISO 3166-1 alpha-2.")
    tax_id = models.CharField(max_length=32, blank=True, default="")
    reference = models.CharField(max_length=64, blank=True, default="", help_text="Put on purchases that name none.")
    updated_at = models.DateTimeField()
    updated_by = models.ForeignKey("accounts.User", models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(country__regex="^[A-Z]{2}$"), name="billing_details_country"),
            models.CheckConstraint(condition=~Q(legal_name=""), name="billing_details_named"),
        ]
        verbose_name_plural = "billing details"

    def __str__(self) -> str:
        return self.legal_name
