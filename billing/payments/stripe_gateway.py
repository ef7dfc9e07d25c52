"""The one door to Stripe: the only module that imports its SDK.

Calls go out with a time limit and a key, and come back as small frozen facts. What can't be known is raised as
:class:`~billing.errors.PaymentProcessorUnavailable` and never guessed. Nothing here writes to the database, and
nothing may call it with a transaction open. Parameters are the SDK's own typed ones, so a name that the pinned API
version doesn't know is an error of the type checker.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import stripe
from django.conf import settings
from stripe.params import (
    CustomerCreateParams,
    CustomerUpdateParams,
    DisputeListParams,
    EventListParams,
    PaymentIntentCancelParams,
    PaymentIntentConfirmParams,
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    RefundCreateParams,
    RefundListParams,
    SetupIntentCreateParams,
    SetupIntentRetrieveParams,
)
from stripe.params.radar import EarlyFraudWarningListParams

from billing.errors import PaymentProcessorUnavailable, Refused

CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 20
RETRIES = 2
SIGNATURE_TOLERANCE_SECONDS = 300
PAGES_MAX = 10
PAGE_SIZE = 100
# https://docs.stripe.com/api/events/list: "up to 20 strings".
EVENT_TYPES_MAX = 20

logger = logging.getLogger(__name__)

CancellationReason = Literal["abandoned", "duplicate", "requested_by_customer"]
RefundReason = Literal["duplicate", "fraudulent", "requested_by_customer"]


class ProcessorRefused(Refused):
    """Stripe refused the request itself: nothing has happened and the same request would be refused again."""


class KeyReused(PaymentProcessorUnavailable):
    """The key was used before with other parameters, a fault of this product. What the first request did is unknown."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """A saved card as Stripe describes it. ``fingerprint`` is the same for the same card number."""

    payment_method_id: str
    customer_id: str | None
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SetupFacts:
    """A SetupIntent. ``card`` is known when it was read, not when it was made."""

    id: str
    status: str
    customer_id: str | None
    client_secret: str = field(repr=False)
    card: CardFacts | None
    failure_code: str
    decline_code: str


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """A PaymentIntent. Amounts in cents. The failure fields tell of its last attempt and are empty without one."""

    id: str
    status: str
    amount_cents: int
    amount_received_cents: int
    currency: str
    customer_id: str | None
    payment_method_id: str | None
    client_secret: str = field(repr=False)
    decline_code: str
    failure_code: str
    failure_message: str
    advice_code: str
    cancellation_reason: str
    latest_charge_id: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EventFacts:
    """An event, with the object it is about as ``object_id`` and everything it said as ``payload``."""

    id: str
    type: str
    object_id: str
    api_version: str
    is_live: bool
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Payment:
    """A charge to be asked for. Equal values make an equal request, which is what makes a resend safe."""

    key: str
    amount_cents: int
    customer_id: str
    payment_method_id: str
    description: str
    metadata: Mapping[str, str]
    is_off_session: bool


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """A refund, by whomever it was made. ``status`` is pending, requires_action, succeeded, failed or canceled."""

    id: str
    status: str
    amount_cents: int
    currency: str
    payment_intent_id: str | None
    failure_code: str
    created_at: datetime
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DisputeFacts:
    """A dispute or an inquiry. ``amount_cents`` is what is disputed, which may be less than what was paid."""

    id: str
    status: str
    amount_cents: int
    currency: str
    payment_intent_id: str | None
    reason: str
    evidence_due_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WarningFacts:
    """An early fraud warning. ``is_actionable``: a refund may still prevent a dispute."""

    id: str
    payment_intent_id: str | None
    fraud_type: str
    is_actionable: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund to be asked for. Equal values make an equal request, which is what makes a resend safe."""

    key: str
    payment_intent_id: str
    amount_cents: int
    reason: RefundReason
    metadata: Mapping[str, str]


# Customers and cards


def create_customer(*, organization_id: int, key: str) -> str:
    """Create the organization's Customer; the same key answers with the same one. Returns its id."""
    params: CustomerCreateParams = {"metadata": {"organization_id": str(organization_id)}}
    with _translated():
        return _client().v1.customers.create(params, {"idempotency_key": key}).id


def describe_customer(*, customer_id: str, name: str, email: str, default_payment_method_id: str) -> None:
    """Tell Stripe who the customer is, for its fraud checks and receipts, and which card is in use."""
    params: CustomerUpdateParams = {
        "name": name,
        "email": email,
        "invoice_settings": {"default_payment_method": default_payment_method_id},
    }
    with _translated():
        _client().v1.customers.update(customer_id, params)


def create_setup(*, customer_id: str, metadata: Mapping[str, str], key: str) -> SetupFacts:
    """Begin saving a card for charges without the customer present."""
    params: SetupIntentCreateParams = {
        "customer": customer_id,
        "usage": "off_session",
        "allowed_payment_method_types": ["card"],
        "metadata": dict(metadata),
    }
    with _translated():
        return _setup_facts(_client().v1.setup_intents.create(params, {"idempotency_key": key}))


def cancel_setup(*, setup_intent_id: str) -> None:
    """End a card form at Stripe. Nothing happens where it has ended already.

    https://docs.stripe.com/api/setup_intents/cancel
    """
    try:
        with _translated():
            _client().v1.setup_intents.cancel(setup_intent_id)
    except ProcessorRefused:
        return


def read_setup(*, setup_intent_id: str) -> SetupFacts:
    """Read a SetupIntent with its card."""
    params: SetupIntentRetrieveParams = {"expand": ["payment_method"]}
    with _translated():
        return _setup_facts(_client().v1.setup_intents.retrieve(setup_intent_id, params))


def read_card(*, payment_method_id: str) -> CardFacts:
    """Read a saved card."""
    with _translated():
        return _card_facts(_client().v1.payment_methods.retrieve(payment_method_id))


def detach_card(*, payment_method_id: str) -> None:
    """Make Stripe let go of a card, for good. Succeeds where that had happened already."""
    try:
        with _translated():
            _client().v1.payment_methods.detach(payment_method_id)
    except ProcessorRefused:
        if read_card(payment_method_id=payment_method_id).customer_id is not None:
            raise


# Payments


def create_payment(payment: Payment) -> IntentFacts:
    """Create and confirm a PaymentIntent. A declined card is an answer, not an error.

    Raises:
        ProcessorRefused: nothing was charged, and the same request would be refused again.
        PaymentProcessorUnavailable: the outcome is unknown.
    """
    params: PaymentIntentCreateParams = {
        "amount": payment.amount_cents,
        "currency": "usd",
        "customer": payment.customer_id,
        "payment_method": payment.payment_method_id,
        "allowed_payment_method_types": ["card"],
        "confirm": True,
        "description": payment.description,
        "metadata": dict(payment.metadata),
    }
    if payment.is_off_session:
        params["off_session"] = True
    else:
        params["use_stripe_sdk"] = True
    with _declined_is_an_answer() as answer:
        answer.facts = _intent_facts(_client().v1.payment_intents.create(params, {"idempotency_key": payment.key}))
    return answer.given()


def confirm_payment(*, payment_intent_id: str, payment_method_id: str) -> IntentFacts:
    """Confirm a PaymentIntent again with the customer present, so that the bank can ask them.

    No key of ours: a PaymentIntent can succeed once only, and a second confirmation of one that did is refused.
    """
    params: PaymentIntentConfirmParams = {"payment_method": payment_method_id, "use_stripe_sdk": True}
    with _declined_is_an_answer() as answer:
        answer.facts = _intent_facts(_client().v1.payment_intents.confirm(payment_intent_id, params))
    return answer.given()


def read_payment(*, payment_intent_id: str) -> IntentFacts:
    """Read a PaymentIntent as it is now."""
    params: PaymentIntentRetrieveParams = {}
    with _translated():
        return _intent_facts(_client().v1.payment_intents.retrieve(payment_intent_id, params))


def receipt_url(*, payment_intent_id: str) -> str:
    """Where Stripe shows its own receipt of a payment, or "" where it has none. The address is open to who has it."""
    params: PaymentIntentRetrieveParams = {"expand": ["latest_charge"]}
    with _translated():
        charge = _client().v1.payment_intents.retrieve(payment_intent_id, params).latest_charge
    url = charge.receipt_url if isinstance(charge, stripe.Charge) else None
    is_stripes = url is not None and (url.startswith("https://") or _is_the_stand_ins(url))
    return url if url is not None and is_stripes else ""


def _is_the_stand_ins(url: str) -> bool:
    return bool(settings.STRIPE_API_BASE) and url.startswith(f"{settings.STRIPE_API_BASE}/")


def cancel_payment(*, payment_intent_id: str, reason: CancellationReason) -> IntentFacts:
    """Cancel a PaymentIntent, or tell how it ended where it was too late for that."""
    params: PaymentIntentCancelParams = {"cancellation_reason": reason}
    try:
        with _translated():
            return _intent_facts(_client().v1.payment_intents.cancel(payment_intent_id, params))
    except ProcessorRefused:
        return read_payment(payment_intent_id=payment_intent_id)


def find_payment(*, customer_id: str, purchase_id: int, created_after: datetime) -> IntentFacts | None:
    """Look for the PaymentIntent of a purchase by its metadata, among the customer's since ``created_after``.

    The list is read to its end, so ``None`` means that Stripe has none.

    Raises:
        PaymentProcessorUnavailable: the list could not be read to its end.
    """
    params: PaymentIntentListParams = {
        "customer": customer_id,
        "created": {"gte": int(created_after.timestamp())},
        "limit": PAGE_SIZE,
    }
    with _translated():
        for count, intent in enumerate(_client().v1.payment_intents.list(params).auto_paging_iter()):
            if count >= PAGES_MAX * PAGE_SIZE:
                raise PaymentProcessorUnavailable("Too many payments to look through.")
            facts = _intent_facts(intent)
            if facts.metadata.get("purchase_id") == str(purchase_id):
                return facts
    return None


def payments_of(*, customer_id: str, created_after: datetime | None = None) -> Iterator[IntentFacts]:
    """All PaymentIntents of a customer, or those since ``created_after``, the newest first, page by page.

    Raises:
        PaymentProcessorUnavailable: the list could not be read to its end.
    """
    params: PaymentIntentListParams = {"customer": customer_id, "limit": PAGE_SIZE}
    if created_after is not None:
        params["created"] = {"gte": int(created_after.timestamp())}
    with _translated():
        for intent in _client().v1.payment_intents.list(params).auto_paging_iter():
            yield _intent_facts(intent)


# Refunds and disputes


def create_refund(order: RefundOrder) -> RefundFacts:
    """Ask for a refund.

    Raises:
        ProcessorRefused: nothing was refunded by it: the payment was refunded or disputed already, for one.
        PaymentProcessorUnavailable: the outcome is unknown.
    """
    params: RefundCreateParams = {
        "payment_intent": order.payment_intent_id,
        "amount": order.amount_cents,
        "reason": order.reason,
        "metadata": dict(order.metadata),
    }
    with _translated():
        return _refund_facts(_client().v1.refunds.create(params, {"idempotency_key": order.key}))


def read_refund(*, refund_id: str) -> RefundFacts:
    """Read a refund as it is now."""
    with _translated():
        return _refund_facts(_client().v1.refunds.retrieve(refund_id))


def refunds_of(*, payment_intent_id: str) -> list[RefundFacts]:
    """All refunds of a payment, the oldest first. The list is read to its end."""
    params: RefundListParams = {"payment_intent": payment_intent_id, "limit": PAGE_SIZE}
    with _translated():
        found = [_refund_facts(refund) for refund in _client().v1.refunds.list(params).auto_paging_iter()]
    return found[::-1]


def refunds_since(*, created_after: datetime) -> Iterator[RefundFacts]:
    """Every refund that was made in the account since then, the newest first, page by page."""
    params: RefundListParams = {"created": {"gte": int(created_after.timestamp())}, "limit": PAGE_SIZE}
    with _translated():
        for refund in _client().v1.refunds.list(params).auto_paging_iter():
            yield _refund_facts(refund)


def read_dispute(*, dispute_id: str) -> DisputeFacts:
    """Read a dispute as it is now."""
    with _translated():
        return _dispute_facts(_client().v1.disputes.retrieve(dispute_id))


def disputes_of(*, payment_intent_id: str) -> list[DisputeFacts]:
    """All disputes and inquiries of a payment, the oldest first. The list is read to its end."""
    params: DisputeListParams = {"payment_intent": payment_intent_id, "limit": PAGE_SIZE}
    with _translated():
        found = [_dispute_facts(dispute) for dispute in _client().v1.disputes.list(params).auto_paging_iter()]
    return found[::-1]


def disputes_since(*, created_after: datetime) -> Iterator[DisputeFacts]:
    """Every dispute that was opened in the account since then, the newest first, page by page."""
    params: DisputeListParams = {"created": {"gte": int(created_after.timestamp())}, "limit": PAGE_SIZE}
    with _translated():
        for dispute in _client().v1.disputes.list(params).auto_paging_iter():
            yield _dispute_facts(dispute)


def read_warning(*, warning_id: str) -> WarningFacts:
    """Read an early fraud warning as it is now."""
    with _translated():
        return _warning_facts(_client().v1.radar.early_fraud_warnings.retrieve(warning_id))


def warnings_of(*, payment_intent_id: str) -> list[WarningFacts]:
    """All early fraud warnings of a payment. The list is read to its end."""
    params: EarlyFraudWarningListParams = {"payment_intent": payment_intent_id, "limit": PAGE_SIZE}
    with _translated():
        return [
            _warning_facts(warning)
            for warning in _client().v1.radar.early_fraud_warnings.list(params).auto_paging_iter()
        ]


def warnings_since(*, created_after: datetime) -> Iterator[WarningFacts]:
    """Every early fraud warning of the account since then, the newest first, page by page."""
    params: EarlyFraudWarningListParams = {"created": {"gte": int(created_after.timestamp())}, "limit": PAGE_SIZE}
    with _translated():
        for warning in _client().v1.radar.early_fraud_warnings.list(params).auto_paging_iter():
            yield _warning_facts(warning)


# Events


def verified_event(*, body: bytes, signature: str) -> EventFacts:
    """The event in a webhook's raw body, once its signature and age have been checked.

    ``STRIPE_WEBHOOK_SECRET`` may hold two secrets with a comma between, while one replaces the other.

    Raises:
        Refused: ``bad_signature`` or ``bad_event``.
    """
    if not any(_is_signed(body, signature, secret) for secret in settings.STRIPE_WEBHOOK_SECRET.split(",") if secret):
        raise Refused("The signature does not match.", code="bad_signature")
    try:
        payload = json.loads(body)
        return _event_facts(payload)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused("The body is no event.", code="bad_event") from error


def undelivered_events(*, types: list[str], created_after: datetime) -> Iterator[EventFacts]:
    """Events since ``created_after`` that Stripe could not deliver, or not yet; a thousand at most, newest first.

    https://docs.stripe.com/webhooks/process-undelivered-events: the list reaches back 30 days.
    """
    seen = 0
    for first in range(0, len(types), EVENT_TYPES_MAX):
        params: EventListParams = {
            "types": types[first : first + EVENT_TYPES_MAX],
            "created": {"gte": int(created_after.timestamp())},
            "delivery_success": False,
            "limit": PAGE_SIZE,
        }
        with _translated():
            for event in _client().v1.events.list(params).auto_paging_iter():
                if seen >= PAGES_MAX * PAGE_SIZE:
                    return
                seen += 1
                yield _event_facts(event.to_dict())


# Translation


class _Answer:
    facts: IntentFacts | None = None

    def given(self) -> IntentFacts:
        assert self.facts is not None
        return self.facts


@contextmanager
def _declined_is_an_answer() -> Iterator[_Answer]:
    """Turn the error of a declined card into the facts of the PaymentIntent that it carries; else as `_translated`."""
    answer = _Answer()
    with _translated():
        try:
            yield answer
        except stripe.CardError as error:
            said = error.error
            intent = said.payment_intent if said is not None and "payment_intent" in said else None
            if said is None or intent is None:
                raise
            answer.facts = replace(
                _intent_facts(intent),
                failure_code=_text(said, "code"),
                decline_code=_text(said, "decline_code"),
                failure_message=_text(said, "message"),
                advice_code=_text(said, "advice_code"),
            )


@contextmanager
def _translated() -> Iterator[None]:
    """Raise what went wrong as errors of this product, in words that a customer may read.

    A 400 or 404 is definite: refused parameters are never executed, and an executed request answers its key with its
    own first result. Everything else leaves open what happened: no connection, a time limit, 5xx, a conflict of two
    requests with one key (409), too many requests (429), and a secret key that has lost its rights since an earlier
    try (401, 403).
    """
    try:
        yield
    except stripe.IdempotencyError as error:
        raise KeyReused("A key was used with other parameters.") from error
    except (stripe.InvalidRequestError, stripe.CardError) as error:
        logger.warning("Stripe refused a request: %s (%s)", error.user_message, error.code)
        raise ProcessorRefused(
            "The payment processor refused the request. Nothing was charged.", code=error.code or "invalid_request"
        ) from error
    except stripe.StripeError as error:
        raise PaymentProcessorUnavailable(f"{type(error).__name__} {error.http_status or ''}".strip()) from error


def _client() -> stripe.StripeClient:
    return _client_for(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@lru_cache(maxsize=8)
def _client_for(secret_key: str, api_base: str) -> stripe.StripeClient:
    http_client = stripe.RequestsClient(timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
    if api_base:
        return stripe.StripeClient(
            secret_key, max_network_retries=RETRIES, http_client=http_client, base_addresses={"api": api_base}
        )
    return stripe.StripeClient(secret_key, max_network_retries=RETRIES, http_client=http_client)


def _is_signed(body: bytes, signature: str, secret: str) -> bool:
    if not signature.isascii():
        # The SDK's comparison raises for such text instead of saying no.
        return False
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret.strip(), SIGNATURE_TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, ValueError):
        return False
    return True


def _intent_facts(intent: stripe.PaymentIntent) -> IntentFacts:
    error = intent.last_payment_error
    return IntentFacts(
        id=intent.id,
        status=intent.status,
        amount_cents=intent.amount,
        amount_received_cents=intent.amount_received,
        currency=intent.currency,
        customer_id=_id(intent.customer),
        payment_method_id=_id(intent.payment_method),
        client_secret=intent.client_secret or "",
        decline_code=_text(error, "decline_code"),
        failure_code=_text(error, "code"),
        failure_message=_text(error, "message"),
        advice_code=_text(error, "advice_code"),
        cancellation_reason=intent.cancellation_reason or "",
        latest_charge_id=_id(intent.latest_charge),
        metadata=dict(intent.to_dict().get("metadata") or {}),
    )


def _setup_facts(setup: stripe.SetupIntent) -> SetupFacts:
    method = setup.payment_method
    return SetupFacts(
        id=setup.id,
        status=setup.status,
        customer_id=_id(setup.customer),
        client_secret=setup.client_secret or "",
        card=_card_facts(method) if isinstance(method, stripe.PaymentMethod) else None,
        failure_code=_text(setup.last_setup_error, "code"),
        decline_code=_text(setup.last_setup_error, "decline_code"),
    )


def _card_facts(method: stripe.PaymentMethod) -> CardFacts:
    card = method.card if "card" in method else None
    if card is None:
        raise Refused("Only cards can be saved.", code="not_a_card")
    return CardFacts(
        payment_method_id=method.id,
        customer_id=_id(method.customer),
        brand=card.brand,
        last4=card.last4 or "",
        exp_month=card.exp_month,
        exp_year=card.exp_year,
        fingerprint=card.fingerprint or "",
    )


def _refund_facts(refund: stripe.Refund) -> RefundFacts:
    return RefundFacts(
        id=refund.id,
        status=refund.status or "pending",
        amount_cents=refund.amount,
        currency=refund.currency,
        payment_intent_id=_id(refund.payment_intent),
        failure_code=_text(refund, "failure_reason"),
        created_at=_moment(refund.created),
        metadata=dict(refund.to_dict().get("metadata") or {}),
    )


def _dispute_facts(dispute: stripe.Dispute) -> DisputeFacts:
    due_by = dispute.evidence_details.due_by
    return DisputeFacts(
        id=dispute.id,
        status=dispute.status,
        amount_cents=dispute.amount,
        currency=dispute.currency,
        payment_intent_id=_id(dispute.payment_intent),
        reason=dispute.reason,
        evidence_due_at=_moment(due_by) if due_by else None,
        created_at=_moment(dispute.created),
    )


def _warning_facts(warning: "stripe.radar.EarlyFraudWarning") -> WarningFacts:
    return WarningFacts(
        id=warning.id,
        payment_intent_id=_id(warning.payment_intent) if "payment_intent" in warning else None,
        fraud_type=warning.fraud_type,
        is_actionable=warning.actionable,
        created_at=_moment(warning.created),
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _event_facts(payload: dict[str, Any]) -> EventFacts:
    subject = payload["data"]["object"]
    return EventFacts(
        id=str(payload["id"]),
        type=str(payload["type"]),
        object_id=str(subject.get("id") or ""),
        api_version=str(payload.get("api_version") or ""),
        is_live=bool(payload.get("livemode")),
        payload=payload,
    )


def _id(reference: Any) -> str | None:
    """The id in a field that holds an id, or the object itself where it was expanded."""
    if reference is None or isinstance(reference, str):
        return reference
    return str(reference.id)


def _text(thing: stripe.StripeObject | None, name: str) -> str:
    """A field that may be missing altogether: the SDK's objects raise for those."""
    if thing is None or name not in thing:
        return ""
    return str(getattr(thing, name) or "")


def is_live() -> bool:
    """Whether the key in use moves real money."""
    return settings.STRIPE_SECRET_KEY.startswith(("sk_live", "rk_live"))
