"""Statement: a month that adds up on the page and in the file, in as many queries as ever, and any moment's balance."""

import csv
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import ledger, metering, statements
from billing.models import CreditAccount, LedgerEntry, Reversal
from billing.tests.customer import MODEL, Customer
from billing.tests.pages import Pages, text_of
from billing.views import statement

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
MONTH = f"{NOW:%Y-%m}"


@pytest.fixture
def pages(customer: Customer) -> Pages:
    return Pages(cast.member(customer.organization, role=Role.BILLING).user, slug="acme")


def rows_of(response: Any) -> list[dict[str, str]]:
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(text.splitlines()))


def nano_of(text: str) -> int:
    """An exact decimal of the file, in nano-USD."""
    match = re.fullmatch(r"(-?)([0-9]+)\.([0-9]{9})", text)
    assert match, text
    nano = int(match[2]) * 10**9 + int(match[3])
    return -nano if match[1] else nano


def use(customer: Customer, count: int, *, key_ref: str = "") -> int:
    usage = metering.Usage(model=MODEL, quantities={"input": count}, key_ref=key_ref, surface="workbench")
    result = metering.report_usage(organization_id=customer.id, key=str(uuid4()), usage=usage)
    assert result.charge_id is not None
    return result.charge_id


def test_without_credit_it_says_that_nothing_happened(pages):
    assert "Nothing happened in this month" in text_of(pages.get("statement"))


def test_a_month_is_summed_up_to_the_last_nano(pages, customer):
    customer.buy(1_000)
    customer.give(2_500_000_000, label="Launch credit")
    use(customer, 28_801)
    text = text_of(pages.get("statement"))
    for part in (
        "Opening $0.00",
        "Bought +$10.00",
        "Given +$2.50",
        "Used −$0.000028801",
        "Expired $0.00",
        "Balance now $12.499971199",
        "Launch credit",
        "Usage from",
        "1 entry",
    ):
        assert part in text, part


def test_case_077_what_the_page_and_the_file_show_is_exactly_what_was_taken(pages, customer):
    customer.buy(500)
    for number in range(30):
        use(customer, 7_777 * number + 1)
    charge_id = use(customer, 5_000)
    ledger.reverse(
        organization_id=customer.id, cause_kind=Reversal.Cause.CHARGE, cause_id=charge_id, key=uuid4(), reason="x",
        actor_id=None, amount_nano=3_333,
    )  # fmt: skip
    rows = rows_of(pages.get("statement_csv"))
    entries = list(LedgerEntry.objects.order_by("seq"))
    assert [nano_of(row["amount_usd"]) for row in rows] == [entry.amount_nano for entry in entries]
    assert [nano_of(row["balance_after_usd"]) for row in rows] == [entry.balance_after_nano for entry in entries]
    account = CreditAccount.objects.get(organization_id=customer.id)
    assert sum(nano_of(row["amount_usd"]) for row in rows) == account.unreserved_nano
    shown = re.findall(r'<td class="num">(.*?)<small', pages.get("statement", "?show=entries").content.decode())
    assert len(shown) == len(entries)
    assert sum(map(shown_nano, shown)) == account.unreserved_nano


def shown_nano(cell: str) -> int:
    """The amount of a cell as people read it."""
    text = re.sub(r"<[^>]*>", "", cell).replace(",", "")
    match = re.fullmatch(r"([+−]?)\$([0-9]+)\.([0-9]{2,9})", text)
    assert match, text
    return (-1 if match[1] == "−" else 1) * (int(match[2]) * 10**9 + int(match[3].ljust(9, "0")))


def test_the_file_names_everything_and_nothing_in_it_is_a_formula(pages, customer):
    customer.give(10**9, label="=HYPERLINK(1)", expires_at=NOW + timedelta(days=9))
    for name in ("@SUM(1)", "+1", "-1", "laptop", 'a "quoted", name'):
        use(customer, 10, key_ref=name)
    response = pages.get("statement_csv")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == f'attachment; filename="credits-acme-{MONTH}.csv"'
    grant, *burns = rows_of(response)
    assert (grant["what"], grant["credit"]) == ("Promotional credit", "'=HYPERLINK(1)")
    assert [row["key"] for row in burns] == ["'@SUM(1)", "'+1", "'-1", "laptop", 'a "quoted", name']
    assert {(row["model"], row["surface"], row["what"]) for row in burns} == {(MODEL, "workbench", "Usage")}
    assert all(row["booked_at_utc"].endswith("Z") for row in burns)
    for row in (grant, *burns):
        for name, text in row.items():
            assert not text.startswith(("=", "+", "-", "@")) or name.endswith("_usd"), name


def test_the_file_is_read_in_chunks_and_ends_with_what_was_booked_when_it_began(pages, customer, monkeypatch):
    monkeypatch.setattr(statements, "CHUNK", 4)
    customer.give(10**9)
    for _ in range(9):
        use(customer, 1)
    response = pages.get("statement_csv")
    chunks = iter(response.streaming_content)
    first = next(chunks)
    use(customer, 1)
    lines = (first + b"".join(chunks)).decode().splitlines()
    assert len(lines) == 1 + 10
    assert "chunked" not in response.headers.values()


def test_every_entry_is_on_one_page_as_the_older_link_leads(pages, customer, monkeypatch):
    monkeypatch.setattr(statement, "LINES_ON_PAGE", 4)
    for number in range(5):
        customer.give(10**6 + number)
        use(customer, 5)
    for view in ("", "&show=entries"):
        found: list[int] = []
        query = f"?month={MONTH}{view}"
        for _ in range(20):
            response = pages.get("statement", query)
            for line in response.context["lines"]:
                found += range(line.last_seq, line.first_seq - 1, -1) if hasattr(line, "first_seq") else [line.seq]
            link = re.search(r'href="([^"]*)#entries" rel="next"', response.content.decode())
            if link is None:
                break
            query = link[1].replace("&amp;", "&")
        assert found == list(range(10, 0, -1))
        assert "Opening balance" in text_of(response)


def test_a_summed_line_leads_to_its_entries(pages, customer):
    customer.give(10**6)
    for _ in range(3):
        use(customer, 5)
    customer.give(10**6)
    body = pages.get("statement").content.decode()
    (link,) = re.findall(r'<a class="cause" href="([^"]*before=[^"]*)#entries">', body)
    lines = pages.get("statement", link.replace("&amp;", "&")).context["lines"]
    assert [line.seq for line in lines] == [4, 3, 2, 1]


def test_credit_that_came_back_after_its_end_is_explained_and_staffs_reasons_are_not_told(
    transactional_db, credits_clock, customer
):
    now = datetime.now(UTC)
    pages = Pages(cast.member(customer.organization, role=Role.ADMIN).user, slug="acme")
    credits_clock.set(now - timedelta(hours=3))
    customer.give(1_000, expires_at=now - timedelta(hours=2), label="Short one")
    charge_id = use(customer, 400)
    credits_clock.set(now)
    ledger.reverse(
        organization_id=customer.id, cause_kind=Reversal.Cause.CHARGE, cause_id=charge_id, key=uuid4(),
        reason="the secret of staff", label="Sorry", actor_id=None,
    )  # fmt: skip
    for query in ("", "?show=entries"):
        text = text_of(pages.get("statement", query))
        assert re.search(r"Came back to credit that had ended on .*?; it expired at once", text)
        assert "Given back Sorry" in text
        assert "secret" not in text
    rows = rows_of(pages.get("statement_csv"))
    assert any(row["note"].startswith("Came back to credit that had ended on 20") for row in rows)
    assert "secret" not in repr(rows)
    assert "came back from a request after the end, and expired at once" in text_of(pages.get())


def test_months_are_utcs_and_times_are_the_organizations_with_utc_beside(pages, customer):
    Organization.objects.filter(pk=customer.id).update(time_zone="Asia/Tokyo", created_at=NOW - timedelta(days=70))
    customer.give(10**9)
    text = text_of(pages.get("statement", "?month=2026-11")) if NOW.year == 2026 and NOW.month == 11 else ""
    text = text or text_of(pages.get("statement"))
    assert "09:00 JST (00:00 UTC)" in text
    assert "Months are UTC." in text
    assert "JST" in text


def test_a_month_before_has_its_own_entries_and_is_closed(transactional_db, credits_clock, customer):
    pages = Pages(cast.member(customer.organization, role=Role.BILLING).user, slug="acme")
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = this_month - timedelta(microseconds=1)
    Organization.objects.filter(pk=customer.id).update(created_at=before - timedelta(days=3))
    credits_clock.set(before)
    customer.give(700)
    credits_clock.set(this_month)
    customer.give(11)
    closed = pages.get("statement", f"?month={before:%Y-%m}")
    assert "Closed" in text_of(closed)
    assert closed.context["month"].closing_nano == 700
    assert [line.amount_nano for line in closed.context["lines"]] == [700]
    still_open = pages.get("statement")
    assert still_open.context["month"].opening_nano == 700
    assert [line.amount_nano for line in still_open.context["lines"]] == [11]
    assert len(rows_of(pages.get("statement_csv", f"?month={before:%Y-%m}"))) == 1


@pytest.mark.parametrize("month", ["2026-13", "nonsense", "%00", "1999-01", "9999-12", "0000-01"])
@pytest.mark.parametrize("name", ["statement", "statement_csv"])
def test_what_is_no_month_of_the_organization_is_not_there(pages, name, month):
    assert pages.get(name, f"?month={month}").status_code == 404


@pytest.mark.parametrize(
    "query", ["?before=-1", "?before=99999999999999999999", "?before=%00", "?show=nothing", "?before=0", "?before=1"]
)
def test_a_position_that_is_none_does_no_harm(pages, customer, query):
    customer.give(5)
    assert pages.get("statement", query).status_code == 200


def test_the_balance_of_a_moment_is_looked_up_in_the_organizations_time(pages, customer):
    Organization.objects.filter(pk=customer.id).update(time_zone="Asia/Tokyo")
    customer.give(1_500_000_000)
    tokyo = datetime.now(UTC).astimezone(Organization.objects.get(pk=customer.id).zone)
    later = pages.get("statement", f"?at={tokyo + timedelta(minutes=2):%Y-%m-%dT%H:%M}")
    assert "This moment is still to come." in text_of(later)
    earlier = pages.get("statement", f"?at={tokyo - timedelta(minutes=2):%Y-%m-%dT%H:%M}")
    assert "the balance was $0.00 ." in text_of(earlier)
    assert "JST" in text_of(earlier)


def test_the_balance_of_this_minute_is_the_one_of_the_billing_page(transactional_db, credits_clock, customer):
    pages = Pages(cast.member(customer.organization, role=Role.BILLING).user, slug="acme")
    credits_clock.set(datetime.now(UTC) - timedelta(minutes=5))
    customer.give(1_500_000_000)
    use(customer, 28_800)
    at = datetime.now(UTC) - timedelta(minutes=2)
    assert "the balance was $1.4999712 ." in text_of(pages.get("statement", f"?at={at:%Y-%m-%dT%H:%M}"))


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-02-30T10:00", "%00", "0001-01-01T00:00", "2026-11-10", "2026-11-10T25:00", "9" * 99]
)
def test_what_is_no_moment_is_said_at_the_field(pages, text):
    response = pages.get("statement", f"?at={text}")
    assert response.status_code == 200
    if text != "0001-01-01T00:00":
        assert "Choose a date and a time." in text_of(response)


def test_names_are_text(pages, customer):
    customer.give(10**6, label="<i>label</i>")
    use(customer, 5, key_ref="<b>key</b>")
    body = pages.get("statement", "?show=entries").content.decode()
    assert "&lt;i&gt;label&lt;/i&gt;" in body
    assert "&lt;b&gt;key&lt;/b&gt;" in body


@pytest.mark.parametrize("query", ["", "?show=entries"])
def test_the_number_of_queries_does_not_grow(pages, customer, django_assert_num_queries, query):
    customer.give(10**6)
    use(customer, 1)
    pages.get("statement", query)
    with CaptureQueriesContext(connection) as before:
        pages.get("statement", query)
    for number in range(30):
        customer.give(10**6 + number)
        use(customer, 5)
    with django_assert_num_queries(len(before)):
        pages.get("statement", query)
    assert not any(word in query["sql"].upper() for query in before for word in (" OFFSET ", "COUNT("))


def test_the_billing_page_leads_to_it(pages, customer):
    customer.give(5)
    assert f'href="{pages.url("statement")}"' in pages.get().content.decode()
