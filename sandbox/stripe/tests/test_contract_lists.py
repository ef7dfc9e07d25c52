"""Lists: newest first, bounded pages, cursors that work in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stripe.tests.conftest import error_of
from sandbox.stripe.tests.contract import Account, cites


@pytest.fixture
def customer(either: Account) -> Any:
    """See `with_seven_intents`."""
    return with_seven_intents(either)


def with_seven_intents(either: Account) -> Any:
    """A customer with seven unpaid PaymentIntents of 100 to 700 cents."""
    found = either.customer()
    for amount in range(100, 800, 100):
        either.v1.payment_intents.create(
            {
                "amount": amount,
                "currency": "usd",
                "customer": found.id,
                "allowed_payment_method_types": ["card"],
            }
        )
    return found


def amounts(page: Any) -> list[int]:
    """The amounts on a page, in its order."""
    return [intent.amount for intent in page.data]


@cites("https://docs.stripe.com/api/pagination")
def test_pages_go_from_the_newest_to_the_oldest(either: Account, customer: Any) -> None:
    intents = either.v1.payment_intents
    first = intents.list({"customer": customer.id, "limit": 3})
    assert (amounts(first), first.has_more) == ([700, 600, 500], True)
    second = intents.list({"customer": customer.id, "limit": 3, "starting_after": first.data[-1].id})
    assert (amounts(second), second.has_more) == ([400, 300, 200], True)
    third = intents.list({"customer": customer.id, "limit": 3, "starting_after": second.data[-1].id})
    assert (amounts(third), third.has_more) == ([100], False)


@cites("https://docs.stripe.com/api/pagination")
def test_ending_before_gives_the_page_next_to_the_cursor(either: Account, customer: Any) -> None:
    intents = either.v1.payment_intents
    oldest = intents.list({"customer": customer.id, "limit": 7}).data[-1]
    page = intents.list({"customer": customer.id, "limit": 3, "ending_before": oldest.id})
    assert (amounts(page), page.has_more) == ([400, 300, 200], True)
    newest = intents.list({"customer": customer.id, "limit": 1}).data[0]
    nothing = intents.list({"customer": customer.id, "ending_before": newest.id})
    assert (amounts(nothing), nothing.has_more) == ([], False)


@cites("https://docs.stripe.com/api/pagination")
def test_the_sdk_pages_through_everything_once(either: Account, customer: Any) -> None:
    pages = either.v1.payment_intents.list({"customer": customer.id, "limit": 2})
    assert [intent.amount for intent in pages.auto_paging_iter()] == [700, 600, 500, 400, 300, 200, 100]


@pytest.mark.parametrize("limit", [0, 101, -1])
@cites("https://docs.stripe.com/api/pagination")
def test_a_page_has_one_to_a_hundred_things(either: Account, limit: int) -> None:
    assert error_of(lambda: either.v1.payment_intents.list({"limit": limit})).http_status == 400


@cites("https://docs.stripe.com/api/pagination")
def test_a_cursor_must_exist_and_stand_alone(either: Account, customer: Any) -> None:
    intents = either.v1.payment_intents
    missing = error_of(lambda: intents.list({"starting_after": "pi_nothing"}))
    assert (missing.http_status, missing.code) == (400, "resource_missing")
    known = intents.list({"customer": customer.id, "limit": 1}).data[0].id
    assert error_of(lambda: intents.list({"starting_after": known, "ending_before": known})).http_status == 400


@cites("https://docs.stripe.com/api/payment_intents/list#list_payment_intents-created")
def test_intents_are_found_by_the_time_of_their_creation(account: Account) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    card = account.saved_card(customer)
    early = account.pay(customer, card)
    account.stand_in.control.move_clock(offset_seconds=3600)
    late = account.pay(customer, card)
    found = account.v1.payment_intents.list({"customer": customer.id, "created": {"gte": early.created + 1800}})
    assert [intent.id for intent in found.data] == [late.id]
    found = account.v1.payment_intents.list({"customer": customer.id, "created": {"lt": late.created}})
    assert [intent.id for intent in found.data] == [early.id]
    found = account.v1.payment_intents.list({"customer": customer.id, "created": early.created})
    assert [intent.id for intent in found.data] == [early.id]


@cites("https://docs.stripe.com/api/customers/list")
def test_customers_are_found_by_their_address(either: Account) -> None:
    customer = either.customer()
    email = f"{customer.id.lower().replace('_', '.')}@example.org"
    either.v1.customers.update(customer.id, {"email": email})
    assert [found.id for found in either.v1.customers.list({"email": email}).data] == [customer.id]
