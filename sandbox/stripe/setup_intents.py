"""SetupIntents: saving a card for later charges (https://docs.stripe.com/payments/save-and-reuse)."""

from __future__ import annotations

from sandbox.stripe import challenges, intents, payment_methods, rules
from sandbox.stripe.call import Call
from sandbox.stripe.cards import Decline
from sandbox.stripe.errors import ApiError, Fields, Reply, doc_url
from sandbox.stripe.semantics import Semantic
from sandbox.stripe.state import new_id, random_text

COVERED_BY_CREATE = frozenset(
    {
        "allowed_payment_method_types",
        "automatic_payment_methods",
        "confirm",
        "customer",
        "description",
        "expand",
        "metadata",
        "payment_method",
        "return_url",
        "usage",
        "use_stripe_sdk",
    }
)
COVERED_BY_CONFIRM = frozenset({"expand", "payment_method", "return_url", "use_stripe_sdk"})


def create(call: Call) -> Reply:
    """POST /v1/setup_intents."""
    given = call.parameters
    intents.check_method_selection(call)
    intents.check_confirm_only(given, names=rules.CONFIRM_ONLY_OF_SETUPS)
    customer = given.get("customer")
    if customer is not None:
        call.state.get("customer", customer, param="customer")
    method = None
    if given.get("payment_method") is not None:
        method = payment_methods.usable(call, given["payment_method"], customer=customer)
    intent_id = new_id("seti")
    intent: Fields = {
        "id": intent_id,
        "object": "setup_intent",
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "application": None,
        "attach_to_self": False,
        "automatic_payment_methods": intents.automatic_payment_methods(given),
        "cancellation_reason": None,
        "client_secret": f"{intent_id}_secret_{random_text(25)}",
        "created": call.at,
        "customer": customer,
        "description": given.get("description"),
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": intents.metadata_of(given),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": method["id"] if method else None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_confirmation" if method else "requires_payment_method",
        "usage": given.get("usage") or "off_session",
    }
    call.state.add(intent)
    call.emit("setup_intent.created", intent)
    if not given.get("confirm"):
        return Reply(status=200, body=intent)
    if method is None:
        raise _missing_method()
    intents.check_return_url(intent, given)
    return _attempt(call, intent, method)


def retrieve(call: Call, setup_intent_id: str) -> Reply:
    """GET /v1/setup_intents/:id."""
    intent = call.state.get("setup_intent", setup_intent_id)
    call.check_client_secret(intent)
    return Reply(status=200, body=intent)


def confirm(call: Call, setup_intent_id: str) -> Reply:
    """POST /v1/setup_intents/:id/confirm, by a server or by Stripe.js."""
    intent = call.state.get("setup_intent", setup_intent_id)
    call.check_client_secret(intent)
    if intent["status"] not in rules.SETUP_CONFIRMABLE:
        raise unexpected_state(intent, verb="confirm")
    given = call.parameters
    if given.get("payment_method_data") is not None:
        method = payment_methods.from_browser(call, given["payment_method_data"])
    elif given.get("payment_method") is not None:
        method = payment_methods.usable(call, given["payment_method"], customer=intent["customer"])
    elif intent["payment_method"] is not None:
        method = payment_methods.usable(call, intent["payment_method"], customer=intent["customer"])
    else:
        raise _missing_method()
    intents.check_return_url(intent, given)
    return _attempt(call, intent, method)


def cancel(call: Call, setup_intent_id: str) -> Reply:
    """POST /v1/setup_intents/:id/cancel."""
    intent = call.state.get("setup_intent", setup_intent_id)
    if intent["status"] not in rules.SETUP_CANCELABLE:
        raise unexpected_state(intent, verb="cancel")
    intent |= {
        "status": "canceled",
        "next_action": None,
        "cancellation_reason": call.parameters.get("cancellation_reason"),
    }
    call.state.save(intent)
    call.emit("setup_intent.canceled", intent)
    return Reply(status=200, body=intent)


def finish_authentication(call: Call, intent: Fields, *, is_authenticated: bool) -> None:
    """The card holder has answered the challenge of an intent that required action."""
    method = call.state.get("payment_method", intent["payment_method"])
    if not is_authenticated:
        error = {
            "code": "setup_intent_authentication_failure",
            "doc_url": doc_url("setup_intent_authentication_failure"),
            "message": "The latest attempt to set up the payment method has failed because authentication failed.",
            "payment_method": method,
            "type": "invalid_request_error",
        }
        _fail(call, intent, error)
        return
    decline = payment_methods.card_of(call.state, method).setup_decline
    if decline is not None:
        _decline(call, intent, method, decline)
    else:
        _succeed(call, intent, method)


def _attempt(call: Call, intent: Fields, method: Fields) -> Reply:
    card = payment_methods.card_of(call.state, method)
    intent |= {"payment_method": method["id"], "last_setup_error": None, "latest_attempt": new_id("setatt")}
    if card.authentication != "never":
        challenges.begin(call, intent)
        call.state.save(intent)
        call.emit("setup_intent.requires_action", intent)
        return Reply(status=200, body=intent)
    if card.setup_decline is not None:
        error = _decline(call, intent, method, card.setup_decline)
        return Reply(status=402, body={"error": error | {"setup_intent": intent}})
    _succeed(call, intent, method)
    return Reply(status=200, body=intent)


def _succeed(call: Call, intent: Fields, method: Fields) -> None:
    intent |= {"status": "succeeded", "next_action": None, "last_setup_error": None}
    if intent["customer"] is not None and call.has(Semantic.SETUP_ATTACHES):
        payment_methods.attach_to(call, method, customer=intent["customer"], is_set_up=intent["usage"] == "off_session")
    call.state.save(intent)
    call.emit("setup_intent.succeeded", intent)


def _decline(call: Call, intent: Fields, method: Fields, decline: Decline) -> Fields:
    error = payment_methods.decline_error(decline, payment_method=method)
    _fail(call, intent, error)
    return error


def _fail(call: Call, intent: Fields, error: Fields) -> None:
    intent |= {
        "status": "requires_payment_method",
        "next_action": None,
        "payment_method": None,
        "last_setup_error": error,
    }
    call.state.save(intent)
    call.emit("setup_intent.setup_failed", intent)


def _missing_method() -> ApiError:
    return ApiError(
        "You cannot confirm this SetupIntent because it's missing a payment method. "
        "Update the SetupIntent with a payment method and then confirm it again.",
        code="setup_intent_unexpected_state",
        is_stored=True,
    )


def unexpected_state(intent: Fields, *, verb: str) -> ApiError:
    """The refusal for a SetupIntent that is past such a call."""
    return ApiError(
        f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}.",
        code="setup_intent_unexpected_state",
        is_stored=True,
        extra={"setup_intent": intent},
    )
