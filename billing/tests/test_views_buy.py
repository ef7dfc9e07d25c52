"""Buying on the page: one rendered form is one purchase, and whatever goes wrong is said at the form."""

import uuid
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from accounts.tests import cast
from billing.models import Purchase
from billing.terms import CREDIT_TERMS
from billing.tests.buyer import ASKS_ALWAYS, DECLINES_WHEN_CHARGED, Buyer
from billing.tests.pages import Pages, fields_of, text_of
from billing.tests.test_forms import HOSTILE


@pytest.fixture
def pages(buyer: Buyer) -> Pages:
    return Pages(buyer.billing, slug=buyer.organization.slug)


def accepted(form, **changes):
    return form | {"terms": "on"} | changes


def test_the_form_shows_price_limits_expiry_card_and_terms(pages, buyer):
    buyer.save_card()
    response = pages.get("buy")
    text = text_of(response)
    for part in (
        "$5.00 to $10,000.00",
        "Total to Visa ending in 4242",
        "Not charged here",
        f"Expires {response.context['expires_at'].day}",
        CREDIT_TERMS.version,
        "not refunded",
        "Auto-reload stays off",
    ):
        assert part in text, part
    assert response.context["expires_at"].year == buyer.now().year + 1


def test_bought_credit_can_be_used_and_the_page_says_so(pages, buyer):
    buyer.save_card()
    response = pages.client.post(pages.url("buy"), accepted(pages.form("buy")), follow=True)
    assert response.redirect_chain == [(pages.url("overview"), 302)]
    assert "$25.00 of credit bought, spendable now." in text_of(response)
    assert buyer.available_cents == 2_500


def test_the_suggested_amounts_work_without_javascript(pages, buyer):
    buyer.save_card()
    pages.post("buy", accepted(pages.form("buy"), amount="100"))
    assert buyer.available_cents == 10_000


def test_a_typed_amount_works_without_javascript(pages, buyer):
    buyer.save_card()
    pages.post("buy", accepted(pages.form("buy"), other_amount="12.34"))
    assert buyer.available_cents == 1_234


def test_a_form_that_is_sent_twice_buys_once(pages, buyer):
    buyer.save_card()
    form = accepted(pages.form("buy"))
    for _ in range(3):
        assert pages.post("buy", form).status_code == 302
    assert buyer.charged_cents == 2_500
    assert buyer.available_cents == 2_500


def test_a_form_that_is_sent_again_with_another_amount_charges_nothing_more_and_says_so(pages, buyer):
    buyer.save_card()
    form = accepted(pages.form("buy"))
    pages.post("buy", form)
    response = pages.post("buy", form | {"amount": "50"})
    assert response.status_code == 409
    assert "Nothing more was charged" in text_of(response)
    assert buyer.charged_cents == 2_500
    # What is on the page now is a new purchase, if it is sent.
    assert pages.post("buy", fields_of(response)).status_code == 302
    assert buyer.charged_cents == 7_500


def test_a_decline_is_told_at_the_form_and_a_new_try_is_a_new_purchase(pages, buyer):
    buyer.save_card(DECLINES_WHEN_CHARGED)
    form = accepted(pages.form("buy"), other_amount="31")
    response = pages.post("buy", form)
    assert response.status_code == 402
    assert "Your bank declined the payment" in text_of(response)
    again = fields_of(response)
    assert again["other_amount"] == "31"
    assert again["terms"] == "on"
    assert again["attempt_key"] != form["attempt_key"]
    assert buyer.charged_cents == 0
    # Sending the old form again tells the same and tries nothing.
    assert pages.post("buy", form).status_code == 402
    assert len(buyer.purchases) == 1
    buyer.save_card()
    assert pages.post("buy", again).status_code == 302
    assert buyer.available_cents == 3_100


def test_without_a_card_the_way_to_one_and_back_is_shown(pages, buyer):
    response = pages.get("buy")
    assert f"{pages.url('card')}?next=buy" in response.content.decode()
    form = {"attempt_key": str(uuid.uuid4()), "terms_version": CREDIT_TERMS.version, "amount": "25", "terms": "on"}
    refused = pages.post("buy", form)
    assert refused.status_code == 422
    assert buyer.purchases == []


def test_no_text_breaks_the_form_or_charges_anything(pages, buyer):
    buyer.save_card()
    form = accepted(pages.form("buy"))
    for typed in HOSTILE:
        body = urlencode(form | {"other_amount": typed}, errors="surrogatepass")
        response = pages.client.post(pages.url("buy"), body, content_type="application/x-www-form-urlencoded")
        assert response.status_code == 422, typed
        assert "Write an amount in dollars" in text_of(response), typed
    assert buyer.purchases == []


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt_key": "x"},
        {"attempt_key": ""},
        {"terms": ""},
        {"terms_version": "old"},
        {"amount": "26"},
        {"amount": "\x00", "terms_version": "\x00"},
    ],
)
def test_a_form_that_lacks_something_charges_nothing(pages, buyer, changes):
    buyer.save_card()
    response = pages.post(
        "buy", {name: value for name, value in (accepted(pages.form("buy")) | changes).items() if value}
    )
    assert response.status_code == 422
    assert buyer.purchases == []
    assert 'role="alert"' in response.content.decode() or 'class="error"' in response.content.decode()


def test_an_empty_post_is_refused_in_words(pages, buyer):
    buyer.save_card()
    assert pages.post("buy", {}).status_code == 422


def test_an_unknown_outcome_leads_to_a_page_that_waits_and_buys_nothing_twice(pages, buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    form = accepted(pages.form("buy"))
    response = pages.client.post(pages.url("buy"), form, follow=True)
    (purchase,) = buyer.purchases
    assert response.redirect_chain == [(pages.url("purchase", purchase_id=purchase.pk), 302)]
    text = text_of(response)
    assert "Purchase in progress" in text
    assert "Please don't buy again" in text
    assert '<meta http-equiv="refresh"' in response.content.decode()
    assert pages.post("buy", form).status_code == 302
    assert len(buyer.purchases) == 1


def test_what_the_bank_wants_confirmed_leads_to_the_page_for_it(pages, buyer):
    buyer.save_card(ASKS_ALWAYS)
    response = pages.client.post(pages.url("buy"), accepted(pages.form("buy")), follow=True)
    text = text_of(response)
    assert "Confirm with your bank" in text
    assert "This step needs JavaScript." in text
    assert buyer.charged_cents == 0


def waiting_for_the_bank(pages, buyer):
    buyer.save_card(ASKS_ALWAYS)
    pages.post("buy", accepted(pages.form("buy")))
    (purchase,) = buyer.purchases
    return purchase


def test_the_secret_is_given_by_post_only_and_stands_on_no_page(pages, buyer):
    purchase = waiting_for_the_bank(pages, buyer)
    page = pages.get("purchase", purchase_id=purchase.pk)
    assert "_secret_" not in page.content.decode()
    answer = pages.post("purchase", {"action": "confirm"}, purchase_id=purchase.pk)
    assert answer.json()["client_secret"].startswith(f"{purchase.payment_intent_id}_secret_")


def test_a_confirmed_purchase_is_credited_when_the_browser_comes_back(pages, buyer):
    purchase = waiting_for_the_bank(pages, buyer)
    buyer.answer_bank(purchase)
    response = pages.post("purchase", {"action": "refresh"}, purchase_id=purchase.pk)
    assert response.url == pages.url("overview")
    assert buyer.available_cents == 2_500


def test_coming_back_without_having_confirmed_credits_nothing(pages, buyer):
    purchase = waiting_for_the_bank(pages, buyer)
    pages.post("purchase", {"action": "refresh"}, purchase_id=purchase.pk)
    assert buyer.available_cents == 0
    assert "Confirm with your bank" in text_of(pages.get("purchase", purchase_id=purchase.pk))


def test_a_purchase_that_the_bank_refused_says_so_on_its_page(pages, buyer):
    purchase = waiting_for_the_bank(pages, buyer)
    buyer.answer_bank(purchase, complete=False)
    response = pages.client.post(pages.url("purchase", purchase_id=purchase.pk), {"action": "refresh"}, follow=True)
    assert "Purchase declined" in text_of(response)
    assert "Nothing was charged" in text_of(response)


def test_a_purchase_that_waits_for_the_bank_can_be_given_up(pages, buyer):
    purchase = waiting_for_the_bank(pages, buyer)
    response = pages.client.post(pages.url("purchase", purchase_id=purchase.pk), {"action": "cancel"}, follow=True)
    assert "Purchase canceled" in text_of(response)
    pages.post("purchase", {"action": "refresh"}, purchase_id=purchase.pk)
    assert buyer.charged_cents == 0


def test_a_purchase_that_has_ended_can_be_asked_for_nothing(pages, buyer):
    buyer.save_card()
    pages.post("buy", accepted(pages.form("buy")))
    (purchase,) = buyer.purchases
    assert pages.post("purchase", {"action": "confirm"}, purchase_id=purchase.pk).json() == {"client_secret": ""}
    pages.post("purchase", {"action": "cancel"}, purchase_id=purchase.pk)
    purchase.refresh_from_db()
    assert purchase.state == Purchase.State.SUCCEEDED


def test_a_purchase_of_another_organization_is_not_there(pages, buyer):
    buyer.save_card()
    pages.post("buy", accepted(pages.form("buy")))
    (purchase,) = buyer.purchases
    other = cast.organization("Borealis")
    cast.member(other, role="admin", user=buyer.billing)
    elsewhere = Pages(buyer.billing, slug=other.slug)
    assert elsewhere.get("purchase", purchase_id=purchase.pk).status_code == 404
    assert elsewhere.post("purchase", {"action": "cancel"}, purchase_id=purchase.pk).status_code == 404
    assert pages.get("purchase", purchase_id=10**30).status_code == 404


def test_only_the_page_with_the_banks_question_may_load_the_processors_script(pages, buyer, settings):
    origin = settings.STRIPE_JS_ORIGIN
    purchase = waiting_for_the_bank(pages, buyer)
    assert origin in pages.get("purchase", purchase_id=purchase.pk).headers["Content-Security-Policy"]
    for name in ("overview", "buy", "auto_reload", "usage"):
        assert origin not in pages.get(name).headers["Content-Security-Policy"], name


def test_a_form_that_is_sent_again_later_says_that_nothing_more_was_charged(pages, buyer):
    buyer.save_card()
    form = accepted(pages.form("buy"))
    pages.post("buy", form)
    Purchase.objects.update(created_at=buyer.now() - timedelta(minutes=5))
    response = pages.client.post(pages.url("buy"), form, follow=True)
    assert "This form was sent before: nothing more was charged now." in text_of(response)
    assert buyer.charged_cents == 2_500


def test_a_second_tab_says_what_was_bought_a_moment_ago_and_buys_once_more(pages, buyer):
    buyer.save_card()
    first, second = accepted(pages.form("buy")), accepted(pages.form("buy"))
    pages.post("buy", first)
    text = text_of(pages.get("buy"))
    assert "$25.00 was bought a moment ago by Jonas Weber" in text
    assert "Sending this form is one more purchase." in text
    pages.post("buy", second)
    assert (len(buyer.purchases), buyer.charged_cents) == (2, 5_000)


@pytest.mark.parametrize(
    ("owed_cents", "words"),
    [
        (1_000, "$25.00 of credit bought: $10.00 paid off debt, $15.00 is left to spend."),
        (2_500, "$25.00 of credit bought. All of it paid off debt; nothing of it is left to spend."),
        (4_000, "$25.00 of credit bought. All of it paid off debt; nothing of it is left to spend."),
    ],
)
def test_with_debt_it_is_said_before_and_after_what_is_left_to_spend(pages, buyer, owed_cents, words):
    buyer.save_card()
    buyer.overspend(owed_cents)
    before = text_of(pages.get("buy"))
    assert "is paid first." in before
    assert f"${max(2_500 - owed_cents, 0) // 100}.00 of $25.00" in before
    response = pages.client.post(pages.url("buy"), accepted(pages.form("buy")), follow=True)
    assert words in text_of(response)
    assert "spendable now" not in text_of(response)
    assert buyer.available_cents == 2_500 - owed_cents
    (purchase,) = buyer.purchases
    afterwards = text_of(pages.get("purchase", purchase_id=purchase.pk))
    paid_cents = min(owed_cents, 2_500)
    assert f"${paid_cents // 100}.00 paid off what was owed." in afterwards
    assert ("still owed" in afterwards) == (owed_cents > 2_500)


def test_a_lost_answer_is_not_called_seconds_after_minutes(pages, buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    pages.post("buy", accepted(pages.form("buy")))
    (purchase,) = buyer.purchases
    assert "This usually takes seconds" in text_of(pages.get("purchase", purchase_id=purchase.pk))
    Purchase.objects.update(created_at=buyer.now() - timedelta(minutes=5))
    text = text_of(pages.get("purchase", purchase_id=purchase.pk))
    assert "Whether the card was charged is not known yet; it is charged at most once." in text
    assert "This usually takes seconds" not in text


def test_a_payment_that_the_bank_is_still_deciding_has_words_of_its_own_and_ends_by_itself(pages, buyer):
    buyer.save_card()
    buyer.stripe.control.hold_payments()
    response = pages.client.post(pages.url("buy"), accepted(pages.form("buy")), follow=True)
    assert "The payment reached the bank, which has not said yet whether it pays." in text_of(response)
    (purchase,) = buyer.purchases
    assert (purchase.state, buyer.available_cents) == ("processing", 0)
    buyer.stripe.control.settle_processing(purchase.payment_intent_id, succeeds=True)
    buyer.hear("payment_intent.succeeded")
    assert "$25.00 of credit bought" in text_of(pages.get("purchase", purchase_id=purchase.pk))
    assert buyer.available_cents == 2_500


def test_what_failed_before_the_bank_is_not_called_declined(pages, buyer):
    buyer.save_card()
    purchase = buyer.buy()
    Purchase.objects.filter(pk=purchase.pk).update(state="failed", failure_code="never_received")
    text = text_of(pages.get("purchase", purchase_id=purchase.pk))
    assert "Purchase not made" in text
    assert "Purchase declined" not in text


def test_a_purchase_says_that_a_problem_with_it_is_reported(pages, buyer):
    buyer.save_card()
    purchase = buyer.buy()
    assert "is reported and open" not in text_of(pages.get("purchase", purchase_id=purchase.pk))
    pages.post("problem", {"report_key": str(uuid.uuid4()), "category": "other", "text": "?"}, purchase_id=purchase.pk)
    assert "A problem with this charge is reported and open." in text_of(pages.get("purchase", purchase_id=purchase.pk))
