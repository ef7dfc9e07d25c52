"""Settings > Billing: it says what there is, why nothing works and what to do, in as many queries as ever."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Organization
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import metering
from billing.models import AutoReload, PaymentMethod, Purchase
from billing.payments import reload_line
from billing.tests.buyer import ASKS_ALWAYS, MODEL, Buyer
from billing.tests.pages import Pages, text_of


@pytest.fixture
def pages(buyer: Buyer) -> Pages:
    return Pages(buyer.billing, slug=buyer.organization.slug)


def stop(buyer):
    """Use up more than there is."""
    buyer.fund(100)
    buyer.overspend(101)


def past_purchases(buyer, number):
    card = PaymentMethod.objects.get(organization=buyer.organization)
    for place in range(number):
        Purchase.objects.create(
            organization=buyer.organization,
            kind="manual",
            state="failed",
            amount_cents=1_000 + place,
            credit_nano=10**10,
            attempt_key=uuid4(),
            payment_method=card,
            actor=buyer.billing,
            terms_version="test",
            terms_accepted_at=buyer.now(),
            settled_at=buyer.now(),
            decline_code="insufficient_funds",
        )


def test_before_the_first_card_it_says_what_to_do_first(pages):
    text = text_of(pages.get())
    assert "Start with a card and $5.00" in text
    assert "No card yet" in text
    assert "No purchases yet" in text
    assert "The API is stopped" not in text


def test_with_a_card_the_next_step_is_to_buy(pages, buyer):
    buyer.save_card()
    response = pages.get()
    assert "Buy your first credits" in text_of(response)
    assert pages.url("buy") in response.content.decode()


def test_the_sums_are_to_the_hundredth_of_a_cent_and_round_for_the_customer(pages, buyer):
    buyer.fund(10_000)
    metering.charge(
        organization_id=buyer.organization.pk,
        key="small",
        usage=metering.Usage(model=MODEL, quantities={"input": 1}),
    )
    text = text_of(pages.get())
    assert "$99.99" in text
    assert "Used in" in text
    assert "$0.01" in text


def test_held_credit_is_named_with_its_requests(pages, buyer):
    buyer.fund(1_000)
    metering.authorize(
        organization_id=buyer.organization.pk,
        key="held",
        usage=metering.Usage(model=MODEL, quantities={"input": 250}),
    )
    text = text_of(pages.get())
    assert "Held for 1 open request −$2.50" in text
    assert "Available $7.50" in text
    assert "Balance $10.00" in text


def test_the_card_is_shown_with_brand_digits_and_expiry(pages, buyer):
    buyer.save_card()
    text = text_of(pages.get())
    assert "Visa ending in 4242" in text
    assert "Expires 08/2034" in text


@pytest.mark.parametrize(("months", "hint"), [(-1, "Expired"), (1, "Expires soon"), (6, None)])
def test_a_card_near_its_end_is_told(pages, buyer, months, hint):
    card = buyer.save_card()
    month = buyer.now().replace(day=15) + timedelta(days=30 * months)
    PaymentMethod.objects.filter(pk=card.pk).update(exp_month=month.month, exp_year=month.year)
    text = text_of(pages.get())
    for known in ("Expired", "Expires soon"):
        assert (known in text) == (known == hint)


def test_out_of_credit_it_says_why_and_what_to_do(pages, buyer):
    buyer.save_card()
    stop(buyer)
    response = pages.get()
    text = text_of(response)
    assert "The API is stopped: no credits left" in text
    assert "The credits are used up, and auto-reload is off." in text
    assert "Your last requests cost $0.01 more than was left" in text
    assert "You (Billing)" in text
    assert "Maya Lindqvist (Admin)" in text
    assert response.content.decode().count(pages.url("buy")) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"suspension": "declined", "suspended_at": timedelta(0)},
            "Auto-reload could not charge Visa ending in 4242 and has paused.",
        ),
        ({"next_attempt_at": timedelta(hours=5), "declines": 1}, "It tries again on"),
        ({"next_attempt_at": timedelta(hours=5)}, "the next one can come on"),
        ({}, "auto-reload has not brought new ones yet"),
    ],
)
def test_out_of_credit_with_auto_reload_on_it_says_what_holds_that_up(pages, buyer, changes, why):
    buyer.save_card()
    buyer.arm()
    stop(buyer)
    values = {name: buyer.now() + value if isinstance(value, timedelta) else value for name, value in changes.items()}
    AutoReload.objects.filter(organization=buyer.organization).update(**values)
    assert why in text_of(pages.get())


def test_without_a_card_auto_reload_says_so(pages, buyer):
    card = buyer.save_card()
    buyer.arm()
    PaymentMethod.objects.filter(pk=card.pk).update(is_default=False, removed_at=buyer.now())
    stop(buyer)
    assert "Auto-reload is on, but there is no card to charge." in text_of(pages.get())


def test_a_used_up_month_limit_is_named(pages, buyer):
    buyer.save_card()
    buyer.arm(minimum_cents=500, target_cents=2_000, cap_cents=2_000)
    buyer.fund(100)
    buyer.spend(50)
    purchase = buyer.attempt()
    assert purchase is not None
    buyer.overspend(5_000)
    text = text_of(pages.get())
    assert "Capped" in text
    assert "reached your limit of $20.00" in text


def test_credit_that_expired_is_named_as_the_reason(buyer, pages):
    buyer.save_card()
    buyer.fund(100)
    with connection.cursor() as cursor:
        cursor.execute(
            "select * from credits_grant(%s, 'promotional', %s, credits_clock() + interval '50 milliseconds', null, '',"
            " 'for a test', null)",
            [buyer.organization.pk, 3 * 10**9],
        )
        cursor.execute("select pg_sleep(0.1)")
    buyer.spend(100)
    text = text_of(pages.get())
    assert "$3.00 of credit expired unused on" in text


def test_lots_stand_in_the_order_in_which_they_are_spent(pages, buyer):
    buyer.save_card()
    buyer.buy(2_500)
    buyer.fund(700)
    response = pages.get()
    assert [lot.kind for lot in response.context["lots"]] == ["purchase", "promotional"]
    text = text_of(response)
    assert text.index("Credit purchase") < text.index("Promotional credit")


def test_purchases_are_paged_by_key_and_every_one_is_listed_once(pages, buyer):
    buyer.save_card()
    past_purchases(buyer, 23)
    seen: list[int] = []
    query = ""
    for _ in range(5):
        response = pages.get(query=query)
        seen += [row.purchase.pk for row in response.context["purchases"]]
        older = response.context["purchases_older_id"]
        if older is None:
            break
        query = f"?purchases_before={older}"
    newest_first = Purchase.objects.filter(organization=buyer.organization).order_by("-id")
    assert seen == list(newest_first.values_list("pk", flat=True))


def test_ended_lots_are_paged_by_key(pages, buyer):
    for _ in range(13):
        buyer.fund(100)
        buyer.spend(100)
    first = pages.get()
    second = pages.get(query=f"?lots_before={first.context['ended_older_id']}")
    ids = [lot.id for response in (first, second) for lot in response.context["ended_lots"]]
    assert len(ids) == len(set(ids)) == 13
    assert second.context["ended_older_id"] is None


@pytest.mark.parametrize("text", ["abc", "-1", "9" * 30, "%00", "1e3", "٣", "%ED%A0%80"])
def test_a_page_key_that_is_none_shows_the_newest(pages, buyer, text):
    buyer.save_card()
    past_purchases(buyer, 2)
    response = pages.get(query=f"?purchases_before={text}&lots_before={text}")
    assert response.status_code == 200
    assert len(response.context["purchases"]) == 2


def test_a_declined_purchase_says_why_and_that_nothing_was_charged(pages, buyer):
    buyer.save_card()
    past_purchases(buyer, 1)
    text = text_of(pages.get())
    assert "there are not enough funds on the account" in text
    assert "not charged" in text


def test_times_stand_in_the_organizations_zone_with_utc_beside(pages, buyer):
    Organization.objects.filter(pk=buyer.organization.pk).update(time_zone="Asia/Kathmandu")
    buyer.fund(100)
    text = text_of(pages.get())
    assert "UTC+05:45" in text
    assert " UTC)" in text


def test_the_number_of_queries_does_not_grow(pages, buyer, django_assert_num_queries):
    buyer.save_card()
    buyer.arm()
    buyer.buy(2_500)
    pages.get()
    with CaptureQueriesContext(
        connection,
    ) as before:
        pages.get()
    for place in range(6):
        buyer.buy(1_000 + place)
        buyer.fund(100)
        buyer.spend(60)
        metering.authorize(
            organization_id=buyer.organization.pk,
            key=str(place),
            usage=metering.Usage(model=MODEL, quantities={"input": 10}),
        )
        cast.member(buyer.organization, role=Role.BILLING)
    past_purchases(buyer, 12)
    with django_assert_num_queries(len(before)):
        pages.get()


def test_reading_the_pages_changes_nothing(pages, buyer, django_assert_num_queries):
    buyer.save_card()
    buyer.arm()
    buyer.buy(2_500)
    for name in ("overview", "buy", "card", "auto_reload", "usage"):
        with CaptureQueriesContext(connection) as queries:
            assert pages.get(name).status_code == 200
        written = [
            query["sql"] for query in queries if query["sql"].split(" ")[0].upper() in ("INSERT", "UPDATE", "DELETE")
        ]
        assert written == [], name


def test_a_developer_learns_nothing_of_the_card(buyer):
    buyer.save_card()
    buyer.buy(2_500)
    pages = Pages(buyer.developer, slug=buyer.organization.slug)
    refused = pages.get()
    assert refused.status_code == 403
    usage = pages.get("usage")
    assert usage.status_code == 200
    for response in (refused, usage):
        assert "4242" not in response.content.decode()
    # The balance they may see, in the side bar, with a link to a page of theirs.
    assert usage.context["purse"].url == reverse("billing:usage", args=[buyer.organization.slug])
    assert "$25.00" in text_of(usage)


def test_who_may_not_see_the_balance_has_no_purse(buyer):
    user = cast.member(buyer.organization, role=Role.USER).user
    response = Pages(user, slug=buyer.organization.slug).get()
    assert response.status_code == 403
    assert "Available" not in text_of(response)


def test_nothing_on_the_page_leads_nowhere(pages, buyer):
    buyer.save_card()
    buyer.buy(2_500)
    body = pages.get().content.decode()
    assert 'href="#"' not in body
    assert 'href=""' not in body


def needs_customer(buyer):
    """A reload that the bank wants confirmed, while there is still credit."""
    buyer.save_card(ASKS_ALWAYS)
    buyer.arm()
    buyer.fund(600)
    buyer.spend(200)
    purchase = buyer.attempt()
    assert purchase is not None
    assert purchase.state == Purchase.State.NEEDS_CUSTOMER
    return purchase


def test_a_reload_that_the_bank_wants_confirmed_is_told_and_can_be_confirmed(pages, buyer):
    purchase = needs_customer(buyer)
    overview = pages.get()
    assert "Your bank wants you to confirm the auto-reload of $16.00." in text_of(overview)
    assert pages.url("purchase", purchase_id=purchase.pk) in overview.content.decode()
    answer = pages.post("purchase", {"action": "confirm"}, purchase_id=purchase.pk)
    assert answer.json()["client_secret"]
    buyer.answer_bank(purchase)
    assert pages.post("purchase", {"action": "refresh"}, purchase_id=purchase.pk).url == pages.url("overview")
    assert buyer.available_cents == 2_000


def test_a_reload_that_waits_for_the_customer_is_named_when_credit_has_run_out(pages, buyer):
    purchase = needs_customer(buyer)
    buyer.overspend(500)
    text = text_of(pages.get())
    assert "Your bank wants you to confirm the last auto-reload charge of $16.00." in text
    assert text.count("Confirm with your bank") >= 1
    assert pages.post("purchase", {"action": "cancel"}, purchase_id=purchase.pk).status_code == 302
    assert buyer.charged_cents == 0


def test_paused_auto_reload_is_told_before_credit_runs_out(pages, buyer):
    buyer.save_card()
    buyer.arm()
    buyer.fund(5_000)
    AutoReload.objects.filter(organization=buyer.organization).update(suspension="declined", suspended_at=buyer.now())
    text = text_of(pages.get())
    assert "Auto-reload has paused: Visa ending in 4242 was declined." in text
    assert "The API is stopped" not in text


def test_suspension_is_seen_whatever_line_the_account_keeps(pages, buyer):
    buyer.save_card()
    buyer.arm()
    AutoReload.objects.filter(organization=buyer.organization).update(suspension="declined", suspended_at=buyer.now())
    reload_line.review(organization_id=buyer.organization.pk)
    text = text_of(pages.get())
    assert "Paused: declined" in text
    assert "Auto-reload at" not in text
