"""The card of an organization: saved in the browser at Stripe, known here by brand, last four digits and expiry.

One card is the default and is the only one that is charged. A new card becomes it and the former one is let go of.
No card number ever comes near this product.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import Membership, Organization, User
from accounts.permissions import Permission
from billing import emails
from billing.credits import ledger
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import CardSetup, PaymentMethod, StripeCustomer
from billing.payments import declines, reload_line, stripe_gateway
from billing.terms import CARD_CONSENT

SETUPS_PER_HOUR_MAX = 5
SETUPS_PER_DAY_MAX = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CardForm:
    """What the browser needs to send a card to Stripe. The secret opens this one form and is never logged."""

    setup_intent_id: str
    client_secret: str = field(repr=False)


def default_card(*, organization: Organization) -> PaymentMethod | None:
    """The card that is charged, or None."""
    return PaymentMethod.objects.filter(organization=organization, is_default=True).first()


def has_expired(card: PaymentMethod, *, at: datetime) -> bool:
    """Whether the month printed on the card is over."""
    return (at.year, at.month) > (card.exp_year, card.exp_month)


def require(*, organization: Organization, actor: User, permission: Permission) -> None:
    """Refuse an actor who holds the permission no more: rights may end between opening a page and sending its form."""
    membership = Membership.objects.filter(organization=organization, user=actor, user__is_active=True).first()
    if membership is None or not membership.may(permission):
        raise Refused(f"You may not {permission.label}.", code="permission")


def begin_setup(*, organization: Organization, actor: User) -> CardForm:
    """Open the card form: a row with the consent shown, then a SetupIntent.

    Raises:
        Refused: no permission, or too many cards were tried (5 an hour, 10 a day, by this person or for this
            organization): forms without such a limit are used to test stolen cards.
        PaymentProcessorUnavailable: try again.
    """
    customer_id = _customer_id(organization)
    with transaction.atomic():
        # The customer's row serializes the count of setups for the organization.
        StripeCustomer.objects.select_for_update().get(organization=organization)
        require(organization=organization, actor=actor, permission=Permission.CARD_EDIT)
        _refuse_card_testing(organization=organization, actor=actor)
        setup = CardSetup.objects.create(organization=organization, actor=actor, consent_version=CARD_CONSENT.version)
    facts = stripe_gateway.create_setup(
        customer_id=customer_id,
        metadata={"organization_id": str(organization.pk), "card_setup_id": str(setup.pk)},
        key=f"card-setup-{setup.pk}-{_microseconds(setup.created_at)}",
    )
    CardSetup.objects.filter(pk=setup.pk).update(stripe_setup_intent_id=facts.id)
    return CardForm(setup_intent_id=facts.id, client_secret=facts.client_secret)


def finish_setup(*, organization: Organization, actor: User, setup_intent_id: str, at: datetime) -> PaymentMethod:
    """Make the card of a form that the browser has sent to Stripe the organization's card. The same again for repeats.

    ``actor`` is who sends the form; the card belongs to who opened it.

    Raises:
        Refused: the form isn't the organization's (``unknown_setup``), the bank or Stripe declined the card
            (``card_declined``), or it isn't finished (``setup_unfinished``).
        PaymentProcessorUnavailable: try again.
    """
    require(organization=organization, actor=actor, permission=Permission.CARD_EDIT)
    setup = CardSetup.objects.filter(organization=organization, stripe_setup_intent_id=setup_intent_id).first()
    if setup is None:
        raise Refused("This card form is not known.", code="unknown_setup")
    return finish(setup_id=setup.pk, at=at)


def finish(*, setup_id: int, at: datetime) -> PaymentMethod:
    """What :func:`finish_setup` does, for the webhook too, when the browser never came back.

    Who opened the form must still hold the right: a card of somebody who was removed meanwhile is not taken.
    """
    setup = CardSetup.objects.select_related("organization", "actor").get(pk=setup_id)
    known = PaymentMethod.objects.filter(card_setup=setup).first()
    if known is not None:
        return known
    require(organization=setup.organization, actor=setup.actor, permission=Permission.CARD_EDIT)
    facts = stripe_gateway.read_setup(setup_intent_id=setup.stripe_setup_intent_id or "")
    card = _checked_card(setup, facts, at=at)
    saved = _make_default(setup, card, at=at)
    tidy(organization=setup.organization)
    return PaymentMethod.objects.get(pk=saved.pk)


def tidy(*, organization: Organization) -> bool:
    """Bring Stripe in line with the card that is in use: told as the default, and the former ones let go of.

    Nothing here changes what is charged, so an unreachable Stripe is logged and tried again by the reconciler.
    Returns whether all is done.
    """
    card = PaymentMethod.objects.select_related("added_by").filter(organization=organization, is_default=True).first()
    customer = StripeCustomer.objects.get(organization=organization)
    try:
        if card is not None and customer.stripe_customer_id:
            stripe_gateway.describe_customer(
                customer_id=customer.stripe_customer_id,
                name=organization.name,
                email=card.added_by.email,
                default_payment_method_id=card.stripe_payment_method_id,
            )
        for former in PaymentMethod.objects.filter(
            organization=organization, removed_at__isnull=False, detached_at__isnull=True
        )[:20]:
            stripe_gateway.detach_card(payment_method_id=former.stripe_payment_method_id)
            PaymentMethod.objects.filter(pk=former.pk).update(detached_at=Now())
    except (PaymentProcessorUnavailable, Refused) as error:
        logger.warning("The cards of organization %s are not tidy at Stripe yet: %s", organization.pk, error)
        return False
    return True


def untidy_organizations(*, limit: int = 20) -> list[Organization]:
    """Organizations with a replaced card that Stripe still has."""
    return list(
        Organization.objects.filter(
            payment_methods__removed_at__isnull=False, payment_methods__detached_at__isnull=True
        ).distinct()[:limit]
    )


def note_updated(*, payment_method_id: str) -> bool:
    """The bank or Stripe renewed a card: take over brand, digits and expiry. Returns whether it is one of ours."""
    card = PaymentMethod.objects.filter(stripe_payment_method_id=payment_method_id, removed_at__isnull=True).first()
    if card is None:
        return False
    facts = stripe_gateway.read_card(payment_method_id=payment_method_id)
    PaymentMethod.objects.filter(pk=card.pk).update(
        brand=facts.brand, last4=facts.last4, exp_month=facts.exp_month, exp_year=facts.exp_year
    )
    return True


def note_detached(*, payment_method_id: str, at: datetime) -> bool:
    """Stripe has let go of a card: it is charged no more. Returns whether it is one of ours."""
    card = PaymentMethod.objects.filter(stripe_payment_method_id=payment_method_id).first()
    if card is None:
        return False
    if stripe_gateway.read_card(payment_method_id=payment_method_id).customer_id is not None:
        return True
    with transaction.atomic():
        ledger.lock(organization_id=card.organization_id)
        was_default = PaymentMethod.objects.filter(pk=card.pk, is_default=True).update(
            is_default=False, removed_at=at, detached_at=at
        )
        PaymentMethod.objects.filter(pk=card.pk, detached_at__isnull=True).update(detached_at=at)
        if was_default:
            audit.record(
                organization=card.organization, actor=None, action="card.detached", target=f"payment_method:{card.pk}"
            )
    return True


def _customer_id(organization: Organization) -> str:
    """The organization's Customer at Stripe, created on first need. Its row and key come first.

    The key holds for 24 hours. If the reply was lost and nobody tried again until later, Stripe keeps one customer
    without any card, which costs nothing.
    """
    customer, _ = StripeCustomer.objects.get_or_create(organization=organization)
    if customer.stripe_customer_id:
        return customer.stripe_customer_id
    customer.refresh_from_db()
    created_id = stripe_gateway.create_customer(
        organization_id=organization.pk,
        key=f"customer-{organization.pk}-{_microseconds(customer.created_at)}",
    )
    StripeCustomer.objects.filter(organization=organization, stripe_customer_id__isnull=True).update(
        stripe_customer_id=created_id
    )
    return StripeCustomer.objects.values_list("stripe_customer_id", flat=True).get(organization=organization) or ""


def _microseconds(at: datetime) -> int:
    """An instant as part of a key: ids alone come again in a database that was set up anew."""
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _refuse_card_testing(*, organization: Organization, actor: User) -> None:
    for span, limit in ((timedelta(hours=1), SETUPS_PER_HOUR_MAX), (timedelta(days=1), SETUPS_PER_DAY_MAX)):
        recent = CardSetup.objects.filter(created_at__gt=Now() - span)
        if max(recent.filter(actor=actor).count(), recent.filter(organization=organization).count()) >= limit:
            when = "an hour" if limit == SETUPS_PER_HOUR_MAX else "a day"
            raise Refused(
                f"Too many cards were tried: {limit} in {when}. Your present card is kept. Please try again later.",
                code="too_many_cards",
            )


def _checked_card(setup: CardSetup, facts: stripe_gateway.SetupFacts, *, at: datetime) -> stripe_gateway.CardFacts:
    customer = StripeCustomer.objects.get(organization=setup.organization)
    if facts.customer_id != customer.stripe_customer_id:
        raise Refused("This card form is not known.", code="unknown_setup")
    if facts.status == "canceled":
        CardSetup.objects.filter(pk=setup.pk).update(state=CardSetup.State.FAILED, finished_at=at)
    if facts.status != "succeeded" or facts.card is None:
        if facts.failure_code:
            reason = declines.reason(decline_code=facts.decline_code, failure_code=facts.failure_code)
            raise Refused(
                f"The bank declined this card: {reason}." if reason else "The bank declined this card.",
                code="card_declined",
            )
        raise Refused("The card was not saved. Please try again.", code="setup_unfinished")
    if facts.card.customer_id != customer.stripe_customer_id:
        raise Refused("The card was removed again. Please try again.", code="card_detached")
    return facts.card


def _make_default(setup: CardSetup, facts: stripe_gateway.CardFacts, *, at: datetime) -> PaymentMethod:
    with transaction.atomic():
        ledger.lock(organization_id=setup.organization_id)
        known = PaymentMethod.objects.filter(stripe_payment_method_id=facts.payment_method_id).first()
        if known is not None:
            return known
        former = PaymentMethod.objects.filter(organization=setup.organization, is_default=True).first()
        if former is not None:
            PaymentMethod.objects.filter(pk=former.pk).update(is_default=False, removed_at=at)
        card = PaymentMethod.objects.create(
            organization=setup.organization,
            stripe_payment_method_id=facts.payment_method_id,
            brand=facts.brand,
            last4=facts.last4,
            exp_month=facts.exp_month,
            exp_year=facts.exp_year,
            fingerprint=facts.fingerprint,
            is_default=True,
            card_setup=setup,
            added_by=setup.actor,
            added_at=at,
        )
        CardSetup.objects.filter(pk=setup.pk).update(state=CardSetup.State.SUCCEEDED, finished_at=at)
        reload_line.note_card(organization_id=setup.organization_id, card=card)
        reload_line.review(organization_id=setup.organization_id)
        audit.record(
            organization=setup.organization,
            actor=setup.actor,
            action="card.replaced" if former is not None else "card.added",
            target=f"payment_method:{card.pk}",
            before={"payment_method_id": former.pk} if former is not None else None,
            after={"payment_method_id": card.pk, "card_setup_id": setup.pk},
        )
        emails.card_replaced(card=card, former=former)
        return card
