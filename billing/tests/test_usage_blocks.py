"""Stops of all usage: each is ended by whoever began it, and the account is frozen while any stands."""

import itertools
from functools import partial

import psycopg
import pytest
from django.db import DatabaseError, transaction

from billing.credits import corrections, ledger, usage_blocks
from billing.models import CreditAccount, UsageBlock
from billing.tests import staff
from billing.tests.buyer import at_once

pytestmark = pytest.mark.django_db

REASON = "Leaked keys, ticket 4711"
KINDS = list(UsageBlock.Kind)


def begin(customer, kind, actor=None):
    with transaction.atomic():
        return usage_blocks.begin(organization=customer.organization, kind=kind, actor=actor)


def end(customer, kind, actor=None):
    with transaction.atomic():
        return usage_blocks.end(organization=customer.organization, kind=kind, actor=actor)


def state():
    return CreditAccount.objects.get().state


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_refuses_new_requests_until_it_ends_and_lets_work_end(customer, kind):
    customer.give(100)
    hold_id = customer.hold(10, key="h")
    assert begin(customer, kind)
    assert customer.authorize(1, key="a").outcome == "organization_suspended"
    assert customer.charge(1, key="c").outcome == "organization_suspended"
    assert customer.capture(hold_id, 5).outcome == "charged"
    assert customer.report(5, key="served").outcome == "charged"
    assert end(customer, kind)
    assert customer.authorize(1, key="a").outcome == "authorized"


@pytest.mark.parametrize(("first", "second"), itertools.permutations(KINDS, 2))
def test_one_block_ends_without_ending_the_other(customer, first, second):
    customer.give(100)
    begin(customer, first)
    begin(customer, second)
    assert end(customer, first)
    assert customer.charge(1, key="c").outcome == "organization_suspended"
    assert [block.kind for block in usage_blocks.standing(organization_id=customer.id)] == [second]
    assert end(customer, second)
    assert customer.charge(1, key="c").outcome == "charged"


def test_the_same_block_again_changes_nothing_and_an_ended_one_is_kept(customer):
    actor = staff.superuser()
    assert begin(customer, UsageBlock.Kind.STOP, actor)
    assert not begin(customer, UsageBlock.Kind.STOP)
    assert end(customer, UsageBlock.Kind.STOP, actor)
    assert not end(customer, UsageBlock.Kind.STOP)
    block = UsageBlock.objects.get()
    assert block.actor_id == block.ended_by_id == actor.pk
    assert block.ended_at is not None
    assert block.ended_at >= block.begun_at
    assert begin(customer, UsageBlock.Kind.STOP)
    assert UsageBlock.objects.count() == 2


def test_staff_open_only_what_staff_froze(customer):
    actor = staff.superuser()
    begin(customer, UsageBlock.Kind.STOP)
    set_state = partial(corrections.set_state, organization=customer.organization, reason=REASON, actor=actor)
    assert set_state(state=CreditAccount.State.FROZEN) == "frozen"
    assert set_state(state=CreditAccount.State.OPEN) == "frozen"
    assert state() == "frozen"
    end(customer, UsageBlock.Kind.STOP)
    assert state() == "open"


def test_a_closed_account_stays_closed_whatever_begins_and_ends(customer):
    customer.give(1)
    begin(customer, UsageBlock.Kind.STOP)
    ledger.set_state(organization_id=customer.id, state=CreditAccount.State.CLOSED)
    assert begin(customer, UsageBlock.Kind.SUSPENSION)
    assert end(customer, UsageBlock.Kind.SUSPENSION)
    assert end(customer, UsageBlock.Kind.STOP)
    assert state() == "closed"


@pytest.mark.django_db(transaction=True)
def test_two_that_begin_at_once_begin_one_block(customer):
    answers = at_once([partial(begin, customer, UsageBlock.Kind.STOP)] * 4)
    assert (answers.count(True), answers.count(False)) == (1, 3)
    assert UsageBlock.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_block_that_begins_while_another_ends_is_not_lost(customer):
    for _ in range(5):
        begin(customer, UsageBlock.Kind.STAFF)
        ended, begun = at_once(
            [partial(end, customer, UsageBlock.Kind.STAFF), partial(begin, customer, UsageBlock.Kind.STOP)]
        )
        assert ended is begun is True
        assert state() == "frozen"
        end(customer, UsageBlock.Kind.STOP)
        assert state() == "open"


@pytest.mark.django_db(transaction=True)
def test_without_the_accounts_lock_a_block_is_lost(customer, monkeypatch):
    """The control: two transactions that don't see each other's rows derive a state that one of them knows wrong."""
    begin(customer, UsageBlock.Kind.STAFF)
    monkeypatch.setattr(ledger, "lock", lambda **_: None)

    def begin_stop():
        with transaction.atomic():
            UsageBlock.objects.create(organization=customer.organization, kind=UsageBlock.Kind.STOP)
            (ended,) = at_once([partial(end, customer, UsageBlock.Kind.STAFF)])
            assert ended is True

    begin_stop()
    assert usage_blocks.standing(organization_id=customer.id)
    assert state() == "open", "a block stands, and the account is open"


def test_what_a_block_was_is_not_changed_afterwards(customer):
    begin(customer, UsageBlock.Kind.STOP)
    for change in (
        lambda: UsageBlock.objects.update(kind=UsageBlock.Kind.STAFF),
        lambda: UsageBlock.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError) as error, transaction.atomic():
            change()
        assert isinstance(error.value.__cause__, psycopg.errors.InsufficientPrivilege)
