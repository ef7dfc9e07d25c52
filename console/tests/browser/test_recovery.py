"""The page on which a customer finishes a reload that the bank has stopped, reached by the link in the mail."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accounts.models import OutboxMessage
from billing.models import Purchase
from billing.payments import purchases
from billing.tests.buyer import ASKS_ALWAYS, Buyer
from console.tests.browser.test_pages import axe_violations, buyer, overflow, site, stripe_stand_in

__all__ = ["buyer", "site", "stripe_stand_in"]

pytestmark = pytest.mark.django_db(transaction=True)


def stopped_by_the_bank(buyer: Buyer) -> Purchase:
    """Auto-reload was due, and the bank wants the customer."""
    buyer.save_card(ASKS_ALWAYS)
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(600)
    purchase = buyer.attempt()
    assert purchase is not None
    assert purchase.state == Purchase.State.NEEDS_CUSTOMER
    return purchase


def opened_from_the_mail(site: Any, buyer: Buyer, **options: Any) -> Page:
    """The page behind the link of the mail that the Billing member got."""
    mail = OutboxMessage.objects.get(recipients=[buyer.billing.email], body__contains="/purchases/")
    link = re.search(r"https?://\S+(/o/\S+/purchases/\d+/)", mail.body)
    assert link is not None
    page = site.page_of(buyer.billing, **options)
    page.goto(site.url(link[1]))
    return page


def test_the_customer_confirms_and_the_same_payment_is_paid(site, buyer):
    purchase = stopped_by_the_bank(buyer)
    page = opened_from_the_mail(site, buyer)
    expect(page.get_by_role("heading", name="Confirm with your bank")).to_be_visible()
    assert axe_violations(page) == []
    page.get_by_role("button", name="Confirm $16.00").click()
    page.get_by_role("button", name="Complete authentication").click()
    expect(page.get_by_text("$16.00 of credit bought, spendable now.")).to_be_visible()
    (charge,) = buyer.journal("succeeded")
    assert charge["payment_intent"] == purchase.payment_intent_id
    assert (buyer.available_cents, buyer.grants) == (2_000, 1)


def test_a_failed_confirmation_charges_nothing_says_so_and_can_be_tried_again(site, buyer):
    purchase = stopped_by_the_bank(buyer)
    page = opened_from_the_mail(site, buyer)
    page.get_by_role("button", name="Confirm $16.00").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Fail authentication").click()
    expect(page.get_by_role("heading", name="Confirm with your bank")).to_be_visible()
    assert buyer.journal("succeeded") == []
    assert buyer.available_cents == 400
    page.reload()
    page.get_by_role("button", name="Confirm $16.00").click()
    page.get_by_role("button", name="Complete authentication").click()
    expect(page.get_by_text("$16.00 of credit bought, spendable now.")).to_be_visible()
    assert len(buyer.journal("succeeded")) == 1
    purchase.refresh_from_db()
    assert purchase.state == Purchase.State.SUCCEEDED


def test_giving_it_up_on_the_page_ends_it_without_a_charge(site, buyer):
    purchase = stopped_by_the_bank(buyer)
    page = opened_from_the_mail(site, buyer, viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert overflow(page) == 0
    page.get_by_role("button", name="Cancel this purchase").click()
    expect(page.get_by_role("heading", name="Purchase canceled")).to_be_visible()
    purchase.refresh_from_db()
    assert purchase.state == Purchase.State.CANCELED
    assert buyer.journal("succeeded") == []


def test_the_link_of_a_mail_that_comes_late_says_how_it_ended(site, buyer):
    purchase = stopped_by_the_bank(buyer)
    purchases.withdraw(purchase_id=purchase.pk, reason="abandoned", at=buyer.now())
    page = opened_from_the_mail(site, buyer)
    expect(page.get_by_role("heading", name="Purchase canceled")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Confirm"))).to_have_count(0)
