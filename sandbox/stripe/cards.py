"""Test cards and how they behave: https://docs.stripe.com/testing.

A card is kept as its behaviour, its last four digits and a fingerprint. The number itself is never stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Authentication = Literal["never", "unless_set_up", "always"]
Refunding = Literal["pending", "failing"]


@dataclass(frozen=True)
class Decline:
    """Why an issuer, or Stripe itself, says no. `code` is the error code, `decline_code` the reason behind it."""

    code: str
    message: str
    decline_code: str | None = None
    param: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None
    is_blocked: bool = False

    @property
    def outcome(self) -> str:
        """The one word for the journal."""
        return self.decline_code or self.code


def _declined(
    decline_code: str,
    *,
    message: str = "Your card was declined.",
    advice_code: str | None = "try_again_later",
    network_decline_code: str | None = "01",
) -> Decline:
    return Decline(
        code="card_declined",
        decline_code=decline_code,
        message=message,
        advice_code=advice_code,
        network_decline_code=network_decline_code,
    )


GENERIC_DECLINE = _declined("generic_decline")
INSUFFICIENT_FUNDS = _declined(
    "insufficient_funds", message="Your card has insufficient funds.", network_decline_code="51"
)
LOST_CARD = _declined("lost_card", advice_code="do_not_try_again", network_decline_code="41")
STOLEN_CARD = _declined("stolen_card", advice_code="do_not_try_again", network_decline_code="43")
VELOCITY_EXCEEDED = _declined(
    "card_velocity_exceeded",
    message="Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    network_decline_code="61",
)
EXPIRED_CARD = Decline(
    code="expired_card",
    message="Your card has expired.",
    param="exp_month",
    advice_code="confirm_card_data",
    network_decline_code="54",
)
INCORRECT_CVC = Decline(
    code="incorrect_cvc",
    message="Your card's security code is incorrect.",
    param="cvc",
    advice_code="confirm_card_data",
    network_decline_code="N7",
)
PROCESSING_ERROR = Decline(
    code="processing_error",
    message="An error occurred while processing your card. Try again in a little bit.",
    advice_code="try_again_later",
    network_decline_code="96",
)
BLOCKED = Decline(code="card_declined", decline_code="fraudulent", message="Your card was declined.", is_blocked=True)
AUTHENTICATION_REQUIRED = Decline(
    code="authentication_required",
    decline_code="authentication_required",
    message="Your card was declined. This transaction requires authentication.",
)
LIVE_CARD = Decline(
    code="card_declined",
    decline_code="test_mode_live_card",
    message=(
        "Your card was declined. Your request was in test mode, but used a non test card. "
        "For a list of valid test cards, visit: https://docs.stripe.com/testing."
    ),
)


@dataclass(frozen=True)
class Card:
    """One test card. `alias` is the id of the ready-made PaymentMethod for servers, such as `pm_card_visa`.

    `dispute` is the status in which a charge of it is disputed at once, `is_warned_of` says that an early fraud warning
    follows, `refund` how its refunds go: `pending` and later successful, or successful and later `failing`.
    """

    number: str
    alias: str
    brand: str = "visa"
    setup_decline: Decline | None = None
    charge_decline: Decline | None = None
    authentication: Authentication = "never"
    dispute: str | None = None
    dispute_reason: str = "fraudulent"
    is_warned_of: bool = False
    refund: Refunding | None = None

    @property
    def last4(self) -> str:
        """The last four digits."""
        return self.number[-4:]

    @property
    def fingerprint(self) -> str:
        """The same for the same number, whoever uses it."""
        return hashlib.sha256(f"stand-in {self.number}".encode()).hexdigest()[:16]

    @property
    def cvc_length(self) -> int:
        """Digits of the security code."""
        return 4 if self.brand == "amex" else 3


def _refusing(number: str, alias: str, decline: Decline) -> Card:
    return Card(number=number, alias=alias, setup_decline=decline, charge_decline=decline)


CARDS: tuple[Card, ...] = (
    Card(number="4242424242424242", alias="pm_card_visa"),
    Card(number="5555555555554444", alias="pm_card_mastercard", brand="mastercard"),
    Card(number="378282246310005", alias="pm_card_amex", brand="amex"),
    _refusing("4000000000000002", "pm_card_visa_chargeDeclined", GENERIC_DECLINE),
    _refusing("4000000000009995", "pm_card_visa_chargeDeclinedInsufficientFunds", INSUFFICIENT_FUNDS),
    _refusing("4000000000009987", "pm_card_visa_chargeDeclinedLostCard", LOST_CARD),
    _refusing("4000000000009979", "pm_card_visa_chargeDeclinedStolenCard", STOLEN_CARD),
    _refusing("4000000000000069", "pm_card_chargeDeclinedExpiredCard", EXPIRED_CARD),
    _refusing("4000000000000127", "pm_card_chargeDeclinedIncorrectCvc", INCORRECT_CVC),
    _refusing("4000000000000119", "pm_card_chargeDeclinedProcessingError", PROCESSING_ERROR),
    _refusing("4000000000006975", "pm_card_visa_chargeDeclinedVelocityLimitExceeded", VELOCITY_EXCEEDED),
    Card(number="4000000000000341", alias="pm_card_chargeCustomerFail", charge_decline=GENERIC_DECLINE),
    Card(number="4000002500003155", alias="pm_card_authenticationRequiredOnSetup", authentication="unless_set_up"),
    Card(number="4000002760003184", alias="pm_card_authenticationRequired", authentication="always"),
    Card(
        number="4000008260003178",
        alias="pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        authentication="unless_set_up",
        charge_decline=INSUFFICIENT_FUNDS,
    ),
    Card(
        number="4000008400001629",
        alias="pm_card_threeDSecureRequiredChargeDeclined",
        authentication="always",
        setup_decline=GENERIC_DECLINE,
        charge_decline=GENERIC_DECLINE,
    ),
    Card(number="4000000000000259", alias="pm_card_createDispute", dispute="needs_response"),
    Card(
        number="4000000000002685",
        alias="pm_card_createDisputeProductNotReceived",
        dispute="needs_response",
        dispute_reason="product_not_received",
    ),
    Card(number="4000000000001976", alias="pm_card_createDisputeInquiry", dispute="warning_needs_response"),
    Card(number="4000000000005423", alias="pm_card_createIssuerFraudRecord", is_warned_of=True),
    Card(number="4000000000007726", alias="pm_card_pendingRefund", refund="pending"),
    Card(number="4000000000005126", alias="pm_card_refundFail", refund="failing"),
    _refusing("4100000000000019", "pm_card_radarBlock", BLOCKED),
)

BY_NUMBER = {card.number: card for card in CARDS}
BY_ALIAS = {card.alias: card for card in CARDS}


def passes_luhn(number: str) -> bool:
    """Whether the check digit of a card number is right."""
    total = 0
    for place, digit in enumerate(int(character) for character in reversed(number)):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def needs_authentication(card: Card, *, is_set_up: bool, off_session: bool) -> bool:
    """Whether a charge of this card must be authenticated by its holder.

    `is_set_up` says that a SetupIntent or an authenticated payment prepared the card for off-session use. The card that
    declines after authentication asks for it in every payment that its holder attends.
    """
    if card.authentication == "never":
        return False
    if card.authentication == "always":
        return True
    if card.charge_decline is not None and not off_session:
        return True
    return not is_set_up
