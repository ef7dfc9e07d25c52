"""How invariants are examined: which of them for one organization, and what a query that fails or a lost head tells."""

import pytest
from django.db import connection, transaction

from accounts.models import Organization
from billing.credits import invariants, ledger
from billing.credits.invariants import INVARIANTS, Finding, Head
from billing.models import CreditLot
from billing.tests.customer import Customer

pytestmark = pytest.mark.django_db

OF_THE_DATABASE = {
    "price_versions_do_not_overlap",
    "rates_are_the_prices",
    "money_is_whole",
    "guards_stand",
    "constraints_stand",
    "functions_are_the_shipped_ones",
    "the_runtime_role_writes_no_money",
    "the_clock_is_the_databases",
    "events_are_processed",
    "messages_leave",
}


def test_for_one_organization_all_is_examined_but_what_is_of_the_whole_database(customer):
    with connection.cursor() as cursor:
        verdicts = list(invariants.examine(cursor, at=customer.now(), organization_id=customer.id))
    examined = [verdict.name for verdict in verdicts]
    assert examined == [invariant.name for invariant in INVARIANTS if invariant.name not in OF_THE_DATABASE]
    assert {invariant.name for invariant in INVARIANTS} > OF_THE_DATABASE


def test_what_is_left_of_a_burning_lot_is_what_its_account_says(customer):
    customer.give(100)
    Customer("other").give(100)
    for key in "ab":
        customer.charge(10, key=key)
    assert CreditLot.objects.get(organization_id=customer.id).remaining_nano == 90, (
        "its row is as old as the first charge"
    )
    with connection.cursor() as cursor:
        verdicts = list(invariants.examine(cursor, at=customer.now(), organization_id=customer.id))
    assert [verdict.name for verdict in verdicts if not verdict.holds] == []


def test_a_query_that_fails_is_a_broken_promise_and_keeps_no_other_from_being_examined(customer, monkeypatch):
    """A column was changed into what the query does not expect, say."""
    failing = INVARIANTS[0]
    real = invariants._read
    monkeypatch.setattr(
        invariants,
        "_read",
        lambda name: (
            "select 1::bigint as organization_id, '' as subject, (1 / 0)::text as detail"
            if name == failing.name
            else real(name)
        ),
    )
    invariants._statement.cache_clear()
    try:
        with connection.cursor() as cursor:
            verdicts = list(invariants.examine(cursor, at=customer.now(), invariants=INVARIANTS[:3]))
    finally:
        invariants._statement.cache_clear()
    assert [verdict.holds for verdict in verdicts] == [False, True, True]
    assert (verdicts[0].count, verdicts[0].findings) == (1, (Finding("", "the query", "failed: division by zero"),))


def test_heads_are_those_of_every_organization_that_has_entries(customer):
    """From the first number on, which may be the customer's own."""
    first = Organization.objects.filter(pk=1).first() or Organization.objects.create(pk=1, slug="first", name="First")
    for slug in {first.slug, customer.organization.slug}:
        Customer(slug).give(5)
    Customer("without entries").lock()
    with connection.cursor() as cursor:
        heads = list(invariants.heads(cursor))
    told = [(head.organization_id, head.seq, len(head.hash)) for head in heads]
    assert told == [(organization_id, 1, 64) for organization_id in sorted({1, customer.id})]


def test_heads_of_which_nothing_is_there_are_all_counted_and_some_of_them_named(customer):
    customer.give(5)
    with connection.cursor() as cursor:
        [head] = invariants.heads(cursor)
        lost = [Head(customer.id, 2, head.hash), Head(10**9, 1, head.hash), Head(10**9, 2, head.hash)]
        verdict = invariants.compare_heads(cursor, [head, *lost], rows_shown=2)
        assert (verdict.count, len(verdict.findings)) == (3, 2)
        of_nobody = invariants.compare_heads(cursor, lost[1:2])
    assert of_nobody.findings == (Finding("", "account", "number 1 is not the entry that was recorded"),)


@pytest.mark.django_db(transaction=True)
def test_the_lock_of_use_cases_needs_a_transaction_to_last_for(customer):
    with pytest.raises(transaction.TransactionManagementError, match="needs an open transaction"):
        ledger.lock(organization_id=customer.id)
