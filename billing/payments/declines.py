"""What a declined card means, in one table: whether a machine may try it again, and how the customer is told.

The codes are Stripe's (https://docs.stripe.com/declines/codes), and a few error codes that stand in their place
(https://docs.stripe.com/error-codes). That a card was reported lost or stolen, or that somebody suspects fraud, is
never said: the person reading may be the thief, and Stripe asks for the general text then.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

AUTHENTICATION_CODES: Final = frozenset({"authentication_required", "payment_intent_authentication_failure"})


class Kind(Enum):
    """What can change the outcome: time, the customer, the customer's word to the bank, or this product."""

    SOFT = "soft"
    HARD = "hard"
    AUTHENTICATION = "authentication"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One code. ``words`` is the end of a sentence, empty where no reason may be told; ``advice`` is a sentence."""

    kind: Kind
    words: str
    advice: str


_ANOTHER_CARD = "Please use another card."
_ASK = "Please use another card or ask your bank."
_LATER = "Please try again later or use another card."
_CHECK = "Please check the card's details and try again."
_CONFIRM = "Please try again and confirm with your bank, or use another card."

_GENERAL = Meaning(Kind.SOFT, "", _ASK)
_UNTOLD = Meaning(Kind.HARD, "", _ASK)


def _hard(words: str, advice: str = _ANOTHER_CARD) -> Meaning:
    return Meaning(Kind.HARD, words, advice)


def _soft(words: str, advice: str = _LATER) -> Meaning:
    return Meaning(Kind.SOFT, words, advice)


_CONFIRMATION = Meaning(Kind.AUTHENTICATION, "the bank could not confirm that it is you", _CONFIRM)

MEANINGS: Final[dict[str, Meaning]] = {
    # The bank wants to hear from the customer.
    "authentication_required": _CONFIRMATION,
    "payment_intent_authentication_failure": _CONFIRMATION,
    "setup_intent_authentication_failure": _CONFIRMATION,
    "authentication_not_handled": _CONFIRMATION,
    "mobile_device_authentication_required": _CONFIRMATION,
    # Nobody may tell why, and trying again is no use or is fined.
    "fraudulent": _UNTOLD,
    "lost_card": _UNTOLD,
    "merchant_blacklist": _UNTOLD,
    "pickup_card": _UNTOLD,
    "restricted_card": _UNTOLD,
    "security_violation": _UNTOLD,
    "stolen_card": _UNTOLD,
    "highest_risk_level": _UNTOLD,
    "do_not_try_again": _UNTOLD,
    "previously_declined_do_not_retry": _UNTOLD,
    # Nobody tells why, and another day may be better.
    "approve_with_id": _GENERAL,
    "call_issuer": _GENERAL,
    "card_declined": _GENERAL,
    "do_not_honor": _GENERAL,
    "generic_decline": _GENERAL,
    "no_action_taken": _GENERAL,
    "not_permitted": _GENERAL,
    "service_not_allowed": _GENERAL,
    # Only another card, or another number, changes it.
    "card_not_supported": _hard("this card can't be used for this kind of purchase"),
    "currency_not_supported": _hard("this card can't be used for US dollars"),
    "expired_card": _hard("the card has expired"),
    "incorrect_address": _hard("the address does not match the card", _CHECK),
    "incorrect_cvc": _hard("the security code is wrong", _CHECK),
    "incorrect_number": _hard("the card number is wrong", _CHECK),
    "incorrect_pin": _hard("the PIN is wrong", _CHECK),
    "incorrect_zip": _hard("the postal code does not match the card", _CHECK),
    "invalid_account": _hard("the account of this card can't be charged"),
    "invalid_cvc": _hard("the security code is wrong", _CHECK),
    "invalid_expiry_month": _hard("the expiry date is wrong", _CHECK),
    "invalid_expiry_year": _hard("the expiry date is wrong", _CHECK),
    "invalid_number": _hard("the card number is wrong", _CHECK),
    "invalid_pin": _hard("the PIN is wrong", _CHECK),
    "new_account_information_available": _hard("the bank has issued a new card for this account"),
    "offline_pin_required": _hard("the bank wants a PIN, which can't be given online"),
    "online_or_offline_pin_required": _hard("the bank wants a PIN, which can't be given online"),
    "pin_try_exceeded": _hard("the PIN was wrong too often"),
    "revocation_of_all_authorizations": _hard("the card was withdrawn from charges like this", _ASK),
    "revocation_of_authorization": _hard("the card was withdrawn from charges like this", _ASK),
    "stop_payment_order": _hard("the bank was told to stop this payment", _ASK),
    "test_mode_live_card": _hard("this is a test system, which takes test cards only"),
    "testmode_decline": _hard("a test card can't be charged here"),
    "transaction_not_allowed": _hard("the bank does not allow this kind of payment", _ASK),
    # Time, or money, changes it.
    "card_velocity_exceeded": _soft("the limit of the card is reached"),
    "duplicate_transaction": _soft(
        "a charge of the same amount was made a moment ago", "Please look at your purchases."
    ),
    "insufficient_funds": _soft("there are not enough funds on the account"),
    "issuer_not_available": _soft("the bank could not be reached"),
    "processing_error": _soft("the bank could not process the charge just now"),
    "reenter_transaction": _soft("the bank could not process the charge just now"),
    "try_again_later": _soft("the bank could not process the charge just now"),
    "withdrawal_count_limit_exceeded": _soft("the limit of the card is reached"),
    # The card is gone from the payment processor.
    "payment_method_unactivated": _hard("the card can't be charged any more"),
    "payment_method_unexpected_state": _hard("the card can't be charged any more"),
    "resource_missing": _hard("the card can't be charged any more"),
    # A fault of the request.
    "invalid_amount": Meaning(Kind.OURS, "", "Please try again or write to us."),
}


def meaning(*, decline_code: str, failure_code: str) -> Meaning | None:
    """What an answer means: the decline code tells more than the error code. None for codes that are no decline."""
    known = MEANINGS.get(decline_code) or MEANINGS.get(failure_code)
    return known or (_GENERAL if decline_code else None)


def is_hard(*, decline_code: str, failure_code: str, advice_code: str = "") -> bool:
    """Whether a machine must not try the same card again: only the customer can change the outcome.

    Card networks fine repeated attempts after such answers, so auto-reload pauses at the first one.
    """
    if advice_code == "do_not_try_again":
        return True
    found = (MEANINGS.get(decline_code), MEANINGS.get(failure_code))
    return any(known is not None and known.kind is Kind.HARD for known in found)


def is_the_cards(*, decline_code: str, failure_code: str) -> bool:
    """Whether the card is the reason at all, and not a request that was refused for a fault of this product."""
    known = meaning(decline_code=decline_code, failure_code=failure_code)
    return known is not None and known.kind is not Kind.OURS


def reason(*, decline_code: str, failure_code: str) -> str:
    """Why the bank said no, as the end of a sentence; empty where it gave no reason that may be told."""
    known = meaning(decline_code=decline_code, failure_code=failure_code)
    return known.words if known is not None else ""


def advice(*, decline_code: str, failure_code: str) -> str:
    """What the customer can do, as a sentence."""
    known = meaning(decline_code=decline_code, failure_code=failure_code)
    return known.advice if known is not None else "Please try again."


def card_refused(*, decline_code: str, failure_code: str) -> str:
    """That a card could not be saved, why, and what to do."""
    why = reason(decline_code=decline_code, failure_code=failure_code)
    what_to_do = advice(decline_code=decline_code, failure_code=failure_code)
    return f"The bank declined this card: {why}. {what_to_do}" if why else f"The bank declined this card. {what_to_do}"
