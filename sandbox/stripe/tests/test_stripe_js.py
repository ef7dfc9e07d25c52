"""Stripe.js in a real browser, on a page with a strict CSP: the card element and both confirmations."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sandbox.stripe.server import StandIn
from sandbox.stripe.tests.contract import Account
from sandbox.stripe.tests.page import Page as ServedPage

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, (os.environ.get("BROWSER_PATH", ""), *BROWSER_NAMES))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("REQUIRE_BROWSER"),
    reason="no Chromium was found: apt-get install chromium, or set BROWSER_PATH to one",
)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Start the machine's own Chromium; root can't have its inner sandbox."""
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": flags}


@pytest.fixture
def open_page(stand_in: StandIn, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the served page in a context of its own; at the end no script or style may have been blocked."""
    contexts = []
    with ServedPage(js_url=stand_in.js_url, stripe_origin=stand_in.base_url) as served:

        def opened(query: str = "", **options: Any) -> Page:
            context = browser.new_context(**options)
            contexts.append(context)
            page = context.new_page()
            page.set_default_timeout(10_000)
            page.goto(served.url + query)
            wait_until(page, "(window.seen || []).includes('ready')")
            return page

        yield opened
        for context in contexts:
            for page in context.pages:
                assert page.evaluate("window.violations || []") == []
            context.close()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The page with the card element, without a postal code."""
    return open_page()


def fill(page: Page, number: str, *, expiry: str = "12 / 34", cvc: str = "123") -> None:
    """Type a card as its holder does."""
    page.get_by_label("Card number").press_sequentially(number)
    page.get_by_label("Expiry (MM / YY)").press_sequentially(expiry)
    page.get_by_label("Security code").press_sequentially(cvc)


def wait_until(page: Page, expression: str) -> None:
    """Wait for a condition. Playwright's own way evaluates strings inside the page, which the page's CSP forbids."""
    end = time.monotonic() + 10
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never became true: {expression}"
        page.wait_for_timeout(20)


def started(page: Page, function: str, secret: str) -> None:
    """Begin a confirmation and leave its result in `window.outcome`."""
    page.evaluate(
        f"(secret) => {{ window.outcome = undefined; {function}(secret).then((it) => window.outcome = it); }}", secret
    )


def outcome(page: Page) -> Any:
    """The result of what was started."""
    wait_until(page, "window.outcome !== undefined")
    return page.evaluate("window.outcome")


def setup_intent(account: Account) -> Any:
    """A SetupIntent of a new customer, as the product creates it."""
    return account.v1.setup_intents.create(
        {"customer": account.customer().id, "usage": "off_session", "allowed_payment_method_types": ["card"]}
    )


def test_a_good_card_is_saved_for_the_customer(page: Page, account: Account) -> None:
    intent = setup_intent(account)
    fill(page, "4242424242424242")
    started(page, "setUp", intent.client_secret)
    assert outcome(page)["status"] == "succeeded"
    saved = account.v1.setup_intents.retrieve(intent.id, {"expand": ["payment_method"]}).payment_method
    assert (saved.card.brand, saved.card.last4, saved.card.exp_month, saved.card.exp_year) == ("visa", "4242", 12, 2034)
    assert saved.customer == intent.customer
    assert saved.billing_details.name == "Maya Lindqvist"


def test_the_page_never_sees_customer_or_metadata(page: Page, account: Account) -> None:
    intent = setup_intent(account)
    fill(page, "4242424242424242")
    started(page, "setUp", intent.client_secret)
    shown = outcome(page)["result"]["setupIntent"]
    assert "customer" not in shown
    assert "metadata" not in shown


def test_a_declined_card_says_why_and_another_can_be_tried(page: Page, account: Account) -> None:
    intent = setup_intent(account)
    fill(page, "4000000000009995")
    started(page, "setUp", intent.client_secret)
    error = outcome(page)["error"]
    assert (error["type"], error["code"], error["decline_code"]) == (
        "card_error",
        "card_declined",
        "insufficient_funds",
    )
    assert error["message"] == "Your card has insufficient funds."
    page.evaluate("window.card.clear()")
    fill(page, "5555555555554444")
    started(page, "setUp", intent.client_secret)
    assert outcome(page)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("button", "status"), [("Complete authentication", "succeeded"), ("Fail authentication", None)]
)
def test_a_challenge_is_answered_in_a_dialog(page: Page, account: Account, button: str, status: str | None) -> None:
    intent = setup_intent(account)
    fill(page, "4000002760003184")
    started(page, "setUp", intent.client_secret)
    dialog = page.get_by_role("dialog", name="3D Secure test page")
    expect(dialog).to_be_visible()
    assert account.v1.setup_intents.retrieve(intent.id).status == "requires_action"
    dialog.get_by_role("button", name=button).click()
    result = outcome(page)
    assert result.get("status") == status
    expect(dialog).to_be_hidden()
    if status is None:
        assert result["error"]["code"] == "setup_intent_authentication_failure"
        assert account.v1.setup_intents.retrieve(intent.id).status == "requires_payment_method"


def test_a_challenge_can_be_answered_with_the_keyboard_alone(page: Page, account: Account) -> None:
    intent = setup_intent(account)
    fill(page, "4000002760003184")
    page.get_by_role("button", name="Update").focus()
    started(page, "setUp", intent.client_secret)
    complete = page.get_by_role("button", name="Complete authentication")
    expect(complete).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Fail authentication")).to_be_focused()
    page.keyboard.press("Tab")
    expect(complete).to_be_focused()
    page.keyboard.press("Enter")
    assert outcome(page)["status"] == "succeeded"
    expect(page.get_by_role("button", name="Update")).to_be_focused()


def test_a_payment_that_the_server_confirmed_is_authenticated_and_charged_once(page: Page, account: Account) -> None:
    assert account.stand_in is not None
    payment = account.pay(account.customer(), "pm_card_authenticationRequired", use_stripe_sdk=True)
    assert payment.status == "requires_action"
    started(page, "pay", payment.client_secret)
    page.get_by_role("button", name="Complete authentication").click()
    assert outcome(page)["status"] == "succeeded"
    (entry,) = account.stand_in.journal.entries(outcome="succeeded")
    assert (entry["payment_intent"], entry["amount"], entry["made_by"]) == (payment.id, 2500, "browser")
    started(page, "pay", payment.client_secret)
    assert outcome(page)["error"]["payment_intent"]["status"] == "succeeded"
    assert len(account.stand_in.journal.entries(outcome="succeeded")) == 1


def test_a_card_may_be_declined_after_its_authentication(page: Page, account: Account) -> None:
    payment = account.pay(
        account.customer(), "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", use_stripe_sdk=True
    )
    started(page, "pay", payment.client_secret)
    page.get_by_role("button", name="Complete authentication").click()
    error = outcome(page)["error"]
    assert error["decline_code"] == "insufficient_funds"
    assert error["payment_intent"]["status"] == "requires_payment_method"


def test_an_incomplete_card_is_refused_without_a_request(page: Page, account: Account, stand_in: StandIn) -> None:
    intent = setup_intent(account)
    before = len(stand_in.api.requests())
    page.get_by_label("Card number").press_sequentially("4242")
    started(page, "setUp", intent.client_secret)
    error = outcome(page)["error"]
    assert (error["type"], error["code"]) == ("validation_error", "incomplete_number")
    assert len(stand_in.api.requests()) == before
    expect(page.get_by_label("Card number")).to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize(
    ("number", "expiry", "code"),
    [
        ("4242424242424241", "12 / 34", "invalid_number"),
        ("4242424242424242", "12 / 20", "invalid_expiry_year_past"),
        ("4242424242424242", "13 / 34", "invalid_expiry_month"),
    ],
)
def test_a_full_field_is_judged_while_it_is_typed(page: Page, number: str, expiry: str, code: str) -> None:
    fill(page, number, expiry=expiry)
    change = page.evaluate("window.lastChange")
    assert change["error"]["code"] == code
    assert change["error"]["message"].startswith("Your card")
    assert change["complete"] is False
    expect(page.locator("#card")).to_have_class(re.compile("StripeElement--invalid"))


def test_a_complete_card_is_reported_and_shown_in_groups(page: Page) -> None:
    fill(page, "378282246310005", cvc="1234")
    change = page.evaluate("window.lastChange")
    assert (change["complete"], change.get("error"), change["brand"]) == (True, None, "amex")
    expect(page.get_by_label("Card number")).to_have_value("3782 822463 10005")
    expect(page.get_by_label("Expiry (MM / YY)")).to_have_value("12 / 34")
    expect(page.locator("#card")).to_have_class(re.compile("StripeElement--complete"))


def test_correcting_a_digit_in_the_middle_keeps_the_caret_there(page: Page) -> None:
    number = page.get_by_label("Card number")
    number.press_sequentially("4242424242424242")
    number.evaluate("(input) => input.setSelectionRange(6, 6)")
    page.keyboard.press("Backspace")
    page.keyboard.type("2")
    expect(number).to_have_value("4242 2242 4242 4242")
    assert number.evaluate("(input) => input.selectionStart") == 6


def test_the_postal_code_is_asked_for_unless_hidden_and_sent(open_page: Callable[..., Page], account: Account) -> None:
    page = open_page("?postal")
    intent = setup_intent(account)
    fill(page, "4242424242424242")
    started(page, "setUp", intent.client_secret)
    assert outcome(page)["error"]["code"] == "incomplete_zip"
    page.get_by_label("Postal code").fill("10969")
    started(page, "setUp", intent.client_secret)
    assert outcome(page)["status"] == "succeeded"
    saved = account.v1.setup_intents.retrieve(intent.id, {"expand": ["payment_method"]}).payment_method
    assert saved.billing_details.address.postal_code == "10969"


def test_the_form_around_the_element_never_submits_the_card(page: Page) -> None:
    fill(page, "4242424242424242")
    page.get_by_role("button", name="Update").click()
    page.wait_for_url("**/submitted*")
    assert page.url.endswith(("/submitted", "/submitted?"))


def test_one_card_element_at_a_time_and_again_after_destroying_it(page: Page, account: Account) -> None:
    thrown = page.evaluate("(() => { try { makeCard({}); } catch (error) { return error.name; } })()")
    assert thrown == "IntegrationError"
    page.evaluate("window.card.destroy()")
    expect(page.get_by_label("Card number")).to_have_count(0)
    expect(page.locator("#card")).not_to_have_class(re.compile("StripeElement"))
    page.evaluate("window.card = makeCard({ hidePostalCode: true })")
    intent = setup_intent(account)
    fill(page, "4242424242424242")
    started(page, "setUp", intent.client_secret)
    assert outcome(page)["status"] == "succeeded"


def test_an_element_that_was_swapped_away_gives_no_card(page: Page, account: Account) -> None:
    intent = setup_intent(account)
    fill(page, "4242424242424242")
    page.evaluate("document.querySelector('#card').remove()")
    assert page.evaluate("(secret) => setUp(secret)", intent.client_secret)["thrown"] == "IntegrationError"


def test_a_lost_connection_is_an_error_the_page_can_show(page: Page, account: Account, stand_in: StandIn) -> None:
    intent = setup_intent(account)
    fill(page, "4242424242424242")
    stand_in.control.add_fault("cut_before", method="POST", path="/v1/setup_intents")
    started(page, "setUp", intent.client_secret)
    assert outcome(page)["error"]["type"] == "api_connection_error"
    started(page, "setUp", intent.client_secret)
    assert outcome(page)["status"] == "succeeded"


@pytest.mark.parametrize("key", ["", "sk_test_secret", "pk_live_real"])
def test_only_a_publishable_test_key_starts_it(page: Page, key: str) -> None:
    thrown = page.evaluate("(key) => { try { Stripe(key); } catch (error) { return error.name; } }", key)
    assert thrown == "IntegrationError"


def test_there_is_one_global_and_no_inline_style(page: Page, open_page: Callable[..., Page]) -> None:
    added = page.evaluate(
        """() => {
          const frame = document.createElement("iframe");
          document.body.append(frame);
          const known = new Set(Object.getOwnPropertyNames(frame.contentWindow));
          frame.remove();
          return Object.getOwnPropertyNames(window).filter((name) => !known.has(name));
        }"""
    )
    own = {"makeCard", "card", "settled", "setUp", "pay", "look", "violations", "seen", "lastChange", "outcome"}
    assert {name for name in added if not name.isdigit()} - own == {"Stripe"}
    assert page.locator("style").count() == 0


def test_the_other_address_serves_the_same_script(stand_in: StandIn, page: Page) -> None:
    response = page.request.get(f"{stand_in.base_url}/endive/stripe.js")
    assert response.ok
    assert response.headers["content-type"].startswith("text/javascript")
    assert "confirmCardSetup" in response.text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_element_and_the_dialog(
    open_page: Callable[..., Page], account: Account, scheme: str
) -> None:
    page = open_page("?postal", color_scheme=scheme)
    fill(page, "4000002760003184")
    page.get_by_label("Postal code").fill("10969")
    assert [found["id"] for found in Axe().run(page).response["violations"]] == []
    started(page, "setUp", setup_intent(account).client_secret)
    expect(page.get_by_role("dialog")).to_be_visible()
    assert [found["id"] for found in Axe().run(page).response["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_page_in_either_scheme(open_page: Callable[..., Page], scheme: str) -> None:
    page = open_page("?postal", viewport={"width": 390, "height": 700}, color_scheme=scheme)
    fill(page, "4000000000000002")
    assert page.evaluate("document.documentElement.scrollWidth <= 390")
    number = page.get_by_label("Card number")
    background, text = number.evaluate(
        "(input) => [getComputedStyle(input).backgroundColor, getComputedStyle(input).color]"
    )
    assert (background, text) == {
        "light": ("rgb(255, 255, 255)", "rgb(28, 27, 34)"),
        "dark": ("rgb(26, 26, 31)", "rgb(237, 237, 241)"),
    }[scheme]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_control_page_works_in_a_browser_and_fits_a_narrow_one(
    browser: Browser, account: Account, scheme: str
) -> None:
    assert account.stand_in is not None
    customer = account.customer()
    payment = account.pay(customer, account.saved_card(customer), description="Credits, described at some length")
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{account.stand_in.base_url}/_sandbox/")
    page.get_by_role("button", name="Open a dispute").click()
    expect(page.get_by_role("status")).to_contain_text("was opened")
    assert account.v1.charges.retrieve(payment.latest_charge).disputed is True
    assert page.evaluate("document.documentElement.scrollWidth <= 390")
    assert [found["id"] for found in Axe().run(page).response["violations"]] == []
    context.close()
