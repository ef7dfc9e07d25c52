"""Each promise of the stand-in is held by a clause of the contract: switched off, the clause turns red."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.stripe.semantics import Semantic
from sandbox.stripe.server import StandIn
from sandbox.stripe.tests import (
    test_contract_cards,
    test_contract_disputes,
    test_contract_idempotency,
    test_contract_lists,
    test_contract_parameters,
    test_contract_payment_intents,
    test_contract_payment_methods,
    test_contract_refunds,
    test_contract_webhooks,
    test_credentials,
)
from sandbox.stripe.tests.contract import WEBHOOK_SECRET, connected
from sandbox.stripe.tests.endpoint import Endpoint

PATIENCE_SECONDS = 1.0
"""How long a clause waits for a delivery: a green one needs milliseconds, a red one waits in vain."""

Clause = tuple[Callable[..., None], dict[str, Any]]

cards, disputes, idempotency = test_contract_cards, test_contract_disputes, test_contract_idempotency
lists, parameters, payments = test_contract_lists, test_contract_parameters, test_contract_payment_intents
methods, refunds, webhooks = test_contract_payment_methods, test_contract_refunds, test_contract_webhooks

HOLDS: dict[Semantic, Clause] = {
    Semantic.REPLAY: (idempotency.test_the_same_key_charges_once_and_answers_the_same, {}),
    Semantic.REPLAY_OF_DECLINES: (idempotency.test_a_decline_is_replayed_as_the_same_decline, {}),
    Semantic.REPLAY_OF_500S: (idempotency.test_a_500_is_replayed_although_the_charge_was_made, {}),
    Semantic.CHANGED_PARAMETERS: (idempotency.test_changed_parameters_under_the_same_key_are_an_error, {}),
    Semantic.IN_FLIGHT_CONFLICT: (
        idempotency.test_a_second_request_while_the_first_runs_is_a_conflict_that_is_not_kept,
        {},
    ),
    Semantic.KEYS_EXPIRE: (idempotency.test_a_key_is_forgotten_after_a_day_and_then_charges_anew, {}),
    Semantic.REFUSALS_LEAVE_THE_KEY_FREE: (idempotency.test_refused_parameters_leave_the_key_free, {}),
    Semantic.UNKNOWN_PARAMETERS: (
        parameters.test_an_unknown_parameter_is_refused_at_any_depth,
        {"parameters": {"amont": 1}, "param": "amont"},
    ),
    Semantic.RETIRED_PARAMETERS: (parameters.test_the_retired_payment_method_types_is_refused_by_name, {}),
    Semantic.TYPED_PARAMETERS: (parameters.test_enumerations_are_closed, {}),
    Semantic.EXCLUSIVE_PARAMETERS: (
        parameters.test_values_of_the_wrong_shape_are_refused,
        {
            "parameters": {
                "allowed_payment_method_types": ["card"],
                "automatic_payment_methods": {"enabled": True},
            }
        },
    ),
    Semantic.AMOUNT_BOUNDS: (
        parameters.test_amounts_are_whole_cents_within_bounds,
        {"amount": 49, "code": "amount_too_small"},
    ),
    Semantic.ONE_VERSION: (parameters.test_the_version_is_the_sdks_and_no_other, {}),
    Semantic.TEST_KEYS_ONLY: (
        test_credentials.test_no_other_key_than_a_test_key_opens_it,
        {"key": "sk_live_" + "a" * 24},
    ),
    Semantic.SETUP_ATTACHES: (methods.test_the_cards_of_a_customer_are_listed_newest_first, {}),
    Semantic.SETUP_PREPARES: (cards.test_a_card_set_up_off_session_asks_no_more, {}),
    Semantic.DETACHED_IS_GONE: (methods.test_a_detached_card_is_gone_for_good, {}),
    Semantic.USED_ONCE: (methods.test_a_card_that_was_charged_without_being_saved_is_used_up, {}),
    Semantic.OWN_CARDS_ONLY: (methods.test_a_card_of_another_customer_is_refused, {}),
    Semantic.EXPIRY: (cards.test_an_expired_card_is_declined, {}),
    Semantic.TEST_CARDS_DECLINE: (cards.test_a_card_may_be_saved_and_decline_when_charged, {}),
    Semantic.DECLINE_REOPENS: (payments.test_after_a_decline_another_card_finishes_the_same_intent, {}),
    Semantic.AUTHENTICATION: (cards.test_a_failed_authentication_charges_nothing, {}),
    Semantic.OFF_SESSION_AUTHENTICATION: (cards.test_off_session_authentication_is_a_402_with_the_intent_in_it, {}),
    Semantic.ENDED_IS_ENDED: (payments.test_a_succeeded_intent_can_neither_be_confirmed_nor_cancelled, {}),
    Semantic.LATEST_CHARGE_IS_AN_ID: (payments.test_latest_charge_is_an_id_unless_expanded, {}),
    Semantic.REFUND_BOUNDS: (refunds.test_refunds_never_exceed_the_charge, {}),
    Semantic.REFUNDS_FAIL_LATER: (refunds.test_a_refund_that_fails_later_gives_the_money_back_to_the_account, {}),
    Semantic.FAILED_REFUND_FREES: (refunds.test_a_refund_that_fails_later_gives_the_money_back_to_the_account, {}),
    Semantic.DISPUTED_IS_NOT_REFUNDABLE: (disputes.test_a_disputed_card_is_charged_and_then_disputed, {}),
    Semantic.DISPUTE_FUNDS: (disputes.test_a_won_dispute_gives_the_amount_back_once, {}),
    Semantic.DISPUTE_BEFORE_SUCCESS: (disputes.test_a_dispute_may_be_told_before_the_payments_own_success, {}),
    Semantic.NEWEST_FIRST: (lists.test_pages_go_from_the_newest_to_the_oldest, {}),
    Semantic.PAGE_LIMIT: (lists.test_a_page_has_one_to_a_hundred_things, {"limit": 101}),
    Semantic.CURSORS: (lists.test_ending_before_gives_the_page_next_to_the_cursor, {}),
    Semantic.EVENTS: (webhooks.test_failures_changes_and_the_end_of_a_card_are_told, {}),
    Semantic.DELIVERY_FILTER: (webhooks.test_events_are_found_by_type_and_by_delivery, {}),
    Semantic.SIGNATURE: (webhooks.test_paused_deliveries_come_when_resumed, {}),
    Semantic.RETRIES: (webhooks.test_a_refused_delivery_is_tried_again_later_and_later, {}),
    Semantic.DUPLICATES: (webhooks.test_deliveries_can_be_duplicated_reordered_delayed_and_lost, {}),
    Semantic.REORDERING: (webhooks.test_deliveries_can_be_duplicated_reordered_delayed_and_lost, {}),
    Semantic.DELAYS: (webhooks.test_deliveries_can_be_duplicated_reordered_delayed_and_lost, {}),
    Semantic.LOSSES: (webhooks.test_deliveries_can_be_duplicated_reordered_delayed_and_lost, {}),
    Semantic.FORGERIES: (
        webhooks.test_a_forged_or_outdated_delivery_is_recognized_and_the_genuine_one_follows,
        {"order": "bad_signature"},
    ),
    Semantic.STALENESS: (
        webhooks.test_a_forged_or_outdated_delivery_is_recognized_and_the_genuine_one_follows,
        {"order": "stale"},
    ),
}
"""Which clause holds which promise, and with which of its cases."""


def run(clause: Clause, *, without: frozenset[Semantic]) -> None:
    """Run a clause in this process, against a stand-in of its own that breaks these promises."""
    test, given = clause
    wanted = set(inspect.signature(test).parameters) - set(given)
    with ExitStack() as stack:
        found: dict[str, Any] = {"connect": connected}
        options: dict[str, Any] = {"without": without}
        if "notified" in wanted:
            found["endpoint"] = stack.enter_context(Endpoint(secret=WEBHOOK_SECRET, patience_seconds=PATIENCE_SECONDS))
            options |= {"webhook_url": found["endpoint"].url, "webhook_secret": WEBHOOK_SECRET}
        found["stand_in"] = stack.enter_context(StandIn(**options))
        account = connected(found["stand_in"])
        found |= {"account": account, "either": account, "notified": account}
        if "customer" in wanted:
            found["customer"] = lists.with_seven_intents(account)
        test(**given, **{name: found[name] for name in wanted})


def is_red(clause: Clause, *, without: frozenset[Semantic]) -> bool:
    """Whether the clause fails, in whatever way."""
    try:
        run(clause, without=without)
    except (Exception, pytest.fail.Exception):
        return True
    return False


def test_every_promise_is_held_by_a_clause_that_cites_its_source() -> None:
    assert set(HOLDS) == set(Semantic)
    for test, _ in HOLDS.values():
        assert test.__dict__["source"].startswith("https://"), test.__name__


@pytest.mark.parametrize("clause", list(HOLDS.values()), ids=lambda clause: clause[0].__name__)
def test_a_clause_is_green_where_every_promise_is_kept(clause: Clause) -> None:
    """The control group: what turns red below does so because of the switch."""
    run(clause, without=frozenset())


@pytest.mark.parametrize("semantic", list(Semantic), ids=lambda semantic: semantic.name.lower())
def test_a_promise_that_is_broken_turns_its_clause_red(semantic: Semantic) -> None:
    """Deliveries that nobody reorders may change places by themselves: three tries, and one red is enough."""
    assert any(is_red(HOLDS[semantic], without=frozenset({semantic})) for _ in range(3)), HOLDS[semantic][0].__name__


def test_every_clause_of_the_contract_cites_its_source() -> None:
    found = 0
    for path in sorted(Path(__file__).parent.glob("test_contract_*.py")):
        module = importlib.import_module(f"sandbox.stripe.tests.{path.stem}")
        for name, test in vars(module).items():
            if name.startswith("test_") and callable(test):
                assert test.__dict__.get("source", "").startswith("https://"), f"{path.stem}.{name}"
                found += 1
    assert found > 100
