"""Payments that need a look, and reading Stripe again: what Stripe says happens, once, and staff are on record."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditEvent
from billing.credits import metering
from billing.models import CreditLot, Purchase, StripeEvent
from billing.payments import attention
from billing.tests import staff
from billing.tests.buyer import ASKS_ALWAYS, MODEL, Buyer

pytestmark = pytest.mark.django_db

ATTENTION = "admin:billing_purchase_attention"
State = Purchase.State


@pytest.fixture
def reader():
    return staff.somebody("view_purchase", "change_purchase", "view_stripeevent", "change_stripeevent")


@pytest.fixture
def client(reader):
    return staff.at_the_browser(reader)


def lost(buyer: Buyer) -> Purchase:
    """A purchase that Stripe has charged, while its answer was lost on the way."""
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    purchase = buyer.buy(2_500)
    assert purchase.state == State.PROCESSING
    return purchase


def age(purchase: Purchase, by: timedelta) -> Purchase:
    Purchase.objects.filter(pk=purchase.pk).update(created_at=purchase.created_at - by)
    purchase.refresh_from_db()
    return purchase


def shown_in(client, purchase: Purchase) -> list[str]:
    """The sections of the page that show the purchase."""
    return [title for title, _, found in client.get(reverse(ATTENTION)).context["sections"] if purchase in found]


def test_a_purchase_stands_there_once_it_is_open_for_more_than_thirty_minutes(client, buyer):
    buyer.save_card()
    purchase = lost(buyer)
    assert shown_in(client, purchase) == []
    assert shown_in(client, age(purchase, timedelta(minutes=29))) == []
    assert shown_in(client, age(purchase, timedelta(minutes=2))) == ["Open for more than 30 minutes"]


def test_a_purchase_that_waits_for_its_customer_stands_there_after_a_day(client, buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy(2_500)
    assert purchase.state == State.REQUIRES_ACTION
    assert shown_in(client, age(purchase, timedelta(hours=23))) == []
    assert shown_in(client, age(purchase, timedelta(hours=2))) == ["Waiting for the customer for more than a day"]


def test_a_purchase_that_differs_at_stripe_stands_there_at_once(client, buyer):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    assert shown_in(client, purchase) == []
    Purchase.objects.filter(pk=purchase.pk).update(failure_code="mismatch_amount")
    assert shown_in(client, purchase) == ["Differs from Stripe"]


def test_the_list_filters_by_the_same_conditions(client, buyer):
    buyer.save_card()
    paid = buyer.buy(1_000)
    late = age(lost(buyer), timedelta(hours=1))
    page = client.get(reverse("admin:billing_purchase_changelist") + "?attention=needed")
    assert [row.pk for row in page.context["cl"].result_list] == [late.pk]
    page = client.get(reverse("admin:billing_purchase_changelist") + "?state__exact=succeeded&kind__exact=manual")
    assert [row.pk for row in page.context["cl"].result_list] == [paid.pk]
    page = client.get(reverse("admin:billing_purchase_changelist") + f"?q={paid.payment_intent_id}")
    assert [row.pk for row in page.context["cl"].result_list] == [paid.pk]


def test_reading_again_finds_a_lost_payment_grants_it_once_and_is_audited(client, reader, buyer):
    buyer.save_card()
    purchase = age(lost(buyer), timedelta(hours=1))
    url = reverse("admin:billing_purchase_read_again", args=[purchase.pk])
    response = client.post(url, {"from": "attention"}, follow=True)
    assert response.redirect_chain[0][0] == reverse(ATTENTION)
    assert "It is paid" in response.content.decode()
    client.post(url)
    purchase.refresh_from_db()
    assert purchase.state == State.SUCCEEDED
    assert buyer.grants == 1
    buyer.assert_stripe_agrees()
    first, second = AuditEvent.objects.filter(action="purchase.read_again").order_by("id")
    assert (first.actor, first.target, first.organization) == (reader, f"purchase:{purchase.pk}", buyer.organization)
    assert (first.before["state"], first.after["state"]) == ("processing", "succeeded")
    assert second.before["state"] == "succeeded"


def test_reading_again_settles_what_was_paid_behind_our_back(client, buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy(2_500)
    buyer.answer_bank(purchase)
    client.post(reverse("admin:billing_purchase_read_again", args=[purchase.pk]))
    purchase.refresh_from_db()
    assert purchase.state == State.SUCCEEDED
    assert buyer.available_cents == 2_500


def test_the_action_of_the_list_reads_those_that_were_chosen(client, buyer):
    buyer.save_card()
    chosen, other = lost(buyer), lost(buyer)
    url = reverse("admin:billing_purchase_changelist")
    client.post(url, {"action": "read_again", "_selected_action": [chosen.pk]})
    chosen.refresh_from_db()
    other.refresh_from_db()
    assert (chosen.state, other.state) == (State.SUCCEEDED, State.PROCESSING)
    assert buyer.grants == 1


def test_the_action_takes_no_more_than_a_few_at_once(client, buyer, monkeypatch):
    monkeypatch.setattr("billing.admin.purchases.READ_AGAIN_AT_ONCE_MAX", 1)
    buyer.save_card()
    ids = [lost(buyer).pk, lost(buyer).pk]
    url = reverse("admin:billing_purchase_changelist")
    response = client.post(url, {"action": "read_again", "_selected_action": ids}, follow=True)
    assert "at most 1 purchases" in response.content.decode()
    assert buyer.grants == 0


def test_stripe_not_answering_is_a_message_and_changes_nothing(client, buyer):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    buyer.stripe.control.add_fault(
        "refuse", method="GET", path=f"/v1/payment_intents/{purchase.payment_intent_id}", times=9
    )
    response = client.post(reverse("admin:billing_purchase_read_again", args=[purchase.pk]), follow=True)
    assert response.status_code == 200
    assert "could not be read" in response.content.decode()
    purchase.refresh_from_db()
    assert purchase.state == State.SUCCEEDED


def test_without_the_right_nothing_is_read_again(buyer):
    buyer.save_card()
    purchase = age(lost(buyer), timedelta(hours=1))
    client = staff.at_the_browser(staff.somebody("view_purchase", "view_stripeevent"))
    for url in (reverse("admin:billing_purchase_change", args=[purchase.pk]), reverse(ATTENTION)):
        assert "Read again from Stripe" not in client.get(url).content.decode()
    assert client.post(reverse("admin:billing_purchase_read_again", args=[purchase.pk])).status_code == 403
    client.post(
        reverse("admin:billing_purchase_changelist"), {"action": "read_again", "_selected_action": [purchase.pk]}
    )
    purchase.refresh_from_db()
    assert purchase.state == State.PROCESSING


def test_events_stand_there_when_they_wait_long_or_failed_often(client):
    now = datetime.now(UTC)
    fresh, late, failed, done = (
        StripeEvent.objects.create(
            stripe_event_id=f"evt_{number}", type="x.y", payload={}, received_at=received_at, processed_at=processed_at,
            attempts=attempts,
        )
        for number, (received_at, processed_at, attempts) in enumerate(
            [(now, None, 2), (now - timedelta(minutes=31), None, 0), (now, None, 3), (now - timedelta(days=2), now, 9)]
        )
    )  # fmt: skip
    assert list(attention.waiting_events(at=now)) == [late, failed]
    page = client.get(reverse(ATTENTION)).content.decode()
    assert late.stripe_event_id in page
    assert fresh.stripe_event_id not in page
    assert done.stripe_event_id not in page
    page = client.get(reverse("admin:billing_stripeevent_changelist") + "?is=late")
    assert [row.pk for row in page.context["cl"].result_list] == [failed.pk, late.pk]


def test_an_event_is_worked_on_again_and_its_failure_is_told(client, reader):
    good = StripeEvent.objects.create(stripe_event_id="evt_1", type="nothing.known", payload={"livemode": False})
    bad = StripeEvent.objects.create(
        stripe_event_id="evt_2", type="payment_intent.succeeded", payload={"livemode": False, "data": {}}
    )
    page = client.post(reverse("admin:billing_stripeevent_work_again", args=[good.pk]), follow=True).content.decode()
    assert "ignored: no handler" in page
    page = client.post(reverse("admin:billing_stripeevent_work_again", args=[bad.pk]), follow=True).content.decode()
    assert "failed: KeyError" in page
    good.refresh_from_db()
    bad.refresh_from_db()
    assert good.processed_at is not None
    assert bad.processed_at is None
    assert {event.actor for event in AuditEvent.objects.filter(action="stripe_event.worked_again")} == {reader}


def test_a_payment_intent_is_a_link_where_there_is_a_dashboard(client, buyer, settings):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    url = reverse("admin:billing_purchase_change", args=[purchase.pk])
    assert "dashboard.stripe.com" not in client.get(url).content.decode()
    settings.STRIPE_API_BASE = ""
    page = client.get(url).content.decode()
    assert f'href="https://dashboard.stripe.com/test/payments/{purchase.payment_intent_id}"' in page


def test_the_page_of_an_account_shows_what_is_there(buyer):
    buyer.save_card()
    buyer.buy(2_500)
    buyer.arm()
    buyer.spend(1_000)
    metering.authorize(
        organization_id=buyer.organization.pk, key="h", usage=metering.Usage(model=MODEL, quantities={"input": 200})
    )
    client = staff.at_the_browser(staff.somebody("view_billingaccount"))
    url = reverse("admin:billing_billingaccount_change", args=[buyer.organization.pk])
    page = client.get(url).content.decode()
    for text in (
        "$15.00", "$2.00 by 1 open hold", "$13.00", "Visa ending in 4242", "below $5.00 reload to $20.00",
        "Credit granted", "Usage", MODEL, buyer.billing.email, "cus_",
    ):  # fmt: skip
        assert text in page, text


def test_the_page_of_an_account_takes_as_many_queries_for_many_rows(buyer):
    client = staff.at_the_browser(staff.superuser())
    url = reverse("admin:billing_billingaccount_change", args=[buyer.organization.pk])
    buyer.save_card()
    buyer.arm()
    buyer.buy(2_500)
    buyer.spend(10)
    before = count_queries(client, url)
    for number in range(6):
        buyer.buy(2_500)
        buyer.spend(2_400)
        metering.authorize(
            organization_id=buyer.organization.pk,
            key=f"h{number}",
            usage=metering.Usage(model=MODEL, quantities={"input": 1}),
        )
    assert CreditLot.objects.count() == 7
    assert count_queries(client, url) == before
    for query in (
        "?entries_before=3",
        "?lots_before=9999999",
        "?purchases_before=1",
        "?entries_before=%00&lots_before=x",
    ):
        assert count_queries(client, url + query) <= before


def test_the_page_of_payments_takes_as_many_queries_for_many_rows(client, buyer):
    buyer.save_card()
    age(lost(buyer), timedelta(hours=1))
    before = count_queries(client, reverse(ATTENTION))
    for _ in range(4):
        age(lost(buyer), timedelta(hours=1))
    assert count_queries(client, reverse(ATTENTION)) == before


def count_queries(client, url: str) -> int:
    client.get(url)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)
