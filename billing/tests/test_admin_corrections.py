"""The pages on which staff put credit right: a form, its numbers to confirm, once however often it is sent."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.db import transaction
from django.urls import reverse

from accounts.models import AuditEvent
from billing.credits import metering, prices, usage_blocks
from billing.credits.metering import Usage
from billing.models import (
    Charge,
    CreditAccount,
    CreditLot,
    DebitAdjustment,
    LedgerEntry,
    Reversal,
    TakeBack,
    UnpricedUsage,
    UsageBlock,
)
from billing.tests import staff
from billing.tests.buyer import at_once
from billing.tests.customer import Customer

pytestmark = pytest.mark.django_db

REASON = "Wrong price last week, ticket 4711"
USD = 10**9


@pytest.fixture
def client():
    return staff.at_the_browser(staff.superuser())


@pytest.fixture
def rich(customer: Customer) -> Customer:
    """An organization with $100 and a charge of $4."""
    customer.give(100 * USD)
    for number in range(4):
        customer.charge(10**9, key=f"c{number}")
    return customer


def url_of(name: str, customer: Customer, *target: object) -> str:
    return reverse(f"admin:billing_billingaccount_{name}", args=[customer.id, *target])


def account_url(customer: Customer) -> str:
    return reverse("admin:billing_billingaccount_change", args=[customer.id])


def filled(**changes: str) -> dict[str, str]:
    """What every form asks for, as sent at the last step."""
    return {"key": str(uuid4()), "label": "Sorry", "reason": REASON, "step": "make", **changes}


def last_day(days: int = 30) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def charge_id() -> int:
    return Charge.objects.latest("pk").pk


def unpriced(customer: Customer, key: str = "late") -> UnpricedUsage:
    usage = Usage(model="unheard-of", quantities={"input": 1_000, "output": 10})
    metering.report_usage(organization_id=customer.id, key=key, usage=usage)
    return UnpricedUsage.objects.latest("pk")


def test_a_charge_is_reversed_from_its_own_page_after_its_numbers_were_confirmed(client, rich):
    page = client.get(reverse("admin:billing_charge_change", args=[charge_id()])).content.decode()
    url = url_of("reverse", rich, "charge", charge_id())
    assert f'<a href="{url}">Reverse</a>' in page
    page = client.get(url).content.decode()
    assert re.search(r"Left to give back</th>\s*<td[^>]*>\$1.00", page)
    key = re.search(r'name="key" value="([0-9a-f-]{36})"', page)
    assert key is not None
    before = rich.footprint()

    form = filled(key=key[1], amount_nano="0.25", step="ask")
    page = " ".join(re.sub(r"<[^>]*>", " ", client.post(url, form).content.decode()).split())
    assert "Available $96.00 $96.25" in page
    assert "Debt $0.00 unchanged" in page
    assert f"Given back {CreditLot.objects.get().pk} $0.25" in page
    assert rich.footprint() == before
    assert not Reversal.objects.exists()

    page = client.post(url, {**form, "step": "make"}, follow=True).content.decode()
    assert "$0.25 given back (reversal " in page
    row = Reversal.objects.get()
    assert (row.cause_id, row.amount_nano, row.label, row.reason) == (charge_id(), USD // 4, "Sorry", REASON)
    assert rich.summary().available_nano == 96 * USD + USD // 4
    assert AuditEvent.objects.get(action="correction.reversed").target == f"reversal:{row.pk}"


def test_case_116_the_same_form_twice_gives_back_once_and_says_so(client, rich):
    url, form = url_of("reverse", rich, "charge", charge_id()), filled()
    client.post(url, form)
    page = client.post(url, form, follow=True).content.decode()
    assert "done that already, once: $1.00 given back" in page
    assert Reversal.objects.count() == 1
    # Back, and "Continue" once more.
    assert client.post(url, {**form, "step": "ask"}).status_code == 302
    assert rich.summary().available_nano == 97 * USD


@pytest.mark.django_db(transaction=True)
def test_case_116_a_double_click_on_any_correction_corrects_once(rich):
    user = staff.superuser()
    lot, usage = CreditLot.objects.get(), unpriced(rich)
    for url, more in (
        (url_of("reverse", rich, "charge", charge_id()), {}),
        (url_of("debit", rich), {"amount_nano": "1"}),
        (url_of("correction_credit", rich), {"amount_nano": "1", "last_day": last_day()}),
        (url_of("take_back", rich, lot.pk), {"amount_nano": "1"}),
        (url_of("settle", rich, usage.pk), {"amount_nano": "1", "may_owe": "on"}),
    ):
        before = LedgerEntry.objects.count()
        form = filled(**more)
        answers = at_once([partial(staff.at_the_browser(user).post, url, form) for _ in range(3)])
        assert [getattr(answer, "status_code", answer) for answer in answers] == [302] * 3, url
        assert LedgerEntry.objects.count() == before + 1, url


def test_credit_is_given_and_taken(client, rich):
    client.post(url_of("correction_credit", rich), filled(amount_nano="0.000000001", last_day=last_day()))
    lot = CreditLot.objects.latest("pk")
    assert (lot.kind, lot.granted_nano, lot.label) == ("adjustment", 1, "Sorry")
    page = client.post(url_of("debit", rich), filled(amount_nano="12.50"), follow=True).content.decode()
    assert "$12.50 taken (correction " in page
    assert rich.summary().available_nano == 96 * USD + 1 - 12 * USD - USD // 2


def test_too_little_credit_is_an_error_at_the_box_that_would_allow_it(client, rich):
    url = url_of("debit", rich)
    for step in ("ask", "make"):
        response = client.post(url, filled(amount_nano="96.01", step=step))
        assert response.status_code == 200
        assert list(response.context["form"].errors) == ["may_owe"]
    page = client.post(url, filled(amount_nano="96.01", may_owe="on", step="ask")).content.decode()
    assert "Afterwards nothing is available: new requests are refused." in page
    page = client.post(url, filled(amount_nano="96.01", may_owe="on"), follow=True).content.decode()
    assert "of it $0.01 as debt" in page
    assert rich.summary().debt_nano == USD // 100


def test_a_lot_is_taken_back_from_its_row(client, rich):
    lot = CreditLot.objects.get()
    url = url_of("take_back", rich, lot.pk)
    for page_url in (account_url(rich), reverse("admin:billing_creditlot_change", args=[lot.pk])):
        assert f'<a href="{url}">Take back</a>' in client.get(page_url).content.decode()
    assert 'value="96.00"' in client.get(url).content.decode(), "what is left of it"
    client.post(url, filled(amount_nano="100", rest_as_debt="on"))
    row = TakeBack.objects.get()
    assert (row.taken_nano, row.debt_nano) == (96 * USD, 4 * USD)
    response = client.post(url, filled(amount_nano="100"))
    assert "Nothing is left of this lot" in response.content.decode()
    assert TakeBack.objects.count() == 1


def test_what_was_served_without_a_price_is_charged_by_prices_that_staff_choose(client, rich):
    usage = unpriced(rich)
    version = prices.publish(
        prices=prices.ModelPrices("other", "Other", {"input": 3 * USD, "output": 15 * USD}),
        effective_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    url = url_of("settle", rich, usage.pk)
    assert f'<a href="{url}">Charge it</a>' in client.get(account_url(rich)).content.decode()
    assert "unheard-of: 1,000 input, 10 output" in client.get(url).content.decode()
    form = filled(price_version=str(version.pk), may_owe="on", step="ask")
    page = client.post(url, form).content.decode()
    assert "−$0.00" in page, "a third of a cent"
    client.post(url, {**form, "step": "make"})
    row = DebitAdjustment.objects.get()
    assert (row.amount_nano, row.unpriced_usage) == (1_000 * 3_000 + 10 * 15_000, usage)
    assert "Charge it" not in client.get(account_url(rich)).content.decode()

    page = client.get(url).content.decode()
    assert f"was settled by correction {row.pk}" in page
    again = client.post(url, filled(amount_nano="1", may_owe="on"))
    assert list(again.context["form"].errors) == ["is_again"]
    assert client.post(url, filled(amount_nano="1", may_owe="on", is_again="on")).status_code == 302
    assert DebitAdjustment.objects.count() == 2


def test_prices_that_lack_a_class_settle_nothing(client, rich):
    usage = unpriced(rich)
    version = prices.publish(
        prices=prices.ModelPrices("other", "Other", {"input": 5}), effective_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    url = url_of("settle", rich, usage.pk)
    response = client.post(url, filled(price_version=str(version.pk)))
    assert list(response.context["form"].errors) == ["price_version"]
    for more in ({}, {"price_version": str(version.pk), "amount_nano": "1"}):
        assert list(client.post(url, filled(**more)).context["form"].errors) == ["amount_nano"]
    assert not DebitAdjustment.objects.exists()


def test_what_was_refused_before_it_was_served_has_no_page_to_charge_it(client, rich):
    usage = Usage(model="unheard-of", quantities={"input": 1})
    metering.authorize(organization_id=rich.id, key="a", usage=usage)
    row = UnpricedUsage.objects.get()
    assert client.get(url_of("settle", rich, row.pk)).status_code == 404
    assert "Charge it" not in client.get(reverse("admin:billing_unpricedusage_change", args=[row.pk])).content.decode()


def test_case_128_what_belongs_to_another_organization_is_not_found(client, rich):
    other = Customer("other")
    lot, charged, usage = CreditLot.objects.get(), charge_id(), unpriced(rich)
    for name, target in (("take_back", [lot.pk]), ("reverse", ["charge", charged]), ("settle", [usage.pk])):
        url = url_of(name, other, *target)
        assert client.get(url).status_code == client.post(url, filled(amount_nano="1")).status_code == 404


def test_an_account_is_frozen_opened_and_closed_for_ever(client, rich):
    url = url_of("state", rich)
    rich.hold(10**9, key="h")
    page = client.get(url).content.decode()
    assert 'value="frozen"' in page
    assert 'value="open"' not in page, "it is open already"
    page = client.post(url, {"state": "frozen", "reason": REASON, "step": "ask"}).content.decode()
    assert "1 held request, $1.00" in " ".join(re.sub(r"<[^>]*>", "", page).split())
    assert CreditAccount.objects.get().state == "open"
    client.post(url, {"state": "frozen", "reason": REASON, "step": "make"})
    assert rich.charge(1, key="frozen").outcome == "organization_suspended"
    assert "The account is frozen." in client.get(account_url(rich)).content.decode()
    client.post(url, {"state": "open", "reason": REASON, "step": "make"})
    assert rich.charge(1, key="open").outcome == "charged"

    page = client.post(url, {"state": "closed", "reason": REASON, "step": "ask"}).content.decode()
    assert "Closing is final" in page
    client.post(url, {"state": "closed", "reason": REASON, "step": "make"})
    response = client.post(url, {"state": "open", "reason": REASON, "step": "make"}, follow=True)
    assert "final" in response.content.decode()
    assert CreditAccount.objects.get().state == "closed"
    # What was wrong before it was closed can still be put right.
    assert client.post(url_of("reverse", rich, "charge", charge_id()), filled()).status_code == 302
    assert Reversal.objects.count() == 1


@pytest.mark.parametrize("step", ["ask", "make"])
def test_bad_input_is_an_error_at_its_field(client, rich, step):
    amounts = ("", "0", "-1", "1e3", "1_000", "1.0000000001", "NaN", "٣", "1\x00", "9" * 40, "three")
    texts = {"amount_nano": amounts, "label": ("", "\x00", "x" * 81), "reason": ("", "short", "x" * 501)}
    before = rich.footprint()
    for name in ("debit", "correction_credit"):
        for field, wrong in texts.items():
            for text in wrong:
                form = {**filled(amount_nano="1", last_day=last_day(), step=step), field: text}
                response = client.post(url_of(name, rich), form)
                assert list(response.context["form"].errors) == [field], (name, text)
    assert rich.footprint() == before


@pytest.mark.parametrize("key", ["", "x", "0" * 40])
def test_a_form_without_its_key_does_nothing(client, rich, key):
    before = rich.footprint()
    response = client.post(url_of("debit", rich), filled(amount_nano="1", key=key))
    assert list(response.context["form"].errors) == ["key"]
    assert "errorlist" in response.content.decode()
    assert rich.footprint() == before


def test_what_was_typed_is_kept_and_escaped_when_it_is_changed_again(client, rich):
    form = filled(amount_nano="7.5", label="<i>{{7*7}}", reason="<script>alert(1)</script>", step="ask")
    page = client.post(url_of("debit", rich), form).content.decode()
    assert "<i>" not in page
    assert "<script>alert" not in page
    page = client.post(url_of("debit", rich), {**form, "step": "change"}).content.decode()
    assert 'name="amount_nano" value="7.5"' in page


def test_case_077_the_lines_of_a_bill_sum_to_what_was_taken(client, customer):
    """Each line is a share of the one rounded sum, so no nano is left over or taken twice."""
    customer.give(USD)
    rates = {"input": 333_333, "output": 1, "cache_read": 999_999, "request": 2 * 10**6}
    prices.publish(prices=prices.ModelPrices("odd", "Odd", rates), effective_at=datetime(2026, 1, 1, tzinfo=UTC))
    quantities = {"input": 7, "output": 11, "cache_read": 1}
    charged = metering.charge(organization_id=customer.id, key="c", usage=Usage(model="odd", quantities=quantities))
    lines = prices.cost_lines(rates=rates, quantities=quantities)
    assert [line.token_class for line in lines] == ["input", "output", "cache_read", "request"]
    assert sum(line.amount_nano for line in lines) == charged.amount_nano
    page = client.get(reverse("admin:billing_charge_change", args=[charged.charge_id])).content.decode()
    shown = re.findall(r"(\S+) (\w+) at \$\S+(?: each)?: \$0\.(\d{9})<br>", page)
    assert [name for _, name, _ in shown] == ["input", "output", "cache_read", "request"]
    taken = -sum(LedgerEntry.objects.filter(kind="burn").values_list("amount_nano", flat=True))
    assert sum(int(nano) for _, _, nano in shown) == charged.amount_nano == taken


def test_staff_see_what_else_stops_an_account_and_end_only_their_own(client, rich):
    url = url_of("state", rich)
    with transaction.atomic():
        usage_blocks.begin(organization=rich.organization, kind=UsageBlock.Kind.STOP, actor=None)
    page = client.get(url).content.decode()
    assert "Stopped by an Admin since" in page
    assert 'value="frozen"' in page, "staff may freeze it too"
    assert 'value="open"' not in page, "staff have nothing to open"
    client.post(url, {"state": "frozen", "reason": REASON, "step": "make"})
    page = client.post(url, {"state": "open", "reason": REASON, "step": "ask"}).content.decode()
    assert "stay refused: stopped by an admin" in page
    page = client.post(url, {"state": "open", "reason": REASON, "step": "make"}, follow=True).content.decode()
    assert "is frozen: stopped by an admin." in page
    assert rich.charge(1, key="frozen").outcome == "organization_suspended"
