"""An organization as staff look at it: its credit, its purchases and its card."""

from accounts.models import Organization


class BillingAccount(Organization):
    """Every organization, with or without money so far. No table of its own; it gives the staff pages their right."""

    class Meta:
        proxy = True
        verbose_name = "billing account"
