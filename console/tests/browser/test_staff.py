"""Staff at a real browser: in by everybody's sign-in page, credit given, prices published, under the strict policy."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import Organization
from accounts.tests import cast
from billing.credits import ledger, metering, prices, queries
from billing.models import Charge, CreditLot, PriceVersion, Reversal, StripeEvent, UnpricedUsage
from console.tests.browser import second_factor

pytestmark = pytest.mark.django_db(transaction=True)

WINDOWS = [("light", 1280), ("dark", 1280), ("light", 390)]
MODEL = "orion-large"

Open = Callable[..., Page]


@pytest.fixture
def site(live_server, settings) -> str:
    settings.SITE_URL = live_server.url
    settings.CSRF_TRUSTED_ORIGINS = [live_server.url]
    return str(live_server.url)


@pytest.fixture
def acme() -> Organization:
    """An organization that has used some of its credit."""
    acme = cast.organization("Acme Robotics", time_zone="Europe/Berlin")
    prices.seed(effective_at=datetime.now(UTC) - timedelta(days=36))
    ledger.grant(
        organization_id=acme.pk,
        kind=CreditLot.Kind.PROMOTIONAL,
        amount_nano=25 * 10**9,
        label="Welcome",
        reason="a test",
    )
    usage = metering.Usage(model=MODEL, quantities={"input": 12_345, "output": 678})
    for _ in range(3):
        metering.charge(organization_id=acme.pk, key=str(uuid4()), usage=usage)
    metering.authorize(organization_id=acme.pk, key="hold", usage=usage)
    metering.report_usage(
        organization_id=acme.pk,
        key="late",
        usage=metering.Usage(model="unheard-of", quantities={"input": 1_200_000, "output": 340_000}),
    )
    StripeEvent.objects.create(
        stripe_event_id="evt_late",
        type="payment_intent.succeeded",
        payload={},
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return acme


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Open]:
    """Open pages in windows of a scheme and width; any word of the browser's console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(*, scheme: str = "light", width: int = 1280) -> Page:
        context = browser.new_context(
            base_url=site,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def sign_in(page: Page) -> None:
    cast.person("staff@example.test", name="Sam Staff", is_staff=True, is_superuser=True)
    page.goto("/admin/")
    second_factor.sign_in(page, "staff@example.test", app=second_factor.App(secret=cast.TOTP_SECRET))
    expect(page.get_by_role("link", name="Billing accounts").first).to_be_visible()


def test_staff_sign_in_give_credit_and_see_it(open_page, acme):
    page = open_page()
    sign_in(page)
    page.get_by_role("link", name="Billing accounts").first.click()
    page.get_by_role("link", name="Acme Robotics").click()
    page.get_by_role("link", name="Give promotional credit").click()
    page.get_by_label("Amount in dollars").fill("ten")
    page.get_by_label("Reason").fill("Outage of 3 November, ticket 4711")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Write an amount in dollars")).to_be_visible()
    page.get_by_label("Amount in dollars").fill("10")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Give $10.00").dblclick()
    expect(page.get_by_text("$10.00 given to Acme").or_(page.get_by_text("already, once")).first).to_be_visible()
    expect(page.get_by_role("heading", name="Acme Robotics", exact=True)).to_be_visible()
    assert CreditLot.objects.filter(organization=acme).count() == 2
    assert queries.summary(organization_id=acme.pk).balance_nano > 30 * 10**9


def test_staff_reverse_a_charge_once_however_often_they_click(open_page, acme):
    page = open_page()
    sign_in(page)
    page.goto(f"/admin/billing/billingaccount/{acme.pk}/change/")
    page.get_by_role("link", name="Reverse").first.click()
    page.get_by_label("Reason").fill("The model answered nonsense, ticket 4711")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    expect(page.get_by_role("row", name="Given back").first).to_be_visible()
    page.get_by_role("button", name="Confirm").dblclick()
    expect(page.get_by_text("given back (reversal").first).to_be_visible()
    assert Reversal.objects.count() == 1


def test_staff_publish_prices(open_page, acme):
    page = open_page()
    sign_in(page)
    page.goto("/admin/billing/pricedmodel/")
    page.get_by_role("link", name="Orion Large").click()
    page.get_by_role("link", name="Publish new prices").click()
    page.get_by_label("Input, a million").fill("14.5")
    page.get_by_label("Reason").fill("New contract with the provider")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("row", name="input $15.00 $14.50")).to_be_visible()
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("New prices of Orion Large from")).to_be_visible()
    assert PriceVersion.objects.filter(priced_model__slug=MODEL).count() == 2


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_staff_pages_fit_the_window_and_break_no_policy(open_page, acme, scheme, width):
    page = open_page(scheme=scheme, width=width)
    sign_in(page)
    lot_id, charge_id, usage_id = (
        rows.objects.values_list("pk", flat=True).first() for rows in (CreditLot, Charge, UnpricedUsage)
    )
    for path in (
        "billingaccount/",
        f"billingaccount/{acme.pk}/change/",
        f"billingaccount/{acme.pk}/promotional-credit/",
        "purchase/",
        "purchase/attention/",
        "pricedmodel/",
        "ledgerentry/",
        "charge/",
        f"creditlot/{lot_id}/change/",
        f"charge/{charge_id}/change/",
        "unpricedusage/",
        "usageday/",
        "creditevent/",
        f"billingaccount/{acme.pk}/correction-credit/",
        f"billingaccount/{acme.pk}/take-back/{lot_id}/",
        f"billingaccount/{acme.pk}/settle/{usage_id}/",
    ):
        page.goto(f"/admin/billing/{path}")
        look(page, path, scheme, width)


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_the_second_step_of_a_correction_fits_too(open_page, acme, scheme, width):
    page = open_page(scheme=scheme, width=width)
    sign_in(page)
    page.goto(f"/admin/billing/billingaccount/{acme.pk}/debit/")
    page.get_by_label("Amount in dollars").fill("30")
    page.get_by_label("Reason").fill("Paid by a stolen card, ticket 4711")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("There is less credit than this.")).to_be_visible()
    look(page, "debit-refused", scheme, width)
    page.get_by_label("becomes debt").check()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("new requests are refused")).to_be_visible()
    look(page, "debit-asked", scheme, width)
    page.goto(f"/admin/billing/billingaccount/{acme.pk}/state/")
    look(page, "state", scheme, width)
    page.get_by_label("Closed").check()
    page.get_by_label("Reason").fill("They have asked for it, ticket 4711")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("button", name="Close for ever")).to_be_visible()
    look(page, "state-asked", scheme, width)


def look(page: Page, path: str, scheme: str, width: int) -> None:
    """The page fits its window; STAFF_LOOK names a folder for pictures of it."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    is_wider = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not is_wider, path
    if folder := os.environ.get("STAFF_LOOK"):
        name = path.strip("/").replace("/", "-")
        page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png", full_page=True)
