"""Update payment method: no card number comes here, and nothing that the browser says is believed."""

import pytest

from accounts.tests import cast
from billing.models import CardSetup, PaymentMethod
from billing.payments.payment_methods import CardForm
from billing.tests.buyer import MASTERCARD, VISA, Buyer
from billing.tests.pages import Pages, text_of


@pytest.fixture
def pages(buyer: Buyer) -> Pages:
    return Pages(buyer.billing, slug=buyer.organization.slug)


def begin(pages):
    answer = pages.post("card", {"action": "begin"})
    assert answer.status_code == 200, answer.content
    return CardForm(**answer.json())


def test_the_dialog_has_the_element_the_consent_and_the_way_back(pages):
    response = pages.get("card")
    body = response.content.decode()
    assert 'role="dialog"' in body
    assert "data-card-element" in body
    assert "Update payment method" in text_of(response)
    assert "saved with our payment processor" in text_of(response)
    assert "This step needs JavaScript." in text_of(response)


def test_only_this_page_may_load_the_processors_script(pages, settings):
    policy = pages.get("card").headers["Content-Security-Policy"]
    assert settings.STRIPE_JS_ORIGIN in policy
    assert "'unsafe-inline'" not in policy
    assert settings.STRIPE_JS_ORIGIN not in pages.get("overview").headers["Content-Security-Policy"]


def test_reading_the_page_begins_nothing(pages):
    pages.get("card")
    assert not CardSetup.objects.exists()


def test_a_card_that_the_processor_has_checked_becomes_the_payment_method(pages, buyer):
    form = begin(pages)
    buyer.type_card(form)
    response = pages.client.post(pages.url("card"), {"setup_intent_id": form.setup_intent_id}, follow=True)
    assert "Visa ending in 4242 is now your payment method." in text_of(response)
    assert response.redirect_chain == [(pages.url("overview"), 302)]
    # A second sending of the same form, by a double click or the back button, is the same card.
    pages.post("card", {"setup_intent_id": form.setup_intent_id})
    assert PaymentMethod.objects.filter(organization=buyer.organization).count() == 1


def test_a_new_card_replaces_the_former_one(pages, buyer):
    buyer.save_card(VISA)
    form = begin(pages)
    buyer.type_card(form, MASTERCARD)
    pages.post("card", {"setup_intent_id": form.setup_intent_id})
    text = text_of(pages.get())
    assert "Mastercard ending in 4444" in text
    assert "4242" not in text


@pytest.mark.parametrize(("next_page", "leads_to"), [("buy", "buy"), ("auto-reload", "auto_reload"), ("", "overview")])
def test_afterwards_it_goes_on_to_where_the_card_was_missing(pages, buyer, next_page, leads_to):
    assert f'name="next" value="{next_page}"' in pages.get("card", f"?next={next_page}").content.decode()
    form = begin(pages)
    buyer.type_card(form)
    response = pages.post("card", {"setup_intent_id": form.setup_intent_id, "next": next_page})
    assert response.url == pages.url(leads_to)


@pytest.mark.parametrize(
    "next_page", ["https://evil.example/", "//evil.example", "/admin/", "billing:buy", "javascript:alert(1)", "\x00"]
)
def test_no_link_leads_away_from_the_console(pages, buyer, next_page):
    form = begin(pages)
    buyer.type_card(form)
    response = pages.post("card", {"setup_intent_id": form.setup_intent_id, "next": next_page})
    assert response.url == pages.url("overview")


def test_a_setup_that_was_not_finished_saves_nothing_and_says_so(pages, buyer):
    form = begin(pages)
    response = pages.post("card", {"setup_intent_id": form.setup_intent_id})
    assert response.status_code == 422
    assert "The card was not saved." in text_of(response)
    assert not PaymentMethod.objects.filter(organization=buyer.organization).exists()


@pytest.mark.parametrize("text", ["", "seti_none", "pi_1", "\x00", "x" * 5_000])
def test_what_is_no_setup_of_ours_is_refused_in_words(pages, text):
    response = pages.post("card", {"setup_intent_id": text})
    assert response.status_code == 422
    assert "notice bad" in response.content.decode()


def test_the_setup_of_another_organization_is_not_known(pages, buyer):
    form = begin(pages)
    buyer.type_card(form)
    other = cast.organization("Borealis")
    cast.member(other, role="admin", user=buyer.billing)
    response = Pages(buyer.billing, slug=other.slug).post("card", {"setup_intent_id": form.setup_intent_id})
    assert response.status_code == 422
    assert not PaymentMethod.objects.exists()


def test_trying_many_cards_is_refused_in_words(pages):
    for _ in range(5):
        begin(pages)
    answer = pages.post("card", {"action": "begin"})
    assert answer.status_code == 409
    assert "Too many cards were tried" in answer.json()["error"]


def test_an_unreachable_processor_is_said_and_can_be_tried_again(pages, buyer, settings):
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    answer = pages.post("card", {"action": "begin"})
    assert answer.status_code == 503
    assert "could not be reached" in answer.json()["error"]
