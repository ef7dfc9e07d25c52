"""The long lists of the administration: a fixed number of queries, no counting, every row on exactly one page."""

import re
from datetime import UTC, datetime
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.admin.lists import KeysetAdmin
from billing.models import AutoReload, Charge, CreditLot, LedgerEntry
from billing.tests import staff
from billing.tests.buyer import Buyer
from billing.tests.customer import Customer

pytestmark = pytest.mark.django_db

NAMES = (
    "billingaccount", "creditlot", "hold", "charge", "ledgerentry", "purchase", "stripeevent", "cardsetup",
    "autoreloadconsent", "priceversion", "reversal", "debitadjustment", "takeback", "unpricedusage", "creditevent",
    "usageday", "receipt", "creditnote",
)  # fmt: skip
CORPUS = (
    "%00", "a%00b", "'", '"', "%", "_", "\\", "١٢", "-1", "1e9", "9" * 40, "9" * 5_000, "🦉", "%ED%A0%80", "%F0",
    "a" * 5_000,
    "{{7*7}}", "<script>", "acme", "0", "2026-13-45", "~", "1~2", "1~2~3", "2026-01-01T00:00:00~1",
    "9999-12-31T23:59:59+00:00~1", "0001-01-01T00:00:00+14:00~1",
)  # fmt: skip


@pytest.fixture
def client():
    return staff.at_the_browser(staff.superuser())


def queries_of(client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        response = client.get(url)
    assert response.status_code == 200, url
    return [query["sql"] for query in captured.captured_queries]


def pages(client, url: str) -> list[list[int]]:
    """The ids on each page, following "Older" to the end."""
    found = []
    query = ""
    for _ in range(50):
        path = url if not query else f"{url.partition('?')[0]}{query}"
        page = client.get(path).content.decode()
        found.append([int(number) for number in re.findall(r'/(\d+)/change/[^"]*">\d+</a></th>', page)])
        link = re.search(r'<a href="([^"]*)">Older</a>', page)
        if link is None:
            return found
        query = unescape(link[1])
    raise AssertionError("the list never ends")


@pytest.fixture
def few_on_a_page(monkeypatch):
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 3)


@pytest.fixture
def used(customer: Customer) -> Customer:
    customer.give(10**9)
    for number in range(8):
        customer.charge(number + 1, key=f"c{number}")
    return customer


@pytest.mark.parametrize(
    ("name", "model"), [("charge", Charge), ("ledgerentry", LedgerEntry), ("creditlot", CreditLot)]
)
def test_every_row_is_on_exactly_one_page_newest_first(client, used, few_on_a_page, name, model):
    other = Customer("other")
    other.give(10**9)
    other.charge(5, key="c")
    found = pages(client, reverse(f"admin:billing_{name}_changelist"))
    everything = list(model.objects.order_by("-pk").values_list("pk", flat=True))
    assert [number for page in found for number in page] == everything
    assert all(len(page) == 3 for page in found[:-1])


@pytest.mark.parametrize(
    ("name", "model", "order"),
    [
        ("charge", Charge, ("-idempotency_key",)),
        ("ledgerentry", LedgerEntry, ("-seq",)),
        ("creditlot", CreditLot, ("-id",)),
    ],
)
def test_an_organizations_rows_are_paged_by_its_own_index(client, used, few_on_a_page, name, model, order):
    other = Customer("other")
    other.give(10**9)
    other.charge(5, key="c")
    expected = list(model.objects.filter(organization=used.organization).order_by(*order).values_list("pk", flat=True))
    found = pages(client, reverse(f"admin:billing_{name}_changelist") + f"?q={used.organization.slug}")
    assert [number for page in found for number in page] == expected


def test_charges_of_one_instant_are_paged_one_by_one(client, customer, few_on_a_page, credits_clock_stands):
    customer.give(10**9)
    for key in ("~", "a~b", "a~c~", "a", "0", "z z", "Z"):
        customer.charge(1, key=key)
    assert Charge.objects.values("started_at").distinct().count() == 1
    found = pages(client, reverse("admin:billing_charge_changelist") + "?q=acme")
    assert sum(len(page) for page in found) == len({number for page in found for number in page}) == 7


def test_a_charge_is_found_by_its_organization_and_key(client, customer):
    other = Customer("other")
    for one in (customer, other):
        one.give(10**9)
        one.charge(1, key="req 1")
        one.charge(1, key="req 2")
    url = reverse("admin:billing_charge_changelist")
    expected = Charge.objects.get(organization=other.organization, idempotency_key="req 1")
    assert pages(client, f"{url}?q=other+req+1") == [[expected.pk]]
    assert pages(client, f"{url}?q=nowhere+req+1") == [[]]
    assert pages(client, f"{url}?q={expected.pk}") == [[expected.pk]]


@pytest.fixture
def credits_clock_stands(transactional_db, credits_clock):
    credits_clock.set(datetime(2026, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize("name", NAMES)
def test_no_list_counts_or_skips_rows(client, used, name):
    for address in ("", f"?q={used.organization.slug}"):
        for sql in queries_of(client, reverse(f"admin:billing_{name}_changelist") + address):
            assert "COUNT(" not in sql.upper()
            assert "OFFSET" not in sql.upper()


def test_lists_take_as_many_queries_for_many_rows_as_for_one(client, buyer: Buyer):
    buyer.save_card()
    buyer.buy(2_500)
    buyer.arm()
    buyer.spend(10)
    urls = [reverse(f"admin:billing_{name}_changelist") for name in NAMES]
    client.get(urls[0])
    before = [len(queries_of(client, url)) for url in urls]
    for number in range(4):
        buyer.buy(2_500)
        buyer.spend(10)
        buyer.arm()
        Customer(f"more-{number}").give(10**9)
    assert [len(queries_of(client, url)) for url in urls] == before


@pytest.mark.parametrize("name", ["charge", "billingaccount", "purchase", "usageday", "reversal"])
@pytest.mark.parametrize("parameter", ["q", "before"])
def test_no_search_and_no_position_is_an_error(client, used, name, parameter):
    for text in CORPUS:
        response = client.get(reverse(f"admin:billing_{name}_changelist") + f"?{parameter}={text}")
        assert response.status_code in (200, 302), text


@pytest.mark.parametrize(
    "parameter", ["id__lt", "state__exact", "created_at__gte", "o", "p", "all", "_facets", "nonsense"]
)
def test_no_filter_is_an_error(client, used, parameter):
    for name in NAMES:
        for text in ("%00", "9" * 40, "1e9", "2026-13-45", "%ED%A0%80"):
            response = client.get(reverse(f"admin:billing_{name}_changelist") + f"?{parameter}={text}")
            assert response.status_code in (200, 302, 400), (name, text)


def test_a_search_finds_by_slug_and_by_number(client, used):
    other = Customer("other")
    other.give(5)
    url = reverse("admin:billing_creditlot_changelist")
    mine, others = (CreditLot.objects.get(organization=owner.organization) for owner in (used, other))
    assert pages(client, f"{url}?q=other") == [[others.pk]]
    assert pages(client, f"{url}?q={mine.pk}") == [[mine.pk]]
    assert pages(client, f"{url}?q=nobody") == [[]]


def test_holds_are_listed_while_they_are_open_and_found_for_ever(client, customer):
    customer.give(10**9)
    hold_id = customer.hold(10, key="h")
    url = reverse("admin:billing_hold_changelist")
    assert pages(client, url) == [[hold_id]]
    customer.void(hold_id)
    assert pages(client, url) == [[]]
    assert pages(client, f"{url}?q=acme") == [[]]
    assert pages(client, f"{url}?q={hold_id}") == [[hold_id]]


def test_accounts_show_what_they_have_and_are_found_by_name(client, customer):
    customer.give(10**8)
    customer.report(10**9, key="r")
    rich = Customer("rich")
    rich.give(3 * 10**9)
    url = reverse("admin:billing_billingaccount_changelist")
    page = client.get(url).content.decode()
    assert "$0.90" in page
    assert "−$0.90" in page
    assert "$3.00" in page
    in_debt = client.get(f"{url}?credit=debt").content.decode()
    assert "Acme" in in_debt
    assert "Rich" not in in_debt
    assert "Rich" in client.get(f"{url}?q=ric").content.decode()
    for customer_id, suspension in ((customer.id, "declined"), (rich.id, "")):
        AutoReload.objects.create(
            organization_id=customer_id,
            is_enabled=True,
            minimum_cents=500,
            target_cents=2_000,
            monthly_cap_cents=10_000,
            suspension=suspension,
            suspended_at=customer.now() if suspension else None,
            updated_at=customer.now(),
        )
    paused = client.get(f"{url}?credit=paused").content.decode()
    assert "Acme" in paused
    assert "Rich" not in paused
