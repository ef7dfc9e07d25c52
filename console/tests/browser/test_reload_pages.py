"""Auto-reload in a real browser: each state, light and dark, wide and narrow; its dialogs, with and without JavaScript.

SCREENSHOTS=folder keeps a picture of each page, in two looks more.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import Membership, User
from billing.credits import metering
from billing.models import AutoReload, AutoReloadConsent
from billing.tests import staff
from billing.tests.buyer import MODEL, Buyer
from billing.tests.test_reload_states import REACH, paused_brake, paused_dispute
from console.tests.browser.test_pages import LOOKS, SCREENSHOTS, axe_violations, buyer, overflow, site, stripe_stand_in

__all__ = ["buyer", "site", "stripe_stand_in"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def tight_brake(settings: Any) -> None:
    settings.AUTO_RELOAD_BRAKE_FACTOR = 1
    settings.AUTO_RELOAD_BRAKE_FLOOR_CENTS = 1_600


def used_for_days(buyer: Buyer) -> None:
    """Some weeks of use, so that there is something to try settings on; auto-reload was set several times."""
    buyer.save_card()
    buyer.fund(20_000)
    for day in range(20, 0, -1):
        metering.report_usage(
            organization_id=buyer.organization.pk,
            key=f"day-{day}",
            usage=metering.Usage(model=MODEL, quantities={"input": 700 + 31 * day}),
            occurred_at=timezone.now() - timedelta(days=day),
        )
    buyer.arm(1_000, 5_000, 20_000)
    buyer.save_reload(False, 1_000, 5_000, 20_000)
    buyer.arm(2_000, 5_000, 30_000)


def armed_by_somebody_who_left(buyer: Buyer) -> None:
    used_for_days(buyer)
    Membership.objects.filter(user=buyer.billing).delete()


def with_a_long_history(buyer: Buyer) -> None:
    used_for_days(buyer)
    paused_for_usage(buyer)
    User.objects.filter(pk=buyer.billing.pk).update(name="Wolfeschlegelsteinhausen" * 3)
    reload = AutoReload.objects.get()
    for kind in ("renewed", "usage_confirmed", *["saved"] * 20):
        AutoReloadConsent.objects.create(
            organization=buyer.organization,
            actor=buyer.admin,
            kind=kind,
            is_enabled=True,
            minimum_cents=reload.minimum_cents,
            target_cents=reload.target_cents,
            monthly_cap_cents=reload.monthly_cap_cents,
            consent_version="2026-11-25",
            consent_text=AutoReloadConsent.objects.filter(kind="saved").latest("id").consent_text,
        )


def paused_for_usage(buyer: Buyer) -> None:
    AutoReload.objects.update(
        suspension="brake", suspended_at=timezone.now(), brake_used_nano=62 * 10**9, brake_usual_nano=10**10
    )


def stopped_by_the_brake(buyer: Buyer) -> None:
    paused_brake(buyer)
    buyer.overspend(500)


def stopped_by_a_dispute(buyer: Buyer) -> None:
    paused_dispute(buyer)
    buyer.overspend(500)


PAGES: dict[str, tuple[Callable[[Buyer], object], str]] = {
    **{
        f"state-{name.replace(': ', '-').replace(' ', '-')}": (reach, "settings/billing/")
        for name, (_, reach) in REACH.items()
        if name != "nobody to tell"
    },
    "stopped-brake": (stopped_by_the_brake, "settings/billing/"),
    "stopped-dispute": (stopped_by_a_dispute, "settings/billing/"),
    "reload-dialog": (used_for_days, "settings/billing/auto-reload/"),
    "reload-usage": (paused_brake, "settings/billing/auto-reload/usage/"),
    "reload-consent": (armed_by_somebody_who_left, "settings/billing/auto-reload/consent/"),
    "reload-left": (armed_by_somebody_who_left, "settings/billing/"),
    "reload-history": (with_a_long_history, "settings/billing/auto-reload/history/"),
    "reload-history-empty": (lambda buyer: None, "settings/billing/auto-reload/history/"),
}


@pytest.mark.parametrize("name", PAGES)
def test_every_look_fits_its_window_and_is_accessible(site: Any, buyer: Buyer, name: str) -> None:
    prepare, path = PAGES[name]
    prepare(buyer)
    for look in LOOKS if SCREENSHOTS else ("light", "narrow-dark"):
        page = site.page_of(buyer.admin, **LOOKS[look])
        page.goto(site.url(path))
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"{name}-{look}.png", full_page=True)
        assert overflow(page) <= 0, look
        assert axe_violations(page) == [], look


def test_the_back_test_follows_what_is_typed(site: Any, buyer: Buyer) -> None:
    used_for_days(buyer)
    page = site.page_of(buyer.billing)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Edit auto-reload").click()
    dialog = page.get_by_role("dialog", name="Auto-reload")
    expect(dialog.get_by_role("button", name="Try these amounts")).to_be_hidden()
    dialog.get_by_label("Minimum balance").fill("1")
    dialog.get_by_label("Reload to").fill("2")
    expect(dialog.get_by_text("Reload to at least $6.00")).to_be_visible()
    dialog.get_by_label("Reload to").fill("50")
    expect(dialog.get_by_text("these settings would have charged")).to_be_visible()
    expect(dialog.get_by_label("Reload to")).to_be_focused()


def test_the_back_test_works_without_javascript(site: Any, buyer: Buyer) -> None:
    used_for_days(buyer)
    page = site.page_of(buyer.billing, java_script_enabled=False)
    page.goto(site.url("settings/billing/auto-reload/"))
    page.get_by_label("Reload to").fill("90")
    page.get_by_role("button", name="Try these amounts").click()
    expect(page.get_by_text("these settings would have charged")).to_be_visible()
    expect(page.get_by_label("Reload to")).to_have_value("90")
    assert buyer.reload.target_cents == 5_000


@pytest.mark.parametrize("has_script", [True, False])
def test_usage_is_confirmed_from_the_banner(site: Any, buyer: Buyer, has_script: bool) -> None:
    paused_brake(buyer)
    page = site.page_of(buyer.billing, java_script_enabled=has_script)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Confirm to continue").click()
    dialog = page.get_by_role("dialog", name="Is this usage wanted?")
    dialog.get_by_role("radio", name="For 7 days").check()
    dialog.get_by_role("button", name="Confirm and continue").click()
    expect(page.get_by_text("Auto-reload goes on.")).to_be_visible()
    assert buyer.reload.suspension == ""


def test_somebody_else_agrees_with_one_click(site: Any, buyer: Buyer) -> None:
    armed_by_somebody_who_left(buyer)
    page = site.page_of(buyer.admin)
    page.goto(site.url("settings/billing/"))
    page.get_by_role("link", name="Read and agree").click()
    dialog = page.get_by_role("dialog", name="Agree to auto-reload")
    expect(dialog).to_contain_text("When credit falls below $20.00")
    dialog.get_by_role("button", name="Agree", exact=True).click()
    expect(page.get_by_text("Auto-reload rests on your word now.")).to_be_visible()
    expect(page.get_by_role("link", name="Read and agree")).to_have_count(0)


def test_staff_see_state_history_and_brake(site: Any, buyer: Buyer) -> None:
    paused_brake(buyer)
    for look, options in LOOKS.items():
        page = site.page_of(staff.superuser(), **options)
        page.goto(site.url(f"/admin/billing/billingaccount/{buyer.organization.pk}/change/"))
        expect(page.get_by_text("1.1 times one full reload").first).to_be_visible()
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"staff-{look}.png", full_page=True)
