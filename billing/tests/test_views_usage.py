"""Usage: a month by day and model, to the last nano, in two queries whatever happened in it."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import ledger, metering, prices, queries
from billing.tests.pages import Pages, text_of

NOW = datetime.now(UTC)


@pytest.fixture
def organization(db):
    for place in range(6):
        prices.publish(
            prices=prices.ModelPrices(
                slug=f"model-{place}",
                name=f"Model {place}",
                prices_nano_per_million={"input": 10**9 * (place + 1), "output": 5 * 10**9, "cache_read": 1},
            ),
            effective_at=datetime(2020, 1, 1, tzinfo=UTC),
        )
    organization = cast.organization()
    Organization.objects.filter(pk=organization.pk).update(created_at=NOW - timedelta(days=60))
    return organization


@pytest.fixture
def pages(organization):
    return Pages(cast.member(organization, role=Role.DEVELOPER).user, slug=organization.slug)


def use(organization, *, model="model-0", at=None, surface="api", key_ref="", **quantities):
    return report(organization, model=model, at=at, surface=surface, key_ref=key_ref, **quantities).amount_nano


def report(organization, *, model="model-0", at=None, surface="api", key_ref="", **quantities):
    result = metering.report_usage(
        organization_id=organization.pk,
        key=str(uuid4()),
        usage=metering.Usage(model=model, quantities=quantities or {"input": 1_000}, surface=surface, key_ref=key_ref),
        occurred_at=at,
    )
    assert result.outcome == "charged", result
    return result


def test_an_empty_month_says_so(pages):
    assert "Nothing was used in this month" in text_of(pages.get("usage"))


def test_totals_chart_and_table_come_from_the_same_usage(pages, organization):
    cost_nano = sum(
        use(organization, model=f"model-{place}", input=1_234_567, output=4_321, cache_read=99) for place in range(6)
    )
    context = pages.get("usage").context
    assert context["cost_nano"] == cost_nano
    assert sum(row.cost_nano for row in context["rows"]) == cost_nano
    assert sum(series.cost_nano for series in context["chart"].series) == cost_nano
    assert sum(day.cost_nano for day in context["chart"].days) == cost_nano
    assert context["requests"] == 6
    assert context["columns"] == ["Input", "Cache read", "Output"]
    assert context["units"] == [6 * 1_234_567, 6 * 99, 6 * 4_321]


def test_the_most_expensive_models_have_colours_and_the_rest_share_one(pages, organization):
    for place in range(6):
        use(organization, model=f"model-{place}")
    series = pages.get("usage").context["chart"].series
    assert [one.name for one in series] == ["Model 5", "Model 4", "Model 3", "Other models"]
    assert len({one.colour for one in series}) == 4


def test_a_cost_of_less_than_a_cent_is_not_shown_as_nothing(pages, organization):
    use(organization, input=1)
    response = pages.get("usage")
    assert "$0.0001" in text_of(response)
    assert "Total $0.01." in response.content.decode()


def test_days_are_those_of_utc(pages, organization):
    Organization.objects.filter(pk=organization.pk).update(time_zone="Pacific/Auckland")
    at = NOW.replace(hour=0, minute=0, second=1, microsecond=0) - timedelta(days=1)
    use(organization, at=at)
    context = pages.get("usage", f"?month={at:%Y-%m}").context
    assert [day.day for day in context["chart"].days if day.cost_nano] == [at.date()]


def test_a_month_can_be_chosen_and_its_neighbours_too(pages, organization):
    at = NOW.replace(day=1) - timedelta(days=1)
    use(organization, at=max(at, NOW - timedelta(days=34)))
    response = pages.get("usage", f"?month={at:%Y-%m}")
    assert response.context["requests"] == 1
    assert response.context["month"].newer == f"{NOW:%Y-%m}"
    assert pages.get("usage").context["month"].older == f"{at:%Y-%m}"
    assert len(response.context["chart"].days) == at.day


@pytest.mark.parametrize(
    "month", ["2026-13", "nonsense", "%00", "2026-1", "1999-01", "9999-12", "0000-01", "٢٠٢٦-11", "2026-11-01"]
)
def test_what_is_no_month_of_the_organization_is_not_there(pages, month):
    assert pages.get("usage", f"?month={month}").status_code == 404


def test_usage_of_others_is_not_shown(pages, organization):
    other = cast.organization("Borealis")
    use(other)
    assert "Nothing was used" in text_of(pages.get("usage"))


def test_the_chart_has_words_and_a_table(pages, organization):
    use(organization)
    body = pages.get("usage").content.decode()
    assert '<title id="ch-t">' in body
    assert '<desc id="ch-d">' in body
    assert "Show as table" in body


def test_the_number_of_queries_does_not_grow(pages, organization, django_assert_num_queries):
    use(organization)
    pages.get("usage")
    with CaptureQueriesContext(connection) as before:
        pages.get("usage")
    for place in range(6):
        for day in range(5):
            use(organization, model=f"model-{place}", at=NOW - timedelta(days=day), input=10, output=3)
    with django_assert_num_queries(len(before)):
        pages.get("usage")


def test_one_surface_can_be_looked_at_alone(pages, organization):
    api_nano = use(organization)
    code_nano = use(organization, model="model-3", surface="claude_code")
    assert pages.get("usage").context["cost_nano"] == api_nano + code_nano
    context = pages.get("usage", "?surface=claude_code").context
    assert context["cost_nano"] == code_nano
    assert [row.name for row in context["rows"]] == ["Model 3"]
    assert "Workbench was not used in this month" in text_of(pages.get("usage", "?surface=workbench"))


@pytest.mark.parametrize("surface", ["nowhere", "API", "%00", "api%20"])
def test_what_is_no_surface_is_not_there(pages, surface):
    assert pages.get("usage", f"?surface={surface}").status_code == 404


def test_case_077_what_keys_models_and_days_cost_adds_up_to_the_total(pages, organization):
    for place in range(25):
        use(organization, model=f"model-{place % 6}", key_ref=f"key-{place}", input=1_001 + place, output=7)
    use(organization, input=3)
    context = pages.get("usage").context
    assert len(context["keys"]) == 21
    assert context["keys"][-1].name == "Other keys"
    for lines in (context["keys"], context["rows"], context["chart"].days, context["chart"].series):
        assert sum(line.cost_nano for line in lines) == context["cost_nano"]
    for lines in (context["keys"], context["rows"], context["chart"].days):
        assert sum(line.requests for line in lines) == context["requests"] == 26
    assert [row.share_permille >= 0 for row in context["keys"]] == [True] * 21


def test_without_named_keys_there_is_no_list_of_keys(pages, organization):
    use(organization)
    response = pages.get("usage")
    assert response.context["keys"] == []
    assert "By key" not in text_of(response)


def test_a_keys_name_is_text(pages, organization):
    use(organization, key_ref="<b>key</b>")
    assert "&lt;b&gt;key&lt;/b&gt;" in pages.get("usage").content.decode()


def test_a_charge_that_was_given_back_costs_nothing_on_its_day(pages, organization):
    kept_nano = use(organization)
    charge_id = report(organization, model="model-5").charge_id
    ledger.reverse(
        organization_id=organization.pk,
        cause_kind="charge",
        cause_id=charge_id,
        key=uuid4(),
        reason="test",
        actor_id=None,
    )
    context = pages.get("usage").context
    assert context["cost_nano"] == kept_nano
    assert context["requests"] == 2


def test_the_cost_of_the_last_days_takes_its_part_of_the_oldest(organization):
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today, recent, oldest = (
        use(organization, at=day - timedelta(days=back), input=1_000 * (back + 1)) for back in (0, 3, 7)
    )
    use(organization, at=day - timedelta(days=8))

    def cost(at):
        return queries.recent_cost_nano(organization_id=organization.pk, at=at, days=7)

    assert cost(day) == today + recent + oldest
    assert cost(day + timedelta(hours=6)) == today + recent + oldest * 3 // 4
    assert cost(day + timedelta(hours=23, minutes=59, seconds=59)) == today + recent + oldest // 86_400
