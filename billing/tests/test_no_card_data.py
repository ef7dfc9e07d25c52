"""No card number, security code or secret of a form is kept here: not in a log, a row or a request to this server."""

import logging
import uuid

import pytest
from django.db import connection
from django.test import Client

from billing.payments import reconciliation
from billing.tests.buyer import ASKS_ALWAYS, DECLINES_WHEN_CHARGED, VISA, Buyer
from billing.tests.pages import Pages

pytestmark = pytest.mark.django_db

AMEX = "378282246310005"
DECLINED_AT_ONCE = "4000000000000002"
# Three digits stand in any dump by chance; American Express has four.
SECURITY_CODE = "7391"


def everything_kept() -> dict[str, str]:
    """Every table of the database as text, by its name."""
    kept = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'select coalesce(string_agg(t::text, chr(10)), $$$$) from "{table}" t')
            kept[table] = cursor.fetchone()[0]
    return kept


def carded(buyer: Buyer, pages: Pages, number: str) -> str:
    """Open the form, type a card into the processor's element, send what the browser sends here. Returns the secret."""
    begun = pages.post("card", {"action": "begin"}).json()
    answer = buyer.browser(
        f"setup_intents/{begun['setup_intent_id']}/confirm",
        client_secret=begun["client_secret"],
        **{
            "payment_method_data[type]": "card",
            "payment_method_data[card][number]": number,
            "payment_method_data[card][exp_month]": "8",
            "payment_method_data[card][exp_year]": "2034",
            "payment_method_data[card][cvc]": SECURITY_CODE if number == AMEX else "123",
        },
    )
    if answer.get("status") == "requires_action":
        buyer.stripe.control.answer_challenge(begun["setup_intent_id"], complete=True)
    pages.post("card", {"action": "refused", "setup_intent_id": begun["setup_intent_id"]})
    pages.post("card", {"setup_intent_id": begun["setup_intent_id"]})
    return str(begun["client_secret"])


def test_a_whole_life_of_cards_leaves_no_card_data_in_logs_rows_or_requests(buyer, caplog, monkeypatch):
    sent: list[str] = []
    real_post = Client.post

    def noted(client, path, data=None, **options):
        sent.append(f"{path} {data}")
        return real_post(client, path, data, **options)

    monkeypatch.setattr(Client, "post", noted)
    caplog.set_level(logging.DEBUG)
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    numbers = [DECLINED_AT_ONCE, VISA, DECLINES_WHEN_CHARGED, ASKS_ALWAYS, AMEX]
    secrets = [carded(buyer, pages, number) for number in numbers[:4]]
    form = pages.form("buy") | {"terms": "on"}
    pages.post("buy", form)
    (purchase,) = buyer.purchases
    secrets.append(pages.post("purchase", {"action": "confirm"}, purchase_id=purchase.pk).json()["client_secret"])
    buyer.answer_bank(purchase)
    pages.post("purchase", {"action": "refresh"}, purchase_id=purchase.pk)
    secrets.append(carded(buyer, pages, AMEX))
    pages.post("problem", {"report_key": str(uuid.uuid4()), "category": "other", "text": "?"}, purchase_id=purchase.pk)
    buyer.hear()
    reconciliation.sweep(at=buyer.now())
    assert buyer.available_cents == 2_500
    assert all("_secret_" in secret for secret in secrets)

    for place, text in {"requests": "\n".join(sent), "logs": caplog.text, **everything_kept()}.items():
        for hidden in (*numbers, *secrets, "card][cvc", f'"{SECURITY_CODE}"'):
            assert hidden not in text, place
