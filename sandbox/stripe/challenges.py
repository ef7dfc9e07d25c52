"""3-D Secure: the question that only the card holder can answer, asked by Stripe.js."""

from __future__ import annotations

from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError, Fields, no_such
from sandbox.stripe.state import new_id


def begin(call: Call, intent: Fields) -> None:
    """Put an intent into `requires_action`; the caller saves it."""
    source = new_id("payatt")
    intent["status"] = "requires_action"
    intent["next_action"] = {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {
            "type": "stripe_3ds2_fingerprint",
            "merchant": "acct_standin",
            "three_d_secure_2_source": source,
            "directory_server_name": "visa",
            "server_transaction_id": new_id("tx"),
            "three_ds_method_url": "",
        },
    }
    call.state.set_setting(f"challenge {source}", f"{intent['object']} {intent['id']}")


def challenged_intent(call: Call, source: str) -> Fields:
    """The intent that still waits for the answer to this challenge."""
    kind, _, intent_id = (call.state.setting(f"challenge {source}") or "").partition(" ")
    intent = call.state.find(kind, intent_id)
    if intent is None:
        raise no_such("source", source, param="source")
    call.check_client_secret(intent)
    action = intent["next_action"]
    if intent["status"] != "requires_action" or action["use_stripe_sdk"]["three_d_secure_2_source"] != source:
        raise ApiError(
            "This authentication is over.", code=f"{intent['object']}_unexpected_state", param="source", is_stored=True
        )
    return intent
