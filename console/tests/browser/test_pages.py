"""The billing pages in a real browser: in light and dark, wide and narrow, by keyboard, and without JavaScript.

The database and the Stripe stand-in are real; the web server runs in a thread of the test. The whole story through
./run is in test_story.py. SCREENSHOTS=folder keeps a picture of each page and look.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from pypdf import PdfReader

from accounts.models import Organization, User
from accounts.tests.cast import PASSWORD, grow_stale
from billing.credits import expiry, ledger, metering, prices
from billing.errors import Refused
from billing.models import AutoReload, CreditLot, PaymentMethod, Purchase, Reversal
from billing.payments import payment_methods, problem_reports, reconciliation
from billing.tests.buyer import ASKS_ALWAYS, DECLINES_WHEN_CHARGED, Buyer
from billing.tests.documents import credited, paid
from sandbox.stripe.server import StandIn

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    "narrow-dark": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
}
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")

# pytest-django's live server needs tests that commit.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stripe_stand_in(settings: Any) -> Iterator[StandIn]:
    """A stand-in for Stripe, for the server and for the browser."""
    with StandIn() as stand_in:
        settings.STRIPE_API_BASE = stand_in.base_url
        settings.STRIPE_JS_URL = stand_in.js_url
        origins = [stand_in.base_url]
        settings.STRIPE_CSP = {"script-src": origins, "connect-src": origins, "frame-src": origins}
        yield stand_in


@pytest.fixture
def buyer(transactional_db: None, stripe_stand_in: StandIn) -> Buyer:
    return Buyer(stripe_stand_in)


class Site:
    """The live server and the browser, as one organization's people use them."""

    def __init__(self, browser: Browser, address: str, buyer: Buyer) -> None:
        self._browser = browser
        self.address = address
        self.slug = buyer.organization.slug
        self.problems: list[str] = []
        self._contexts: list[BrowserContext] = []

    def url(self, path: str) -> str:
        return f"{self.address}{path}" if path.startswith("/") else f"{self.address}/o/{self.slug}/{path}"

    def page_of(self, user: User, **options: Any) -> Page:
        """A window of somebody who is signed in; what goes wrong in it is noted in ``problems``."""
        client = Client()
        client.force_login(user)
        context = self._browser.new_context(reduced_motion="reduce", **{**LOOKS["light"], **options})
        self._contexts.append(context)
        name = django_settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": self.address}])
        page = context.new_page()
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", lambda message: self._note(message.type, message.text))
        return page

    def _note(self, kind: str, text: str) -> None:
        # An answer of 402 or 422 is a page that says what is wrong; Chromium logs it all the same.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.problems.append(f"{kind}: {text}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def site(browser: Browser, live_server: Any, buyer: Buyer) -> Iterator[Site]:
    site = Site(browser, live_server.url, buyer)
    yield site
    site.close()
    assert site.problems == []


def overflow(page: Page) -> int:
    """How many pixels the page is wider than its window, or what stands in a dialog than the dialog."""
    width: int = page.evaluate(
        """Math.max(
          document.documentElement.scrollWidth - window.innerWidth,
          ...[...document.querySelectorAll("[role=dialog]")].map((dialog) => dialog.scrollWidth - dialog.clientWidth),
        )"""
    )
    return width


def axe_violations(page: Page) -> list[str]:
    results = Axe().run(page, options=AXE_RULES).response
    return [
        f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
        for violation in results["violations"]
        for node in violation["nodes"]
    ]


def well_used(buyer: Buyer) -> None:
    """An organization with everything that the pages can show."""
    prices.seed(effective_at=timezone.now() - timedelta(days=36))
    buyer.save_card()
    buyer.fund(5_000)
    buyer.buy(10_000)
    buyer.buy(2_500)
    buyer.arm(minimum_cents=2_000, target_cents=5_000, cap_cents=20_000)
    for day in range(12):
        for place, model in enumerate(("orion-large", "orion-medium", "orion-small")):
            metering.report_usage(
                organization_id=buyer.organization.pk,
                key=f"{day}-{model}",
                usage=metering.Usage(
                    model=model,
                    quantities={"input": 90_000 + 7_000 * day, "output": 9_000 * (place + 1), "cache_read": 5},
                ),
                occurred_at=timezone.now() - timedelta(days=day),
            )
    metering.authorize(
        organization_id=buyer.organization.pk,
        key="held",
        usage=metering.Usage(model="orion-large", quantities={"input": 5_000}),
    )


def without_anything(buyer: Buyer) -> None:
    """Nothing was done yet."""


def stopped(buyer: Buyer) -> None:
    """Out of credit, with a debt."""
    buyer.save_card()
    buyer.fund(100)
    buyer.overspend(101)


def asked_by_the_bank(buyer: Buyer) -> None:
    """A purchase waits for the customer's word to the bank."""
    buyer.save_card(ASKS_ALWAYS)
    buyer.buy()


def with_a_card(buyer: Buyer) -> None:
    """A saved card and nothing else."""
    buyer.save_card()


def unanswered(buyer: Buyer) -> None:
    """A purchase whose outcome nobody knows yet."""
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    buyer.buy()


def paused(buyer: Buyer) -> None:
    """Auto-reload has paused, and the card expires soon."""
    card = buyer.save_card()
    buyer.fund(5_000)
    buyer.arm()
    now = buyer.now()
    AutoReload.objects.filter(organization=buyer.organization).update(suspension="declined", suspended_at=now)
    PaymentMethod.objects.filter(pk=card.pk).update(exp_month=now.month, exp_year=now.year)


def with_long_names(buyer: Buyer) -> None:
    """Names as long as they may be, without a space."""
    well_used(buyer)
    User.objects.filter(pk=buyer.billing.pk).update(name="Wolfeschlegelsteinhausen" * 6)
    Organization.objects.filter(pk=buyer.organization.pk).update(name="Donaudampfschifffahrt" * 5)


def with_every_entry(buyer: Buyer) -> None:
    """A statement on which nearly everything happened that can happen."""
    well_used(buyer)
    organization_id = buyer.organization.pk
    short = ledger.grant(
        organization_id=organization_id,
        kind=CreditLot.Kind.PROMOTIONAL,
        amount_nano=4 * 10**9,
        expires_at=timezone.now() + timedelta(seconds=1),
        label="Launch week",
        reason="for a test",
    )
    usage = metering.Usage(model="orion-small", quantities={"input": 250_000, "output": 41_003}, key_ref="laptop")
    charge = metering.report_usage(organization_id=organization_id, key="given-back", usage=usage)
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_sleep(extract(epoch from greatest(%s - now(), interval '0')) + 0.05)", [short.expires_at]
        )
    assert charge.charge_id is not None
    ledger.reverse(
        organization_id=organization_id,
        cause_kind=Reversal.Cause.CHARGE,
        cause_id=charge.charge_id,
        key=uuid4(),
        label="388 failed requests had been charged",
        reason="for a test",
        actor_id=None,
    )
    expiry.book_due()
    ledger.adjust(
        organization_id=organization_id,
        amount_nano=1_234_567_891,
        key=uuid4(),
        label="Usage of Orion Large on 3 November, which had no price",
        reason="for a test",
        actor_id=None,
        may_owe=True,
    )
    overspend = metering.Usage(
        model="orion-large", quantities={"output": 3_000_000}, key_ref="batch", surface="claude_code"
    )
    for number in range(2):
        metering.report_usage(organization_id=organization_id, key=f"above-{number}", usage=overspend)
    buyer.buy(5_000)


def bought_with_debt(buyer: Buyer) -> None:
    """A purchase that paid a debt, with a report of a problem; debt is there again."""
    buyer.save_card()
    buyer.overspend(1_234)
    purchase = buyer.buy()
    problem_reports.report(
        organization=buyer.organization,
        actor=buyer.billing,
        purchase_id=purchase.pk,
        report_key=uuid4(),
        category="amount",
        text="The amount is not the one that I chose.",
        at=buyer.now(),
    )
    buyer.overspend(4_000)


def declined(buyer: Buyer) -> None:
    """Attempts of every kind, the last one declined."""
    buyer.save_card()
    buyer.buy()
    form = payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    buyer.type_card(form, "4000000000009995")
    with pytest.raises(Refused):
        buyer.finish_card(form)
    buyer.save_card(ASKS_ALWAYS)
    buyer.buy()
    buyer.save_card(DECLINES_WHEN_CHARGED)
    buyer.buy()
    with pytest.raises(Refused):
        for _ in range(9):
            payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    assert buyer.buy().state == "failed"


PAGES = [
    ("billing", well_used, "settings/billing/"),
    ("billing-empty", without_anything, "settings/billing/"),
    ("billing-stopped", stopped, "settings/billing/"),
    ("billing-paused", paused, "settings/billing/"),
    ("billing-long-names", with_long_names, "settings/billing/"),
    ("buy", with_a_card, "settings/billing/buy/"),
    ("buy-without-card", without_anything, "settings/billing/buy/"),
    ("card", with_a_card, "settings/billing/card/"),
    ("auto-reload", with_a_card, "settings/billing/auto-reload/"),
    ("confirm", asked_by_the_bank, "settings/billing/purchases/{purchase}/"),
    ("waiting", unanswered, "settings/billing/purchases/{purchase}/"),
    ("purchase-paid", bought_with_debt, "settings/billing/purchases/{purchase}/"),
    ("purchase-declined", declined, "settings/billing/purchases/{purchase}/"),
    ("buy-again", bought_with_debt, "settings/billing/buy/"),
    ("problem", bought_with_debt, "settings/billing/purchases/{purchase}/problem/"),
    ("attempts", declined, "settings/billing/card/attempts/"),
    ("card-remove", paused, "settings/billing/card/remove/"),
    ("statement", well_used, "settings/billing/statement/"),
    ("statement-entries", well_used, "settings/billing/statement/?show=entries"),
    ("statement-everything", with_every_entry, "settings/billing/statement/?at=2020-01-01T10:00"),
    ("statement-empty", without_anything, "settings/billing/statement/"),
    ("statement-long-names", with_long_names, "settings/billing/statement/?show=entries&at=x"),
    ("usage", well_used, "usage/"),
    ("usage-empty", without_anything, "usage/"),
    ("terms", without_anything, "/terms/credits/"),
]


def receipted(buyer: Buyer) -> None:
    """A purchase that paid debt, with its receipt and a credit note."""
    buyer.overspend(400)
    credited(paid(buyer.organization, by=buyer.billing, reference="PO-2026-114"))


def test_a_receipt_is_opened_from_its_purchase_and_downloaded_as_a_pdf(site, buyer):
    receipted(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Receipt R-000001").click()
    sheet = page.get_by_role("article", name="Receipt")
    expect(sheet).to_contain_text("R-000001")
    expect(sheet).to_contain_text("$21.00")
    with page.expect_download() as download:
        page.get_by_role("link", name="PDF").click()
    assert download.value.suggested_filename == "R-000001.pdf"
    words = " ".join(PdfReader(download.value.path()).pages[0].extract_text().split())
    for text in ("Receipt R-000001", "Your reference PO-2026-114", "Total paid $25.00", "Left to spend $21.00"):
        assert text in words
    for look, path in (("light", "receipts/1/"), ("narrow-dark", "receipts/1/"), ("narrow", "receipts/"),
                       ("dark", "credit-notes/1/"), ("narrow", "details/")):  # fmt: skip
        shown = site.page_of(buyer.billing, **LOOKS[look])
        shown.goto(site.url(f"settings/billing/{path}"))
        assert overflow(shown) <= 0, (look, path)
        assert axe_violations(shown) == [], (look, path)
    assert site.problems == []


@pytest.mark.parametrize(("name", "prepare", "path"), PAGES, ids=[page[0] for page in PAGES])
def test_every_look_of_a_page_fits_its_window_and_is_accessible(site, buyer, name, prepare, path):
    prepare(buyer)
    last = Purchase.objects.order_by("-id").values_list("pk", flat=True).first()
    for look, options in LOOKS.items():
        page = site.page_of(buyer.billing, **options)
        page.goto(site.url(path.format(purchase=last)))
        if "data-card-element" in page.content():
            expect(page.get_by_role("textbox", name="Card number")).to_be_visible()
        if SCREENSHOTS:
            page.screenshot(
                path=Path(SCREENSHOTS) / f"{name}-{look}.png", full_page=page.locator(".scrim").count() == 0
            )
        assert overflow(page) <= 0, look
        assert axe_violations(page) == [], look


def test_a_page_is_usable_at_twice_the_text_size(site, buyer):
    well_used(buyer)
    page = site.page_of(buyer.billing, viewport={"width": 640, "height": 450})
    for path in ("settings/billing/", "settings/billing/statement/", "usage/"):
        page.goto(site.url(path))
        assert overflow(page) <= 0, path


def test_the_buy_dialog_opens_keeps_the_focus_and_closes_by_keyboard(site, buyer):
    well_used(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/"))
    opener = page.get_by_role("link", name="Buy credits")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Buy credits")
    expect(dialog).to_be_visible()
    for key in ["Tab"] * 12 + ["Shift+Tab"] * 12:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.closest('[role=dialog]') !== null"), key
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()


def test_the_card_dialog_is_reached_filled_and_sent_by_keyboard_alone(site, buyer):
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Update payment method").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Update payment method")).to_be_visible()
    expect(page.get_by_label("Name on the card")).to_be_focused()
    expect(page.get_by_role("textbox", name="Card number")).to_be_visible()
    page.keyboard.type("Jonas Weber")
    for text in ("4242424242424242", "1234", "123"):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Update", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Visa ending in 4242 is now your payment method.")).to_be_visible()


def test_a_declined_card_is_said_in_the_dialog_and_another_one_can_follow(site, buyer):
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/card/"))
    page.get_by_role("textbox", name="Card number").fill("4000000000000002")
    page.get_by_role("textbox", name=re.compile("^Expir")).fill("12 / 34")
    page.get_by_role("textbox", name=re.compile("CVC")).fill("123")
    page.get_by_role("button", name="Update", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    page.get_by_role("textbox", name="Card number").fill("4242424242424242")
    page.get_by_role("button", name="Update", exact=True).click()
    expect(page.get_by_text("Visa ending in 4242 is now your payment method.")).to_be_visible()


def test_an_incomplete_card_is_said_at_the_card(site, buyer):
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/card/"))
    page.get_by_role("textbox", name="Card number").fill("42424242")
    page.get_by_role("button", name="Update", exact=True).click()
    expect(page.get_by_text("Your card number is incomplete.")).to_be_visible()


def test_without_the_processors_script_the_dialog_says_what_is_wrong(site, buyer):
    page = site.page_of(buyer.billing)
    page.route("**/stripe.js", lambda route: route.abort())
    page.goto(site.url("settings/billing/card/"))
    expect(page.get_by_role("alert")).to_contain_text("The card form did not load.")
    expect(page.get_by_role("button", name="Update", exact=True)).to_be_disabled()


def test_the_button_and_the_receipt_follow_the_amount(site, buyer):
    with_a_card(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Buy credits").click()
    dialog = page.get_by_role("dialog", name="Buy credits")
    expect(dialog.get_by_role("button", name="Buy $25.00")).to_be_visible()
    dialog.get_by_role("radio", name="$100").check()
    expect(dialog.get_by_role("button", name="Buy $100.00")).to_be_visible()
    dialog.get_by_label("Other amount").fill("1,234.5")
    expect(dialog.get_by_role("button", name="Buy $1,234.50")).to_be_visible()
    expect(dialog.locator("dd.total")).to_have_text("$1,234.50")
    dialog.get_by_label("Other amount").fill("abc")
    expect(dialog.get_by_role("button", name="Buy credits")).to_be_visible()


def test_a_double_click_buys_once(site, buyer):
    with_a_card(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/buy/"))
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Buy $25.00").dblclick()
    expect(page.get_by_text("$25.00 of credit bought, spendable now.")).to_be_visible()
    assert buyer.charged_cents == 2_500


def test_an_error_in_the_buy_dialog_leads_to_the_field(site, buyer):
    with_a_card(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Buy credits").click()
    page.get_by_label("Other amount").fill("3")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Buy $3.00").click()
    field = page.get_by_label("Other amount")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("The smallest purchase is"))
    expect(field).to_have_value("3")
    assert axe_violations(page) == []


def test_the_banks_question_is_answered_on_the_page(site, buyer):
    asked_by_the_bank(buyer)
    (purchase,) = buyer.purchases
    page = site.page_of(buyer.billing)
    page.goto(site.url(f"settings/billing/purchases/{purchase.pk}/"))
    page.get_by_role("button", name="Confirm $25.00").click()
    page.get_by_role("button", name="Complete authentication").click()
    expect(page.get_by_text("$25.00 of credit bought, spendable now.")).to_be_visible()
    assert buyer.available_cents == 2_500


def test_a_purchase_that_ends_while_the_page_waits_is_seen_without_a_click(site, buyer):
    unanswered(buyer)
    (purchase,) = buyer.purchases
    page = site.page_of(buyer.billing)
    page.goto(site.url(f"settings/billing/purchases/{purchase.pk}/"))
    expect(page.get_by_role("heading", name="Purchase in progress")).to_be_visible()
    reconciliation.sweep(at=timezone.now() + timedelta(minutes=30))
    expect(page.get_by_role("heading", name="$25.00 of credit bought")).to_be_visible(timeout=10_000)


def test_the_consent_sentence_follows_the_amounts_and_is_what_is_stored(site, buyer):
    with_a_card(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Edit auto-reload").click()
    dialog = page.get_by_role("dialog", name="Auto-reload")
    dialog.get_by_label("Minimum balance").fill("5")
    dialog.get_by_label("Reload to").fill("20")
    dialog.get_by_label("At most a month").fill("1,000")
    sentence = dialog.locator("[data-sentence]")
    expect(sentence).to_contain_text("When credit falls below $5.00")
    expect(sentence).to_contain_text("$1,000.00 in a calendar month")
    shown = sentence.inner_text()
    dialog.get_by_role("switch", name="Reload automatically").check()
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Auto-reload is on.")).to_be_visible()
    assert buyer.organization.auto_reload_consents.get().consent_text == shown


def test_buying_works_without_javascript(site, buyer):
    with_a_card(buyer)
    page = site.page_of(buyer.billing, java_script_enabled=False)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Buy credits").click()
    page.get_by_label("Other amount").fill("31")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Buy credits").click()
    expect(page.get_by_text("$31.00 of credit bought, spendable now.")).to_be_visible()


def test_auto_reload_works_without_javascript_and_asks_to_read_the_sentence(site, buyer):
    with_a_card(buyer)
    page = site.page_of(buyer.billing, java_script_enabled=False)
    page.goto(site.url("settings/billing/auto-reload/"))
    page.get_by_label("Minimum balance").fill("5")
    page.get_by_role("switch", name="Reload automatically").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Nothing is saved yet")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Auto-reload is on.")).to_be_visible()
    assert buyer.reload.minimum_cents == 500


def test_the_card_dialog_says_without_javascript_that_it_needs_it(site, buyer):
    page = site.page_of(buyer.billing, java_script_enabled=False)
    page.goto(site.url("settings/billing/card/"))
    # Playwright's text search leaves <noscript> out.
    expect(page.locator("noscript .notice")).to_be_visible()
    expect(page.locator("noscript .notice")).to_contain_text("This step needs JavaScript.")


def test_the_month_is_chosen_and_the_chart_opens_as_a_table(site, buyer):
    well_used(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("usage/"))
    page.get_by_text("Show as table").click()
    expect(page.get_by_role("table", name="Cost by day and model in US dollars")).to_be_visible()
    assert axe_violations(page) == []
    page.get_by_role("link", name="Month before").click()
    expect(page.get_by_role("heading", name="Usage", level=1)).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_amounts_beside_the_chart_end_before_its_bars_begin(site, buyer, width):
    """Cents make them wider than dollars are."""
    prices.seed(effective_at=timezone.now() - timedelta(days=1))
    buyer.fund(100)
    usage = metering.Usage(model="orion-large", quantities={"input": 5_000, "output": 700})
    metering.charge(organization_id=buyer.organization.pk, key="cents", usage=usage)
    page = site.page_of(buyer.billing, viewport={"width": width, "height": 900})
    page.goto(site.url("usage/"))
    plot = page.get_by_role("img", name="Cost by day").bounding_box()
    boxes = [text.bounding_box() for text in page.locator(".chart .y text").all()]
    assert len(boxes) > 2
    assert max(box["x"] + box["width"] for box in boxes) < plot["x"] - 4
    assert min(box["x"] for box in boxes) >= page.locator(".chart").bounding_box()["x"]


def test_a_month_of_the_statement_is_read_and_saved_without_javascript(site, buyer):
    well_used(buyer)
    page = site.page_of(buyer.billing, java_script_enabled=False)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Statement").click()
    expect(page.get_by_role("heading", name="Statement", level=1)).to_be_visible()
    page.get_by_role("link", name="Every entry").click()
    expect(page.get_by_role("link", name="Every entry")).to_have_attribute("aria-current", "true")
    page.get_by_label("Date and time").fill("2020-01-01T10:00")
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_text("the balance was")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="as CSV").click()
    assert download.value.suggested_filename.endswith(".csv")


def type_card(page: Page, number: str) -> None:
    page.get_by_role("textbox", name="Card number").fill(number)
    page.get_by_role("textbox", name=re.compile("^Expir")).fill("12 / 34")
    page.get_by_role("textbox", name=re.compile("CVC")).fill("123")
    page.get_by_role("button", name="Update", exact=True).click()


def test_a_card_that_asks_the_bank_is_saved_after_the_answer_in_the_dialog(site, buyer):
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/card/"))
    type_card(page, ASKS_ALWAYS)
    page.get_by_role("button", name="Complete authentication").click()
    expect(page.get_by_text("Visa ending in 3184 is now your payment method.")).to_be_visible()
    assert PaymentMethod.objects.get(is_default=True).last4 == "3184"


def test_a_card_form_left_open_for_long_leads_to_the_proof_and_back(site, buyer):
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/card/"))
    client, name = Client(), django_settings.SESSION_COOKIE_NAME
    client.cookies[name] = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == name)
    grow_stale(client)
    type_card(page, "4242424242424242")
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator("#dialog-title")).to_have_text("Update payment method")
    type_card(page, "4242424242424242")
    expect(page.get_by_text("is now your payment method")).to_be_visible()


def test_a_card_that_the_bank_does_not_confirm_is_not_saved_and_another_can_follow(site, buyer):
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/card/"))
    type_card(page, ASKS_ALWAYS)
    page.get_by_role("button", name="Fail authentication").click()
    expect(page.get_by_role("alert")).to_contain_text("The bank declined this card: the bank could not confirm that it")
    assert not PaymentMethod.objects.exists()
    type_card(page, "4242424242424242")
    expect(page.get_by_text("Visa ending in 4242 is now your payment method.")).to_be_visible()


def test_a_bank_that_is_not_convinced_fails_the_purchase_and_nothing_is_charged_then_or_later(site, buyer):
    asked_by_the_bank(buyer)
    (purchase,) = buyer.purchases
    page = site.page_of(buyer.billing)
    page.goto(site.url(f"settings/billing/purchases/{purchase.pk}/"))
    page.get_by_role("button", name="Confirm $25.00").click()
    page.get_by_role("button", name="Fail authentication").click()
    expect(page.get_by_role("heading", name="Purchase declined")).to_be_visible()
    expect(page.get_by_text("Your bank could not confirm that it is you. Nothing was charged.").first).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_role("heading", name="Purchase declined")).to_be_visible()
    purchase.refresh_from_db()
    assert (purchase.state, buyer.charged_cents, buyer.available_cents) == ("failed", 0, 0)


# Of each line of a receipt whether its texts lie beside each other within it.
APART = """receipt => {
  const box = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return range.getBoundingClientRect();
  };
  const edge = receipt.getBoundingClientRect();
  return [...receipt.querySelectorAll("dt")].map((name) => {
    const left = box(name), right = box(name.nextElementSibling);
    return [name.textContent, edge.left <= left.left && left.right < right.left && right.right <= edge.right];
  });
}"""


@pytest.mark.parametrize("width", [390, 1_280])
def test_the_lines_of_a_purchase_have_room_where_its_day_is_another_one_in_utc(site, buyer, width):
    """Both days are written out then, which is the longest that an instant gets."""
    zones = ("Pacific/Kiritimati", "Pacific/Niue")
    buyer.organization.time_zone = next(
        zone
        for zone in zones
        if timezone.now().astimezone(ZoneInfo(zone)).date() != timezone.now().astimezone(UTC).date()
    )
    buyer.organization.save()
    asked_by_the_bank(buyer)
    page = site.page_of(buyer.billing, viewport={"width": width, "height": 900})
    page.goto(site.url(f"settings/billing/purchases/{buyer.purchases[0].pk}/"))
    expect(page.locator(".receipt time")).to_contain_text("UTC")
    lines = page.locator(".receipt").evaluate(APART)
    assert len(lines) == 4
    assert [name for name, is_apart in lines if not is_apart] == []


def held_back(page: Page) -> list[Route]:
    """The processor's script doesn't come before it is let through."""
    waiting: list[Route] = []
    page.route("**/stripe.js", lambda route: waiting.append(route))
    return waiting


def let_through(page: Page, waiting: list[Route]) -> None:
    """Let the script come, as soon as it was asked for."""
    for _ in range(500):
        if waiting:
            break
        page.wait_for_timeout(10)
    waiting.pop().continue_()


def test_the_banks_question_can_be_asked_only_when_the_script_for_it_is_there(site, buyer):
    """An early click would send the form past the script, and change nothing."""
    asked_by_the_bank(buyer)
    (purchase,) = buyer.purchases
    page = site.page_of(buyer.billing)
    waiting = held_back(page)
    page.goto(site.url(f"settings/billing/purchases/{purchase.pk}/"), wait_until="commit")
    ask = page.get_by_role("button", name="Confirm $25.00")
    expect(ask).to_be_disabled()
    let_through(page, waiting)
    ask.click()
    expect(page.get_by_role("button", name="Complete authentication")).to_be_visible()


def test_a_card_can_be_sent_only_when_its_form_is_there(site, buyer):
    page = site.page_of(buyer.billing)
    waiting = held_back(page)
    page.goto(site.url("settings/billing/card/"), wait_until="commit")
    update = page.get_by_role("button", name="Update", exact=True)
    expect(update).to_be_disabled()
    page.get_by_label("Name on the card").fill("Jonas Weber")
    let_through(page, waiting)
    expect(update).to_be_enabled()
    type_card(page, "4242424242424242")
    expect(page.get_by_text("Visa ending in 4242 is now your payment method.")).to_be_visible()


@pytest.mark.parametrize("path", ["card/", "purchases/{purchase}/"])
def test_a_page_that_the_browser_kept_is_read_anew_when_it_is_gone_back_to(site, buyer, path):
    """Its button may be waiting for an answer that came long ago."""
    asked_by_the_bank(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/" + path.format(purchase=buyer.purchases[0].pk)))
    button = page.locator("[data-submit]")
    expect(button).to_be_enabled()
    button.evaluate("button => { button.disabled = true; }")
    with page.expect_navigation():
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(button).to_be_enabled()


def test_the_banks_question_survives_a_reload_the_back_button_and_a_closed_tab(site, buyer):
    buyer.save_card(ASKS_ALWAYS)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/buy/"))
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Buy $25.00").click()
    ask, complete = (page.get_by_role("button", name=name) for name in ("Confirm $25.00", "Complete authentication"))
    ask.click()
    expect(complete).to_be_visible()
    page.reload()
    ask.click()
    expect(complete).to_be_visible()
    address = page.url
    page.goto(site.url("usage/"))
    page.go_back()
    expect(ask).to_be_visible()
    tab = page.context.new_page()
    page.close()
    tab.goto(site.url("settings/billing/"))
    tab.get_by_role("link", name="Confirm with your bank").first.click()
    expect(tab).to_have_url(address)
    tab.get_by_role("button", name="Confirm $25.00").click()
    tab.get_by_role("button", name="Complete authentication").click()
    expect(tab.get_by_text("$25.00 of credit bought, spendable now.")).to_be_visible()
    # Back to the question after it was answered: the page says how it ended.
    tab.goto(address)
    expect(tab.get_by_role("heading", name="$25.00 of credit bought")).to_be_visible()
    assert (buyer.charged_cents, buyer.available_cents, len(buyer.purchases)) == (2_500, 2_500, 1)


def test_going_back_to_the_form_after_success_charges_once_for_each_form(site, buyer):
    with_a_card(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/buy/"))
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Buy $25.00").click()
    expect(page.get_by_text("$25.00 of credit bought, spendable now.")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_text("$25.00 was bought a moment ago")).to_be_visible()
    assert buyer.charged_cents == 2_500
