"""Receipts and credit notes as pages and as files: what stands on the row, in the same words."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
import stripe
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pypdf import PdfReader

from billing import documents, pdf
from billing.models import BillingDetails, Receipt
from billing.payments import stripe_gateway
from billing.tests.buyer import Buyer
from billing.tests.documents import credited, paid, uncredited
from billing.tests.pages import Pages, text_of

LONG = "Gesellschaft für außerordentlich lange Namen"


@pytest.fixture
def pages(buyer: Buyer) -> Pages:
    return Pages(buyer.billing, slug=buyer.organization.slug)


@pytest.fixture(autouse=True)
def seller(settings):
    settings.SELLER_NAME = "Example Platform Inc."
    settings.SELLER_ADDRESS = "1 Harbor Street\nSan Francisco, CA 94105\nUnited States"
    settings.SELLER_TAX_ID = "US 12-3456789"
    settings.SELLER_EMAIL = "billing@example.com"
    return settings


def give_details(buyer: Buyer, **changes: str) -> None:
    values = {
        "legal_name": "Acme Robotics GmbH",
        "address_line1": "Kanalstraße 7",
        "postal_code": "10117",
        "city": "Berlin",
        "country": "DE",
        "tax_id": "DE123456789",
        **changes,
    }
    BillingDetails.objects.create(
        organization=buyer.organization, updated_at=buyer.now(), updated_by=buyer.billing, **values
    )


def words_of(file: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(file)).pages)


def flat(text: str) -> str:
    return " ".join(text.split())


# The page


def test_a_receipt_says_everything_on_one_page(pages, buyer):
    give_details(buyer)
    receipt = paid(buyer.organization, by=buyer.billing, reference="PO-7")
    text = text_of(pages.get("receipt", number=receipt.number))
    for words in (
        "Receipt R-000001",
        "Example Platform Inc.",
        "San Francisco, CA 94105",
        "Tax ID US 12-3456789",
        "Acme Robotics GmbH",
        "10117 Berlin",
        "Germany",
        "Tax ID DE123456789",
        "Visa ending in 4242",
        "PO-7",
        "Prepaid usage credits for Example Platform",
        "Net $25.00",
        "Tax (none charged) $0.00",
        "Total paid $25.00",
        "Credit to spend $25.00",
        "Credit Terms of 2026-09-01",
    ):
        assert words in text, words


def test_with_debt_the_success_page_and_the_receipt_say_what_was_paid_off_and_what_is_left(pages, buyer):
    buyer.save_card()
    buyer.overspend(400)
    purchase = buyer.buy(2_500)
    page = text_of(pages.get("purchase", purchase_id=purchase.pk))
    assert "$4.00 paid off what was owed. $21.00 of this purchase is left to spend." in page
    receipt = text_of(pages.get("receipt", number=purchase.receipt.number))
    assert "Credit bought $25.00 Paid off what was owed −$4.00 Left to spend $21.00" in receipt
    (mail,) = buyer.mails("Receipt R-000001")
    assert "Paid off what was owed    $4.00" in mail.body
    assert "Left of it to spend       $21.00" in mail.body


def test_a_purchase_that_only_paid_debt_says_that_nothing_is_left(pages, buyer):
    buyer.save_card()
    buyer.overspend(3_000)
    page = text_of(pages.get("purchase", purchase_id=buyer.buy(2_500).pk))
    assert "$25.00 paid off what was owed. Nothing of this purchase is left to spend. $5.00 is still owed." in page


def test_the_debt_of_a_receipt_is_what_its_own_grant_paid(pages, buyer):
    """Debt that comes later is paid by whatever credit there is; the receipt of the first purchase doesn't change."""
    buyer.save_card()
    first = buyer.buy(1_000)
    buyer.overspend(1_200)
    second = buyer.buy(1_000)
    assert "Paid off" not in text_of(pages.get("receipt", number=first.receipt.number))
    assert "Paid off what was owed −$2.00" in text_of(pages.get("receipt", number=second.receipt.number))


def test_the_success_page_leads_to_the_receipt_and_so_do_the_purchases(pages, buyer):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    address = pages.url("receipt", number=1)
    assert address in pages.get("purchase", purchase_id=purchase.pk).content.decode()
    assert address in pages.get().content.decode()
    assert pages.url("receipts") in pages.get().content.decode()


def test_names_are_never_read_as_markup(pages, buyer):
    give_details(buyer, legal_name="<script>alert(1)</script> & Co", city="=cmd()|'x'")
    receipt = paid(buyer.organization, by=buyer.billing, reference='"><img src=x>')
    page = pages.get("receipt", number=receipt.number).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Co" in page
    assert '"><img src=x>' not in page
    words = words_of(pages.get("receipt_pdf", number=receipt.number).content)
    assert "<script>alert(1)</script> & Co" in words
    assert "=cmd()|'x'" in words


def test_what_was_credited_since_is_said_beside_the_receipt_and_not_on_it(pages, buyer):
    receipt = paid(buyer.organization, by=buyer.billing)
    before = words_of(pages.get("receipt_pdf", number=receipt.number).content)
    note = credited(receipt, 1_000)
    page = pages.get("receipt", number=receipt.number)
    assert "Credit note CN-000001 of" in text_of(page)
    assert "takes back $10.00" in text_of(page)
    assert pages.url("credit_note", number=note.number) in page.content.decode()
    assert words_of(pages.get("receipt_pdf", number=receipt.number).content) == before


def test_a_credit_note_says_which_receipt_it_takes_back(pages, buyer):
    give_details(buyer)
    receipt = paid(buyer.organization, by=buyer.billing, reference="PO-7")
    credited(receipt, 1_000)
    text = text_of(pages.get("credit_note", number=1))
    for words in (
        "Credit note CN-000001",
        "For receipt R-000001 of",
        "Refund of prepaid usage credits",
        "Total credited $10.00",
        "Acme Robotics GmbH",
        "PO-7",
        "goes back to Visa ending in 4242",
    ):
        assert words in text, words
    credited(receipt, 500, 2, kind="dispute")
    assert "Payment taken back after a dispute" in text_of(pages.get("credit_note", number=2))


def test_a_canceled_credit_note_and_what_cancels_it_name_each_other(pages, buyer):
    receipt = paid(buyer.organization, by=buyer.billing)
    credited(receipt, 1_000)
    uncredited(receipt)
    assert "was canceled on" in text_of(pages.get("credit_note", number=1))
    text = text_of(pages.get("credit_note", number=2))
    assert "Cancels credit note CN-000001" in text
    assert "The refund could not be made." in text
    assert "over $10.00 was canceled" in text_of(pages.get("receipt", number=1))


# The list


def test_the_list_has_both_kinds_newest_first(pages, buyer):
    receipt = paid(buyer.organization, by=buyer.billing)
    credited(receipt, 1_000)
    paid(buyer.organization, by=buyer.billing, amount_cents=4_000)
    uncredited(receipt)
    text = text_of(pages.get("receipts"))
    order = [text.index(words) for words in ("Cancels CN-000001", "$40.00", "Refund, for R-000001", "$25.00")]
    assert order == sorted(order)
    assert "−$10.00" in text


def test_the_list_goes_on_page_by_page_and_misses_nothing(pages, buyer, monkeypatch):
    monkeypatch.setattr("billing.views.receipts.DOCUMENTS_ON_PAGE", 3)
    for number in range(4):
        receipt = paid(buyer.organization, by=buyer.billing)
        credited(receipt, 100, number)
        if number % 2:
            uncredited(receipt, number)
    seen, query = [], ""
    for _ in range(10):
        response = pages.get("receipts", query)
        seen += [row.document.number_text for row in response.context["rows"]]
        if not response.context["older"]:
            break
        query = f"?before={response.context['older']}"
    assert seen == ["CN-000006", "CN-000005", "R-000004", "CN-000004", "R-000003", "CN-000003", "CN-000002", "R-000002",
                    "CN-000001", "R-000001"]  # fmt: skip


@pytest.mark.parametrize("query", ["?before=", "?before=x", "?before=1", "?before=1-1-1", f"?before={10**19}-{10**18}"])
def test_an_address_that_was_made_up_is_no_error(pages, buyer, query):
    paid(buyer.organization, by=buyer.billing)
    assert pages.get("receipts", query).status_code == 200


def test_the_number_of_queries_does_not_grow(pages, buyer, django_assert_num_queries):
    receipt = paid(buyer.organization, by=buyer.billing)
    credited(receipt, 100)
    uncredited(receipt)
    pages.get("receipts")
    with CaptureQueriesContext(connection) as before:
        pages.get("receipts")
    with CaptureQueriesContext(connection) as one:
        pages.get("receipt", number=receipt.number)
    for number in range(5):
        more = paid(buyer.organization, by=buyer.billing)
        credited(more, 100, number)
        uncredited(more, number)
        credited(receipt, 10, 10 + number)
    with django_assert_num_queries(len(before)):
        pages.get("receipts")
    with django_assert_num_queries(len(one)):
        pages.get("receipt", number=receipt.number)


def test_without_receipts_the_list_says_so(pages):
    assert "No receipts yet" in text_of(pages.get("receipts"))


# The file


def test_the_file_says_what_the_page_says(pages, buyer):
    give_details(buyer)
    buyer.overspend(400)
    receipt = paid(buyer.organization, by=buyer.billing, reference="PO-7")
    response = pages.get("receipt_pdf", number=receipt.number)
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == 'attachment; filename="R-000001.pdf"'
    words = flat(words_of(response.content))
    printed = documents.receipt_in_words(receipt)
    lines = [*printed.facts, printed.item, *printed.sums, *printed.credit]
    for text in [part for line in lines for part in (line.label, line.detail, line.text) if part]:
        assert text in words, text
    for party in printed.parties:
        for text in (party.name, *party.address, party.tax_id, party.email):
            assert text in words, text
    assert "Page 1 of 1" in words


def test_a_file_names_itself_in_its_own_data(pages, buyer):
    receipt = paid(buyer.organization, by=buyer.billing)
    reader = PdfReader(io.BytesIO(pages.get("receipt_pdf", number=receipt.number).content))
    assert reader.metadata.title == "Receipt R-000001"
    assert reader.metadata.author == "Example Platform Inc."
    assert reader.metadata.creation_date == receipt.issued_at.replace(microsecond=0)
    assert str(reader.root_object["/Lang"]) == "en-US"


def test_the_same_document_is_the_same_file_whenever_it_is_made(pages, buyer, monkeypatch):
    receipt = paid(buyer.organization, by=buyer.billing)
    first = pages.get("receipt_pdf", number=receipt.number).content
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    assert pages.get("receipt_pdf", number=receipt.number).content == first


def test_long_names_are_kept_whole_and_go_on_on_another_page(pages, buyer, settings):
    settings.SELLER_ADDRESS = "\n".join([f"{LONG} {place}" for place in range(14)])
    give_details(buyer, legal_name=(LONG + " ") * 4, address_line1="W" * 120, city="x" * 100)
    receipt = paid(buyer.organization, by=buyer.billing, reference="M" * 64)
    reader = PdfReader(io.BytesIO(pages.get("receipt_pdf", number=receipt.number).content))
    words = "".join("".join(page.extract_text().split()) for page in reader.pages)
    for text in ("W" * 120, "x" * 100, "M" * 64, "Gesellschaftfüraußerordentlich" + "langeNamen13", "Totalpaid$25.00"):
        assert text in words, text
    printed = replace(documents.receipt_in_words(receipt), facts=tuple(documents.Line("Fact", LONG) for _ in range(60)))
    pages_of_many = PdfReader(io.BytesIO(pdf.pdf_of(printed, page_url=""))).pages
    assert [f"Page {place} of 3" in page.extract_text() for place, page in enumerate(pages_of_many, 1)] == [True] * 3
    assert sum(page.extract_text().count(LONG) for page in pages_of_many) >= 60


@pytest.mark.parametrize("name", ["Łódź İstanbul Việt Nam Ünal", "Общество «Акме»", "Ἀθῆναι Ακμή"])
def test_names_in_latin_greek_and_cyrillic_stand_in_the_file(pages, buyer, name):
    give_details(buyer, legal_name=name)
    receipt = paid(buyer.organization, by=buyer.billing)
    words = flat(words_of(pages.get("receipt_pdf", number=receipt.number).content))
    assert name in words
    assert "can be read at" not in words


def test_where_the_fonts_lack_a_script_the_file_says_where_to_read_the_name(pages, buyer):
    give_details(buyer, legal_name="株式会社アクメ")
    receipt = paid(buyer.organization, by=buyer.billing)
    assert "株式会社アクメ" in text_of(pages.get("receipt", number=receipt.number))
    words = flat(words_of(pages.get("receipt_pdf", number=receipt.number).content))
    assert "\ufffd" * 7 in words
    assert f"http://localhost:8000{pages.url('receipt', number=receipt.number)}" in words.replace(" ", "")


def test_more_fonts_are_used_where_they_are_needed_and_a_missing_file_is_no_error(pages, buyer, settings, caplog):
    give_details(buyer, legal_name="株式会社アクメ")
    settings.RECEIPT_FONTS = ["/nowhere/font.ttf", str(pdf.FONTS / "NotoSans-Regular.ttf") + "#0"]
    receipt = paid(buyer.organization, by=buyer.billing)
    assert "\ufffd" in words_of(pages.get("receipt_pdf", number=receipt.number).content)
    assert "/nowhere/font.ttf of RECEIPT_FONTS can't be used" in caplog.text


# The payment processor's own


def test_stripes_own_receipt_is_asked_for_when_it_is_wanted(pages, buyer):
    buyer.save_card()
    buyer.buy(2_500)
    assert pages.url("receipt_at_processor", number=1) in pages.get("receipt", number=1).content.decode()
    response = pages.get("receipt_at_processor", number=1)
    assert response.status_code == 302
    assert response["Location"].startswith(f"{buyer.stripe.base_url}/receipts/ch_")


def test_without_an_answer_the_receipt_page_says_so(pages, buyer, settings):
    buyer.save_card()
    buyer.buy(2_500)
    buyer.stripe.control.add_fault("refuse", method="GET", path="/v1/payment_intents", times=9)
    response = pages.client.get(pages.url("receipt_at_processor", number=1), follow=True)
    assert response.redirect_chain[-1][0] == pages.url("receipt", number=1)
    assert "does not show its receipt right now" in text_of(response)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://elsewhere.example/r", "//elsewhere.example", None])
def test_nobody_is_led_to_an_address_that_is_not_safe(pages, buyer, monkeypatch, url):
    receipt = paid(buyer.organization, by=buyer.billing)
    answer = SimpleNamespace(latest_charge=stripe.Charge.construct_from({"id": "ch_1", "receipt_url": url}, None))
    intents = SimpleNamespace(retrieve=lambda *_: answer)
    monkeypatch.setattr(stripe_gateway, "_client", lambda: SimpleNamespace(v1=SimpleNamespace(payment_intents=intents)))
    assert pages.get("receipt_at_processor", number=1)["Location"] == pages.url("receipt", number=receipt.number)
    answer.latest_charge.receipt_url = "https://pay.stripe.com/receipts/1"
    assert pages.get("receipt_at_processor", number=1)["Location"] == "https://pay.stripe.com/receipts/1"


# Mail


def test_the_mail_of_a_purchase_names_and_links_its_receipt(pages, buyer):
    give_details(buyer, reference="PO-2026-114")
    buyer.save_card()
    buyer.arm(500, 2_000)
    buyer.buy(2_500)
    (mail,) = buyer.mails("Receipt R-000001: $25.00 of credits")
    site = "http://localhost:8000"
    assert site + pages.url("receipt", number=1) in mail.body
    assert site + pages.url("receipt_pdf", number=1) in mail.body
    assert "Your reference" not in mail.body
    assert pages.client.get(pages.url("receipt_pdf", number=1)).status_code == 200


def test_the_mail_of_a_reload_names_and_links_its_receipt(pages, buyer):
    give_details(buyer, reference="PO-2026-114")
    buyer.save_card()
    buyer.arm(500, 2_000)
    assert buyer.attempt() is not None
    (mail,) = buyer.mails("Auto-reload")
    assert "Receipt R-000001" in mail.body
    assert "http://localhost:8000" + pages.url("receipt_pdf", number=1) in mail.body
    assert "Your reference            PO-2026-114" in mail.body


def test_a_credit_note_is_mailed_once_to_each_admin_and_billing_member(pages, buyer):
    receipt = paid(buyer.organization, by=buyer.billing)
    credited(receipt, 1_000)
    credited(receipt, 1_000)
    (mail,) = buyer.mails("Credit note CN-000001: $10.00")
    assert "refunded $10.00 to Visa ending in 4242" in mail.body
    assert "http://localhost:8000" + pages.url("credit_note", number=1) in mail.body
    assert buyer.admin.email in mail.body
    assert buyer.developer.email not in mail.body
    uncredited(receipt)
    (mail,) = buyer.mails("Credit note CN-000001 is canceled")
    assert "could not be made after all" in mail.body
    credited(receipt, 500, 2, kind="dispute")
    (mail,) = buyer.mails("Credit note CN-000003")
    assert "took back $5.00 after a dispute" in mail.body


def test_every_receipt_is_for_its_own_organization_only(pages, buyer):
    mine = paid(buyer.organization, by=buyer.billing)
    other = Buyer(buyer.stripe)
    theirs = paid(other.organization, by=other.billing)
    assert pages.get("receipt", number=mine.number).status_code == 200
    assert pages.get("receipt", number=theirs.number).status_code == 404
    assert "R-000002" not in text_of(pages.get("receipts"))
    assert Receipt.objects.count() == 2
