"""Who buys: given by those who manage billing, cleaned, audited without names, and printed from then on only."""

import pytest

from accounts.models import AuditEvent, Membership
from accounts.permissions import Role
from billing import countries
from billing.errors import Refused
from billing.forms import BillingDetailsForm
from billing.models import BillingDetails, Receipt
from billing.payments import billing_details
from billing.payments.billing_details import Details
from billing.tests.buyer import Buyer
from billing.tests.pages import Pages, text_of

ACME = {
    "legal_name": "Acme Robotics GmbH",
    "address_line1": "Kanalstraße 7",
    "address_line2": "",
    "postal_code": "10117",
    "city": "Berlin",
    "region": "",
    "country": "DE",
    "tax_id": "de 136 695 976",
    "reference": "PO-2026-114",
}


@pytest.fixture
def pages(buyer: Buyer) -> Pages:
    return Pages(buyer.billing, slug=buyer.organization.slug)


def errors_of(**changes: str) -> dict[str, list[str]]:
    return {name: list(errors) for name, errors in BillingDetailsForm(ACME | changes).errors.items()}


def test_details_are_saved_and_shown_and_printed_from_then_on(pages, buyer):
    buyer.save_card()
    before = Receipt.objects.get(purchase=buyer.buy(1_000))
    assert "without an address or a tax ID" in text_of(pages.get())
    response = pages.client.post(pages.url("billing_details"), ACME, follow=True)
    assert response.redirect_chain == [(pages.url("overview"), 302)]
    text = text_of(response)
    assert "Billing details saved." in text
    assert "Acme Robotics GmbH" in text
    assert "10117 Berlin" in text
    assert "Germany" in text
    after = Receipt.objects.get(purchase=buyer.buy(1_000))
    assert (after.buyer_name, after.buyer_tax_id) == ("Acme Robotics GmbH", "DE136695976")
    before.refresh_from_db()
    assert before.buyer_name == buyer.organization.name


def test_the_form_begins_with_what_is_known(pages, buyer):
    assert f'value="{buyer.organization.name}"' in pages.get("billing_details").content.decode()
    pages.post("billing_details", ACME)
    page = pages.get("billing_details").content.decode()
    assert 'value="Acme Robotics GmbH"' in page
    assert '<option value="DE" selected>Germany</option>' in page


def test_history_tells_which_details_changed_and_no_name(pages, buyer):
    pages.post("billing_details", ACME)
    pages.post("billing_details", ACME | {"city": "Potsdam"})
    pages.post("billing_details", ACME | {"city": "Potsdam"})
    first, second = AuditEvent.objects.filter(action="billing_details.changed").order_by("id")
    assert first.actor == buyer.billing
    assert "legal_name" in first.after["changed"]
    assert second.after == {"changed": ["city"], "country": "DE"}
    assert "Acme" not in str(first.after)
    assert "Potsdam" not in str(second.after)


def test_what_is_missing_is_said_at_its_field_and_nothing_is_lost(pages):
    response = pages.post("billing_details", ACME | {"city": " ", "country": "XX", "tax_id": "?"})
    assert response.status_code == 422
    text = text_of(response)
    assert "Write the city." in text
    assert "Choose a country of the list." in text
    assert "Write the tax ID in letters and digits" in text
    assert 'value="Kanalstraße 7"' in response.content.decode()
    assert not BillingDetails.objects.exists()


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "a\x1bb", "a\u202eb", "a\u200bb", "a\u2028b", "a\ue000b", "tab\there", "bell\x07"]
)
def test_what_can_not_be_seen_is_refused(text):
    assert errors_of(legal_name=text) == {
        "legal_name": ["Remove the characters that can't be seen or that break the line."]
    }


def test_null_characters_are_refused_too():
    assert set(errors_of(legal_name="a\x00b")) == {"legal_name"}


@pytest.mark.parametrize(
    "name", ["Ünal & Söhne <GmbH>", "株式会社アクメ", "Общество «Акме»", "شركة أكمي", "=HYPERLINK()"]
)
def test_names_of_all_scripts_are_taken_as_they_are(name):
    form = BillingDetailsForm(ACME | {"legal_name": f"  {name}  "})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["legal_name"] == name


@pytest.mark.parametrize(
    ("name", "length"),
    [("legal_name", 200), ("address_line1", 120), ("address_line2", 120), ("postal_code", 20), ("city", 100),
     ("region", 100), ("reference", 64)],
)  # fmt: skip
def test_each_field_takes_its_length_and_no_more(name, length):
    assert errors_of(**{name: "x" * length}) == {}
    assert set(errors_of(**{name: "x" * (length + 1)})) == {name}


@pytest.mark.parametrize(
    ("country", "tax_id"),
    [
        ("DE", "DE136695976"),
        ("US", "91-1144442"),
        ("IN", "27AAPFU0939F1ZV"),
        ("CH", "CHE-107.787.577 MWST"),
        ("AT", "ATU13585627"),
        ("DE", ""),
        ("AE", "100123456700003"),
    ],
)
def test_tax_ids_of_many_countries_are_taken(country, tax_id):
    assert errors_of(country=country, tax_id=tax_id) == {}


@pytest.mark.parametrize(
    "tax_id",
    ["12", "no digits", "<b>123</b>", "１２３４５６", "-" * 10, "DE123456789" * 4, "DE123456789", "ATU13585627"],
)
def test_what_is_no_tax_id_is_refused(tax_id):
    assert set(errors_of(tax_id=tax_id)) == {"tax_id"}


def test_who_lost_the_right_meanwhile_changes_nothing(buyer):
    Membership.objects.filter(user=buyer.billing).update(role=Role.DEVELOPER)
    with pytest.raises(Refused, match="You may not change billing details"):
        billing_details.save(
            organization=buyer.organization, actor=buyer.billing, details=Details(**ACME), at=buyer.now()
        )
    assert not BillingDetails.objects.exists()


def test_there_are_all_countries():
    assert len(countries.NAMES) == 249
    assert countries.name_of("DE") == "Germany"
    assert countries.name_of("ZZ") == "ZZ"
    assert all(len(code) == 2 and code.isupper() for code in countries.NAMES)
