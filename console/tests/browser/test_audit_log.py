"""The audit log in a real browser: light and dark, wide and narrow, by keyboard, without JavaScript.

SCREENSHOTS=folder keeps a picture of each look.
"""

from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory
from playwright.sync_api import expect

from accounts import audit
from accounts.models import Membership
from accounts.permissions import Role
from accounts.tests import cast
from billing.tests.buyer import Buyer
from console.tests.browser.test_pages import LOOKS, SCREENSHOTS, axe_violations, buyer, overflow, site, stripe_stand_in

__all__ = ["buyer", "site", "stripe_stand_in"]

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "settings/audit-log/"


@pytest.fixture
def history(buyer: Buyer) -> None:
    """Of every kind something, with long names and long values."""
    buyer.save_card()
    buyer.buy()
    buyer.arm(1_000, 5_000, 20_000)
    buyer.arm(2_000, 5_000, 30_000)
    request = RequestFactory().get(
        "/",
        REMOTE_ADDR="2001:db8:85a3:8d3:1319:8a2e:370:7348",
        headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0"},
    )
    request.request_id = "req_0123456789abcdef"  # type: ignore[attr-defined]
    long = cast.member(buyer.organization, role=Role.DEVELOPER, name="Wolfeschlegelsteinhausen" * 3)
    audit.record(
        organization=buyer.organization,
        actor=buyer.admin,
        action="membership.role_changed",
        target=f"membership:{long.pk}",
        before={"user": long.user_id, "role": "user"},
        after={"user": long.user_id, "role": "developer"},
        request=request,
    )
    audit.record(
        organization=buyer.organization,
        actor=long.user,
        action="access.refused",
        target=f"membership:{long.pk}",
        after={"permission": "credits.buy", "role": "developer", "method": "POST"},
        request=request,
    )
    audit.record(
        organization=buyer.organization,
        actor=cast.person(is_staff=True),
        action="credit_account.frozen",
        target="credit_account:1",
        before={"state": "open"},
        after={"state": "frozen", "reason": "for staff only"},
    )


@pytest.mark.usefixtures("history")
def test_every_look_fits_its_window_and_is_accessible(site: Any, buyer: Buyer) -> None:
    for look in LOOKS if SCREENSHOTS else ("light", "narrow-dark"):
        page = site.page_of(buyer.admin, **LOOKS[look])
        page.goto(site.url(PATH))
        page.locator("summary", has_text="Details").nth(1).click()
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"audit-log-{look}.png", full_page=True)
        assert overflow(page) <= 0, look
        assert axe_violations(page) == [], look
        page.goto(site.url(f"{PATH}?since=2027-01-02&until=2027-01-01&who=nobody"))
        expect(page.get_by_text("not before the first one")).to_be_visible()
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"audit-log-refused-{look}.png", full_page=True)
        assert overflow(page) <= 0, look
        assert axe_violations(page) == [], look


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("has_javascript", [True, False])
def test_an_admin_looks_for_a_person_opens_an_event_and_takes_the_file(
    site: Any, buyer: Buyer, has_javascript: bool, tmp_path: Path
) -> None:
    page = site.page_of(buyer.admin, java_script_enabled=has_javascript)
    page.goto(site.url(PATH))
    page.get_by_label("Who").select_option(label="Jonas Weber")
    page.get_by_label("What").select_option(label="Auto-reload")
    page.get_by_role("button", name="Show").press("Enter")
    expect(page.get_by_text("saved the settings of auto-reload")).to_have_count(2)
    expect(page.get_by_text("minimum: $10.00", exact=True)).to_be_visible()
    page.locator("summary", has_text="Details").first.press("Enter")
    expect(page.get_by_text("auto_reload.saved").first).to_be_visible()
    with page.expect_download() as taken:
        page.get_by_role("button", name="These events as CSV").click()
    assert taken.value.suggested_filename == "audit-log.csv"
    path = tmp_path / "audit-log.csv"
    taken.value.save_as(path)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 3
    page.goto(site.url(PATH))
    expect(page.get_by_text("downloaded the audit log")).to_be_visible()


@pytest.mark.usefixtures("history")
def test_a_role_that_ends_ends_the_view_of_the_log(site: Any, buyer: Buyer) -> None:
    page = site.page_of(buyer.admin)
    page.goto(site.url(PATH))
    cast.member(buyer.organization, role=Role.ADMIN)
    Membership.objects.filter(user=buyer.admin).update(role=Role.BILLING)
    page.reload()
    expect(page.get_by_role("heading", name="You may not read the audit log")).to_be_visible()
