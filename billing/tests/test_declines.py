"""The one table of declines: every code of Stripe's list has words, and none tells a thief anything."""

import re
from pathlib import Path

import pytest

from billing.models import Purchase
from billing.payments import declines, purchases

# The codes of https://docs.stripe.com/declines/codes, those that it has retired included: old charges still carry them.
LISTED = [
    "approve_with_id",
    "authentication_not_handled",
    "authentication_required",
    "call_issuer",
    "card_not_supported",
    "card_velocity_exceeded",
    "currency_not_supported",
    "do_not_honor",
    "do_not_try_again",
    "duplicate_transaction",
    "expired_card",
    "fraudulent",
    "generic_decline",
    "incorrect_address",
    "incorrect_cvc",
    "incorrect_number",
    "incorrect_pin",
    "incorrect_zip",
    "insufficient_funds",
    "invalid_account",
    "invalid_amount",
    "invalid_cvc",
    "invalid_expiry_month",
    "invalid_expiry_year",
    "invalid_number",
    "invalid_pin",
    "issuer_not_available",
    "lost_card",
    "merchant_blacklist",
    "mobile_device_authentication_required",
    "new_account_information_available",
    "no_action_taken",
    "not_permitted",
    "offline_pin_required",
    "online_or_offline_pin_required",
    "pickup_card",
    "pin_try_exceeded",
    "processing_error",
    "reenter_transaction",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "security_violation",
    "service_not_allowed",
    "stolen_card",
    "stop_payment_order",
    "test_mode_live_card",
    "testmode_decline",
    "transaction_not_allowed",
    "try_again_later",
    "withdrawal_count_limit_exceeded",
]
FORBIDDEN = re.compile(
    r"stolen|lost|fraud|theft|thief|suspic|black|pick.?up|security violation|restricted|risk", re.IGNORECASE
)
# Stripe: "Do not report more detailed information to your customer", or present it as a generic decline.
UNTOLD = ["fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "stolen_card", "security_violation"]
CODES = sorted({*LISTED, *declines.MEANINGS})


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_kind_and_tells_the_customer_what_to_do(code):
    assert isinstance(declines.MEANINGS[code].kind, declines.Kind)
    assert declines.advice(decline_code=code, failure_code="card_declined").endswith(".")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("place", ["decline_code", "failure_code"])
def test_no_words_of_any_code_tell_a_thief_anything(code, place):
    codes = {"decline_code": "", "failure_code": "card_declined", place: code}
    failed = Purchase(kind="manual", state="failed", **codes)
    for text in (purchases.failure_text(failed), declines.card_refused(**codes), declines.reason(**codes)):
        assert not FORBIDDEN.search(text), text
        assert code not in text
    assert "Nothing was charged." in purchases.failure_text(failed)


@pytest.mark.parametrize("code", UNTOLD)
def test_what_must_not_be_told_reads_like_a_decline_without_a_reason(code):
    codes = {"decline_code": code, "failure_code": "card_declined"}
    general = {"decline_code": "generic_decline", "failure_code": "card_declined"}
    assert declines.card_refused(**codes) == declines.card_refused(**general)
    assert purchases.failure_text(Purchase(state="failed", **codes)) == purchases.failure_text(
        Purchase(state="failed", **general)
    )
    assert declines.is_hard(**codes)


def test_a_code_that_is_not_known_yet_is_a_decline_without_a_reason():
    codes = {"decline_code": "a_code_of_next_year", "failure_code": "card_declined"}
    assert declines.reason(**codes) == ""
    assert declines.is_the_cards(**codes)
    assert not declines.is_hard(**codes)


def test_the_browser_has_no_second_table():
    scripts = Path(__file__).resolve().parents[2] / "console" / "static" / "console"
    for script in scripts.glob("*.js"):
        for code in LISTED:
            assert code not in script.read_text(), script.name
