"""What money depends on, named: each is one switch, so that a test can show that something notices when it is missing.

A stand-in has all of them. `StandIn(without={Semantic.REPLAY})` makes one that lacks the first, for the test that
switches off one after the other and sees a contract test turn red: `tests/test_switches.py`.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import Enum


class Semantic(Enum):
    """One promise of the stand-in, in the words of what happens."""

    # Idempotency.
    REPLAY = "the same key answers with the first status and body"
    REPLAY_OF_DECLINES = "a decline is replayed, too"
    REPLAY_OF_500S = "a 500 is replayed, too"
    CHANGED_PARAMETERS = "the same key with other parameters is an idempotency_error"
    IN_FLIGHT_CONFLICT = "the same key while the first request runs is a 409"
    KEYS_EXPIRE = "keys are forgotten after 24 hours on the stand-in's clock"
    REFUSALS_LEAVE_THE_KEY_FREE = "refused parameters are not kept under the key"

    # Parameters.
    UNKNOWN_PARAMETERS = "an unknown parameter is a parameter_unknown"
    RETIRED_PARAMETERS = "payment_method_types is refused by a code of its own"
    TYPED_PARAMETERS = "a parameter of the wrong type is refused"
    EXCLUSIVE_PARAMETERS = "parameters that exclude each other are refused together"
    AMOUNT_BOUNDS = "a payment is of 50 cents to 999,999.99 dollars"
    ONE_VERSION = "another API version is refused"
    TEST_KEYS_ONLY = "live keys are refused"

    # Cards.
    SETUP_ATTACHES = "a SetupIntent that succeeds attaches its card"
    SETUP_PREPARES = "a card that was set up asks for no authentication off-session"
    DETACHED_IS_GONE = "a detached card can never be charged or attached again"
    USED_ONCE = "a card that was charged without being attached can't be charged again"
    OWN_CARDS_ONLY = "another customer's card is refused"
    EXPIRY = "a card declines when its last month is over"

    # Payments.
    TEST_CARDS_DECLINE = "the test cards that decline do"
    DECLINE_REOPENS = "a declined PaymentIntent goes back to requires_payment_method"
    AUTHENTICATION = "a card that asks for authentication isn't charged before it has been given"
    OFF_SESSION_AUTHENTICATION = "off-session, authentication is a 402 with the PaymentIntent in the error"
    ENDED_IS_ENDED = "a PaymentIntent that succeeded can neither be confirmed nor cancelled"
    LATEST_CHARGE_IS_AN_ID = "latest_charge is an id unless it is expanded"

    # Money that goes back.
    REFUND_BOUNDS = "refunds never exceed the charge"
    REFUNDS_FAIL_LATER = "a refund that succeeded may fail"
    FAILED_REFUND_FREES = "a failed refund no longer counts against the charge"
    DISPUTED_IS_NOT_REFUNDABLE = "a disputed charge can't be refunded"
    DISPUTE_FUNDS = "a dispute takes its amount, and gives it back when it is won"
    DISPUTE_BEFORE_SUCCESS = "a dispute's event may come before the payment's own"

    # Lists.
    NEWEST_FIRST = "lists begin with the newest"
    PAGE_LIMIT = "a page has 1 to 100 things"
    CURSORS = "starting_after and ending_before move through a list"

    # Events and webhooks.
    EVENTS = "everything that happens to an object is told by an event"
    DELIVERY_FILTER = "events can be listed by whether they were delivered"
    SIGNATURE = "deliveries are signed"
    RETRIES = "a refused delivery is tried again, later and later"
    DUPLICATES = "deliveries can be doubled"
    REORDERING = "deliveries can change places"
    DELAYS = "deliveries can be late"
    LOSSES = "deliveries can be lost"
    FORGERIES = "deliveries can be badly signed"
    STALENESS = "deliveries can be outdated"


class Semantics:
    """Those that a stand-in has: all but some."""

    def __init__(self, *, without: AbstractSet[Semantic] = frozenset()) -> None:
        self._without = frozenset(without)

    def has(self, semantic: Semantic) -> bool:
        """Whether the stand-in keeps this promise."""
        return semantic not in self._without


ALL = Semantics()
