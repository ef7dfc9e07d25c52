"""What a declined card means: whether a machine may try it again, and how the customer is told.

The codes are Stripe's: https://docs.stripe.com/declines/codes. That a card was reported lost or stolen is never
said: the person reading may be the thief.
"""

AUTHENTICATION_CODES = frozenset({"authentication_required", "payment_intent_authentication_failure"})

_NEVER_AGAIN = frozenset(
    {
        "card_not_supported",
        "currency_not_supported",
        "expired_card",
        "fraudulent",
        "incorrect_cvc",
        "incorrect_number",
        "incorrect_zip",
        "invalid_account",
        "invalid_cvc",
        "invalid_expiry_month",
        "invalid_expiry_year",
        "invalid_number",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "stolen_card",
        "stop_payment_order",
        "test_mode_live_card",
        "transaction_not_allowed",
    }
)

_CARD_IS_GONE = frozenset({"payment_method_unactivated", "payment_method_unexpected_state", "resource_missing"})

_WORDS = {
    "insufficient_funds": "there are not enough funds on the account",
    "withdrawal_count_limit_exceeded": "the limit of the card is reached",
    "card_velocity_exceeded": "the limit of the card is reached",
    "expired_card": "the card has expired",
    "incorrect_cvc": "the security code is wrong",
    "invalid_cvc": "the security code is wrong",
    "incorrect_number": "the card number is wrong",
    "invalid_number": "the card number is wrong",
    "card_not_supported": "this card can't be used for this kind of purchase",
    "currency_not_supported": "this card can't be used for US dollars",
    "processing_error": "the bank could not process the charge just now",
    "issuer_not_available": "the bank could not be reached",
    "try_again_later": "the bank could not process the charge just now",
}


def is_hard(*, decline_code: str, failure_code: str, advice_code: str = "") -> bool:
    """Whether a machine must not try the same card again: only the customer can change the outcome.

    Card networks fine repeated attempts after such answers, so auto-reload pauses at the first one.
    """
    if advice_code == "do_not_try_again":
        return True
    return bool({decline_code, failure_code} & (_NEVER_AGAIN | _CARD_IS_GONE))


def is_the_cards(*, decline_code: str, failure_code: str) -> bool:
    """Whether the card is the reason at all, and not a request that was refused for a fault of this product."""
    return bool(decline_code) or failure_code in _NEVER_AGAIN | _CARD_IS_GONE | AUTHENTICATION_CODES | {
        "card_declined",
        "processing_error",
    }


def reason(*, decline_code: str, failure_code: str) -> str:
    """Why the bank said no, as the end of a sentence; empty where it gave no reason that may be told."""
    return _WORDS.get(decline_code) or _WORDS.get(failure_code, "")
