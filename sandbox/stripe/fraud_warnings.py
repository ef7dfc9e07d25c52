"""Early fraud warnings: an issuer's word, before any dispute (https://docs.stripe.com/radar/early-fraud-warnings)."""

from __future__ import annotations

from sandbox.stripe.call import Call
from sandbox.stripe.errors import Fields, Reply
from sandbox.stripe.state import new_id

KIND = "radar.early_fraud_warning"


def retrieve(call: Call, warning_id: str) -> Reply:
    """GET /v1/radar/early_fraud_warnings/:id."""
    return Reply(status=200, body=call.state.get(KIND, warning_id))


def warn(call: Call, charge: Fields, *, fraud_type: str = "unauthorized_use_of_card") -> Fields:
    """Keep a warning about a charge. It is actionable while the charge is neither disputed nor refunded in full."""
    warning: Fields = {
        "id": new_id("issfr"),
        "object": KIND,
        "actionable": not charge["disputed"] and not charge["refunded"],
        "charge": charge["id"],
        "created": call.at,
        "fraud_type": fraud_type,
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }
    call.state.add(warning)
    call.emit("radar.early_fraud_warning.created", warning)
    return warning


def no_longer_actionable(call: Call, charge: Fields) -> None:
    """The charge was disputed or refunded in full: nothing can be done about its warnings any more."""
    if not charge["disputed"] and not charge["refunded"]:
        return
    for warning in list(call.state.newest_first(KIND)):
        if warning["charge"] == charge["id"] and warning["actionable"]:
            warning["actionable"] = False
            call.state.save(warning)
            call.emit("radar.early_fraud_warning.updated", warning, previous={"actionable": True})
