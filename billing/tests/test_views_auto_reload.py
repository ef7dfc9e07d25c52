"""Auto-reload on the page: nothing is switched on that the sentence on the page did not say."""

import pytest

from billing.models import AutoReload, AutoReloadConsent, PaymentMethod
from billing.tests.buyer import Buyer
from billing.tests.pages import Pages, fields_of, text_of


@pytest.fixture
def pages(buyer: Buyer) -> Pages:
    return Pages(buyer.billing, slug=buyer.organization.slug)


def switched_on(pages, **amounts):
    """Fill in the form and send it, and once more if the page asks to read the sentence again."""
    response = pages.post("auto_reload", pages.form("auto_reload") | {"is_enabled": "on"} | amounts)
    if response.status_code == 200:
        response = pages.post("auto_reload", fields_of(response))
    return response


def test_it_is_off_until_somebody_switches_it_on(pages, buyer):
    buyer.save_card()
    buyer.buy()
    assert "is_enabled" not in pages.form("auto_reload")
    assert not AutoReload.objects.exists()


def test_without_a_card_the_way_to_one_and_back_is_shown(pages):
    response = pages.get("auto_reload")
    assert f"{pages.url('card')}?next=auto-reload" in response.content.decode()
    assert "needs one first" in text_of(response)


def test_the_sentence_names_the_card_and_the_amounts(pages, buyer):
    buyer.save_card()
    text = text_of(pages.get("auto_reload"))
    assert "When credit falls below $10.00" in text
    assert "charge Visa ending in 4242 to bring it back to $50.00" in text
    assert "$200.00 in a calendar month" in text


def test_the_template_of_the_sentence_has_a_place_for_each_amount(pages, buyer):
    buyer.save_card()
    template = pages.get("auto_reload").context["consent_template"]
    for place in ("{minimum}", "{target}", "{monthly_cap}"):
        assert template.count(place) == 1
    assert "$" not in template


def test_saving_with_the_amounts_on_the_page_switches_it_on(pages, buyer):
    buyer.save_card()
    response = pages.client.post(
        pages.url("auto_reload"), pages.form("auto_reload") | {"is_enabled": "on"}, follow=True
    )
    assert response.redirect_chain == [(pages.url("overview"), 302)]
    assert "Auto-reload is on." in text_of(response)
    assert "Armed" in text_of(response)
    assert "Set by Jonas Weber" in text_of(response)
    assert buyer.reload.minimum_cents == 1_000


def test_other_amounts_are_read_once_more_before_they_are_agreed_to(pages, buyer):
    buyer.save_card()
    form = pages.form("auto_reload") | {"is_enabled": "on", "minimum": "5", "target": "20", "monthly_cap": "100"}
    asked = pages.post("auto_reload", form)
    assert asked.status_code == 200
    assert "Nothing is saved yet" in text_of(asked)
    assert "When credit falls below $5.00" in text_of(asked)
    assert not AutoReload.objects.exists()
    assert pages.post("auto_reload", fields_of(asked)).status_code == 302
    consent = AutoReloadConsent.objects.get()
    assert consent.consent_text in text_of(asked)
    assert (consent.minimum_cents, consent.target_cents, consent.monthly_cap_cents) == (500, 2_000, 10_000)


def test_switching_off_takes_one_click_and_keeps_the_amounts(pages, buyer):
    buyer.save_card()
    buyer.arm(minimum_cents=700, target_cents=2_500, cap_cents=9_000)
    form = pages.form("auto_reload")
    assert form["is_enabled"] == "on"
    del form["is_enabled"]
    response = pages.client.post(pages.url("auto_reload"), form, follow=True)
    assert "Auto-reload is off." in text_of(response)
    assert not buyer.reload.is_enabled
    assert (buyer.reload.minimum_cents, buyer.reload.target_cents) == (700, 2_500)
    again = pages.form("auto_reload")
    assert (again["minimum"], again["target"], again["monthly_cap"]) == ("7", "25", "90")


@pytest.mark.parametrize("typed", ["", "nonsense", "\x00", "9" * 100])
def test_switching_off_works_whatever_stands_in_the_amounts(pages, buyer, typed):
    buyer.save_card()
    buyer.arm()
    response = pages.post("auto_reload", {"minimum": typed, "target": typed, "monthly_cap": typed})
    assert response.status_code == 302
    assert not buyer.reload.is_enabled


def test_switching_off_works_when_the_card_is_gone(pages, buyer):
    card = buyer.save_card()
    buyer.arm()
    PaymentMethod.objects.filter(pk=card.pk).update(is_default=False, removed_at=buyer.now())
    form = pages.form("auto_reload")
    del form["is_enabled"]
    assert pages.post("auto_reload", form).status_code == 302
    assert not buyer.reload.is_enabled


@pytest.mark.parametrize(
    ("field", "amounts"),
    [
        ("minimum", {"minimum": "x"}),
        ("target", {"target": ""}),
        ("monthly_cap", {"monthly_cap": "-5"}),
        ("target", {"minimum": "50", "target": "20"}),
        ("monthly_cap", {"minimum": "5", "target": "100", "monthly_cap": "1"}),
        ("minimum", {"minimum": "999999999", "target": "999999999", "monthly_cap": "999999999"}),
    ],
)
def test_amounts_that_will_not_do_are_told_at_a_field(pages, buyer, field, amounts):
    buyer.save_card()
    response = switched_on(pages, **amounts)
    assert response.status_code == 422
    assert response.context["form"].errors
    assert not AutoReload.objects.exists()
    if amounts.keys() == {field}:
        assert field in response.context["form"].errors


def test_a_purchase_never_changes_the_settings(pages, buyer):
    buyer.save_card()
    buyer.arm()
    before = AutoReload.objects.values().get()
    pages.post("buy", pages.form("buy") | {"terms": "on"})
    assert AutoReload.objects.values().get() == before
