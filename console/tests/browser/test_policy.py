"""That a violation of the content policy can't go unnoticed in this suite."""

import re

import pytest
from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.django_db(transaction=True)

PLANTS = {
    "script": "<script>window.planted = true</script>",
    "handler": '<img src="/nothing.png" onerror="window.planted = true" alt="">',
    "style": '<p style="color: red">planted</p>',
    "foreign script": '<script src="https://elsewhere.example/x.js"></script>',
}


@pytest.fixture
def page(browser: Browser, live_server, settings) -> Page:
    settings.CSRF_TRUSTED_ORIGINS = [live_server.url]
    # Through the wrapped method, so that this window is watched like all others.
    context = browser.new_context(base_url=live_server.url)
    return context.new_page()


def plant(page: Page, html: str) -> None:
    def add(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("</main>", f"{html}</main>"))

    page.route("**/accounts/login/", add)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_violation_is_stopped_and_noticed(page, policy_violations, name):
    plant(page, PLANTS[name])
    with page.expect_request(re.compile("/policy-reports/")):
        page.goto("/accounts/login/")
    assert page.evaluate("window.planted") is None
    page.context.close()
    noticed = list(policy_violations)
    policy_violations.clear()
    for source in ("console:", "sent:"):
        assert any(text.startswith(source) for text in noticed), noticed


def test_what_the_browser_reports_is_written_down(page, policy_violations):
    plant(page, PLANTS["script"])
    with page.expect_response(re.compile("/policy-reports/")) as answer:
        page.goto("/accounts/login/")
    assert answer.value.status == 204
    page.context.close()
    written = [text for text in policy_violations if text.startswith("reported:")]
    policy_violations.clear()
    assert "script-src" in written[0]
    assert "/accounts/login/" in written[0]


def test_a_page_as_it_is_breaks_no_policy(page, policy_violations):
    page.goto("/accounts/login/")
    page.wait_for_load_state("networkidle")
    assert policy_violations == []
