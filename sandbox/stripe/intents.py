"""What SetupIntents and PaymentIntents have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.stripe import rules
from sandbox.stripe.errors import ApiError, Fields, not_covered
from sandbox.stripe.semantics import Semantic

if TYPE_CHECKING:
    from sandbox.stripe.call import Call

CLIENT_FIELDS: dict[str, frozenset[str]] = {
    "payment_intent": frozenset(
        {
            "amount",
            "amount_details",
            "automatic_payment_methods",
            "canceled_at",
            "cancellation_reason",
            "capture_method",
            "client_secret",
            "confirmation_method",
            "created",
            "currency",
            "description",
            "id",
            "last_payment_error",
            "livemode",
            "next_action",
            "object",
            "payment_method",
            "payment_method_configuration_details",
            "payment_method_types",
            "processing",
            "receipt_email",
            "setup_future_usage",
            "shipping",
            "status",
        }
    ),
    "setup_intent": frozenset(
        {
            "automatic_payment_methods",
            "cancellation_reason",
            "client_secret",
            "created",
            "description",
            "id",
            "last_setup_error",
            "livemode",
            "next_action",
            "object",
            "payment_method",
            "payment_method_configuration_details",
            "payment_method_types",
            "status",
            "usage",
        }
    ),
}
"""What a publishable key may see; in particular neither customer nor metadata."""


def for_browser(body: Fields) -> Fields:
    """An answer, or an error with an intent in it, as a publishable key sees it."""
    if "error" in body:
        error = dict(body["error"])
        for kind in CLIENT_FIELDS:
            if kind in error:
                error[kind] = for_browser(error[kind])
        return {"error": error}
    fields = CLIENT_FIELDS.get(body.get("object", ""))
    return body if fields is None else {name: value for name, value in body.items() if name in fields}


def metadata_of(given: Fields) -> Fields:
    """The metadata of an object that is being created."""
    return {key: value for key, value in (given.get("metadata") or {}).items() if value is not None}


def check_exclusive(call: Call, rule: rules.Exclusive) -> None:
    """Refuse parameters that exclude each other, and the lack of all of them where one is needed."""
    given = call.parameters
    present = [name for name in rule.names if given.get(name) is not None]
    if len(present) > 1 and call.has(Semantic.EXCLUSIVE_PARAMETERS):
        raise ApiError(f"You may only specify one of these parameters: {', '.join(rule.names)}.", param=present[0])
    if rule.is_one_required and not present:
        raise ApiError(
            f"One of the following params should be provided for this request: {' or '.join(rule.names)}.",
            code="parameter_missing",
            param=rule.names[-1],
        )


def check_method_selection(call: Call) -> None:
    """Cards only, named in one way."""
    check_exclusive(call, rules.METHOD_SELECTION)
    allowed = call.parameters.get("allowed_payment_method_types")
    if allowed is not None and allowed != ["card"]:
        raise not_covered("payment methods other than 'card'", param="allowed_payment_method_types")


def automatic_payment_methods(given: Fields) -> Fields | None:
    """Automatic methods are on unless the request names the allowed ones."""
    if given.get("allowed_payment_method_types") is not None:
        return None
    wanted = given.get("automatic_payment_methods") or {}
    if wanted.get("enabled") is False:
        return None
    return {"allow_redirects": wanted.get("allow_redirects", "always"), "enabled": True}


def check_confirm_only(given: Fields, *, names: tuple[str, ...]) -> None:
    """Refuse parameters that only mean something together with `confirm`."""
    if given.get("confirm"):
        return
    for name in names:
        if given.get(name) is not None:
            raise ApiError(f"You cannot provide the `{name}` parameter unless `confirm` is set to true.", param=name)


def check_return_url(intent: Fields, given: Fields) -> None:
    """With automatic methods, some of which redirect, confirming needs somewhere to come back to."""
    automatic = intent["automatic_payment_methods"]
    if automatic is not None and automatic["allow_redirects"] == "always" and not given.get("return_url"):
        name = "PaymentIntent" if intent["object"] == "payment_intent" else "SetupIntent"
        raise ApiError(
            f"This {name} is configured to accept payment methods enabled in your Dashboard. Because some of these "
            "payment methods might redirect your customer off of your page, you must provide a `return_url`. If you "
            "don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` "
            "and `automatic_payment_methods[allow_redirects]` to `never`.",
            param="return_url",
            is_stored=True,
        )
