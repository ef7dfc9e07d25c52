"""The inbox of webhooks: verified, stored once, answered at once, worked on from the row.

An event only says where to look. What it means is read from Stripe again, so order, repetition and silence don't
matter; an event that was processed twice has done nothing the second time.
"""

import json
import logging
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F

from billing.errors import Refused
from billing.models import CardSetup, Purchase, StripeEvent
from billing.payments import disputes, payment_methods, purchases, returns, stripe_gateway
from billing.payments.stripe_gateway import EventFacts

BODY_BYTES_MAX = 256 * 1024
ATTEMPTS_MAX = 15
RETRY_FIRST = timedelta(seconds=10)
RETRY_LAST = timedelta(hours=1)

HANDLED_TYPES = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "setup_intent.setup_failed",
    "setup_intent.succeeded",
    "payment_method.automatically_updated",
    "payment_method.detached",
    "payment_method.updated",
    "customer.updated",
    "customer.deleted",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
]

logger = logging.getLogger(__name__)


def receive(*, body: bytes, signature: str, at: datetime) -> StripeEvent:
    """Store a webhook's event, once, and return its row.

    Raises:
        Refused: ``too_large``, ``bad_signature`` or ``bad_event``; nothing is written.
    """
    if len(body) > BODY_BYTES_MAX:
        raise Refused("The body is too large.", code="too_large")
    return store(stripe_gateway.verified_event(body=body, signature=signature), at=at)


def store(facts: EventFacts, *, at: datetime) -> StripeEvent:
    """Put an event into the inbox, unless it is there. One INSERT; concurrent copies end in one row (case 26)."""
    StripeEvent.objects.bulk_create(
        [
            StripeEvent(
                stripe_event_id=facts.id,
                type=facts.type[:64],
                object_id=facts.object_id[:255],
                api_version=facts.api_version[:32],
                payload=_without_secrets(facts.payload),
                received_at=at,
            )
        ],
        ignore_conflicts=True,
    )
    return StripeEvent.objects.get(stripe_event_id=facts.id)


def _without_secrets(payload: dict[str, Any]) -> dict[str, Any]:
    """An event without the client secrets of the intents in it: whoever has one can finish that payment or form."""
    kept: dict[str, Any] = json.loads(
        json.dumps(payload),
        object_hook=lambda fields: {name: value for name, value in fields.items() if name != "client_secret"},
    )
    return kept


def process(*, event_id: int, at: datetime) -> None:
    """Do what an event asks for and note that it is done. An error leaves it for the sweep (case 27)."""
    claimed = StripeEvent.objects.filter(pk=event_id, processed_at__isnull=True).update(attempts=F("attempts") + 1)
    if not claimed:
        return
    event = StripeEvent.objects.get(pk=event_id)
    try:
        outcome = _outcome(event, at=at)
    except Exception as error:
        StripeEvent.objects.filter(pk=event_id, processed_at__isnull=True).update(
            outcome=f"failed: {type(error).__name__}: {error}"[:200]
        )
        if event.attempts >= ATTEMPTS_MAX:
            logger.exception("Event %s is left to staff after %s attempts.", event.stripe_event_id, event.attempts)
        raise
    StripeEvent.objects.filter(pk=event_id).update(processed_at=at, outcome=outcome[:200])


def waiting(*, at: datetime, limit: int = 100) -> list[int]:
    """Events whose effect doesn't stand yet and that are due to be tried (again), oldest first."""
    rows = StripeEvent.objects.filter(processed_at__isnull=True, attempts__lt=ATTEMPTS_MAX).order_by("received_at")
    return [
        event_id
        for event_id, received_at, attempts in rows.values_list("pk", "received_at", "attempts")[: 10 * limit]
        if received_at + retry_after(attempts) <= at
    ][:limit]


def retry_after(attempts: int) -> timedelta:
    """How long after its arrival an event is tried again: doubling, so that a fault of hours loses none."""
    return timedelta(0) if attempts == 0 else min(RETRY_FIRST * 2**attempts, RETRY_LAST * attempts)


def _outcome(event: StripeEvent, *, at: datetime) -> str:
    """Act on an event. The text is for staff."""
    if bool(event.payload.get("livemode")) != stripe_gateway.is_live():
        logger.error("Event %s is of the other mode, live or test.", event.stripe_event_id)
        return "refused: other mode"
    if event.payload.get("account"):
        # https://docs.stripe.com/connect/webhooks: an event of a connected account names it.
        logger.error("Event %s is of another account.", event.stripe_event_id)
        return "refused: other account"
    if event.type not in HANDLED_TYPES:
        return "ignored: no handler"
    kind = event.type.partition(".")[0]
    if kind == "payment_intent":
        return _settle(event, at=at)
    if event.type == "setup_intent.setup_failed":
        # Counted from the inbox, where an event stands once, so that no repetition counts as another card.
        failures = StripeEvent.objects.filter(type=event.type, object_id=event.object_id).count()
        is_ours = payment_methods.note_failed(setup_intent_id=event.object_id, failures=failures, at=at)
        return "card refused" if is_ours else "ignored: unknown card form"
    if kind == "setup_intent":
        return _finish_card(event, at=at)
    if kind in ("charge", "refund"):
        return _settle_returns(event, at=at)
    if kind == "radar":
        return _note_warning(event, at=at)
    if event.type == "customer.updated":
        # Which card is charged is decided by our own row, never by what Stripe has as the default.
        return "noted: nothing to take over"
    if event.type == "customer.deleted":
        return _told(payment_methods.note_customer_deleted(customer_id=event.object_id, at=at))
    if event.type == "payment_method.detached":
        return _told(payment_methods.note_detached(payment_method_id=event.object_id, at=at))
    return _told(payment_methods.note_updated(payment_method_id=event.object_id))


def _settle(event: StripeEvent, *, at: datetime) -> str:
    purchase_id = _purchase_of(event)
    if purchase_id is None:
        logger.error("Event %s is about a payment that is not known here.", event.stripe_event_id)
        return "ignored: unknown payment"
    purchase = purchases.settle(purchase_id=purchase_id, at=at, payment_intent_id=event.object_id)
    return f"purchase {purchase.pk} is {purchase.state}"


def _purchase_of(event: StripeEvent) -> int | None:
    """The purchase by its PaymentIntent or, when the event came before our own reply, by the metadata we sent."""
    known = Purchase.objects.filter(payment_intent_id=event.object_id).values_list("pk", flat=True).first()
    if known is not None:
        return known
    metadata = event.payload["data"]["object"].get("metadata") or {}
    return Purchase.objects.filter(pk=_number(metadata.get("purchase_id"))).values_list("pk", flat=True).first()


def _number(named: object) -> int:
    """An id in metadata; 0, which no row has, for whatever is none."""
    text = str(named or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0


def _settle_returns(event: StripeEvent, *, at: datetime) -> str:
    """A refund or dispute, in whatever state: everything of its payment is read and booked (record 0085)."""
    purchase = _paid_purchase(_payment_of(event), at=at)
    if purchase is None:
        logger.error("Event %s is about a payment that is not known here.", event.stripe_event_id)
        return "ignored: unknown payment"
    if purchase.state != Purchase.State.SUCCEEDED:
        return f"purchase {purchase.pk} is {purchase.state}: nothing was granted"
    returns.settle(purchase_id=purchase.pk, at=at)
    return f"purchase {purchase.pk}: refunds and disputes booked"


def _note_warning(event: StripeEvent, *, at: datetime) -> str:
    facts = stripe_gateway.read_warning(warning_id=event.object_id)
    purchase = _paid_purchase(facts.payment_intent_id, at=at)
    if purchase is None:
        logger.error("Event %s is about a payment that is not known here.", event.stripe_event_id)
        return "ignored: unknown payment"
    disputes.note_warning(purchase=purchase, facts=facts, at=at)
    return f"purchase {purchase.pk}: warning kept"


def _payment_of(event: StripeEvent) -> str | None:
    """The PaymentIntent that a refund, dispute or charge belongs to: where to look, and nothing more."""
    named = event.payload["data"]["object"].get("payment_intent")
    if isinstance(named, dict):
        named = named.get("id")
    if isinstance(named, str) and named:
        return named
    if event.type.startswith("charge.dispute."):
        return stripe_gateway.read_dispute(dispute_id=event.object_id).payment_intent_id
    if event.type == "charge.refunded":
        return None
    return stripe_gateway.read_refund(refund_id=event.object_id).payment_intent_id


def _paid_purchase(payment_intent_id: str | None, *, at: datetime) -> Purchase | None:
    """The purchase of a PaymentIntent, its own success booked first: that event may come later, or never."""
    if payment_intent_id is None:
        return None
    purchase = Purchase.objects.filter(payment_intent_id=payment_intent_id).first()
    if purchase is None:
        try:
            facts = stripe_gateway.read_payment(payment_intent_id=payment_intent_id)
        except stripe_gateway.ProcessorRefused:
            return None
        purchase = Purchase.objects.filter(pk=_number(facts.metadata.get("purchase_id"))).first()
    if purchase is None or purchase.state == Purchase.State.SUCCEEDED:
        return purchase
    return purchases.settle(purchase_id=purchase.pk, at=at, payment_intent_id=payment_intent_id)


def _finish_card(event: StripeEvent, *, at: datetime) -> str:
    setup = CardSetup.objects.filter(stripe_setup_intent_id=event.object_id).first()
    if setup is None:
        metadata = event.payload["data"]["object"].get("metadata") or {}
        logger.error("Event %s is about a card form that is not known: %s", event.stripe_event_id, metadata)
        return "ignored: unknown card form"
    try:
        card = payment_methods.finish(setup_id=setup.pk, at=at)
    except Refused as refusal:
        return f"refused: {refusal.code}"
    return f"card {card.pk}"


def _told(is_ours: bool) -> str:
    return "card updated" if is_ours else "ignored: unknown card"
