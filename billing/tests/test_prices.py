"""Prices: exact sums, one rounding, versions that can't overlap, and a past that is never priced anew."""

import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from psycopg.types.json import Jsonb

from accounts.models import AuditEvent, User
from billing.credits import metering, prices, promotions
from billing.credits.metering import Usage
from billing.errors import Refused
from billing.models import Charge, CreditLot, Price, PricedModel, PriceVersion, UnpricedUsage
from billing.money import exact_usd, nano_from_cents
from billing.tests.customer import MODEL, PRICED_SINCE, Customer, publish_price

pytestmark = pytest.mark.django_db


def price_of(customer: Customer, slug: str, quantities: Mapping[str, int]) -> int:
    """What a charge of these quantities costs."""
    result = metering.report_usage(
        organization_id=customer.id,
        key=uuid4().hex,
        usage=Usage(model=slug, quantities=quantities),
    )
    assert result.outcome == "charged", result
    assert result.amount_nano is not None
    return result.amount_nano


def publish(slug: str, prices_nano_per_million: Mapping[str, int], *, effective_at: datetime = PRICED_SINCE) -> Any:
    return prices.publish(
        prices=prices.ModelPrices(slug=slug, name=slug, prices_nano_per_million=prices_nano_per_million),
        effective_at=effective_at,
    )


def test_classes_are_summed_exactly_and_rounded_up_once(customer):
    publish("odd", {"input": 1, "output": 1, "cache_read": 1})
    assert price_of(customer, "odd", {"input": 1}) == 1
    assert price_of(customer, "odd", {"input": 1, "output": 1, "cache_read": 1}) == 1
    assert price_of(customer, "odd", {"input": 500_000, "output": 500_000}) == 1
    assert price_of(customer, "odd", {"input": 500_000, "output": 500_001}) == 2


def test_case_072_a_million_requests_of_one_token_cost_what_the_rounding_says(customer):
    """One token at a price of less than a nano costs one nano, never nothing; a million of them a million."""
    publish("tiny", {"input": 3})
    assert price_of(customer, "tiny", {"input": 1}) * 10**6 == 10**6
    assert price_of(customer, "tiny", {"input": 10**6}) == 3


def test_a_large_sum_keeps_its_last_millionth(customer):
    """Dividing numerics keeps about 16 digits: a thousand dollars and a millionth of a nano would be rounded down."""
    publish("large", {"input": 10**12 + 1})
    assert price_of(customer, "large", {"input": 10**6 + 1}) == 10**12 + 10**6 + 2


def test_the_largest_bill_that_can_be_written_down_is_exact(customer):
    publish("largest", {f"class-{number}": prices.PRICE_NANO_PER_MILLION_MAX for number in range(32)})
    quantities = {f"class-{number}": metering.QUANTITY_MAX for number in range(32)}
    assert price_of(customer, "largest", quantities) == 32 * 10**17


def test_random_bills_equal_a_recomputation_in_whole_numbers(customer):
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    classes = ("input", "output", "cache_write", "cache_read")
    for number in range(25):
        list_ = {name: chance.randrange(10 ** chance.randint(1, 12)) for name in classes}
        publish(f"m{number}", list_)
        quantities = {name: chance.randrange(10 ** chance.randint(1, 9)) for name in chance.sample(classes, 3)}
        exact = sum(list_[name] * units for name, units in quantities.items())
        assert price_of(customer, f"m{number}", quantities) == -(-exact // 10**6)


def test_case_078_a_model_without_a_price_is_refused_and_never_free(customer):
    customer.give(100)
    usage = Usage(model="unheard-of", quantities={"input": 1})
    for operate in (metering.authorize, metering.charge, metering.report_usage):
        result = operate(organization_id=customer.id, key="a", usage=usage)
        assert (result.outcome, result.detail) == ("price_missing", "unheard-of")
    assert not Charge.objects.exists()


def test_case_078_a_class_without_a_price_is_refused_but_none_of_it_needs_no_price(customer):
    customer.give(100)
    refused = metering.charge(
        organization_id=customer.id, key="a", usage=Usage(model=MODEL, quantities={"input": 1, "audio": 1})
    )
    assert (refused.outcome, refused.detail) == ("price_missing", "audio")
    charged = metering.charge(
        organization_id=customer.id, key="a", usage=Usage(model=MODEL, quantities={"input": 1, "audio": 0})
    )
    assert (charged.outcome, charged.amount_nano) == ("charged", 1)
    nothing = metering.authorize(organization_id=customer.id, key="h", usage=Usage(MODEL, {"audio": 0}))
    assert (nothing.outcome, nothing.amount_nano) == ("authorized", 0)


def test_case_078_of_several_classes_without_a_price_the_first_by_name_is_named(customer):
    customer.give(100)
    refused = metering.charge(organization_id=customer.id, key="a", usage=Usage(MODEL, {"video": 1, "audio": 1}))
    assert (refused.outcome, refused.detail) == ("price_missing", "audio")


def test_case_078_attempts_without_a_price_are_one_row_that_tells_of_the_latest(customer):
    """Refused before it was served: there is nothing to charge, but somebody has to see what is being asked for."""
    customer.give(100)
    attempts = (
        Usage("unheard-of", {"input": 1}, surface="api", key_ref="key_1"),
        Usage("unheard-of", {"input": 2, "output": 3}, surface="workbench", key_ref="key_2"),
    )
    for number, usage in enumerate(attempts):
        metering.authorize(organization_id=customer.id, key=f"h{number}", usage=usage)
    row = UnpricedUsage.objects.get()
    assert (row.attempts, row.quantities, row.surface, row.key_ref) == (
        2,
        {"input": 2, "output": 3},
        "workbench",
        "key_2",
    )
    assert row.first_at < row.started_at == row.last_at
    assert (row.model, row.token_class) == ("unheard-of", "")
    metering.authorize(organization_id=customer.id, key="class", usage=Usage(MODEL, {"audio": 1}))
    assert UnpricedUsage.objects.get(model=MODEL).token_class == "audio"


def test_case_079_a_price_of_zero_charges_zero(customer):
    customer.give(100)
    publish("free", {"input": 0})
    assert price_of(customer, "free", {"input": 10**9}) == 0
    assert Charge.objects.get().amount_nano == 0
    assert customer.summary().available_nano == 100


def test_case_080_cached_tokens_are_priced_once_each(customer):
    """Quantities are exclusive: cached tokens are in their own classes and in no other."""
    publish("cached", {"input": 3 * 10**6, "cache_write": 4 * 10**6, "cache_read": 10**6})
    assert price_of(customer, "cached", {"input": 10, "cache_write": 10, "cache_read": 10}) == 80
    assert price_of(customer, "cached", {"input": 0, "cache_read": 10}) == 10


def test_case_080_a_provider_that_counts_cached_tokens_inside_the_input_costs_the_same(customer):
    """As the guide says: what is inside is taken out before it is reported. Left in, it would be priced twice."""
    publish("cached", {"input": 3 * 10**6, "cache_write": 4 * 10**6, "cache_read": 10**6})
    inclusive = {"input": 30, "cache_write": 10, "cache_read": 10}
    exclusive = {**inclusive, "input": inclusive["input"] - inclusive["cache_write"] - inclusive["cache_read"]}
    assert price_of(customer, "cached", exclusive) == 30 + 40 + 10
    assert price_of(customer, "cached", inclusive) == 90 + 40 + 10


@pytest.mark.django_db(transaction=True)
def test_case_081_the_price_of_a_requests_start_is_charged_whenever_it_is_settled(customer, credits_clock):
    start = datetime(2026, 3, 1, tzinfo=UTC)
    change = start + timedelta(minutes=5)
    credits_clock.set(start)
    customer.give(10**6)
    publish_price(effective_at=change, input_nano=2 * 10**6)
    hold_id = customer.hold(100, key="h")
    credits_clock.set(change)
    captured = customer.capture(hold_id, 100)
    assert captured.amount_nano == 100
    assert customer.report(100, key="late", occurred_at=change - timedelta(microseconds=1)).amount_nano == 100
    assert customer.report(100, key="at", occurred_at=change).amount_nano == 200
    assert customer.charge(100, key="now").amount_nano == 200


@pytest.mark.parametrize(
    ("age", "outcome"),
    [
        (timedelta(days=34, hours=23), "charged"),
        (timedelta(days=35, hours=1), "occurred_at_out_of_range"),
        (-timedelta(minutes=4), "charged"),
        (-timedelta(minutes=6), "occurred_at_out_of_range"),
    ],
)
def test_usage_may_be_35_days_late_and_5_minutes_early(customer, age, outcome):
    assert customer.report(1, key="a", occurred_at=customer.now() - age).outcome == outcome


def test_case_082_a_new_price_changes_no_past_charge(customer):
    customer.report(100, key="a")
    before = Charge.objects.values().get()
    publish_price(effective_at=customer.now(), input_nano=10**9)
    assert Charge.objects.values().get() == before
    assert customer.report(100, key="a").amount_nano == 100


def test_case_070_neither_prices_nor_models_nor_the_organization_reset_credit_when_they_are_edited(customer):
    customer.give(1_000)
    customer.give(500, expires_at=customer.now() + timedelta(days=3))
    customer.buy(700)
    customer.charge(123, key="c")
    customer.hold(77, key="h")
    before, lots = customer.footprint(), customer.lots()
    publish_price(effective_at=customer.now(), input_nano=0)
    publish_price("another-model")
    PricedModel.objects.update(name="Renamed")
    organization = customer.organization
    organization.name, organization.slug, organization.time_zone = "Renamed", "renamed", "Asia/Tokyo"
    organization.save()
    assert customer.footprint() == before
    assert customer.lots() == lots


def test_case_083_two_versions_of_one_price_cannot_overlap(customer):
    version = PriceVersion.objects.get()
    for effective_at, superseded_at in [
        (version.effective_at + timedelta(days=1), None),
        (version.effective_at - timedelta(days=1), None),
        (version.effective_at - timedelta(days=1), version.effective_at + timedelta(microseconds=1)),
    ]:
        with pytest.raises(IntegrityError, match="overlap"), transaction.atomic():
            PriceVersion.objects.create(
                priced_model_id=version.priced_model_id, effective_at=effective_at, superseded_at=superseded_at
            )
    PriceVersion.objects.create(
        priced_model_id=version.priced_model_id,
        effective_at=version.effective_at - timedelta(days=1),
        superseded_at=version.effective_at,
    )


def test_case_084_at_any_instant_one_version_prices_a_model_and_the_charge_names_it(customer):
    """Versions that follow each other touch and never overlap, so no order decides between two."""
    customer.give(10**6)
    first = PriceVersion.objects.get()
    change = customer.now()
    second = publish_price(effective_at=change, input_nano=2 * 10**6)
    charged = {}
    for key, occurred_at in (("before", change - timedelta(microseconds=1)), ("at", change), ("now", None)):
        customer.report(100, key=key, occurred_at=occurred_at)
        charge = Charge.objects.get(idempotency_key=key)
        charged[key] = (charge.price_version_id, charge.amount_nano)
    assert charged == {"before": (first.pk, 100), "at": (second.pk, 200), "now": (second.pk, 200)}
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from billing_priceversion a join billing_priceversion b on a.id < b.id"
            " and a.priced_model_id = b.priced_model_id and tstzrange(a.effective_at, a.superseded_at)"
            " && tstzrange(b.effective_at, b.superseded_at)"
        )
        assert cursor.fetchone() == (0,)


def test_case_085_credit_is_what_stops_requests_and_not_their_number(customer):
    customer.give(100)
    for number in range(99):
        assert customer.charge(1, key=f"small-{number}").outcome == "charged"
    assert customer.charge(2, key="large").outcome == "insufficient"
    assert customer.charge(1, key="last").outcome == "charged"


def test_case_088_and_074_there_is_one_currency_and_no_place_for_another(db):
    """No column could say that credit or a price is in another currency, so nothing can be mixed or converted.

    A payment in another currency is refused where it is read (test_purchases). A cent is ten million nano-USD, so no
    amount of money above nothing becomes nothing; a grant of nothing is refused by a constraint (test_ledger).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'public'"
            " and (column_name ~ 'currency|exchange|(^|_)rate$' or column_name ~ '_(eur|jpy|kwd|usd)$')"
        )
        assert cursor.fetchall() == []
    assert nano_from_cents(1) == 10**7
    assert [nano_from_cents(cents) > 0 for cents in (1, 2, 99)] == [True] * 3


def test_the_fee_of_a_request_is_whole_nanos_so_that_its_line_is_exact(db):
    with pytest.raises(Refused, match="billionth"):
        publish("odd-fee", {"request": 10**6 + 1})
    publish("free-fee", {"request": 0, "input": 1})


def test_random_bills_are_the_sum_of_their_lines(customer):
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(25):
        rates = {name: chance.randrange(10 ** chance.randint(1, 12)) for name in ("input", "output", "audio")}
        if chance.random() < 0.5:
            rates["request"] = chance.randrange(10**4) * 10**6
        publish(f"m{number}", rates)
        quantities = {name: chance.randrange(10**6) for name in chance.sample(("input", "output", "audio"), 2)}
        lines = prices.cost_lines(rates=rates, quantities=quantities)
        assert all(line.amount_nano >= 0 for line in lines)
        assert sum(line.amount_nano for line in lines) == price_of(customer, f"m{number}", quantities)


def random_units(chance: random.Random) -> int | None:
    return chance.choice([None, 0, 1, 10**7, 10**7 + 1, 10**9, chance.randrange(10**7)])


def test_what_is_usual_costs_what_everything_costs_and_what_is_not_is_left_to_the_long_way(superuser_connection):
    """The multiplication of whole numbers against the exact sum, at all edges; and it is asked for nothing else."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance, usual = random.Random(seed), 0
    classes = ("input", "output", "cache_write", "cache_read")
    for _ in range(2_000):
        units = [random_units(chance) for _ in classes]
        used = {name: count for name, count in zip(classes, units, strict=True) if count is not None}
        rates = {
            name: chance.choice([0, 1, 2 * 10**11, 2 * 10**11 + 1, chance.randrange(10**12)])
            for name in (*classes, "request")
            if chance.random() < 0.9
        }
        found, exact, missing = superuser_connection.execute(
            "with r as (select c as class, usual_rate(%(rates)s, c) as rate from unnest(%(classes)s::text[]) c),"
            " rates as (select array_agg(rate order by array_position(%(classes)s::text[], class)) as of from r)"
            " select credits__usual_cost(u[1], u[2], u[3], u[4], of[1], of[2], of[3], of[4], of[5]),"
            " cost.amount_nano, cost.missing"
            " from rates, cast(%(units)s as bigint[]) u, credits__cost(%(rates)s, %(used)s) cost",
            {"rates": Jsonb(rates), "classes": [*classes, "request"], "units": units, "used": Jsonb(used)},
        ).fetchone()
        is_usual = bool(used) and all(
            count <= 10**7 and rates.get(name, 2 * 10**11 + 1) <= 2 * 10**11 for name, count in used.items()
        )
        assert found == (exact if is_usual else None), (units, rates)
        assert missing is None or not is_usual
        usual += is_usual
    assert usual > 50


def test_a_charge_is_the_same_whichever_way_its_units_come(customer):
    """As numbers or as JSON, it is one request: the second one is a replay of the first."""
    quantities = {"input": 3, "cache_read": 0, "input_batch": 2}
    publish("both-ways", dict.fromkeys(quantities, 10**6))
    customer.give(100)
    usage = Usage(model="both-ways", quantities=quantities)
    made = metering.charge(organization_id=customer.id, key="k", usage=usage)
    assert made.amount_nano == 5
    with connection.cursor() as cursor:
        for given in ([Jsonb(quantities), None, None], [Jsonb({"input_batch": 2}), 3, 0]):
            cursor.execute(
                "select outcome, charge_id from credits_charge(%s, 'charge', 'k', 'both-ways', 'api', '', %s, null,"
                " p_input => %s, p_cache_read => %s)",
                [customer.id, *given],
            )
            assert cursor.fetchone() == ("replayed", made.charge_id)
    assert Charge.objects.get(organization_id=customer.id).quantities == quantities


def test_a_new_version_must_start_after_the_newest(customer):
    with pytest.raises(Refused, match="after the newest"):
        publish_price(effective_at=PRICED_SINCE)


@pytest.mark.parametrize("price", [-1, prices.PRICE_NANO_PER_MILLION_MAX + 1, 1.5, True])
def test_case_087_prices_out_of_bounds_are_refused(db, price):
    with pytest.raises(Refused):
        publish("bad", {"input": price})
    assert not PricedModel.objects.exists()


@pytest.mark.parametrize("price", [-1, prices.PRICE_NANO_PER_MILLION_MAX + 1])
def test_case_087_the_database_refuses_such_prices_too(customer, price):
    with pytest.raises(IntegrityError, match="price_bounds"), transaction.atomic():
        Price.objects.create(version=PriceVersion.objects.get(), token_class="another", price_nano_per_million=price)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "statement",
    [
        "update billing_price set price_nano_per_million = 0",
        "delete from billing_price",
        "truncate billing_price",
        "delete from billing_priceversion",
        "update billing_priceversion set effective_at = effective_at - interval '1 day'",
        "update billing_priceversion set superseded_at = now() - interval '1 day'",
        "update billing_priceversion set superseded_at = now() + interval '1 day', rates = '{}'",
    ],
)
def test_case_082_nobody_rewrites_a_published_price(customer, owner_connection, statement):
    """Not the runtime role, and not the owner of the tables either."""
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
        owner_connection.execute(statement)
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(statement)


# What staff announce

ANNOUNCED_AT = datetime(2100, 5, 1, tzinfo=UTC)  # to come: no version may end in the past


@pytest.fixture
def announced(customer):
    """Announces prices of the customer's model as somebody of the staff; what is spoilt of it can be given."""
    actor = User.objects.create_user("staff@example.com", is_staff=True)

    def announce(**spoilt):
        return prices.announce(
            **{
                "model": PricedModel.objects.get(slug=MODEL),
                "prices_nano_per_million": {"input": 5},
                "effective_at": ANNOUNCED_AT,
                "reason": "The provider's price has changed.",
                "actor": actor,
                "at": ANNOUNCED_AT,
            }
            | spoilt
        )

    return announce


def test_what_is_announced_may_start_at_once_and_tells_who_and_why(announced):
    version = announced()
    assert (version.effective_at, version.rates, version.superseded_at) == (ANNOUNCED_AT, {"input": 5}, None)
    assert (version.reason, version.actor_id) == ("The provider's price has changed.", User.objects.get().pk)
    event = AuditEvent.objects.get(action="prices.published")
    assert (event.target, event.after["prices_nano_per_million"]) == (f"price_version:{version.pk}", {"input": 5})


@pytest.mark.parametrize(
    ("spoilt", "field"),
    [
        ({"effective_at": datetime(2100, 4, 30, 23, 59, 59, 999_999, tzinfo=UTC)}, "effective_at"),
        ({"reason": "short"}, "reason"),
        ({"prices_nano_per_million": {}}, "prices"),
        ({"prices_nano_per_million": {"input": -1}}, "input"),
    ],
)
def test_what_may_not_be_announced_is_refused_at_its_field_and_publishes_nothing(announced, spoilt, field):
    with pytest.raises(Refused) as refusal:
        announced(**spoilt)
    assert refusal.value.field == field
    assert PriceVersion.objects.count() == 1
    assert not AuditEvent.objects.exists()


def test_a_start_that_the_newest_version_has_is_refused_before_anything_is_confirmed(announced):
    version = announced()
    terms = {
        "model": version.priced_model,
        "prices_nano_per_million": {"input": 5},
        "reason": "It costs something else.",
    }
    with pytest.raises(Refused, match="which starts at 2100-05-01 00:00 UTC") as refusal:
        prices.check(**terms, effective_at=ANNOUNCED_AT, at=ANNOUNCED_AT)
    assert refusal.value.field == "effective_at"
    prices.check(**terms, effective_at=ANNOUNCED_AT + timedelta(microseconds=1), at=ANNOUNCED_AT)


def test_a_model_that_is_withdrawn_at_an_instant_has_no_new_price_before_it(announced):
    ends_at = ANNOUNCED_AT + timedelta(days=1)
    PriceVersion.objects.update(superseded_at=ends_at)
    with pytest.raises(Refused, match="The newest version ends later") as refusal:
        announced()
    assert refusal.value.field == "effective_at"
    assert announced(effective_at=ends_at).effective_at == ends_at
    assert PriceVersion.objects.earliest("effective_at").superseded_at == ends_at


@pytest.mark.parametrize(
    ("token_class", "price", "words"),
    [
        ("input", 10**14 + 1, "must be from $0 to $100,000 a million."),
        ("request", 10**14 + 10**6, "must be from $0 to $0.10 a request."),
        ("request", 10**6 - 1, "at least a billionth of a dollar"),
    ],
)
def test_a_price_that_is_too_high_or_too_fine_is_told_its_bound(announced, token_class, price, words):
    with pytest.raises(Refused, match=re.escape(words)) as refusal:
        announced(prices_nano_per_million={token_class: price})
    assert refusal.value.field == token_class


# Of the input's price, and of the output's.
PROPORTIONS = {
    "input": 1,
    "output": 1,
    "cache_write": Fraction(5, 4),
    "cache_write_1h": 2,
    "cache_read": Fraction(1, 10),
    "input_batch": Fraction(1, 2),
    "output_batch": Fraction(1, 2),
    "input_long": 2,
    "output_long": Fraction(3, 2),
    "cache_write_long": Fraction(5, 2),
    "cache_read_long": Fraction(1, 5),
}


def test_the_shipped_list_is_seeded_once_with_the_public_prices(db):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(prices.seed(effective_at=at)) == len(prices.SHIPPED)
    assert prices.seed(effective_at=at + timedelta(days=1)) == []
    by_slug = {model.slug: model.prices_nano_per_million for model in prices.in_force(at=at)}
    assert (by_slug["orion-medium"]["input"], by_slug["orion-medium"]["output"]) == (3 * 10**9, 15 * 10**9)
    assert (by_slug["orion-large"]["input"], by_slug["orion-large"]["output"]) == (15 * 10**9, 75 * 10**9)
    for slug, model in by_slug.items():
        assert ("request" in model) == (slug == "orion-search")
        proportions = {
            token_class: Fraction(price, model["output" if token_class.startswith("output") else "input"])
            for token_class, price in model.items()
            if token_class != "request"
        }
        assert proportions == PROPORTIONS, slug
    assert (by_slug["orion-small"]["input"], by_slug["orion-small"]["output"]) == (8 * 10**8, 4 * 10**9)
    assert (by_slug["orion-search"]["input"], by_slug["orion-search"]["output"]) == (3 * 10**9, 15 * 10**9)
    assert by_slug["orion-search"]["request"] == 10**7 * 10**6, "a cent a request"
    assert prices.in_force(at=at - timedelta(microseconds=1)) == []


def test_seeding_leaves_models_alone_that_have_prices(db):
    """Not even a class that the shipped list has and the model's own version has not."""
    publish("orion-medium", {"input": 7})
    seeded = prices.seed(effective_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert len(seeded) == len(prices.SHIPPED) - 1
    (version,) = PriceVersion.objects.filter(priced_model__slug="orion-medium")
    assert prices.rates_of(version) == {"input": 7}


def test_case_073_a_price_that_no_float_can_write_charges_its_exact_amount(customer):
    """0.001615 dollars, which a float makes 0.0016150000000000001 of."""
    publish_price("odd", input_nano=1_615_000_000, output_nano=1)
    customer.give(10**9)
    result = metering.charge(
        organization_id=customer.id, key="k", usage=metering.Usage(model="odd", quantities={"input": 1_000})
    )
    assert result.amount_nano == 1_615_000
    assert exact_usd(result.amount_nano) == "0.001615000"
    assert type(Charge.objects.get().amount_nano) is int


def test_case_075_granted_and_paid_credit_are_converted_alike(customer):
    actor = User.objects.create_user("staff@example.com", is_staff=True)
    customer.buy(1_234)
    promotions.give_promotional_credit(
        organization=customer.organization,
        amount_cents=1_234,
        expires_at=customer.now() + timedelta(days=30),
        label="Welcome",
        reason="a test of conversion",
        actor=actor,
        grant_key=uuid4(),
    )
    assert set(CreditLot.objects.values_list("granted_nano", flat=True)) == {12_340_000_000}
