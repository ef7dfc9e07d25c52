"""Buying credits: one row for each attempt at charging a card, and the one place where paid money becomes credit.

The row is committed before Stripe is called, and nothing is locked or open during the call. The reply, the webhook and
the reconciler all end in :func:`settle`, which believes only what Stripe says about the PaymentIntent now, grants once
and says so in the same transaction. Where nobody knows the outcome, the row stays open and says "processing": it never
says "failed" and never charges again under another key.
"""

import logging
import os
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Organization, User
from accounts.permissions import Permission
from billing import emails
from billing.credits import ledger, usage_blocks
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import AutoReload, CreditAccount, CreditLot, Purchase, RefusedAttempt, StripeCustomer
from billing.money import dollars_text, nano_from_cents
from billing.payments import card_limits, declines, payment_methods, receipts, reload_line, reload_rules, stripe_gateway
from billing.payments.stripe_gateway import IntentFacts
from billing.terms import CREDIT_TERMS

# Stripe forgets a key after 24 hours and would charge again under it; an hour is kept between.
RESEND_WITHIN = timedelta(hours=23)
FORGOTTEN_AFTER = timedelta(hours=25)
# Longer than all tries of one call together, so that a resend never meets its own first call.
CALL_IS_OVER_AFTER = timedelta(seconds=90)
LOOK_BACK = timedelta(minutes=5)

NEVER_RECEIVED = "never_received"
SWITCHED_OFF = "switched_off"

logger = logging.getLogger(__name__)


# Use cases


def buy(
    *,
    organization: Organization,
    actor: User,
    amount_cents: int,
    attempt_key: UUID,
    terms_version: str,
    at: datetime,
    reference: str = "",
) -> Purchase:
    """Charge the organization's card and grant the credits. One attempt key is one purchase, however often it comes.

    ``reference`` is the customer's own, such as a PO number, and is printed on the receipt.

    A declined card is a purchase that failed; :func:`failure_text` says why. An unknown outcome is an open purchase.
    Settings of auto-reload are not touched.

    Raises:
        Refused: the amount (field ``amount``), the terms (``terms``) or the card (``card``) won't do, the actor lost
            the permission, too many payments were declined, or the key was used for another amount (``conflict``).
    """
    known = _known(organization, attempt_key)
    if known is None:
        _check_amount(amount_cents)
        if terms_version != CREDIT_TERMS.version:
            raise Refused("The Credit Terms have changed. Please read and accept them.", code="terms", field="terms")
        try:
            known = _create(organization, actor, amount_cents, attempt_key, reference=reference, at=at)
        except Refused as refusal:
            if refusal.code == "too_many_declines":
                card_limits.keep_refused(
                    refusal,
                    kind=RefusedAttempt.Kind.PURCHASE,
                    organization=organization,
                    actor=actor,
                    amount_cents=amount_cents,
                )
            raise
        except IntegrityError:
            known = _known(organization, attempt_key)
            if known is None:
                raise
    if known.amount_cents != amount_cents:
        raise Refused("This form was sent before with another amount. Please open it again.", code="conflict")
    # Sent by whoever comes first: a request that died before it sent is taken over by its repeat.
    return send(purchase_id=known.pk, at=at) if known.state == Purchase.State.CREATED else known


def refresh(*, purchase_id: int, at: datetime) -> Purchase:
    """Read the purchase's PaymentIntent again and settle. Without an answer from Stripe the row comes back as it is."""
    purchase = _get(purchase_id)
    if not purchase.is_open or purchase.payment_intent_id is None:
        return purchase
    try:
        return settle(purchase_id=purchase_id, at=at)
    except PaymentProcessorUnavailable:
        return purchase


def client_secret(*, purchase: Purchase) -> str:
    """The secret with which the browser asks the customer's bank, or "" while there is nothing to ask.

    Only reads. For a reload that needs the customer, :func:`confirm` comes first.

    Raises:
        PaymentProcessorUnavailable: try again.
    """
    if purchase.payment_intent_id is None or not purchase.is_open:
        return ""
    facts = stripe_gateway.read_payment(payment_intent_id=purchase.payment_intent_id)
    return facts.client_secret if facts.status == "requires_action" else ""


def confirm(*, organization: Organization, purchase_id: int, actor: User, at: datetime) -> Purchase:
    """Try a reload that needs the customer again, now that one is present.

    Afterwards it is paid, declined, or waits for the bank's question, for which :func:`client_secret` has the answer.

    Raises:
        Refused: it does not wait for a customer any more, or the actor lost the permission.
        PaymentProcessorUnavailable: try again.
    """
    purchase = _open_purchase(organization, purchase_id, actor)
    if purchase.state != Purchase.State.NEEDS_CUSTOMER or purchase.payment_intent_id is None:
        raise Refused("This payment does not wait for you any more.", code="ended")
    try:
        facts = stripe_gateway.confirm_payment(
            payment_intent_id=purchase.payment_intent_id,
            payment_method_id=purchase.payment_method.stripe_payment_method_id,
        )
    except stripe_gateway.ProcessorRefused:
        # It is past confirming: asked already, paid or canceled.
        return settle(purchase_id=purchase_id, at=at)
    return settle(purchase_id=purchase_id, at=at, facts=facts)


def cancel(*, organization: Organization, purchase_id: int, actor: User, at: datetime) -> Purchase:
    """Give up a payment that waits for the customer. If it was paid in the meantime, it stays paid.

    Raises:
        Refused: it waits for nobody (any more), or the actor lost the permission.
        PaymentProcessorUnavailable: try again.
    """
    purchase = _open_purchase(organization, purchase_id, actor)
    if purchase.state not in (Purchase.State.REQUIRES_ACTION, Purchase.State.NEEDS_CUSTOMER):
        raise Refused("This payment can't be canceled.", code="not_cancelable")
    # Who wanted it, which may be another than who began it; what became of it is told when the processor has answered.
    audit.record(
        organization=organization,
        actor=actor,
        action="purchase.cancel_requested",
        target=f"purchase:{purchase_id}",
        before={"state": purchase.state},
    )
    return withdraw(purchase_id=purchase_id, reason="requested_by_customer", at=at)


def withdraw(*, purchase_id: int, reason: stripe_gateway.CancellationReason, at: datetime) -> Purchase:
    """Cancel an open purchase's PaymentIntent and settle with how it ended."""
    purchase = _get(purchase_id)
    if not purchase.is_open or purchase.payment_intent_id is None:
        return purchase
    facts = stripe_gateway.cancel_payment(payment_intent_id=purchase.payment_intent_id, reason=reason)
    return settle(purchase_id=purchase_id, at=at, facts=facts)


def recent(*, organization: Organization, before_id: int | None = None, limit: int = 20) -> list[Purchase]:
    """The organization's purchases and reloads, newest first; the next page begins before the id of the last."""
    purchases = Purchase.objects.select_related("payment_method", "actor", "receipt").filter(organization=organization)
    if before_id is not None:
        purchases = purchases.filter(pk__lt=before_id)
    return list(purchases.order_by("-id")[:limit])


def failure_text(purchase: Purchase) -> str:
    """Why a purchase did not succeed, in words for the customer; empty where it did, or may still."""
    if purchase.state == Purchase.State.CANCELED:
        return "The payment was canceled. Nothing was charged."
    if purchase.state != Purchase.State.FAILED:
        return ""
    codes = {"decline_code": purchase.decline_code, "failure_code": purchase.failure_code}
    if {purchase.decline_code, purchase.failure_code} & declines.AUTHENTICATION_CODES:
        return "Your bank could not confirm that it is you. Nothing was charged. Please try again or use another card."
    reason = declines.reason(**codes)
    if reason:
        return f"Your bank declined the payment: {reason}. Nothing was charged."
    if declines.is_the_cards(**codes):
        return "Your bank declined the payment. Nothing was charged. Please use another card or ask your bank."
    return "The payment could not be made. Nothing was charged. Please try again."


def was_declined(purchase: Purchase) -> bool:
    """Whether a failed purchase was declined by the bank, and did not fail before or beside it."""
    codes = {"decline_code": purchase.decline_code, "failure_code": purchase.failure_code}
    return purchase.state == Purchase.State.FAILED and declines.is_the_cards(**codes)


# Sending


def send(*, purchase_id: int, at: datetime, is_resend: bool = False) -> Purchase:
    """Ask Stripe to charge for a row, once; and again, only for the reconciler, under the same key within its life.

    Returns the purchase as it stands afterwards: settled, or open where the outcome is unknown.
    """
    payment = _claim(purchase_id, at=at, is_resend=is_resend)
    if payment is None:
        return _get(purchase_id)
    try:
        facts = stripe_gateway.create_payment(payment)
    except stripe_gateway.ProcessorRefused as refusal:
        logger.exception("Purchase %s was refused by the payment processor (%s).", purchase_id, refusal.code)
        return end_without_payment(purchase_id=purchase_id, failure_code=refusal.code)
    except stripe_gateway.KeyReused:
        logger.exception("The key of purchase %s was used for another request.", purchase_id)
        return _get(purchase_id)
    except PaymentProcessorUnavailable as error:
        logger.warning("The outcome of purchase %s is unknown: %s", purchase_id, error)
        return _get(purchase_id)
    # An answer to a resend may be the stored first answer, and the world has moved on since.
    return settle(purchase_id=purchase_id, at=at, facts=None if is_resend else facts, payment_intent_id=facts.id)


def _claim(purchase_id: int, *, at: datetime, is_resend: bool) -> stripe_gateway.Payment | None:
    """Mark the row as sent, if it may be, and say what to send. Two callers at once: one gets it."""
    with transaction.atomic(durable=True):
        purchase = _locked(purchase_id)[0]
        if not _may_be_sent(purchase, at=at, is_resend=is_resend):
            return None
        if is_called_off(purchase):
            if not is_resend:
                _end(purchase, Purchase.State.CANCELED, failure_code=SWITCHED_OFF, at=at)
            return None
        if purchase.sent_at is None:
            purchase.sent_at = at
            purchase.sent_by = process_name()
        purchase.state = Purchase.State.PROCESSING
        purchase.save(update_fields=["state", "sent_at", "sent_by"])
        customer = StripeCustomer.objects.get(organization_id=purchase.organization_id)
        return _payment(purchase, customer_id=customer.stripe_customer_id or "")


def _may_be_sent(purchase: Purchase, *, at: datetime, is_resend: bool) -> bool:
    if purchase.state == Purchase.State.CREATED:
        return True
    return (
        is_resend
        and purchase.state == Purchase.State.PROCESSING
        and purchase.payment_intent_id is None
        and purchase.sent_at is not None
        and CALL_IS_OVER_AFTER <= at - purchase.sent_at < RESEND_WITHIN
    )


def is_called_off(purchase: Purchase) -> bool:
    """Whether a reload lost its ground since it was planned: switched off, suspended, or another card (case 48)."""
    if purchase.kind != Purchase.Kind.AUTO_RELOAD:
        return False
    reload = AutoReload.objects.filter(organization_id=purchase.organization_id).first()
    return reload is None or not reload_line.is_armed(reload) or not purchase.payment_method.is_default


def _payment(purchase: Purchase, *, customer_id: str) -> stripe_gateway.Payment:
    """The request for a row. Made of its columns only, because a resend must be the same to the byte."""
    is_reload = purchase.kind == Purchase.Kind.AUTO_RELOAD
    return stripe_gateway.Payment(
        key=purchase.stripe_key,
        amount_cents=purchase.amount_cents,
        customer_id=customer_id,
        payment_method_id=purchase.payment_method.stripe_payment_method_id,
        description=f"Credits, {'auto-reload' if is_reload else 'purchase'} {purchase.pk}",
        metadata={
            "purchase_id": str(purchase.pk),
            "organization_id": str(purchase.organization_id),
            "kind": purchase.kind,
            "process": purchase.sent_by,
        },
        is_off_session=is_reload,
    )


def process_name() -> str:
    """Which process speaks: its role, as whoever started it says, and its number."""
    return f"{os.environ.get('PROCESS_NAME') or 'web'}:{os.getpid()}"


# Settling


def settle(
    *, purchase_id: int, at: datetime, facts: IntentFacts | None = None, payment_intent_id: str | None = None
) -> Purchase:
    """Bring a purchase in line with its PaymentIntent and grant its credits if that has succeeded: once, whoever calls.

    ``facts`` are what Stripe said just now; without them the PaymentIntent is read again, before anything is locked.
    ``payment_intent_id`` names it for a row that doesn't know it yet.

    A payment that succeeded is granted in whatever state the row is: the money was taken. Nothing but a success changes
    a row that has ended. A PaymentIntent that differs from the row grants nothing and is left to staff.

    Raises:
        PaymentProcessorUnavailable: the PaymentIntent had to be read and could not be.
    """
    if facts is None:
        intent_id = payment_intent_id or _get(purchase_id).payment_intent_id
        if intent_id is None:
            return _get(purchase_id)
        facts = stripe_gateway.read_payment(payment_intent_id=intent_id)
    with transaction.atomic(durable=True):
        purchase, locked_at = _locked(purchase_id)
        was_waiting = purchase.state in (Purchase.State.REQUIRES_ACTION, Purchase.State.NEEDS_CUSTOMER)
        _apply(purchase, facts, at=locked_at, read_at=at)
    if was_waiting and purchase.state == Purchase.State.FAILED:
        _close_intent(purchase)
    return purchase


def end_without_payment(*, purchase_id: int, failure_code: str) -> Purchase:
    """End an open row of which it is certain that Stripe has charged nothing and never will under its key."""
    with transaction.atomic(durable=True):
        purchase, locked_at = _locked(purchase_id)
        if not purchase.is_open or purchase.payment_intent_id is not None:
            return purchase
        is_the_cards = declines.is_the_cards(decline_code="", failure_code=failure_code)
        if purchase.kind == Purchase.Kind.AUTO_RELOAD and is_the_cards:
            _end_declined(purchase, is_hard=True, failure_code=failure_code, at=locked_at)
        elif purchase.kind == Purchase.Kind.AUTO_RELOAD:
            reload_line.note_fault(organization_id=purchase.organization_id, at=locked_at)
            _end(purchase, Purchase.State.FAILED, failure_code=failure_code, at=locked_at)
        else:
            _end(purchase, Purchase.State.FAILED, failure_code=failure_code, at=locked_at)
    return purchase


def _apply(purchase: Purchase, facts: IntentFacts, *, at: datetime, read_at: datetime) -> None:
    purchase.checked_at = read_at
    mismatch = _mismatch(purchase, facts)
    if mismatch:
        _flag(purchase, facts, mismatch)
        return
    purchase.payment_intent_id = facts.id
    purchase.save(update_fields=["checked_at", "payment_intent_id"])
    if purchase.state == Purchase.State.SUCCEEDED:
        return
    if facts.status == "succeeded":
        _grant(purchase)
    elif not purchase.is_open:
        return
    elif facts.status == "canceled":
        _apply_canceled(purchase, facts, at=at)
    elif facts.status == "requires_payment_method":
        _apply_failed(purchase, facts, at=at)
    elif facts.status in ("requires_action", "requires_confirmation"):
        _wait_for_customer(purchase)
    elif facts.status == "processing":
        purchase.state = Purchase.State.PROCESSING
        purchase.save(update_fields=["state"])
    else:
        _flag(purchase, facts, "mismatch_status")


def _mismatch(purchase: Purchase, facts: IntentFacts) -> str:
    """The first thing in which the PaymentIntent is not the row's own, or ""."""
    customer = StripeCustomer.objects.filter(organization_id=purchase.organization_id).first()
    checks = {
        "mismatch_intent": purchase.payment_intent_id in (None, facts.id),
        "mismatch_purchase": facts.metadata.get("purchase_id") == str(purchase.pk),
        "mismatch_organization": facts.metadata.get("organization_id") == str(purchase.organization_id),
        "mismatch_customer": customer is not None and facts.customer_id == customer.stripe_customer_id,
        "mismatch_currency": facts.currency == "usd",
        "mismatch_amount": facts.amount_cents == purchase.amount_cents,
        "mismatch_received": facts.status != "succeeded" or facts.amount_received_cents == purchase.amount_cents,
    }
    return next((name for name, holds in checks.items() if not holds), "")


def _flag(purchase: Purchase, facts: IntentFacts, mismatch: str) -> None:
    logger.error("PaymentIntent %s is not what purchase %s asked for: %s", facts.id, purchase.pk, mismatch)
    if purchase.failure_code != mismatch:
        audit.record(
            organization=purchase.organization,
            actor=None,
            action="purchase.mismatched",
            target=f"purchase:{purchase.pk}",
            after={"reason": mismatch, "payment_intent": facts.id},
        )
    purchase.failure_code = mismatch
    purchase.save(update_fields=["checked_at", "failure_code"])


def _grant(purchase: Purchase) -> None:
    is_reload = purchase.kind == Purchase.Kind.AUTO_RELOAD
    if not purchase.is_open:
        logger.warning("Purchase %s was paid after it had ended as %s.", purchase.pk, purchase.state)
    granted = ledger.grant(
        organization_id=purchase.organization_id,
        kind=CreditLot.Kind.AUTO_RELOAD if is_reload else CreditLot.Kind.PURCHASE,
        amount_nano=purchase.credit_nano,
        purchase_id=purchase.pk,
        label="Auto-reload" if is_reload else "Credit purchase",
        actor_id=purchase.actor_id,
    )
    purchase.state = Purchase.State.SUCCEEDED
    purchase.settled_at = granted.effective_at
    purchase.failure_code = purchase.decline_code = ""
    purchase.save(update_fields=["state", "settled_at", "failure_code", "decline_code"])
    _record(purchase, "purchase.paid")
    reload_line.note_paid(organization_id=purchase.organization_id)
    reload_line.review(organization_id=purchase.organization_id)
    used_up_cap_cents = reload_line.used_up_cap_cents(organization_id=purchase.organization_id, at=granted.effective_at)
    # Late, because the counter of receipts is locked from here to the end of the transaction.
    receipt = receipts.issue(purchase=purchase, at=granted.effective_at)
    if is_reload:
        emails.reload_paid(
            receipt=receipt,
            used_up_cap_cents=used_up_cap_cents,
            until=reload_rules.month_end(granted.effective_at),
        )
    else:
        emails.purchase_paid(receipt=receipt)


def _apply_canceled(purchase: Purchase, facts: IntentFacts, *, at: datetime) -> None:
    is_unanswered = purchase.state == Purchase.State.NEEDS_CUSTOMER and facts.cancellation_reason != "duplicate"
    if is_unanswered:
        # Nobody answered the bank: like a decline, or the next attempt would ask again at once.
        purchase.state = Purchase.State.CANCELED
        _end_declined(purchase, is_hard=False, failure_code="authentication_required", at=at)
    else:
        _end(purchase, Purchase.State.CANCELED, at=at)


def _apply_failed(purchase: Purchase, facts: IntentFacts, *, at: datetime) -> None:
    is_reload = purchase.kind == Purchase.Kind.AUTO_RELOAD
    if is_reload and {facts.failure_code, facts.decline_code} & declines.AUTHENTICATION_CODES:
        _wait_for_customer(purchase)
        return
    purchase.decline_code = facts.decline_code[:64]
    failure_code = facts.failure_code[:64] or "not_confirmed"
    if not is_reload:
        _end(purchase, Purchase.State.FAILED, failure_code=failure_code, at=at)
        return
    is_hard = declines.is_hard(
        decline_code=facts.decline_code, failure_code=facts.failure_code, advice_code=facts.advice_code
    )
    purchase.state = Purchase.State.FAILED
    _end_declined(purchase, is_hard=is_hard, failure_code=failure_code, at=at)


def _wait_for_customer(purchase: Purchase) -> None:
    is_reload = purchase.kind == Purchase.Kind.AUTO_RELOAD
    state = Purchase.State.NEEDS_CUSTOMER if is_reload else Purchase.State.REQUIRES_ACTION
    if purchase.state == state:
        return
    purchase.state = state
    purchase.save(update_fields=["state"])
    _record(purchase, f"purchase.{state.value}")
    if is_reload:
        emails.reload_needs_customer(purchase=purchase)


def _end_declined(purchase: Purchase, *, is_hard: bool, failure_code: str, at: datetime) -> None:
    if purchase.is_open:
        purchase.state = Purchase.State.FAILED
    reload = reload_line.note_declined(purchase=purchase, is_hard=is_hard, at=at)
    _end(purchase, Purchase.State(purchase.state), failure_code=failure_code, at=at)
    reason = declines.reason(decline_code=purchase.decline_code, failure_code=failure_code)
    emails.reload_declined(purchase=purchase, reload=reload, reason=reason)
    if reload.suspension == AutoReload.Suspension.DECLINED:
        audit.record(
            organization=purchase.organization,
            actor=None,
            action="auto_reload.suspended",
            target=f"purchase:{purchase.pk}",
            after={"suspension": str(reload.suspension), "declines": reload.declines},
        )


def _end(purchase: Purchase, state: Purchase.State, *, at: datetime, failure_code: str = "") -> None:
    """End the row without money. The level is looked at anew, because an attempt has ended."""
    purchase.state = state
    purchase.settled_at = at
    purchase.failure_code = failure_code[:64]
    purchase.save(update_fields=["state", "settled_at", "failure_code", "decline_code"])
    _record(purchase, f"purchase.{state.value}")
    reload_line.review(organization_id=purchase.organization_id)


def _record(purchase: Purchase, action: str) -> None:
    audit.record(
        organization=purchase.organization,
        actor=purchase.actor,
        action=action,
        target=f"purchase:{purchase.pk}",
        after={
            "kind": purchase.kind,
            "amount_cents": purchase.amount_cents,
            "payment_intent": purchase.payment_intent_id,
            "failure_code": purchase.failure_code,
        },
    )


def _close_intent(purchase: Purchase) -> None:
    """Make sure that a failed PaymentIntent whose secret the browser has can't be paid later after all.

    If that fails, a late payment is granted like any other.
    """
    try:
        facts = stripe_gateway.cancel_payment(payment_intent_id=purchase.payment_intent_id or "", reason="abandoned")
    except (PaymentProcessorUnavailable, Refused) as error:
        logger.warning("The PaymentIntent of purchase %s was not canceled: %s", purchase.pk, error)
        return
    if facts.status == "succeeded":
        settle(purchase_id=purchase.pk, at=purchase.checked_at or purchase.created_at, facts=facts)


# Rows


def _known(organization: Organization, attempt_key: UUID) -> Purchase | None:
    return (
        Purchase.objects.select_related("organization", "payment_method")
        .filter(organization=organization, attempt_key=attempt_key)
        .first()
    )


def _create(
    organization: Organization, actor: User, amount_cents: int, attempt_key: UUID, *, reference: str, at: datetime
) -> Purchase:
    with transaction.atomic(durable=True):
        ledger.lock(organization_id=organization.pk)
        card_limits.lock_person(actor)
        payment_methods.require(organization=organization, actor=actor, permission=Permission.CREDITS_BUY)
        if CreditAccount.objects.get(pk=organization.pk).state == CreditAccount.State.CLOSED:
            raise Refused(
                "This account is closed for good, so credits could not be spent. Nothing was charged.", code="closed"
            )
        if usage_blocks.suspension(organization_id=organization.pk) is not None:
            raise Refused(
                f"{organization.name} is suspended, so credits can't be bought. Nothing was charged.", code="suspended"
            )
        card = payment_methods.default_card(organization=organization)
        if card is None:
            raise Refused("Please add a card first.", code="no_card", field="card")
        card_limits.refuse_more_charges(organization=organization, actor=actor, at=at)
        purchase = Purchase.objects.create(
            organization=organization,
            kind=Purchase.Kind.MANUAL,
            amount_cents=amount_cents,
            credit_nano=nano_from_cents(amount_cents),
            attempt_key=attempt_key,
            payment_method=card,
            actor=actor,
            reference=reference,
            terms_version=CREDIT_TERMS.version,
            terms_accepted_at=at,
            created_at=at,
        )
        _record(purchase, "purchase.created")
        return purchase


def _check_amount(amount_cents: int) -> None:
    least, most = settings.PURCHASE_MINIMUM_CENTS, settings.PURCHASE_MAXIMUM_CENTS
    if not least <= amount_cents <= most:
        raise Refused(
            f"Enter an amount from {dollars_text(least)} to {dollars_text(most)}.", code="amount", field="amount"
        )


def _open_purchase(organization: Organization, purchase_id: int, actor: User) -> Purchase:
    payment_methods.require(organization=organization, actor=actor, permission=Permission.CREDITS_BUY)
    purchase = (
        Purchase.objects.select_related("payment_method").filter(organization=organization, pk=purchase_id).first()
    )
    if purchase is None:
        raise Refused("This purchase is not known.", code="unknown_purchase")
    if not purchase.is_open:
        raise Refused("This payment has ended already.", code="ended")
    return purchase


def _get(purchase_id: int) -> Purchase:
    return Purchase.objects.select_related("organization", "payment_method", "actor").get(pk=purchase_id)


def _locked(purchase_id: int) -> tuple[Purchase, datetime]:
    """The row under its locks, the account's first, and the time at which they were had."""
    organization_id = Purchase.objects.values_list("organization_id", flat=True).get(pk=purchase_id)
    account = ledger.lock(organization_id=organization_id)
    purchase = (
        Purchase.objects.select_for_update(of=("self",))
        .select_related("organization", "payment_method", "actor")
        .get(pk=purchase_id)
    )
    return purchase, account.locked_at
