"""Who buys, by its legal name, address and tax ID: what is printed on the receipts to come."""

from dataclasses import asdict, dataclass
from datetime import datetime

from django.db import transaction

from accounts import audit
from accounts.models import Organization, User
from accounts.permissions import Permission
from billing.models import BillingDetails
from billing.payments import payment_methods


@dataclass(frozen=True, slots=True)
class Details:
    """The buyer as a form has cleaned it. ``reference`` is put on reloads, and offered for purchases."""

    legal_name: str
    address_line1: str
    address_line2: str
    postal_code: str
    city: str
    region: str
    country: str
    tax_id: str
    reference: str


def details_of(*, organization: Organization) -> BillingDetails | None:
    """The organization's billing details, or None as long as nobody has given any."""
    return BillingDetails.objects.filter(organization=organization).first()


def save(*, organization: Organization, actor: User, details: Details, at: datetime) -> BillingDetails:
    """Keep the buyer's details for the receipts to come; those that were issued stay as they are.

    History says which of them changed and by whom, not to what: names and addresses are in no audit row.

    Raises:
        Refused: the actor lost the permission.
    """
    with transaction.atomic(durable=True):
        payment_methods.require(organization=organization, actor=actor, permission=Permission.BILLING_DETAILS_EDIT)
        # The organization's row serializes two who save at once, the first time too.
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        known = BillingDetails.objects.filter(organization=organization).first()
        values = asdict(details)
        changed = sorted(name for name, value in values.items() if value != (getattr(known, name) if known else ""))
        if known is not None and not changed:
            return known
        saved, _ = BillingDetails.objects.update_or_create(
            organization=organization, defaults={**values, "updated_at": at, "updated_by": actor}
        )
        audit.record(
            organization=organization,
            actor=actor,
            action="billing_details.changed",
            target=f"organization:{organization.pk}",
            after={"changed": changed, "country": details.country},
        )
        return saved
