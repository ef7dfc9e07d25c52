"""Days of usage: each charge on the day it began, reversals on the day of their charge, and provable from both."""

from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.credits import metering, prices, usage_days
from billing.models import UsageDay
from billing.tests.customer import Customer, publish_price, units

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def customer(db) -> Customer:
    publish_price()
    customer = Customer()
    customer.give(10**9)
    return customer


def run(**options) -> str:
    output = StringIO()
    call_command("rebuild_usage_days", stdout=output, **options)
    return output.getvalue()


def days(customer: Customer) -> dict[date, tuple[int, int, int]]:
    found = UsageDay.objects.filter(organization_id=customer.id)
    return {day.day: (day.requests, day.amount_nano, day.reversed_nano) for day in found}


def everything(customer: Customer) -> list[tuple[object, ...]]:
    names = [field.attname for field in UsageDay._meta.fields if field.name != "id"]
    return sorted(UsageDay.objects.filter(organization_id=customer.id).values_list(*names), key=str)


def use_many(customer: Customer) -> None:
    at = customer.now()
    for number in range(12):
        customer.report(
            100 + number, key=f"reported-{number}", occurred_at=at - timedelta(days=number % 4, minutes=number)
        )
    hold = customer.hold(500, key="hold")
    customer.capture(hold, 321)
    usage = metering.Usage(
        model="one-nano-a-unit", quantities={"input": 5, "output": 6}, surface="workbench", key_ref="desk"
    )
    events = [metering.Event(organization_id=customer.id, key=f"batch-{n}", usage=usage) for n in range(5)]
    assert all(result.outcome == "charged" for result in metering.charge_many(events))
    for charge in (customer.charge(77, key="kept"), customer.charge(99, key="given-back")):
        assert charge.outcome == "charged"
    customer.reverse(charge.charge_id, amount_nano=40)


def test_late_usage_counts_on_the_day_on_which_it_began(customer):
    midnight = customer.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    customer.report(7, key="last-instant", occurred_at=midnight - timedelta(microseconds=1))
    customer.report(11, key="first-instant", occurred_at=midnight)
    customer.report(13, key="a-month-ago", occurred_at=midnight - timedelta(days=30))
    assert days(customer) == {
        (midnight - timedelta(days=30)).date(): (1, 13, 0),
        (midnight - timedelta(days=1)).date(): (1, 7, 0),
        midnight.date(): (1, 11, 0),
    }


def test_a_reversal_counts_on_the_day_of_its_charge(customer):
    at = customer.now() - timedelta(days=3)
    charge_id = customer.report(100, key="late", occurred_at=at).charge_id
    for _ in range(2):
        customer.reverse(charge_id, amount_nano=30)
    assert days(customer) == {at.astimezone(UTC).date(): (1, 100, 60)}


def test_days_kept_and_days_made_anew_are_the_same(customer):
    use_many(customer)
    before = everything(customer)
    assert "agree with their charges" in run(check=True)
    assert "0 of them had differed" in run()
    assert everything(customer) == before
    assert sum(row.requests for row in UsageDay.objects.all()) == 12 + 1 + 5 + 2


@pytest.mark.parametrize(
    ("corruption", "wrong"),
    [
        ("update {days} set amount_nano = amount_nano + 1 where id = (select min(id) from {days})", 1),
        ("update {days} set reversed_nano = 0 where reversed_nano > 0", 1),
        ("update {days} set other_units = '{{\"new\": 1}}' where id = (select max(id) from {days})", 1),
        ("update {days} set day = day - 400 where id = (select min(id) from {days})", 2),
        ("delete from {days} where id = (select max(id) from {days})", 1),
        (
            "insert into {days} (organization_id, day, surface, priced_model_id, key_ref, requests, amount_nano,"
            " reversed_nano, input_units, output_units, cache_write_units, cache_read_units, other_units)"
            " select organization_id, '2020-01-01', surface, priced_model_id, key_ref, 1, 1, 0, 0, 0, 0, 0, '{{}}'"
            " from {days} limit 1",
            1,
        ),
    ],
)
def test_a_day_that_somebody_changed_is_found_and_put_right(customer, superuser_connection, corruption, wrong):
    use_many(customer)
    right = everything(customer)
    assert superuser_connection.execute(corruption.format(days="billing_usageday")).rowcount == 1
    broken = everything(customer)
    assert broken != right
    with pytest.raises(CommandError, match=f"{wrong} day"):
        run(check=True)
    assert everything(customer) == broken, "--check must change nothing"
    assert f"{wrong} of them had differed" in run(organization="acme")
    assert everything(customer) == right
    assert "agree with their charges" in run(check=True)


def test_one_organization_is_examined_alone(customer, superuser_connection):
    other = Customer("other")
    other.give(100)
    other.charge(5, key="c")
    superuser_connection.execute("update billing_usageday set requests = 2 where organization_id = %s", [other.id])
    assert "agree" in run(check=True, organization="acme")
    with pytest.raises(CommandError, match="1 day"):
        run(check=True)
    with pytest.raises(CommandError, match="There is no organization nowhere"):
        run(organization="nowhere")


def test_case_065_the_day_of_usage_is_utcs_whatever_zone_a_session_has(customer):
    at = datetime.now(UTC).replace(hour=23, minute=30, second=0, microsecond=0) - timedelta(days=2)
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu"):
        with connection.cursor() as cursor:
            cursor.execute("select set_config('TimeZone', %s, false)", [zone])
        metering.report_usage(organization_id=customer.id, key=zone, usage=units(1), occurred_at=at)
        assert "agree" in run(check=True)
    assert days(customer) == {at.date(): (3, 3, 0)}


ALL_CLASSES = ("input", "output", "cache_write", "cache_read", "batch_input", "batch_output")


def use_every_class_twice(customer: Customer, operation: str) -> None:
    """The same request twice on one day, each by a call of its own, and a part of one given back in two steps."""
    prices.publish(
        prices=prices.ModelPrices(
            slug="every-class", name="every-class", prices_nano_per_million=dict.fromkeys(ALL_CLASSES, 10**6)
        ),
        effective_at=customer.now() - timedelta(days=1),
    )
    at = customer.now()
    quantities = {name: 3 + place for place, name in enumerate(ALL_CLASSES)}
    usage = metering.Usage(model="every-class", quantities=quantities)
    for number in range(2):
        key = f"{operation}-{number}"
        if operation == "many":
            event = metering.Event(organization_id=customer.id, key=key, usage=usage, occurred_at=at)
            (charge,) = metering.charge_many([event])
        else:
            charge = metering.charge(organization_id=customer.id, key=key, usage=usage, occurred_at=at)
        assert charge.outcome == "charged"
    for _ in range(2):
        customer.reverse(charge.charge_id, amount_nano=4)


@pytest.mark.parametrize("operation", ["single", "many"])
def test_a_day_adds_up_every_class_of_equal_requests(customer, operation):
    use_every_class_twice(customer, operation)
    day = UsageDay.objects.get(organization_id=customer.id)
    usual = (day.input_units, day.output_units, day.cache_write_units, day.cache_read_units)
    assert (day.requests, day.amount_nano, day.reversed_nano) == (2, 66, 8)
    assert (usual, day.other_units) == ((6, 8, 10, 12), {"batch_input": 14, "batch_output": 16})


def test_a_rebuild_makes_every_column_of_a_day_anew_and_leaves_right_days_as_they_are(customer, superuser_connection):
    use_every_class_twice(customer, "single")
    use_many(customer)
    before = everything(customer)
    assert usage_days.rebuild(organization_id=customer.id) == 0
    assert everything(customer) == before
    for column in ("requests", "amount_nano", *(f"{name}_units" for name in ALL_CLASSES[:4])):
        superuser_connection.execute(
            f"update billing_usageday set {column} = {column} + 1 where organization_id = %s", [customer.id]
        )
        assert usage_days.rebuild(organization_id=customer.id) == len(before)
        assert everything(customer) == before, column
    for column, value in (("reversed_nano", "0"), ("other_units", "'{}'")):
        superuser_connection.execute(
            f"update billing_usageday set {column} = {value} where organization_id = %s", [customer.id]
        )
        assert usage_days.rebuild(organization_id=customer.id) == 1 + (column == "reversed_nano")
        assert everything(customer) == before, column
