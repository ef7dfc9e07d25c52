"""What metering refuses by itself at its field, before the database is asked, and what it lets through."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from billing.credits import metering
from billing.credits.metering import Usage, check_key, check_quantities
from billing.errors import InvalidUsage
from billing.models import Charge, Hold
from billing.tests.customer import MODEL, units

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALLS = {
    "authorize": lambda customer, key: metering.authorize(organization_id=customer.id, key=key, usage=units(1)),
    "capture": lambda customer, key: metering.capture(
        organization_id=customer.id, hold_id=1, key=key, quantities={"input": 1}
    ),
    "charge": lambda customer, key: metering.charge(organization_id=customer.id, key=key, usage=units(1)),
    "report_usage": lambda customer, key: metering.report_usage(organization_id=customer.id, key=key, usage=units(1)),
    "event": lambda customer, key: replace(customer.event(1, key="k"), key=key),
}


def refused_field(call) -> str:
    with pytest.raises(InvalidUsage) as refusal:
        call()
    assert str(refusal.value)
    return refusal.value.field


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "k" * 256, "line\n", "café", "nul\x00"])
@pytest.mark.parametrize("operation", CALLS)
def test_every_operation_refuses_a_key_that_no_row_could_hold(customer, operation, key):
    customer.give(100)
    assert refused_field(lambda: CALLS[operation](customer, key)) == "idempotency_key"
    assert not Charge.objects.exists()
    assert not Hold.objects.exists()


def test_a_key_may_have_255_characters_from_space_to_tilde():
    check_key(" " + "~" * 254)
    check_key("k")


@pytest.mark.parametrize("surface", ["", "API", "batch", "claude-code"])
def test_a_surface_that_nobody_knows_is_refused(surface):
    assert refused_field(lambda: Usage(model=MODEL, quantities={"input": 1}, surface=surface)) == "surface"


@pytest.mark.parametrize("model", ["", "two words", "m" * 65, "é"])
def test_a_model_that_no_price_list_could_name_is_refused(model):
    assert refused_field(lambda: Usage(model=model, quantities={"input": 1})) == "model"


@pytest.mark.parametrize("key_ref", ["r" * 65, "é", "line\n"])
def test_a_name_of_a_key_that_no_row_could_hold_is_refused(key_ref):
    assert refused_field(lambda: Usage(model=MODEL, quantities={"input": 1}, key_ref=key_ref)) == "key_ref"


def test_the_longest_names_are_taken():
    longest = Usage(model="m" * 64, quantities={"c" * 32: 10**9}, surface="claude_code", key_ref=" " + "r" * 63)
    assert (len(longest.model), len(longest.key_ref)) == (64, 64)


@pytest.mark.parametrize(
    "quantities",
    [
        {f"class_{number}": 1 for number in range(33)},
        {"input": 1, "request": 1},
        {"request": 0},
        {"": 1},
        {"a class": 1},
        {"c" * 33: 1},
        {'quo"te': 1},
        {"input": -1},
        {"input": 10**9 + 1},
        {"input": 1, "output": True},
        {"input": 1.0},
    ],
    ids=str,
)
@pytest.mark.django_db
def test_quantities_that_no_request_can_have_are_refused_alone_and_at_a_capture(customer, quantities):
    customer.give(100)
    hold_id = customer.hold(60, key="h")
    assert refused_field(lambda: check_quantities(quantities)) == "quantities"
    assert refused_field(lambda: Usage(model=MODEL, quantities=quantities)) == "quantities"
    capture = {"organization_id": customer.id, "hold_id": hold_id, "key": "c"}
    assert refused_field(lambda: metering.capture(**capture, quantities=quantities)) == "quantities"
    assert Hold.objects.get(pk=hold_id).state == "open"


def test_as_many_classes_as_may_be_are_taken_with_as_few_and_as_many_units_as_may_be():
    check_quantities({f"class_{number}": number % 2 * 10**9 for number in range(32)})


@pytest.mark.django_db
def test_a_hold_lasts_ten_minutes_where_nobody_says_how_long(customer, credits_clock):
    credits_clock.set(AT)
    customer.give(100)
    result = metering.authorize(organization_id=customer.id, key="h", usage=units(1))
    assert result.expires_at == AT + timedelta(seconds=600)


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [0, 3_601])
def test_a_length_that_no_hold_has_is_refused_at_its_field(customer, seconds):
    customer.give(100)
    assert refused_field(lambda: customer.authorize(1, key="h", ttl_seconds=seconds)) == "ttl_seconds"
    assert not Hold.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [1, 3_600])
def test_the_shortest_and_the_longest_hold_are_made(customer, credits_clock, seconds):
    credits_clock.set(AT)
    customer.give(100)
    assert customer.authorize(1, key="h", ttl_seconds=seconds).expires_at == AT + timedelta(seconds=seconds)


@pytest.mark.django_db
def test_a_call_takes_a_thousand_events_and_refuses_more_as_a_whole(customer):
    customer.give(10_000)
    events = [customer.event(1, key=f"k{number}") for number in range(1_001)]
    assert refused_field(lambda: metering.charge_many(events)) == "events"
    assert not Charge.objects.exists()
    assert {result.outcome for result in metering.charge_many(events[:1_000])} == {"charged"}
    assert Charge.objects.count() == 1_000


@pytest.mark.django_db(transaction=True)
def test_the_statement_of_a_batch_is_prepared_by_its_first_call(customer):
    customer.give(100)
    metering.charge_many([customer.event(1, key="k")])
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_prepared_statements where statement like '%credits_charge_many%'")
        assert cursor.fetchone() == (1,)
