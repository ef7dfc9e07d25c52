"""PaymentIntents: charging a card, with its holder present or not.

A declined or unauthenticated attempt puts the intent back to `requires_payment_method`; off-session, a card that asks
for authentication is declined with `authentication_required` (https://docs.stripe.com/payments/paymentintents/lifecycle).
"""

from __future__ import annotations

from sandbox.stripe import cards, challenges, charges, disputes, fraud_warnings, intents, payment_methods, rules
from sandbox.stripe.call import Call
from sandbox.stripe.cards import Card, Decline
from sandbox.stripe.customers import check_email
from sandbox.stripe.errors import ApiError, Fields, Reply, doc_url, not_covered
from sandbox.stripe.semantics import Semantic
from sandbox.stripe.state import new_id, random_text

HELD_SETTING = "payments_to_hold"
"""How many of the next payments the bank takes its time with: set by the control port."""

DECLINED_SETTING = "payments_to_decline"
"""How many of the next payments are declined, whatever the card."""

COVERED_BY_CREATE = frozenset(
    {
        "allowed_payment_method_types",
        "amount",
        "automatic_payment_methods",
        "confirm",
        "currency",
        "customer",
        "description",
        "expand",
        "metadata",
        "off_session",
        "payment_method",
        "receipt_email",
        "return_url",
        "use_stripe_sdk",
    }
)
COVERED_BY_CONFIRM = frozenset(
    {"expand", "off_session", "payment_method", "receipt_email", "return_url", "use_stripe_sdk"}
)


def create(call: Call) -> Reply:
    """POST /v1/payment_intents."""
    given = call.parameters
    intents.check_method_selection(call)
    intents.check_confirm_only(given, names=rules.CONFIRM_ONLY_OF_PAYMENTS)
    check_email(given.get("receipt_email"), param="receipt_email")
    _check_amount(call)
    customer = given.get("customer")
    if customer is not None:
        call.state.get("customer", customer, param="customer")
    method = None
    if given.get("payment_method") is not None:
        method = payment_methods.usable(call, given["payment_method"], customer=customer)
    intent_id = new_id("pi")
    intent: Fields = {
        "id": intent_id,
        "object": "payment_intent",
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": intents.automatic_payment_methods(given),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{random_text(25)}",
        "confirmation_method": "automatic",
        "created": call.at,
        "currency": given["currency"].lower(),
        "customer": customer,
        "description": given.get("description"),
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": intents.metadata_of(given),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": method["id"] if method else None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": given.get("receipt_email"),
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_confirmation" if method else "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    if not given.get("confirm"):
        call.state.add(intent)
        call.emit("payment_intent.created", intent)
        return Reply(status=200, body=intent)
    if method is None:
        raise _missing_method(intent)
    intents.check_return_url(intent, given)
    call.state.add(intent)
    call.emit("payment_intent.created", intent)
    return _attempt(call, intent, method, off_session=_is_off_session(given))


def retrieve(call: Call, payment_intent_id: str) -> Reply:
    """GET /v1/payment_intents/:id."""
    intent = call.state.get("payment_intent", payment_intent_id)
    call.check_client_secret(intent)
    return Reply(status=200, body=intent)


def confirm(call: Call, payment_intent_id: str) -> Reply:
    """POST /v1/payment_intents/:id/confirm, by a server or by Stripe.js."""
    intent = call.state.get("payment_intent", payment_intent_id)
    call.check_client_secret(intent)
    if intent["status"] not in rules.PAYMENT_CONFIRMABLE and call.has(Semantic.ENDED_IS_ENDED):
        raise unexpected_state(intent, verb="confirm")
    given = call.parameters
    check_email(given.get("receipt_email"), param="receipt_email")
    if given.get("receipt_email") is not None:
        intent["receipt_email"] = given["receipt_email"]
    if given.get("payment_method_data") is not None:
        method = payment_methods.from_browser(call, given["payment_method_data"])
    else:
        method_id = given.get("payment_method") or intent["payment_method"]
        if method_id is None:
            raise _missing_method(intent)
        method = payment_methods.usable(call, method_id, customer=intent["customer"])
    intents.check_return_url(intent, given)
    return _attempt(call, intent, method, off_session=_is_off_session(given))


def cancel(call: Call, payment_intent_id: str) -> Reply:
    """POST /v1/payment_intents/:id/cancel."""
    intent = call.state.get("payment_intent", payment_intent_id)
    is_over = intent["status"] not in rules.PAYMENT_CANCELABLE or intent["status"] == "processing"
    if is_over and call.has(Semantic.ENDED_IS_ENDED):
        raise ApiError(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
            f"with one of the following statuses may be canceled: {', '.join(rules.PAYMENT_CANCELABLE)}.",
            code="payment_intent_unexpected_state",
            is_stored=True,
            extra={"payment_intent": intent},
        )
    intent |= {
        "status": "canceled",
        "next_action": None,
        "canceled_at": call.at,
        "cancellation_reason": call.parameters.get("cancellation_reason"),
    }
    call.state.save(intent)
    call.journal.record(call, intent, outcome="canceled", off_session=False, confirm=False)
    call.emit("payment_intent.canceled", intent)
    return Reply(status=200, body=intent)


def finish_authentication(call: Call, intent: Fields, *, is_authenticated: bool) -> None:
    """The card holder has answered the challenge of an intent that required action."""
    method = call.state.get("payment_method", intent["payment_method"])
    if is_authenticated:
        _charge(call, intent, method, off_session=False, is_authenticated=True)
        return
    error = {
        "code": "payment_intent_authentication_failure",
        "doc_url": doc_url("payment_intent_authentication_failure"),
        "message": (
            "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
            "PaymentMethod to attempt to fulfill this PaymentIntent again."
        ),
        "payment_method": method,
        "type": "invalid_request_error",
    }
    call.journal.record(call, intent, outcome="authentication_failed", off_session=False, confirm=True)
    _fail(call, intent, error)


def unexpected_state(intent: Fields, *, verb: str) -> ApiError:
    """The refusal for a PaymentIntent that is past such a call."""
    if intent["status"] == "succeeded":
        reason = "it has already succeeded after being previously confirmed"
    else:
        reason = f"it has a status of {intent['status']}"
    return ApiError(
        f"You cannot {verb} this PaymentIntent because {reason}.",
        code="payment_intent_unexpected_state",
        is_stored=True,
        extra={"payment_intent": intent},
    )


def _attempt(call: Call, intent: Fields, method: Fields, *, off_session: bool) -> Reply:
    hidden = call.state.hidden(method["id"])
    card = payment_methods.card_of(call.state, method)
    intent |= {"payment_method": method["id"], "last_payment_error": None}
    must_ask = cards.needs_authentication(card, is_set_up=hidden["is_set_up"], off_session=off_session)
    if not call.has(Semantic.OFF_SESSION_AUTHENTICATION if off_session else Semantic.AUTHENTICATION):
        must_ask = False
    if not must_ask:
        error = _charge(call, intent, method, off_session=off_session, is_authenticated=False)
    elif off_session:
        error = _refuse(call, intent, method, cards.AUTHENTICATION_REQUIRED, off_session=True, is_authenticated=False)
    else:
        challenges.begin(call, intent)
        call.state.save(intent)
        call.journal.record(call, intent, outcome="requires_action", off_session=False, confirm=True)
        call.emit("payment_intent.requires_action", intent)
        error = None
    if error is None:
        return Reply(status=200, body=intent)
    return Reply(status=402, body={"error": error | {"payment_intent": intent}})


def _charge(call: Call, intent: Fields, method: Fields, *, off_session: bool, is_authenticated: bool) -> Fields | None:
    """Take the money. Returns None, or the error of a declined card."""
    card = payment_methods.card_of(call.state, method)
    decline = card.charge_decline if call.has(Semantic.TEST_CARDS_DECLINE) else None
    if decline is None and payment_methods.is_expired(method, at=call.at) and call.has(Semantic.EXPIRY):
        decline = cards.EXPIRED_CARD
    if call.state.count_down(DECLINED_SETTING):
        decline = cards.GENERIC_DECLINE
    if call.state.count_down(HELD_SETTING):
        _begin_processing(call, intent, method, off_session=off_session, is_authenticated=is_authenticated)
        return None
    if decline is not None:
        return _refuse(call, intent, method, decline, off_session=off_session, is_authenticated=is_authenticated)
    charge = charges.record(call, intent, method, card, decline=None, is_authenticated=is_authenticated)
    payment_methods.use_up(call, method)
    _succeed(call, intent, charge, card=card, off_session=off_session)
    return None


def _begin_processing(call: Call, intent: Fields, method: Fields, *, off_session: bool, is_authenticated: bool) -> None:
    card = payment_methods.card_of(call.state, method)
    charge = charges.record(
        call, intent, method, card, decline=None, is_authenticated=is_authenticated, is_pending=True
    )
    payment_methods.use_up(call, method)
    intent |= {
        "status": "processing",
        "next_action": None,
        "latest_charge": charge["id"],
        "processing": {"card": {}, "type": "card"},
    }
    call.state.save(intent, hidden={"off_session": off_session})
    call.journal.record(call, intent, outcome="processing", off_session=off_session, confirm=True)
    call.emit("payment_intent.processing", intent)


def settle_processing(call: Call, payment_intent_id: str, *, succeeds: bool) -> Fields:
    """The bank has made up its mind: it succeeds or is declined. ValueError where nothing was in processing."""
    intent = call.state.find("payment_intent", payment_intent_id)
    if intent is None or intent["status"] != "processing":
        raise ValueError(f"{payment_intent_id} is not in processing")
    method = call.state.get("payment_method", intent["payment_method"])
    card = payment_methods.card_of(call.state, method)
    off_session = bool(call.state.hidden(intent["id"]).get("off_session"))
    intent["processing"] = None
    charge = call.state.get("charge", intent["latest_charge"])
    if succeeds:
        _succeed(call, intent, charges.settle(call, charge, decline=None), card=card, off_session=off_session)
        return intent
    decline = card.charge_decline or cards.GENERIC_DECLINE
    charges.settle(call, charge, decline=decline)
    call.journal.record(call, intent, outcome=decline.outcome, off_session=off_session, confirm=True)
    _fail(call, intent, payment_methods.decline_error(decline, charge=charge["id"], payment_method=method))
    return intent


def _succeed(call: Call, intent: Fields, charge: Fields, *, card: Card, off_session: bool) -> None:
    """The money has moved. A test card may be disputed or warned of before the payment's own event is out."""
    intent |= {
        "status": "succeeded",
        "next_action": None,
        "amount_received": intent["amount"],
        "latest_charge": charge["id"],
        "last_payment_error": None,
    }
    call.state.save(intent)
    call.journal.record(call, intent, outcome="succeeded", off_session=off_session, confirm=True)
    if not call.has(Semantic.DISPUTE_BEFORE_SUCCESS):
        call.emit("payment_intent.succeeded", intent)
    if card.dispute is not None:
        disputes.open_dispute(call, charge, status=card.dispute, reason=card.dispute_reason)
    if card.is_warned_of:
        fraud_warnings.warn(call, charge)
    if call.has(Semantic.DISPUTE_BEFORE_SUCCESS):
        call.emit("payment_intent.succeeded", intent)


def _refuse(
    call: Call, intent: Fields, method: Fields, decline: Decline, *, off_session: bool, is_authenticated: bool
) -> Fields:
    card = payment_methods.card_of(call.state, method)
    charge = charges.record(call, intent, method, card, decline=decline, is_authenticated=is_authenticated)
    payment_methods.use_up(call, method)
    intent["latest_charge"] = charge["id"]
    call.journal.record(call, intent, outcome=decline.outcome, off_session=off_session, confirm=True)
    error = payment_methods.decline_error(decline, charge=charge["id"], payment_method=method)
    _fail(call, intent, error)
    return error


def _fail(call: Call, intent: Fields, error: Fields) -> None:
    intent |= {
        "status": "requires_payment_method" if call.has(Semantic.DECLINE_REOPENS) else "canceled",
        "next_action": None,
        "payment_method": None,
        "last_payment_error": error,
    }
    call.state.save(intent)
    call.emit("payment_intent.payment_failed", intent)


def _is_off_session(given: Fields) -> bool:
    wanted = given.get("off_session", False)
    if isinstance(wanted, str):
        raise not_covered("off_session given as a word", param="off_session")
    return bool(wanted)


def _check_amount(call: Call) -> None:
    given = call.parameters
    if given["currency"].lower() != "usd":
        raise not_covered("currencies other than usd", param="currency")
    amount = given["amount"]
    if amount < 1:
        raise ApiError(
            "This value must be greater than or equal to 1.", code="parameter_invalid_integer", param="amount"
        )
    if not call.has(Semantic.AMOUNT_BOUNDS):
        return
    if amount < rules.AMOUNT_MINIMUM_CENTS:
        raise ApiError("Amount must be at least $0.50 usd", code="amount_too_small", param="amount")
    if amount > rules.AMOUNT_MAXIMUM_CENTS:
        raise ApiError("Amount must be no more than $999,999.99", code="amount_too_large", param="amount")


def _missing_method(intent: Fields) -> ApiError:
    return ApiError(
        "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
        "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment "
        "method.",
        code="payment_intent_unexpected_state",
        is_stored=True,
        extra={"payment_intent": intent},
    )
