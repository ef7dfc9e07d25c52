"""Idempotency keys: the first answer for ever (a day), whatever it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.conftest import body_of, error_of
from sandbox.stripe.tests.contract import Account, cites

HOUR_SECONDS = 3600


def charged_cents(account: Account) -> int:
    """What the journal says has been taken."""
    assert account.stand_in is not None
    return account.stand_in.journal.charged_cents()


def unique(name: str) -> str:
    """A key that a real account hasn't seen either."""
    return f"contract-{name}-{time.time_ns()}"


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_the_same_key_charges_once_and_answers_the_same(either: Account) -> None:
    customer = either.customer()
    card = either.saved_card(customer)
    key = unique("success")
    first = either.pay(customer, card, key=key)
    second = either.pay(customer, card, key=key)
    assert second.to_dict() == first.to_dict()
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert second.last_response.headers["Original-Request"] == first.last_response.request_id
    assert second.last_response.request_id != first.last_response.request_id
    assert len(either.v1.payment_intents.list({"customer": customer.id}).data) == 1


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_a_decline_is_replayed_as_the_same_decline(either: Account) -> None:
    customer = either.customer()
    key = unique("decline")
    first = error_of(lambda: either.pay(customer, "pm_card_chargeCustomerFail", key=key))
    second = error_of(lambda: either.pay(customer, "pm_card_chargeCustomerFail", key=key))
    assert (first.http_status, second.http_status) == (402, 402)
    assert body_of(first)["payment_intent"]["id"] == body_of(second)["payment_intent"]["id"]
    assert len(either.v1.payment_intents.list({"customer": customer.id}).data) == 1


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_changed_parameters_under_the_same_key_are_an_error(either: Account) -> None:
    customer = either.customer()
    card = either.saved_card(customer)
    key = unique("changed")
    either.pay(customer, card, key=key)
    error = error_of(lambda: either.pay(customer, card, key=key, amount=2600))
    assert isinstance(error, stripe.IdempotencyError)
    assert (error.http_status, body_of(error)["type"]) == (400, "idempotency_error")
    assert len(either.v1.payment_intents.list({"customer": customer.id}).data) == 1


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_another_endpoint_under_the_same_key_is_an_error(either: Account) -> None:
    key = unique("endpoint")
    either.v1.customers.create({}, {"idempotency_key": key})
    error = error_of(
        lambda: either.v1.setup_intents.create({"allowed_payment_method_types": ["card"]}, {"idempotency_key": key})
    )
    assert isinstance(error, stripe.IdempotencyError)


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_refused_parameters_leave_the_key_free(either: Account) -> None:
    customer = either.customer()
    card = either.saved_card(customer)
    key = unique("refused")
    assert error_of(lambda: either.pay(customer, card, key=key, amont=1)).http_status == 400
    assert either.pay(customer, card, key=key).status == "succeeded"


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_the_order_of_parameters_does_not_matter(account: Account) -> None:
    first = account.v1.customers.create({"email": "a@example.org", "name": "A"}, {"idempotency_key": "order"})
    second = account.v1.customers.create({"name": "A", "email": "a@example.org"}, {"idempotency_key": "order"})
    assert first.id == second.id


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_two_customers_of_the_same_content_need_two_keys(account: Account) -> None:
    assert account.customer().id != account.customer().id


@cites("https://docs.stripe.com/error-low-level#idempotency")
def test_a_second_request_while_the_first_runs_is_a_conflict_that_is_not_kept(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    card = account.saved_card(customer)
    account.stand_in.control.add_fault("delay", path="/v1/payment_intents", delay_seconds=1.0)
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(account.pay(customer, card, key="twice")))
    first.start()
    while not account.stand_in.control.faults.listed()[0]["hit"]:
        time.sleep(0.005)
    try:
        error = error_of(lambda: account.pay(customer, card, key="twice"))
    finally:
        first.join()
    assert error.http_status == 409
    assert body_of(error)["code"] == "idempotency_key_in_use"
    assert error.headers is not None
    assert error.headers["Stripe-Should-Retry"] == "true"
    assert account.pay(customer, card, key="twice").id == answers[0].id
    assert charged_cents(account) == 2500


@cites("https://docs.stripe.com/error-low-level#idempotency")
def test_many_at_once_charge_once(stand_in: StandIn, connect: Callable[..., Account]) -> None:
    account = connect(stand_in)
    customer = account.customer()
    card = account.saved_card(customer)
    together = threading.Barrier(12)
    seen: list[str] = []

    def pay() -> None:
        together.wait()
        try:
            seen.append(connect(stand_in, retries=8).pay(customer, card, key="burst").id)
        except stripe.StripeError as error:
            seen.append(str(error.http_status))

    threads = [threading.Thread(target=pay) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([entry for entry in stand_in.journal.entries() if entry["outcome"] == "succeeded"]) == 1
    assert len({answer for answer in seen if answer.startswith("pi_")}) == 1


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_a_key_is_forgotten_after_a_day_and_then_charges_anew(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    card = account.saved_card(customer)
    first = account.pay(customer, card, key="old")
    account.stand_in.control.move_clock(offset_seconds=24 * HOUR_SECONDS - 60)
    assert account.pay(customer, card, key="old").id == first.id
    account.stand_in.control.move_clock(offset_seconds=24 * HOUR_SECONDS + 60)
    assert account.pay(customer, card, key="old").id != first.id
    assert charged_cents(account) == 5000


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_a_refused_state_is_kept_because_execution_had_begun(account: Account) -> None:
    customer = account.customer()
    payment = account.pay(customer, account.saved_card(customer))
    for _ in range(2):
        error = error_of(lambda: account.v1.payment_intents.cancel(payment.id, {}, {"idempotency_key": "cancel"}))
        assert body_of(error)["code"] == "payment_intent_unexpected_state"
    assert error.headers is not None
    assert error.headers["Idempotent-Replayed"] == "true"


@cites("https://docs.stripe.com/api/idempotent_requests")
def test_a_key_has_at_most_255_characters(either: Account) -> None:
    assert either.v1.customers.create({}, {"idempotency_key": unique("k").ljust(255, "x")}).id
    error = error_of(lambda: either.v1.customers.create({}, {"idempotency_key": "x" * 256}))
    assert error.http_status == 400


@pytest.mark.parametrize("kind", ["cut_after", "half_body"])
@cites("https://docs.stripe.com/error-low-level#network-errors")
def test_a_lost_answer_is_found_again_with_the_same_key(
    stand_in: StandIn, connect: Callable[..., Account], kind: Any
) -> None:
    account = connect(stand_in)
    customer = account.customer()
    card = account.saved_card(customer)
    fault = stand_in.control.add_fault(kind, path="/v1/payment_intents")
    assert isinstance(error_of(lambda: account.pay(customer, card, key="lost")), stripe.StripeError)
    assert fault.hit == 1
    assert account.pay(customer, card, key="lost").status == "succeeded"
    assert charged_cents(account) == 2500


@cites("https://docs.stripe.com/error-low-level#sending-idempotency-keys")
def test_the_sdks_own_retry_after_a_lost_answer_charges_once(
    stand_in: StandIn, connect: Callable[..., Account]
) -> None:
    account = connect(stand_in, retries=2)
    customer = account.customer()
    card = account.saved_card(customer)
    stand_in.control.add_fault("cut_after", path="/v1/payment_intents")
    assert account.pay(customer, card, key="retried").status == "succeeded"
    assert charged_cents(account) == 2500


@cites("https://docs.stripe.com/error-low-level#server-errors")
def test_a_500_is_replayed_although_the_charge_was_made(stand_in: StandIn, connect: Callable[..., Account]) -> None:
    account = connect(stand_in, retries=2)
    customer = account.customer()
    card = account.saved_card(customer)
    stand_in.control.add_fault("error_500_after_effect", path="/v1/payment_intents")
    for _ in range(2):
        error = error_of(lambda: account.pay(customer, card, key="broken"))
        assert error.http_status == 500
        assert error.headers is not None
        assert error.headers["Stripe-Should-Retry"] == "false"
    assert charged_cents(account) == 2500
    (found,) = account.v1.payment_intents.list({"customer": customer.id}).data
    assert found.status == "succeeded"
