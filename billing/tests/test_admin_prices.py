"""Publishing prices: parsed exactly, never for the past, never edited, each with a reason and somebody who did it."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditEvent
from billing.credits import metering, prices
from billing.models import PricedModel, PriceVersion
from billing.money import nano_from_text, plain_usd
from billing.tests import staff
from billing.tests.buyer import at_once
from billing.tests.customer import MODEL, Customer

pytestmark = pytest.mark.django_db

REASON = "New contract with the provider"


@pytest.fixture
def publisher():
    return staff.somebody("view_pricedmodel", "add_priceversion")


@pytest.fixture
def client(publisher):
    return staff.at_the_browser(publisher)


@pytest.fixture
def model(customer: Customer) -> PricedModel:
    """A model that costs a nano-USD a unit, input and output."""
    return PricedModel.objects.get(slug=MODEL)


def url_of(model: PricedModel) -> str:
    return reverse("admin:billing_pricedmodel_publish", args=[model.pk])


def start(hours: int = 2) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)


def filled(**changes: str) -> dict[str, str]:
    """The form as staff send it at the last step."""
    return {
        "effective_at": f"{start():%Y-%m-%dT%H:%M}",
        "price_input": "3",
        "price_output": "15.00",
        "price_cache_write": "3.75",
        "price_cache_read": "0.000000001",
        "reason": REASON,
        "step": "publish",
        **changes,
    }


def published(version: PriceVersion) -> dict[str, int]:
    return {price.token_class: price.price_nano_per_million for price in version.prices.all()}


def newest(model: PricedModel) -> PriceVersion:
    return PriceVersion.objects.filter(priced_model=model).latest("effective_at")


def test_the_form_shows_the_prices_so_far_then_the_change_then_publishes(client, publisher, model):
    page = client.get(url_of(model)).content.decode()
    assert 'name="price_input" value="0.001"' in page
    page = client.post(url_of(model), filled(step="ask")).content.decode()
    assert re.search(r"<td>input</td>\s*<td>\$0.001</td>\s*<td><strong>\$3.00</strong></td>", page)
    assert re.search(r"<td>cache_read</td>\s*<td>no price</td>\s*<td><strong>\$0.000000001</strong></td>", page)
    assert PriceVersion.objects.count() == 1

    first = newest(model)
    response = client.post(url_of(model), filled(), follow=True)
    assert "New prices of" in response.content.decode()
    version = newest(model)
    assert published(version) == {
        "input": 3 * 10**9, "output": 15 * 10**9, "cache_write": 3_750_000_000, "cache_read": 1,
    }  # fmt: skip
    assert (version.effective_at, version.actor_id, version.reason) == (start(), publisher.pk, REASON)
    first.refresh_from_db()
    assert first.superseded_at == start()
    (event,) = AuditEvent.objects.filter(action="prices.published")
    assert (event.actor, event.target) == (publisher, f"price_version:{version.pk}")
    assert event.after["prices_nano_per_million"]["cache_read"] == 1


def test_what_starts_later_changes_no_price_now(client, customer, model):
    customer.give(10**9)
    client.post(url_of(model), filled())
    assert customer.charge(1_000, key="now").amount_nano == 1_000
    assert metering.authorize(
        organization_id=customer.id, key="h", usage=metering.Usage(model=MODEL, quantities={"output": 1_000})
    ).amount_nano == 1_000  # fmt: skip


def test_a_form_that_is_sent_twice_publishes_once(client, model):
    form = filled()
    assert client.post(url_of(model), form).status_code == 302
    response = client.post(url_of(model), form)
    assert response.status_code == 200
    assert list(response.context["form"].errors) == ["effective_at"]
    assert PriceVersion.objects.filter(priced_model=model).count() == 2
    assert AuditEvent.objects.filter(action="prices.published").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_publish_at_once_end_in_one_version(model):
    user = staff.superuser()
    form = filled()
    sends = [partial(staff.at_the_browser(user).post, url_of(model), form) for _ in range(4)]
    answers = at_once(sends)
    assert sorted(str(getattr(answer, "status_code", answer)) for answer in answers) == ["200", "200", "200", "302"]
    assert PriceVersion.objects.filter(priced_model=model).count() == 2


def test_an_empty_price_is_none_and_zero_is_free(client, model):
    client.post(url_of(model), filled(price_output="", price_cache_write="0", price_cache_read=""))
    assert published(newest(model)) == {"input": 3 * 10**9, "cache_write": 0}


def test_another_class_can_be_priced_and_then_has_a_field(client, model):
    client.post(url_of(model), filled(other_class="audio_input", other_price="6"))
    assert published(newest(model))["audio_input"] == 6 * 10**9
    assert 'name="price_audio_input" value="6.00"' in client.get(url_of(model)).content.decode()


def test_the_fee_of_a_request_is_typed_in_dollars_for_one(client, customer, model):
    page = client.post(url_of(model), filled(price_request="0.01", step="ask")).content.decode()
    assert re.search(r"<td>request</td>\s*<td>no price</td>\s*<td><strong>\$0.01 each</strong></td>", page)
    client.post(url_of(model), filled(price_request="0.01"))
    assert published(newest(model))["request"] == 10**7 * 10**6
    assert 'name="price_request" value="0.01"' in client.get(url_of(model)).content.decode()
    everyone = staff.at_the_browser(staff.superuser())
    versions = everyone.get(reverse("admin:billing_priceversion_changelist")).content.decode()
    assert "request $0.01 each" in versions


@pytest.mark.parametrize("text", ["0.100000001", "0.0000000001", "-1", "1e3"])
def test_a_fee_out_of_bounds_is_an_error_at_its_field(client, model, text):
    response = client.post(url_of(model), filled(price_request=text))
    assert list(response.context["form"].errors) == ["price_request"]
    assert PriceVersion.objects.count() == 1


def test_what_was_typed_is_kept_when_it_is_changed_again(client, model):
    page = client.post(url_of(model), filled(step="change", price_input="7.5")).content.decode()
    assert 'name="price_input" value="7.5"' in page
    assert PriceVersion.objects.count() == 1


@pytest.mark.parametrize("field", ["price_input", "other_price"])
@pytest.mark.parametrize("step", ["ask", "publish"])
def test_bad_prices_are_errors_at_their_field(client, model, field, step):
    texts = (
        "-1", "1e3", "1_000", "NaN", "0x1", "1,5", ".5", "1.", "1.0000000001", "9" * 400, "1000000", "100000.01",
        "٣", "１", "1\x00", "<b>", "three",
    )  # fmt: skip
    for text in texts:
        response = client.post(
            url_of(model), filled(**{"other_class": "other", "other_price": "1", field: text}, step=step)
        )
        assert response.status_code == 200, text
        assert list(response.context["form"].errors) == [field], text
    assert PriceVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "texts"),
    [
        (
            "effective_at",
            ("", "2020-01-01T00:00", "now", "2027-13-01T00:00", "9999-12-31T00:00", "٢٠٢٧-٠١-٠١T٠٠:٠٠", "\x00",
             "2027-01-01", "2027-01-01T00:00+05:00", "0000-01-01T00:00", "9" * 50),
        ),
        ("reason", ("", "short", " " * 30, "x" * 501, "long enough but \x00")),
        ("other_class", ("", "UPPER", "a b", "a-b", "x" * 33, "input", "ä", "\x00", "a\n")),
    ],
)  # fmt: skip
def test_other_bad_input_is_an_error_at_its_field(client, model, field, texts):
    for text in texts:
        form = filled(**{"other_class": "another", "other_price": "1", field: text})
        response = client.post(url_of(model), form)
        if text == "a\n":
            # Spaces around a name are taken off.
            assert response.status_code == 302
            continue
        assert response.status_code == 200, text
        assert list(response.context["form"].errors) == [field], text


def test_a_version_needs_a_price(client, model):
    form = filled(price_input="", price_output="", price_cache_write="", price_cache_read="")
    response = client.post(url_of(model), form)
    assert "Give at least one price" in response.content.decode()
    assert PriceVersion.objects.count() == 1


def test_a_start_before_the_newest_versions_is_refused_at_its_field(client, model):
    client.post(url_of(model), filled(effective_at=f"{start(48):%Y-%m-%d %H:%M}"))
    response = client.post(url_of(model), filled())
    assert "after the newest version" in response.content.decode()
    assert list(response.context["form"].errors) == ["effective_at"]


def test_without_the_right_nothing_is_published(model):
    for user in (staff.somebody("view_pricedmodel"), staff.somebody("view_pricedmodel", "change_pricedmodel")):
        client = staff.at_the_browser(user)
        assert client.post(url_of(model), filled()).status_code == 403
        page = client.get(reverse("admin:billing_pricedmodel_change", args=[model.pk])).content.decode()
        assert "Publish new prices" not in page
    assert PriceVersion.objects.count() == 1


def test_a_new_model_is_added_priced_and_never_deleted():
    user = staff.superuser()
    client = staff.at_the_browser(user)
    client.post(reverse("admin:billing_pricedmodel_add"), {"slug": "nova", "name": "Nova"})
    nova = PricedModel.objects.get(slug="nova")
    page = client.get(url_of(nova)).content.decode()
    assert "There are no prices yet" in page
    client.post(url_of(nova), filled())
    assert len(published(newest(nova))) == 4
    client.post(
        reverse("admin:billing_pricedmodel_change", args=[nova.pk]),
        {"slug": "other", "name": "Nova 2", "versions-TOTAL_FORMS": "0", "versions-INITIAL_FORMS": "0"},
    )
    nova.refresh_from_db()
    assert (nova.slug, nova.name) == ("nova", "Nova 2")
    assert client.post(reverse("admin:billing_pricedmodel_delete", args=[nova.pk]), {"post": "yes"}).status_code == 403
    actions = AuditEvent.objects.filter(target=f"priced_model:{nova.pk}").order_by("id")
    assert [(event.action, event.actor) for event in actions] == [
        ("priced_model.added", user),
        ("priced_model.changed", user),
    ]


def test_the_list_of_models_shows_what_is_in_force(client, model):
    client.post(url_of(model), filled())
    page = client.get(reverse("admin:billing_pricedmodel_changelist")).content.decode()
    assert "input $0.001, output $0.001" in page
    assert "$15.00" not in page


def test_a_models_pages_take_as_many_queries_for_many_versions(client, model):
    urls = [
        reverse("admin:billing_pricedmodel_change", args=[model.pk]),
        reverse("admin:billing_pricedmodel_changelist"),
    ]
    before = [count_queries(client, url) for url in urls]
    for day in range(2, 7):
        prices.publish(
            prices=prices.ModelPrices(MODEL, MODEL, {"input": day, "output": day}), effective_at=start(24 * day)
        )
    assert [count_queries(client, url) for url in urls] == before


def count_queries(client, url: str) -> int:
    client.get(url)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("3", 3 * 10**9),
        ("0.30", 3 * 10**8),
        ("$0.000000001", 1),
        (" 15.75 ", 15_750_000_000),
        ("999999.999999999", 999_999_999_999_999),
    ],
)
def test_prices_are_parsed_to_the_nano_and_written_back(text, nano):
    assert nano_from_text(text) == nano
    assert nano_from_text(plain_usd(nano)) == nano
