"""Giving promotional credit: with a reason, within limits, once for each form however often it is sent."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from accounts.models import AuditEvent
from billing.admin.forms import PromotionalCreditForm
from billing.credits import ledger, promotions
from billing.errors import Refused
from billing.models import CreditLot, LedgerEntry
from billing.tests import staff
from billing.tests.buyer import at_once
from billing.tests.customer import Customer

pytestmark = pytest.mark.django_db

REASON = "Outage of 3 November, ticket 4711"


@pytest.fixture
def giver():
    return staff.somebody("view_billingaccount", "give_promotional_credit")


@pytest.fixture
def client(giver):
    return staff.at_the_browser(giver)


def url_of(customer: Customer) -> str:
    return reverse("admin:billing_billingaccount_promotional_credit", args=[customer.id])


def last_day(days: int = 30) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def filled(**changes: str) -> dict[str, str]:
    """The form as staff send it at the last step, with a key of its own."""
    return {
        "grant_key": str(uuid4()),
        "amount_cents": "12.50",
        "last_day": last_day(),
        "label": "Thank you",
        "reason": REASON,
        "step": "give",
        **changes,
    }


def lots() -> list[CreditLot]:
    return list(CreditLot.objects.order_by("id"))


def test_the_form_is_shown_asked_again_and_then_gives(client, giver, customer):
    page = client.get(url_of(customer)).content.decode()
    key = re.search(r'name="grant_key" value="([0-9a-f-]{36})"', page)
    assert key is not None
    form = filled(grant_key=key[1], step="ask")
    page = client.post(url_of(customer), form).content.decode()
    assert "$12.50" in page
    assert "Give $12.50" in page
    assert key[1] in page
    assert lots() == []

    response = client.post(url_of(customer), {**form, "step": "give"}, follow=True)
    assert "$12.50 given to Acme" in response.content.decode()
    (lot,) = lots()
    assert (lot.kind, lot.granted_nano, lot.label, lot.reason) == ("promotional", 125 * 10**8, "Thank you", REASON)
    assert (lot.actor_id, str(lot.grant_key)) == (giver.pk, key[1])
    assert lot.expires_at == datetime.fromisoformat(f"{last_day()}T00:00:00+00:00") + timedelta(days=1)
    (event,) = AuditEvent.objects.filter(action="promotional_credit.given")
    assert (event.actor, event.organization, event.target) == (giver, customer.organization, f"lot:{lot.pk}")
    assert event.after["amount_cents"] == 1_250
    assert event.origin.ip_address == "127.0.0.1"
    assert customer.summary().available_nano == 125 * 10**8


def test_a_form_is_offered_with_ninety_days_and_a_label(client, customer):
    page = client.get(url_of(customer)).content.decode()
    assert f'value="{last_day(90)}"' in page
    assert 'value="Promotional credit"' in page


def test_what_was_typed_is_kept_when_it_is_changed_again(client, customer):
    page = client.post(url_of(customer), filled(step="change", label="Sorry")).content.decode()
    assert 'value="Sorry"' in page
    assert 'value="12.50"' in page
    assert lots() == []


def test_a_form_that_is_sent_twice_gives_once(client, customer):
    form = filled()
    client.post(url_of(customer), form)
    response = client.post(url_of(customer), form, follow=True)
    assert "already, once" in response.content.decode()
    assert len(lots()) == 1
    assert LedgerEntry.objects.filter(kind="grant").count() == 1
    assert AuditEvent.objects.filter(action="promotional_credit.given").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_form_that_is_sent_by_many_at_once_gives_once(customer):
    user = staff.superuser()
    browsers = [staff.at_the_browser(user) for _ in range(8)]
    form = filled()
    sends = [partial(browser.post, url_of(customer), form) for browser in browsers]
    assert [getattr(answer, "status_code", answer) for answer in at_once(sends)] == [302] * 8
    assert len(lots()) == 1
    assert AuditEvent.objects.filter(action="promotional_credit.given").count() == 1


@pytest.mark.parametrize(
    "change",
    [{"amount_cents": "12.51"}, {"label": "Other"}, {"reason": "Another good reason"}, {"last_day": last_day(31)}],
)
def test_a_form_that_was_sent_and_changed_gives_nothing_more(client, customer, change):
    form = filled()
    client.post(url_of(customer), form)
    response = client.post(url_of(customer), {**form, **change})
    assert response.status_code == 200
    assert "already, with other content" in response.content.decode()
    assert len(lots()) == 1


def test_two_forms_give_twice_and_two_organizations_may_share_a_key(client, customer):
    form = filled()
    client.post(url_of(customer), form)
    client.post(url_of(customer), filled())
    client.post(url_of(Customer("other")), form)
    assert [lot.organization.slug for lot in lots()] == ["acme", "acme", "other"]


def test_without_the_right_to_give_nothing_is_given(customer):
    for user in (staff.somebody("view_billingaccount"), staff.somebody("view_billingaccount", "add_creditlot")):
        client = staff.at_the_browser(user)
        assert client.get(url_of(customer)).status_code == 403
        assert client.post(url_of(customer), filled()).status_code == 403
        page = client.get(reverse("admin:billing_billingaccount_change", args=[customer.id])).content.decode()
        assert "Give promotional credit" not in page
    assert lots() == []


def test_the_account_of_an_organization_without_money_yet_can_be_given_credit(client):
    new = Customer("new")
    client.post(url_of(new), filled(amount_cents="0.01"))
    assert [lot.granted_nano for lot in lots()] == [10**7]


def test_debt_is_paid_first_and_the_form_says_so(client, customer):
    customer.report(5 * 10**8, key="work")
    assert "of debt is paid first" in client.post(url_of(customer), filled(step="ask")).content.decode()
    client.post(url_of(customer), filled())
    assert customer.summary().debt_nano == 0
    assert customer.summary().available_nano == 12 * 10**9


BAD_AMOUNTS = (
    "", " ", "0", "0.00", "-1", "+1", "1e3", "1_000", "NaN", "Infinity", "0x10", "10000.01", "99999999999", "9" * 400,
    "1.005", "1,5", "1.", ".5", "١٢", "１２", "12\u200b", "1\x00", "\x00", "12 USD", "<b>1</b>", "1;drop", "true", "[]",
)  # fmt: skip
BAD_DAYS = (
    "", "2026-13-01", "2027-02-30", "2000-01-01", "9999-12-31", "9998-12-31", "0000-01-01", "٢٠٢٧-٠١-٠١", "1e9",
    "\x00", "2027-01-01\x00", "tomorrow", "20270101", "2027-W01-1", "-1", "9" * 50, last_day(-2), last_day(3_000),
)  # fmt: skip
BAD_LABELS = ("", "  ", "x" * 81, "a\x00b", "a\nb", "a\u202eb", "\u200b")
BAD_REASONS = ("", "short", " " * 50, "x" * 501, "long enough but \x00")
BAD_KEYS = ("", "x", "1", "\x00", "9" * 400, "00000000-0000-0000-0000-00000000000g")


@pytest.mark.parametrize("step", ["ask", "give"])
@pytest.mark.parametrize(
    ("field", "texts"),
    [
        ("amount_cents", BAD_AMOUNTS),
        ("last_day", BAD_DAYS),
        ("label", BAD_LABELS),
        ("reason", BAD_REASONS),
        ("grant_key", BAD_KEYS),
    ],
)
def test_bad_input_is_an_error_at_its_field(client, customer, field, texts, step):
    for text in texts:
        response = client.post(url_of(customer), filled(**{field: text}, step=step))
        assert response.status_code == 200, text
        assert list(response.context["form"].errors) == [field], text
        assert "errorlist" in response.content.decode(), text
    assert lots() == []


def test_missing_fields_are_errors_and_extra_ones_mean_nothing(client, customer):
    assert client.post(url_of(customer), {"step": "give"}).status_code == 200
    assert lots() == []
    extra = {"organization": "2", "kind": "purchase", "actor_id": "1", "granted_nano": "9", "expires_at": "2090-01-01"}
    client.post(url_of(customer), {**filled(), **extra})
    (lot,) = lots()
    assert (lot.kind, lot.granted_nano, lot.organization_id) == ("promotional", 125 * 10**8, customer.id)


def test_what_is_typed_is_escaped(client, customer):
    page = client.post(url_of(customer), filled(label="<i>{{7*7}}", reason="<script>alert(1)", step="ask")).content
    assert b"<i>" not in page
    assert b"<script>alert" not in page
    client.post(url_of(customer), filled(label="<i>{{7*7}}"))
    page = client.get(reverse("admin:billing_billingaccount_change", args=[customer.id])).content
    assert b"&lt;i&gt;{{7*7}}" in page


def test_the_limit_is_a_setting(client, customer, settings):
    settings.PROMOTIONAL_CREDIT_MAXIMUM_CENTS = 1_250
    client.post(url_of(customer), filled())
    assert len(lots()) == 1
    page = client.post(url_of(customer), filled(amount_cents="12.51")).content.decode()
    assert "$0.01 to $12.50" in page
    assert len(lots()) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount_cents", 0),
        ("amount_cents", -1),
        ("amount_cents", 10**30),
        ("expires_at", datetime(2020, 1, 1, tzinfo=UTC)),
        ("expires_at", datetime(9999, 1, 1, tzinfo=UTC)),
        ("label", ""),
        ("reason", "short"),
        ("reason", "long enough but \x00"),
    ],
)
def test_the_use_case_refuses_what_the_form_would(customer, giver, field, value):
    wanted = {
        "amount_cents": 100,
        "expires_at": datetime.now(UTC) + timedelta(days=1),
        "label": "Hello",
        "reason": REASON,
        field: value,
    }
    with pytest.raises(Refused) as refusal:
        promotions.give_promotional_credit(organization=customer.organization, **wanted, actor=giver, grant_key=uuid4())
    assert refusal.value.field == field
    assert lots() == []
    assert not AuditEvent.objects.filter(action="promotional_credit.given").exists()


def test_credit_and_audit_event_stand_or_fall_together(customer, giver, monkeypatch):
    def fail(**_):
        raise IntegrityError

    monkeypatch.setattr("accounts.audit.record", fail)
    with pytest.raises(IntegrityError), transaction.atomic():
        promotions.give_promotional_credit(
            organization=customer.organization,
            amount_cents=100,
            expires_at=datetime.now(UTC) + timedelta(days=1),
            label="Hello",
            reason=REASON,
            actor=giver,
            grant_key=uuid4(),
        )
    assert lots() == []


def test_the_database_keeps_one_lot_for_a_key(customer):
    key = uuid4()
    first = ledger.grant(
        organization_id=customer.id, kind=CreditLot.Kind.PROMOTIONAL, amount_nano=5, reason=REASON, grant_key=key,
        expires_at=datetime(2090, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    again = ledger.grant(
        organization_id=customer.id, kind=CreditLot.Kind.PROMOTIONAL, amount_nano=5, reason=REASON, grant_key=key,
        expires_at=datetime(2090, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert (first.is_replay, again.is_replay, again.lot_id) == (False, True, first.lot_id)
    with connection.cursor() as cursor:
        cursor.execute("select indexdef from pg_indexes where indexname = 'lot_one_per_grant_key'")
        (definition,) = cursor.fetchone()
    assert "UNIQUE" in definition


def test_a_key_is_part_of_what_a_lot_was_granted_as(owner_connection):
    """The guard of lots covers the key, for the owner of the table too."""
    row = owner_connection.execute(
        "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'lot_update_guarded'"
    ).fetchone()
    assert row is not None
    assert "grant_key" in row[0]


def test_a_day_ends_at_midnight_utc():
    form = PromotionalCreditForm(filled(last_day="2028-02-29"))
    assert form.is_valid()
    assert form.promotion["expires_at"] == datetime(2028, 3, 1, tzinfo=UTC)
