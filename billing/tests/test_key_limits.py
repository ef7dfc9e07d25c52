"""Limits of keys: what may be one, who is told of a change, what is on record, and what was spent of it."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts.models import ApiKey, AuditEvent, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import key_limits, metering
from billing.credits.key_limits import KeyState, limit_of
from billing.errors import Refused
from billing.models import Charge
from billing.tests.customer import MODEL, Customer

pytestmark = pytest.mark.django_db

MOST_CENTS = 10**9


@pytest.fixture
def admin(customer):
    return cast.member(customer.organization, role=Role.ADMIN, name="Ada Admin").user


def create(customer: Customer, limit_cents: int | None = None, **changes):
    settings = {"name": "production", "surface": ApiKey.Surface.API, "expires_at": None, "actor": None} | changes
    return key_limits.create_key(organization=customer.organization, limit_cents=limit_cents, **settings).api_key


def edit(key: ApiKey, limit_cents: int | None, **changes) -> bool:
    settings = {"name": key.name, "expires_at": key.expires_at, "actor": None} | changes
    return key_limits.edit_key(api_key=key, limit_cents=limit_cents, at=datetime.now(UTC), **settings)


def changes_on_record() -> list[tuple[int | None, int | None]]:
    events = AuditEvent.objects.filter(action="api_key.limit_changed").order_by("pk")
    return [(event.before["limit_cents"], event.after["limit_cents"]) for event in events]


def told() -> list[str]:
    messages = OutboxMessage.objects.filter(subject__contains="spend limit").order_by("pk")
    return [message.body.split("\n")[0] for message in messages]


@pytest.mark.parametrize("limit_cents", [0, -1, MOST_CENTS + 1])
def test_no_limit_is_nothing_negative_or_a_typing_error(customer, limit_cents):
    key = create(customer, 500)
    for attempt in (lambda: create(customer, limit_cents), lambda: edit(key, limit_cents, name="renamed")):
        with pytest.raises(Refused, match=r"at most \$10,000,000") as refusal:
            attempt()
        assert (refusal.value.field, refusal.value.code) == ("limit_cents", "limit")
    key.refresh_from_db()
    assert (key.name, limit_of(key), ApiKey.objects.count()) == ("production", 500, 1)


@pytest.mark.parametrize("limit_cents", [1, MOST_CENTS])
def test_the_least_and_the_greatest_limit_are_kept(customer, limit_cents):
    assert limit_of(create(customer, limit_cents)) == limit_cents


def test_a_limit_that_a_key_is_made_with_is_on_record_and_no_limit_is_nothing_to_record(customer, admin):
    create(customer, None)
    assert changes_on_record() == []
    create(customer, 700)
    assert changes_on_record() == [(None, 700)]
    assert told() == []


def test_a_replaced_key_hands_its_limit_on_and_that_is_on_record(customer):
    at = datetime.now(UTC)
    free, bounded = create(customer, None), create(customer, 700)
    before = len(changes_on_record())
    issued = [
        key_limits.rotate_key(api_key=key, overlap=timedelta(hours=1), at=at, actor=None).api_key
        for key in (free, bounded)
    ]
    assert [limit_of(key) for key in issued] == [None, 700]
    assert changes_on_record()[before:] == [(None, 700)]


def test_a_limit_that_changes_is_on_record_and_admins_are_told_from_what_to_what_and_by_whom(customer, admin):
    actor = cast.member(customer.organization, role=Role.DEVELOPER, name="Dev Eloper").user
    key = create(customer, None)
    assert edit(key, 500, actor=actor)
    assert edit(key, 250, actor=None)
    assert edit(key, None, actor=actor)
    assert changes_on_record() == [(None, 500), (500, 250), (250, None)]
    start = f"The monthly limit of the API key production ({key.prefix}...) was changed from"
    assert told() == [
        f"{start} no limit to $5.00 by Dev Eloper.",
        f"{start} $5.00 to $2.50 by the platform.",
        f"{start} $2.50 to no limit by Dev Eloper.",
    ]
    assert limit_of(key) is None


def test_what_did_not_change_is_no_change_and_nobody_is_told(customer, admin):
    key = create(customer, 500)
    assert not edit(key, 500)
    assert edit(key, 500, name="renamed")
    assert changes_on_record() == [(None, 500)]
    assert told() == []


def test_a_key_has_reached_its_limit_at_the_very_nano_and_what_was_given_back_does_not_count(customer, credits_clock):
    at = datetime(2026, 3, 20, 12, tzinfo=UTC)
    credits_clock.set(at)
    customer.give(10**9)
    key, other, new = create(customer, 1), create(customer, 1), create(customer)

    def use(count: int, name: str, *, prefix: str = key.prefix, occurred_at: datetime | None = None) -> None:
        usage = metering.Usage(model=MODEL, quantities={"input": count}, key_ref=prefix)
        done = metering.report_usage(organization_id=customer.id, key=name, usage=usage, occurred_at=occurred_at)
        assert done.outcome == "charged"

    def state() -> KeyState:
        return key_limits.known_keys([key.prefix])[key.prefix].state

    def spent() -> dict[str, int]:
        prefixes = [key.prefix, other.prefix, new.prefix]
        return dict(key_limits.spent_nano(organization_id=customer.id, prefixes=prefixes, at=at))

    use(5_000_000, "last month", occurred_at=datetime(2026, 2, 28, 23, 59, tzinfo=UTC))
    use(9_999_999, "nearly", occurred_at=datetime(2026, 3, 1, tzinfo=UTC))
    use(3, "another's", prefix=other.prefix)
    assert (state(), spent()) == (KeyState.ACTIVE, {key.prefix: 9_999_999, other.prefix: 3})
    use(1, "the last nano")
    assert (state(), spent()[key.prefix]) == (KeyState.LIMIT_REACHED, 10_000_000)
    customer.reverse(Charge.objects.get(idempotency_key="the last nano").pk)
    assert (state(), spent()[key.prefix]) == (KeyState.ACTIVE, 9_999_999)
    known = key_limits.known_keys([key.prefix, new.prefix, "ck_live_00000000"])
    assert set(known) == {key.prefix, new.prefix}
    assert known[new.prefix].resets_at == datetime(2026, 4, 1, tzinfo=UTC)
    assert (known[new.prefix].organization_id, known[new.prefix].surface) == (customer.id, "api")
