"""The staff pages for money that goes back: the refund form, the lists, and what needs a look."""

import re
from uuid import uuid4

import pytest
from django.urls import reverse

from billing.models import Dispute, Refund
from billing.payments import stripe_events, stripe_gateway
from billing.tests import staff
from billing.tests.buyer import Buyer

REASON = "The customer asked for it, ticket 4711"
ATTENTION = "admin:billing_purchase_attention"


@pytest.fixture
def client(db):
    return staff.at_the_browser(staff.superuser())


@pytest.fixture
def bought(buyer: Buyer):
    """A purchase of $25 that was paid."""
    buyer.save_card()
    return buyer.buy()


def url_of(purchase):
    return reverse("admin:billing_billingaccount_refund", args=[purchase.organization_id, purchase.pk])


def sent(**changes):
    return {"key": str(uuid4()), "amount_cents": "10.00", "reason": REASON, "step": "make"} | changes


def test_the_form_begins_with_all_that_can_be_refunded(client, bought):
    page = client.get(url_of(bought)).content.decode()
    assert re.search(r'name="amount_cents"[^>]*value="25"', page)
    assert "$25.00 with Visa ending in 4242" in page


def test_the_numbers_are_shown_before_and_nothing_is_done_yet(client, buyer, bought):
    buyer.spend(2_000)
    page = client.post(url_of(bought), sent(step="ask", may_owe="on")).content.decode()
    assert "What will happen" in page
    assert "Taken back after it was spent" in page
    assert "The customer reads" not in page
    assert not Refund.objects.exists()
    assert buyer.journal("refunded") == []
    assert buyer.movements == [("grant", 2_500), ("burn", -2_000)]


def test_confirming_refunds_once_however_often_it_is_sent(client, buyer, bought):
    data = sent()
    for _ in range(3):
        response = client.post(url_of(bought), data, follow=True)
        assert response.status_code == 200
    assert "This form has done that already, once: $10.00 refunded" in response.content.decode()
    assert [entry["amount"] for entry in buyer.journal("refunded")] == [1_000]
    assert buyer.movements == [("grant", 2_500), ("take_back", -1_000)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount_cents": ""}, "This field is required|Write an amount"),
        ({"amount_cents": "ten"}, "Write an amount in dollars"),
        ({"amount_cents": "25.01"}, r"\$25.00 can still be refunded"),
        ({"amount_cents": "0"}, "Refund more than nothing"),
        ({"amount_cents": "99999999999999999999"}, "Write an amount|can still be refunded"),
        ({"reason": "no"}, "at least 10 characters"),
        ({"key": "x"}, "valid UUID"),
    ],
)
@pytest.mark.parametrize("step", ["ask", "make"])
def test_what_wont_do_is_said_at_its_field_and_nothing_is_lost(client, buyer, bought, changes, words, step):
    response = client.post(url_of(bought), sent(step=step) | changes)
    page = response.content.decode()
    assert response.status_code == 200
    assert re.search(words, page)
    assert "Nothing was changed" in page
    assert not Refund.objects.exists()


def test_spent_credit_is_said_at_the_box_that_allows_debt(client, buyer, bought):
    buyer.spend(2_000)
    page = client.post(url_of(bought), sent(step="ask")).content.decode()
    assert "Some of these credits were spent already" in page
    assert not Refund.objects.exists()


def test_a_refund_that_stripe_refuses_says_so(client, buyer, bought):
    buyer.stripe.control.open_dispute(bought.payment_intent_id)
    page = client.post(url_of(bought), sent()).content.decode()
    assert "Stripe refused the refund (charge_disputed)" in page
    assert Dispute.objects.count() == 1


def test_a_refund_without_an_answer_says_that_it_is_on_its_way(client, buyer, bought):
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/refunds", times=3)
    page = client.post(url_of(bought), sent(), follow=True).content.decode()
    assert "is on its way" in page
    assert buyer.available_cents == 1_500


def test_case_128_a_purchase_of_another_organization_is_not_refunded_by_its_number(client, buyer, bought):
    other = Buyer(buyer.stripe, name="Borealis")
    address = reverse("admin:billing_billingaccount_refund", args=[other.organization.pk, bought.pk])
    assert client.get(address).status_code == 404
    assert client.post(address, sent()).status_code == 404
    assert not Refund.objects.exists()


def test_refunds_need_the_right_to_refund(buyer, bought):
    onlooker = staff.at_the_browser(staff.somebody("view_billingaccount", "view_purchase", "view_refund"))
    assert onlooker.get(url_of(bought)).status_code == 403
    assert onlooker.post(url_of(bought), sent()).status_code == 403
    page = onlooker.get(reverse("admin:billing_purchase_change", args=[bought.pk])).content.decode()
    assert url_of(bought) not in page
    assert not Refund.objects.exists()


def test_a_purchase_leads_to_its_refund_and_says_what_went_back(client, buyer, bought):
    address = reverse("admin:billing_purchase_change", args=[bought.pk])
    assert url_of(bought) in client.get(address).content.decode()
    buyer.refund(bought, 1_000)
    assert "Partly refunded, $10.00" in client.get(address).content.decode()
    buyer.refund(bought, 1_500)
    page = client.get(address).content.decode()
    assert "Refunded" in page
    assert url_of(bought) not in page


def test_what_needs_a_look_stands_in_one_page(client, buyer, bought):
    refund = buyer.refund(bought, 500)
    buyer.stripe.control.fail_refund(refund.stripe_refund_id)
    buyer.stripe.control.warn_of_fraud(bought.payment_intent_id)
    buyer.hear()
    page = client.get(reverse(ATTENTION)).content.decode()
    assert "expired_or_canceled_card" in page or Refund.objects.get().failure_code in page
    assert url_of(bought) in page
    disputed = buyer.stripe.control.open_dispute(bought.payment_intent_id)
    buyer.hear()
    payload = {"id": "evt_theirs", "type": "charge.refunded", "account": "acct_1", "data": {"object": {"id": "ch"}}}
    facts = stripe_gateway.EventFacts("evt_theirs", "charge.refunded", "ch", "", False, payload)
    stripe_events.process(event_id=stripe_events.store(facts, at=buyer.now()).pk, at=buyer.now())
    page = client.get(reverse(ATTENTION)).content.decode()
    assert disputed in page
    assert "refused: other account" in page
    assert url_of(bought) not in page


def test_the_page_costs_the_same_with_one_warning_and_with_many(client, buyer, bought, django_assert_max_num_queries):
    def warned(times):
        for _ in range(times):
            buyer.stripe.control.warn_of_fraud(bought.payment_intent_id)
        buyer.hear("radar.early_fraud_warning.created")

    warned(1)
    client.get(reverse(ATTENTION))
    with django_assert_max_num_queries(100) as first:
        client.get(reverse(ATTENTION))
    count = len(first.captured_queries)
    warned(5)
    with django_assert_max_num_queries(count):
        client.get(reverse(ATTENTION))


@pytest.mark.parametrize("name", ["refund", "dispute", "earlyfraudwarning"])
def test_lists_and_rows_are_there_to_look_at(client, buyer, bought, name):
    buyer.refund(bought, 500)
    buyer.stripe.control.warn_of_fraud(bought.payment_intent_id)
    buyer.stripe.control.open_dispute(bought.payment_intent_id)
    buyer.hear()
    listed = client.get(reverse(f"admin:billing_{name}_changelist"))
    assert buyer.organization.name in listed.content.decode()
    row = {"refund": bought.refunds, "dispute": bought.disputes, "earlyfraudwarning": bought.fraud_warnings}[name].get()
    shown = client.get(reverse(f"admin:billing_{name}_change", args=[row.pk]))
    assert shown.status_code == 200
    assert 'name="_save"' not in shown.content.decode()
    if name != "earlyfraudwarning":
        assert "$" in shown.content.decode()
