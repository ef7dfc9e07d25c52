"""Removing the card: from then on nothing is charged, and what would have charged it is switched off and says so."""

from datetime import datetime

from django.db import transaction
from django.http import HttpRequest

from accounts.models import Organization, User
from accounts.permissions import Permission
from billing import emails
from billing.credits import ledger
from billing.errors import Refused
from billing.models import PaymentMethod, Purchase
from billing.payments import auto_reload, payment_methods


def remove(
    *, organization: Organization, actor: User, payment_method_id: int, at: datetime, request: HttpRequest | None = None
) -> PaymentMethod:
    """Let the card go. Auto-reload, which would have nothing to charge, is switched off in the same transaction.

    Stripe is told afterwards, and by the sweep if it can't be reached: the card is charged no more in any case.

    Raises:
        Refused: the card is not the one in use any more (``changed``), a payment with it is open (``open_payment``), or
            the actor lost the permission.
    """
    with transaction.atomic(durable=True):
        ledger.lock(organization_id=organization.pk)
        payment_methods.require(organization=organization, actor=actor, permission=Permission.CARD_EDIT)
        card = payment_methods.default_card(organization=organization)
        if card is None or card.pk != payment_method_id:
            raise Refused("This card is not in use any more. Nothing was changed.", code="changed")
        if Purchase.objects.filter(payment_method=card, state__in=Purchase.OPEN_STATES).exists():
            raise Refused(
                "A payment with this card has not ended yet. Wait for it, or cancel it where your bank asks for you. "
                "Then remove the card.",
                code="open_payment",
            )
        was_on = auto_reload.switch_off(organization=organization, actor=actor, at=at, request=request)
        payment_methods.let_go(card=card, was_reload_on=was_on, actor=actor, at=at, request=request)
        emails.card_removed(card=card, actor=actor, was_reload_on=was_on)
    payment_methods.tidy(organization=organization)
    return card
