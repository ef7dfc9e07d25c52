"""Who gets the mails about payments and credit: Admins, Billing members, and the billing contacts that confirmed.

A contact is an address with a name, kept apart from members, so that no change of roles loses it. It gets nothing but
the request to confirm until its owner has followed the link; the owner can end it from every mail, signed out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from accounts import audit, throttles
from accounts.models import Organization, Role, User
from accounts.outbox import rendered, send_mail_later
from accounts.queries import members_of
from billing.errors import Refused
from billing.models import BillingContact, StripeCustomer

CONTACTS_MAXIMUM: Final = 10
LIFETIME: Final = timedelta(days=7)
# Mails that ask to confirm: to one address of an organization, and of an organization altogether.
MAILS_A_DAY_TO_ADDRESS: Final = 3
MAILS_A_DAY: Final = 30
DAY: Final = timedelta(hours=24)
ROLES: Final = (Role.ADMIN, Role.BILLING)
_STOP_SALT: Final = "billing contact stops"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address that billing mail goes to. ``key`` names it in the outbox; ``contact_id`` is None for a member."""

    email: str
    key: str
    contact_id: int | None = None


def recipients(*, organization: Organization) -> list[Recipient]:
    """Everybody who gets billing mail, each address once: members first, then contacts that confirmed."""
    found = {
        member.user.email.lower(): Recipient(member.user.email, str(member.user_id))
        for member in members_of(organization=organization)
        if member.role in ROLES
    }
    for contact in BillingContact.objects.filter(organization=organization, confirmed_at__isnull=False):
        found.setdefault(contact.email, Recipient(contact.email, f"contact-{contact.pk}", contact.pk))
    return list(found.values())


def confirmed_addresses(organization: Organization) -> Iterable[str]:
    """The addresses of contacts that confirmed; for accounts.notices."""
    confirmed = BillingContact.objects.filter(organization=organization, confirmed_at__isnull=False)
    return confirmed.values_list("email", flat=True)


def of(*, organization: Organization) -> list[BillingContact]:
    """The organization's contacts, the oldest first."""
    return list(BillingContact.objects.filter(organization=organization).order_by("pk"))


def find(*, organization: Organization, contact_id: int) -> BillingContact | None:
    """A contact of this organization, or None."""
    return BillingContact.objects.filter(organization=organization, pk=contact_id).first()


def add(
    *,
    organization: Organization,
    name: str,
    email: str,
    actor: User,
    at: datetime,
    request: HttpRequest | None = None,
) -> BillingContact:
    """Add an address, and ask its owner by mail.

    Raises:
        Refused: it is a contact already (``email``), there are CONTACTS_MAXIMUM, or too many mails were sent today.
    """
    email = email.strip().lower()
    _allow_mail(organization, email, at=at)
    with transaction.atomic():
        # The organization's row serializes two who add at once, so that the maximum holds.
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        known = BillingContact.objects.filter(organization=organization)
        if known.filter(email=email).exists():
            raise Refused("This address is a billing contact already.", code="known", field="email")
        if known.count() >= CONTACTS_MAXIMUM:
            raise Refused(f"There are {CONTACTS_MAXIMUM} billing contacts, which is the most.", code="too_many")
        token = secrets.token_urlsafe(32)
        contact = BillingContact.objects.create(
            organization=organization,
            name=name,
            email=email,
            token_sha256=digest(token),
            token_expires_at=at + LIFETIME,
        )
        _record(contact, "billing_contact.added", actor=actor, request=request)
        _ask(contact, token, actor=actor)
    return contact


def ask_again(*, contact: BillingContact, actor: User, at: datetime) -> bool:
    """Send another link, after which the former one is dead. False when the address was confirmed meanwhile.

    Raises:
        Refused: too many mails were sent today.
    """
    _allow_mail(contact.organization, contact.email, at=at)
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        changed = BillingContact.objects.filter(pk=contact.pk, confirmed_at=None).update(
            token_sha256=digest(token), token_expires_at=at + LIFETIME
        )
        if changed:
            _ask(contact, token, actor=actor)
    return bool(changed)


def asked(*, token: str, at: datetime) -> BillingContact | None:
    """The contact that a link asks to confirm; None for a link that doesn't work (any more)."""
    return (
        BillingContact.objects.select_related("organization")
        .filter(token_sha256=digest(token), token_expires_at__gt=at, organization__closed_at=None)
        .first()
    )


def confirm(*, token: str, at: datetime, request: HttpRequest | None = None) -> BillingContact | None:
    """Let a link count, once; None for a link that doesn't work (any more)."""
    with transaction.atomic():
        contact = asked(token=token, at=at)
        if contact is None:
            return None
        changed = BillingContact.objects.filter(pk=contact.pk, token_sha256=digest(token)).update(
            token_sha256=None, token_expires_at=None, confirmed_at=at
        )
        if not changed:
            return None
        _record(contact, "billing_contact.confirmed", actor=None, request=request)
        note_change(contact.organization)
    return contact


def remove(*, contact: BillingContact, actor: User | None, request: HttpRequest | None = None) -> bool:
    """End a contact; by its own wish where there is no ``actor``. False when it was gone already.

    Whoever gets billing mail is told when a contact goes by itself, so that nobody relies on it.
    """
    with transaction.atomic():
        deleted, _ = BillingContact.objects.filter(pk=contact.pk).delete()
        if not deleted:
            return False
        action = "billing_contact.removed" if actor is not None else "billing_contact.left"
        _record(contact, action, actor=actor, request=request)
        note_change(contact.organization)
        if actor is None:
            _tell_left(contact)
    return True


def stop_token(*, contact_id: int) -> str:
    """What stands in the link with which a contact ends itself."""
    return signing.dumps(contact_id, salt=_STOP_SALT)


def stopping(*, token: str) -> BillingContact | None:
    """The contact that a link for stopping names; None for a link of ours no more, or a contact that is gone."""
    try:
        contact_id = signing.loads(token, salt=_STOP_SALT)
    except signing.BadSignature:
        return None
    return BillingContact.objects.select_related("organization").filter(pk=contact_id).first()


def stop_url(*, contact_id: int) -> str:
    """The absolute link with which a contact ends itself. The gate, which sends no mail, has no such page."""
    try:
        path = reverse("billing:contact_stop", kwargs={"token": stop_token(contact_id=contact_id)})
    except NoReverseMatch:
        path = ""
    return settings.SITE_URL + path


def note_change(organization: Organization) -> None:
    """Let the sweep tell the payment processor anew who gets the mail. In the caller's transaction."""
    StripeCustomer.objects.filter(organization=organization).update(is_stale=True)


def processor_address(*, organization: Organization, preferred: User) -> str:
    """The one address that the payment processor may know: a contact's before a member's, of those who get the mail."""
    found = recipients(organization=organization)
    contacts = [recipient.email for recipient in found if recipient.contact_id is not None]
    if contacts:
        return contacts[0]
    members = [recipient.email for recipient in found]
    return preferred.email if preferred.email in members or not members else members[0]


def digest(token: str) -> str:
    """What is kept of a link's secret."""
    return hashlib.sha256(token.encode()).hexdigest()


def _allow_mail(organization: Organization, email: str, *, at: datetime) -> None:
    to_address = throttles.allow(
        action="billing contact mail",
        key=f"{organization.pk} {email}",
        limit=MAILS_A_DAY_TO_ADDRESS,
        window=DAY,
        at=at,
    )
    of_organization = to_address and throttles.allow(
        action="billing contact mails", key=str(organization.pk), limit=MAILS_A_DAY, window=DAY, at=at
    )
    if not of_organization:
        raise Refused(
            "Too many mails were sent to confirm addresses today. Please try again tomorrow.", code="too_many_mails"
        )


def _record(contact: BillingContact, action: str, *, actor: User | None, request: HttpRequest | None) -> None:
    """History holds the contact's id: the address is a person's, and can be erased with its row."""
    audit.record(
        organization=contact.organization,
        actor=actor,
        action=action,
        target=f"billing_contact:{contact.pk}",
        request=request,
    )


def _ask(contact: BillingContact, token: str, *, actor: User) -> None:
    subject, body = rendered(
        "billing_contact_confirm",
        {
            "name": contact.name,
            "organization": contact.organization.name,
            "actor": actor.get_full_name(),
            "url": settings.SITE_URL + reverse("billing:contact_confirm", kwargs={"token": token}),
            "days": LIFETIME.days,
            "platform": settings.PLATFORM_NAME,
        },
    )
    send_mail_later(
        to=[contact.email],
        subject=subject,
        body=body,
        key=f"billing-contact-{contact.pk}-{digest(token)[:16]}",
    )


def _tell_left(contact: BillingContact) -> None:
    for recipient in recipients(organization=contact.organization):
        subject, body = rendered(
            "billing_contact_left",
            {
                "email": contact.email,
                "organization": contact.organization.name,
                "url": settings.SITE_URL + reverse("billing:contacts", kwargs={"slug": contact.organization.slug}),
                "platform": settings.PLATFORM_NAME,
            },
        )
        send_mail_later(
            to=[recipient.email],
            subject=subject,
            body=body,
            key=f"billing-contact-left-{contact.pk}-{recipient.key}",
        )
