"""The control page: what its buttons do, and that only the page itself can press them."""

from __future__ import annotations

import html
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from sandbox.stripe.tests.contract import Account
from sandbox.stripe.tests.test_contract_refunds import paid, stand_in_of


def page(account: Account) -> str:
    """The page as a browser reads it."""
    with urllib.request.urlopen(f"{stand_in_of(account).base_url}/_sandbox/", timeout=10) as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Access-Control-Allow-Origin" not in response.headers
        return str(response.read().decode())


def press(account: Account, words: str, *, form: int = 0, **typed: str) -> str:
    """Press the button with these words, the first or another, and read the page that follows."""
    found = [
        each
        for each in re.findall(r"<form .*?</form>", page(account))
        if html.unescape(re.findall(r"<button>(.*?)</button>", each)[0]) == words
    ]
    fields = dict(re.findall(r'type="hidden" name="(.*?)" value="(.*?)"', found[form]))
    return post(account, {**fields, **typed})


def post(account: Account, fields: dict[str, str], *, origin: str | None = "own") -> str:
    """Send a form as a browser does, from the page or from elsewhere."""
    url = stand_in_of(account).base_url
    headers = {} if origin is None else {"Origin": url if origin == "own" else origin}
    data = urllib.parse.urlencode(fields).encode()
    request = urllib.request.Request(f"{url}/_sandbox/page", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(response.read().decode())


def test_a_person_disputes_wins_and_warns(account: Account) -> None:
    payment = paid(account, description="Credits <b>")
    assert "Credits &lt;b&gt;" in page(account)
    press(account, "Open an inquiry")
    press(account, "Make it a dispute")
    assert "Refund in the dashboard" not in page(account)
    assert "is now won" in press(account, "Win")
    press(account, "Warn of fraud")
    (dispute,) = account.v1.disputes.list({"payment_intent": payment.id})
    assert dispute.status == "won"
    assert len(account.v1.radar.early_fraud_warnings.list().data) == 1


def test_a_person_refunds_in_the_dashboard_and_the_bank_sends_it_back(account: Account) -> None:
    payment = paid(account)
    press(account, "Refund in the dashboard", amount="7.50")
    press(account, "Fail")
    (refund,) = account.v1.refunds.list({"payment_intent": payment.id})
    assert (refund.amount, refund.status) == (750, "failed")
    for wrong in ("-1", "7.505", "x", "0", "99"):
        assert "Nothing was done" in press(account, "Refund in the dashboard", amount=wrong)
    press(account, "Refund in the dashboard", amount="")
    assert account.v1.charges.retrieve(payment.latest_charge).refunded is True


def test_a_person_decides_about_the_next_charge(account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    press(account, "Decline it")
    assert "1 charge declined" in page(account)
    with pytest.raises(Exception, match="declined"):
        account.pay(customer, card)
    press(account, "Keep it in processing")
    held = account.pay(customer, card)
    press(account, "Succeed")
    assert account.v1.payment_intents.retrieve(held.id).status == "succeeded"
    press(account, "Make it, lose the answer")
    assert "3 calls made with their answer lost" in page(account)
    press(account, "Don’t let it arrive")
    press(account, "Keep the next refund pending")
    assert "Nothing is ordered." in press(account, "Forget all orders")
    assert account.pay(customer, card).status == "succeeded"
    assert account.v1.refunds.create({"payment_intent": held.id}).status == "succeeded"


def test_a_person_moves_time_and_holds_events_back(account: Account) -> None:
    stand_in = stand_in_of(account)
    assert "keep the real time" in page(account)
    press(account, "A day later")
    assert "31 days ahead" in press(account, "A month later")
    press(account, "Back to the real time")
    assert stand_in.control._state.clock_offset_seconds == 0
    press(account, "Hold back")
    assert stand_in.control.webhooks.is_paused
    press(account, "Deliver again")
    assert not stand_in.control.webhooks.is_paused


def test_a_person_renews_expires_spoils_and_removes_a_card(account: Account) -> None:
    card = account.saved_card(account.customer())
    for words in ("Expire", "Renew by the network", "Let it decline"):
        press(account, words)
    assert account.v1.payment_methods.retrieve(card).card.last4 == "0341"
    assert "None yet." in press(account, "Remove in the dashboard")


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://localhost:1", "http://127.0.0.1"])
def test_another_page_presses_no_button(account: Account, origin: Any) -> None:
    paid(account)
    (token,) = set(re.findall(r'name="token" value="(.*?)"', page(account)))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        post(account, {"token": token, "do": "webhooks", "what": "pause"}, origin=origin)
    assert not stand_in_of(account).control.webhooks.is_paused


@pytest.mark.parametrize("token", ["", "guess", "\N{SNOWMAN}"])
def test_a_form_without_the_pages_token_does_nothing(account: Account, token: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        post(account, {"token": token, "do": "webhooks", "what": "pause"})
    assert not stand_in_of(account).control.webhooks.is_paused


@pytest.mark.parametrize(
    "fields",
    [{}, {"do": "nothing"}, {"do": "dispute"}, {"do": "next", "what": "x"}, {"do": "clock", "to": "x"}, {"do": "card"}],
)
def test_a_form_that_makes_no_sense_does_nothing(account: Account, fields: dict[str, str]) -> None:
    (token,) = set(re.findall(r'name="token" value="(.*?)"', page(account)))
    assert "Nothing was done" in post(account, {"token": token, **fields})
