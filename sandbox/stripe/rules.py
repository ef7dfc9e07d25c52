"""What Stripe's parameter types don't say: amounts, exclusive pairs, and which state may follow which.

One table for each kind of rule, each rule with its source. "K" marks what is known from practice and written nowhere
that we could read again; README.md lists those where the stricter reading was taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAY_SECONDS = 24 * 60 * 60

# Amounts.

AMOUNT_MINIMUM_CENTS: Final = 50
"""https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts: 0.50 USD."""

AMOUNT_MAXIMUM_CENTS: Final = 99_999_999
"""The same page: at most eight digits."""

DISPUTE_FEE_CENTS: Final = 1500
"""https://stripe.com/pricing: 15 USD for a dispute received, in the United States."""


def charge_fee_cents(amount_cents: int) -> int:
    """https://stripe.com/pricing: 2.9% + 30 cents, rounded half up."""
    return (amount_cents * 29 + 500) // 1000 + 30


# Idempotency keys.

KEY_LENGTH_MAXIMUM: Final = 255
KEY_KEPT_SECONDS: Final = DAY_SECONDS
"""https://docs.stripe.com/api/idempotent_requests: up to 255 characters, removed after at least 24 hours."""

# Text.

METADATA_COUNT_MAXIMUM: Final = 50
METADATA_KEY_LENGTH_MAXIMUM: Final = 40
METADATA_VALUE_LENGTH_MAXIMUM: Final = 500
"""https://docs.stripe.com/api/metadata."""

STRING_LENGTH_MAXIMUM: Final = 5000
"""The longest text in Stripe's OpenAPI description."""

# Parameters that depend on each other, and those that are gone.

RETIRED_PARAMETERS: Final = {"payment_method_types": "payment_method_types_no_longer_supported"}
"""https://docs.stripe.com/changelog/endive, 2026-09-30.endive: answered with a code of their own."""


@dataclass(frozen=True)
class Exclusive:
    """At most one of these may be given; exactly one, where `is_one_required`."""

    names: tuple[str, ...]
    is_one_required: bool = False


METHOD_SELECTION: Final = Exclusive(("allowed_payment_method_types", "automatic_payment_methods"))
"""https://docs.stripe.com/changelog/endive: methods are named or left to the account's settings, not both."""

REFUND_TARGET: Final = Exclusive(("charge", "payment_intent"), is_one_required=True)
"""https://docs.stripe.com/api/refunds/create: "you must specify a Charge or a PaymentIntent object"."""

LIST_CURSORS: Final = Exclusive(("starting_after", "ending_before"))
"""https://docs.stripe.com/api/pagination: "these parameters are mutually exclusive"."""

EVENT_TYPES: Final = Exclusive(("type", "types"))
"""https://docs.stripe.com/api/events/list: "you may pass either `type` or `types`, but not both"."""

EVENT_TYPES_MAXIMUM: Final = 20
"""The same page: "up to 20 strings"."""

LIST_LIMIT_MAXIMUM: Final = 100
LIST_LIMIT_DEFAULT: Final = 10
"""https://docs.stripe.com/api/pagination."""

CONFIRM_ONLY_OF_PAYMENTS: Final = ("off_session", "return_url", "use_stripe_sdk")
CONFIRM_ONLY_OF_SETUPS: Final = ("return_url", "use_stripe_sdk")
"""https://docs.stripe.com/api/payment_intents/create: "this parameter can only be used with `confirm=true`"."""

# Which state may follow which.

PAYMENT_CONFIRMABLE: Final = ("requires_payment_method", "requires_confirmation")
"""https://docs.stripe.com/payments/paymentintents/lifecycle; confirming in `requires_action` is refused here (K)."""

PAYMENT_CANCELABLE: Final = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
"""https://docs.stripe.com/api/payment_intents/cancel; `processing` "in rare cases", and there refused here."""

SETUP_CONFIRMABLE: Final = ("requires_payment_method", "requires_confirmation")
SETUP_CANCELABLE: Final = ("requires_payment_method", "requires_confirmation", "requires_action")
"""https://docs.stripe.com/api/setup_intents/cancel."""

REFUND_AFTER: Final[dict[str, frozenset[str]]] = {
    "pending": frozenset({"succeeded", "failed", "requires_action", "canceled"}),
    "requires_action": frozenset({"succeeded", "failed", "canceled"}),
    "succeeded": frozenset({"failed"}),
    "failed": frozenset(),
    "canceled": frozenset(),
}
"""https://docs.stripe.com/refunds#failed-refunds: a refund that succeeded may still fail days later, once."""

REFUND_MONEY_IS_BACK: Final = frozenset({"failed", "canceled"})
"""The same page: "the amount returns to your Stripe account balance"."""

DISPUTE_AFTER: Final[dict[str, frozenset[str]]] = {
    "warning_needs_response": frozenset(
        {"warning_under_review", "warning_closed", "needs_response", "prevented", "lost"}
    ),
    "warning_under_review": frozenset({"warning_closed", "needs_response", "lost"}),
    "warning_closed": frozenset(),
    "needs_response": frozenset({"under_review", "won", "lost", "prevented"}),
    "under_review": frozenset({"won", "lost", "needs_response"}),
    "won": frozenset({"lost", "needs_response"}),
    "lost": frozenset({"won"}),
    "prevented": frozenset(),
}
"""https://docs.stripe.com/disputes/how-disputes-work: inquiry, formal dispute, response, decision. A decision may be
reversed later: the issuer's arbitration takes a won dispute back, and rarely a lost one comes back (K)."""

DISPUTE_OPENING: Final = frozenset({"needs_response", "warning_needs_response", "prevented"})
"""How a dispute begins: in earnest, as an inquiry, or ended beforehand by the network's prevention service."""

DISPUTE_FUNDS_ARE_GONE: Final = frozenset({"needs_response", "under_review", "lost"})
"""The same page: a dispute debits the balance when it is opened; inquiries and prevented disputes don't."""

DISPUTE_CLOSED: Final = frozenset({"won", "lost", "warning_closed", "prevented"})
"""https://docs.stripe.com/api/events/types: `charge.dispute.closed`."""

DISPUTE_CHARGE_REFUNDABLE: Final = frozenset(
    {"warning_needs_response", "warning_under_review", "warning_closed", "won"}
)
"""https://docs.stripe.com/disputes/how-disputes-work: during an inquiry the payment may be refunded, during a
dispute not (`charge_disputed` in https://docs.stripe.com/error-codes). After a won dispute it may again (K)."""

EVIDENCE_DUE_AFTER_SECONDS: Final = 10 * DAY_SECONDS
"""https://docs.stripe.com/disputes/responding: usually 7 to 21 days."""

CARD_OUTCOME_AFTER_SECONDS: Final = 30
"""https://docs.stripe.com/testing#refunds says "some time later"; here half a minute on the stand-in's clock."""
