"""The card of an organization: saved in the browser at Stripe, known here by brand, last four digits and expiry.

One card is the default and is the only one that is charged. A new card becomes it and the former one is let go of.
No card number ever comes near this product.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.http import HttpRequest

from accounts import audit
from accounts.models import Membership, Organization, User
from accounts.permissions import Permission
from billing import contacts, emails
from billing.credits import ledger
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import CardSetup, PaymentMethod, RefusedAttempt, StripeCustomer
from billing.payments import card_limits, declines, reload_line, stripe_gateway
from billing.terms import CARD_CONSENT

# So many cards may be refused in one form; then the form ends.
FAILURES_PER_FORM_MAX = 3
EXPIRY_TOLD_BEFORE = timedelta(days=30)
_UPDATED = ("brand", "last4", "exp_month", "exp_year")

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
    mine = Membership.objects.select_related("organization").filter(organization=organization, user=actor)
    membership = mine.filter(user__is_active=True).first()
    if membership is None or not membership.may(permission):
        raise Refused(f"You may not {permission.label}.", code="permission")
    if membership.organization.is_closed:
        raise Refused(f"{organization.name} is closed. Nothing was changed.", code="closed")


def begin_setup(*, organization: Organization, actor: User) -> CardForm:
    """Open the card form: a row with the consent as it is shown, then a SetupIntent.

    Raises:
        Refused: no permission, or too many cards were tried by this person or for this organization
            (``too_many_cards``).
        PaymentProcessorUnavailable: try again.
    """
    customer_id = _customer_id(organization)
    try:
        setup = _begin(organization, actor)
    except Refused as refusal:
        if refusal.code == "too_many_cards":
            card_limits.keep_refused(refusal, kind=RefusedAttempt.Kind.CARD, organization=organization, actor=actor)
        raise
    facts = stripe_gateway.create_setup(
        customer_id=customer_id,
        metadata={"organization_id": str(organization.pk), "card_setup_id": str(setup.pk)},
        key=f"card-setup-{setup.pk}-{_microseconds(setup.created_at)}",
    )
    CardSetup.objects.filter(pk=setup.pk).update(stripe_setup_intent_id=facts.id)
    return CardForm(setup_intent_id=facts.id, client_secret=facts.client_secret)


def _begin(organization: Organization, actor: User) -> CardSetup:
    with transaction.atomic():
        # The customer's row serializes the count of forms for the organization.
        customer = StripeCustomer.objects.select_for_update().annotate(clock=Now()).get(organization=organization)
        card_limits.lock_person(actor)
        require(organization=organization, actor=actor, permission=Permission.CARD_EDIT)
        card_limits.refuse_more_cards(organization=organization, actor=actor, at=customer.clock)
        return CardSetup.objects.create(
            organization=organization,
            actor=actor,
            consent_version=CARD_CONSENT.version,
            consent_text=" ".join(CARD_CONSENT.paragraphs),
        )


def note_failed(*, setup_intent_id: str, failures: int, at: datetime) -> bool:
    """The bank refused a card in an open form: keep why, for the list of attempts. Returns whether it is one of ours.

    ``failures`` is how often that has happened in this form. A form in which many cards were refused is ended at
    Stripe too, because its secret would let a browser go on without us.

    Raises:
        PaymentProcessorUnavailable: Stripe has to be asked again.
    """
    setup = CardSetup.objects.filter(stripe_setup_intent_id=setup_intent_id).first()
    if setup is None:
        return False
    facts = stripe_gateway.read_setup(setup_intent_id=setup_intent_id)
    _keep_failure(setup, facts, failures=failures)
    if failures >= FAILURES_PER_FORM_MAX and facts.status != "succeeded":
        stripe_gateway.cancel_setup(setup_intent_id=setup_intent_id)
        CardSetup.objects.filter(pk=setup.pk, state=CardSetup.State.CREATED).update(
            state=CardSetup.State.FAILED, finished_at=at
        )
    return True


def failure_words(*, organization: Organization, actor: User, setup_intent_id: str) -> str:
    """Why the last card of an open form was refused, in words for the customer. Reads Stripe, not what a browser says.

    Raises:
        Refused: the form isn't the organization's, or the actor lost the permission.
        PaymentProcessorUnavailable: try again.
    """
    require(organization=organization, actor=actor, permission=Permission.CARD_EDIT)
    setup = CardSetup.objects.filter(organization=organization, stripe_setup_intent_id=setup_intent_id).first()
    if setup is None:
        raise Refused("This card form is not known.", code="unknown_setup")
    facts = stripe_gateway.read_setup(setup_intent_id=setup_intent_id)
    _keep_failure(setup, facts, failures=max(setup.failures, 1))
    if facts.status == "canceled":
        return "Too many cards were refused in this form. Please open it again."
    return declines.card_refused(decline_code=facts.decline_code, failure_code=facts.failure_code)


def _keep_failure(setup: CardSetup, facts: stripe_gateway.SetupFacts, *, failures: int) -> None:
    if facts.failure_code:
        CardSetup.objects.filter(pk=setup.pk, failures__lte=failures).update(
            failures=failures, failure_code=facts.failure_code[:64], decline_code=facts.decline_code[:64]
        )


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


def let_go(
    *, card: PaymentMethod, was_reload_on: bool, actor: User, at: datetime, request: HttpRequest | None = None
) -> None:
    """Charge the card no more, in the caller's transaction; ``tidy`` tells Stripe after it."""
    PaymentMethod.objects.filter(pk=card.pk).update(is_default=False, removed_at=at)
    audit.record(
        organization=card.organization,
        actor=actor,
        action="card.removed",
        target=f"payment_method:{card.pk}",
        after={"was_reload_on": was_reload_on},
        request=request,
    )


def tidy(*, organization: Organization) -> bool:
    """Bring Stripe in line with the card that is in use: told as the default, and the former ones let go of.

    Nothing here changes what is charged, so an unreachable Stripe is logged and tried again by the reconciler.
    Returns whether all is done.
    """
    # Before anything is read: a change that comes meanwhile marks the row again.
    StripeCustomer.objects.filter(organization=organization).update(is_stale=False)
    card = PaymentMethod.objects.select_related("added_by").filter(organization=organization, is_default=True).first()
    customer = StripeCustomer.objects.get(organization=organization)
    try:
        if card is not None and customer.stripe_customer_id:
            stripe_gateway.describe_customer(
                customer_id=customer.stripe_customer_id,
                name=organization.name,
                email=contacts.processor_address(organization=organization, preferred=card.added_by),
                default_payment_method_id=card.stripe_payment_method_id,
            )
        for former in PaymentMethod.objects.filter(
            organization=organization, removed_at__isnull=False, detached_at__isnull=True
        )[:20]:
            stripe_gateway.detach_card(payment_method_id=former.stripe_payment_method_id)
            PaymentMethod.objects.filter(pk=former.pk).update(detached_at=Now())
    except (PaymentProcessorUnavailable, Refused) as error:
        StripeCustomer.objects.filter(organization=organization).update(is_stale=True)
        logger.warning("The cards of organization %s are not tidy at Stripe yet: %s", organization.pk, error)
        return False
    return True


def tidy_stale(*, limit: int = 50) -> int:
    """Tell Stripe where who gets billing mail has changed; how many were told. What fails is tried again next time."""
    stale = StripeCustomer.objects.select_related("organization").filter(is_stale=True).order_by("pk")[:limit]
    return sum(tidy(organization=customer.organization) for customer in stale)


def tell_expiry(*, at: datetime, limit: int = 100) -> int:
    """Mail once that a card in use ends within 30 days, and once that it has ended. Returns how many were told.

    A card is good until the end of its month. A card that was renewed meanwhile has another end and is told of anew.
    """
    soon = at + EXPIRY_TOLD_BEFORE
    month = F("exp_year") * 12 + F("exp_month")
    ending = PaymentMethod.objects.select_related("organization").filter(is_default=True).annotate(month=month)
    told = 0
    # The month of an end is over from the first of the next; `soon` in that month or later is close enough to say so.
    for card in ending.filter(month__lt=soon.year * 12 + soon.month).order_by("pk").iterator():
        what = f"{'over' if has_expired(card, at=at) else 'soon'}-{card.exp_year}-{card.exp_month:02d}"
        if card.expiry_told == what:
            continue
        with transaction.atomic():
            if (
                PaymentMethod.objects.filter(pk=card.pk, is_default=True)
                .exclude(expiry_told=what)
                .update(expiry_told=what)
            ):
                emails.card_expires(card=card, is_over=what.startswith("over"), key=what)
        told += 1
        if told == limit:
            break
    return told


def untidy_organizations(*, limit: int = 20) -> list[Organization]:
    """Organizations with a replaced card that Stripe still has."""
    return list(
        Organization.objects.filter(
            payment_methods__removed_at__isnull=False, payment_methods__detached_at__isnull=True
        ).distinct()[:limit]
    )


def note_updated(*, payment_method_id: str) -> bool:
    """The bank or Stripe renewed a card: take over brand, digits and expiry. Returns whether it is one of ours."""
    known = PaymentMethod.objects.filter(stripe_payment_method_id=payment_method_id, removed_at__isnull=True)
    if not known.exists():
        return False
    facts = stripe_gateway.read_card(payment_method_id=payment_method_id)
    told = {name: getattr(facts, name) for name in _UPDATED}
    with transaction.atomic():
        card = known.select_for_update(of=("self",)).select_related("organization").first()
        if card is None:
            return True
        before = {name: getattr(card, name) for name in _UPDATED}
        if before != told:
            PaymentMethod.objects.filter(pk=card.pk).update(**told)
            audit.record(
                organization=card.organization,
                actor=None,
                action="card.updated",
                target=f"payment_method:{card.pk}",
                before=before,
                after=told,
            )
    return True


def note_customer_deleted(*, customer_id: str, at: datetime) -> bool:
    """The Customer was deleted at Stripe, which lets go of its card. Returns whether it is one of ours.

    Nobody can save another card before staff have put it right: payments under the former Customer still name it.
    """
    customer = StripeCustomer.objects.filter(stripe_customer_id=customer_id).first()
    if customer is None:
        return False
    logger.error("The Stripe customer of organization %s was deleted: it can't pay.", customer.organization_id)
    card = PaymentMethod.objects.filter(organization_id=customer.organization_id, is_default=True).first()
    if card is not None:
        note_detached(payment_method_id=card.stripe_payment_method_id, at=at)
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
            reload_line.note_card_gone(organization_id=card.organization_id, card=card, at=at)
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


def _checked_card(setup: CardSetup, facts: stripe_gateway.SetupFacts, *, at: datetime) -> stripe_gateway.CardFacts:
    customer = StripeCustomer.objects.get(organization=setup.organization)
    if facts.customer_id != customer.stripe_customer_id:
        raise Refused("This card form is not known.", code="unknown_setup")
    if facts.status == "canceled":
        CardSetup.objects.filter(pk=setup.pk).update(state=CardSetup.State.FAILED, finished_at=at)
    if facts.status != "succeeded" or facts.card is None:
        if facts.failure_code:
            _keep_failure(setup, facts, failures=max(setup.failures, 1))
            words = declines.card_refused(decline_code=facts.decline_code, failure_code=facts.failure_code)
            raise Refused(words, code="card_declined")
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
