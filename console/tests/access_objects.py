"""The kinds of objects that addresses and forms name, one of each for either organization of the matrix.

A kind is a function from a side (one organization, its people and its rows) to the value that stands in an address or
a form: an id, a number, a token. It is called once for each side when the world is made, and may make the row.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from django.utils import timezone

from accounts import api_keys, invitations
from accounts.models import ApiKey, AuditEvent, Invitation, Membership
from accounts.permissions import Role
from billing import contacts
from billing.credits import metering
from billing.models import (
    AutoReloadConsent,
    BillingContact,
    Charge,
    CreditNote,
    PaymentMethod,
    PricedModel,
    Purchase,
    Receipt,
    StripeEvent,
    UnpricedUsage,
)
from billing.payments import problem_reports
from billing.tests.buyer import MODEL
from billing.tests.documents import credited

if TYPE_CHECKING:
    from console.tests.access_world import Side

INVITED: Final = "lena@partner.example"

Value = int | str | UUID
KINDS: Final[dict[str, Callable[["Side"], Value]]] = {}


def kind(function: Callable[["Side"], Value]) -> Callable[["Side"], Value]:
    """Register a kind by the function's name."""
    KINDS[function.__name__] = function
    return function


@kind
def purchase(side: "Side") -> Value:
    """A purchase that was paid."""
    return side.buyer.purchases[0].pk


@kind
def open_purchase(side: "Side") -> Value:
    """A purchase whose outcome the processor has not told yet."""
    made = Purchase.objects.create(
        organization=side.organization,
        kind=Purchase.Kind.MANUAL,
        state=Purchase.State.PROCESSING,
        amount_cents=2_500,
        credit_nano=25 * 10**9,
        attempt_key=uuid4(),
        payment_method=PaymentMethod.objects.get(organization=side.organization),
        actor=side.buyer.billing,
        terms_version="test",
        terms_accepted_at=timezone.now(),
        payment_intent_id=f"pi_{side.organization.slug}",
        sent_at=timezone.now(),
    )
    return made.pk


@kind
def card(side: "Side") -> Value:
    return PaymentMethod.objects.get(organization=side.organization).pk


@kind
def consent(side: "Side") -> Value:
    """A consent to auto-reload."""
    return AutoReloadConsent.objects.filter(organization=side.organization).latest("pk").pk


@kind
def receipt(side: "Side") -> Value:
    """The number of a receipt."""
    return Receipt.objects.filter(organization=side.organization)[0].number


@kind
def receipt_row(side: "Side") -> Value:
    """The row of a receipt, by which its list is paged."""
    return Receipt.objects.filter(organization=side.organization)[0].pk


@kind
def credit_note(side: "Side") -> Value:
    """The number of a credit note."""
    note: CreditNote = credited(Receipt.objects.filter(organization=side.organization)[0])
    return note.number


@kind
def membership(side: "Side") -> Value:
    """A member who is neither Admin nor anybody else's principal alone: the one with the role User."""
    return Membership.objects.get(organization=side.organization, role=Role.USER).pk


@kind
def invitation(side: "Side") -> Value:
    """An open invitation to INVITED."""
    at = timezone.now()
    made = Invitation.objects.create(
        organization=side.organization,
        email=INVITED,
        role=Role.USER,
        token_sha256=invitations.token_sha256(side.organization.slug),
        invited_by=side.people["admin"],
        sent_at=at,
        expires_at=at + invitations.LIFETIME,
    )
    return made.pk


@kind
def audit_event(side: "Side") -> Value:
    """What happened last, by which the audit log is paged."""
    return AuditEvent.objects.filter(organization=side.organization).latest("pk").pk


@kind
def billing_contact(side: "Side") -> Value:
    """An address that was asked to confirm that it wants billing mail."""
    made = BillingContact.objects.create(
        organization=side.organization,
        name="Accounts payable",
        email=f"payable@{side.organization.slug}.example",
        token_sha256=contacts.digest(side.organization.slug),
        token_expires_at=timezone.now() + contacts.LIFETIME,
    )
    return made.pk


# What staff find by the id of its row.


@kind
def organization(side: "Side") -> Value:
    return side.organization.pk


@kind
def user(side: "Side") -> Value:
    return side.people["user"].pk


@kind
def lot(side: "Side") -> Value:
    return side.buyer.lots[0].pk


@kind
def charge(side: "Side") -> Value:
    return Charge.objects.filter(organization=side.organization).latest("pk").pk


@kind
def unpriced_usage(side: "Side") -> Value:
    """Work that was served without a price."""
    usage = metering.Usage(model="unheard-of", quantities={"input": 1})
    metering.report_usage(organization_id=side.organization.pk, key="unpriced", usage=usage)
    return UnpricedUsage.objects.get(organization=side.organization).pk


@kind
def problem_report(side: "Side") -> Value:
    made = problem_reports.report(
        organization=side.organization,
        actor=side.buyer.billing,
        purchase_id=side.buyer.purchases[0].pk,
        report_key=uuid4(),
        category="twice",
        text="This charge came twice.",
        at=side.buyer.now(),
    )
    return made.pk


@kind
def priced_model(side: "Side") -> Value:
    return PricedModel.objects.get(slug=MODEL).pk


@kind
def stripe_event(side: "Side") -> Value:
    """An event that waits, about nothing that is known here."""
    name = f"evt_{side.organization.slug}"
    return StripeEvent.objects.create(stripe_event_id=name, type="payment_intent.succeeded", payload={}).pk


@kind
def api_key(side: "Side") -> Value:
    """A key of the organization that works."""
    issued = api_keys.create(
        organization=side.organization, name="production", surface=ApiKey.Surface.API, expires_at=None, actor=None
    )
    return issued.api_key.pk
