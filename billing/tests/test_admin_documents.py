"""Receipts and credit notes on the staff pages: found by the number that is printed, and only to look at."""

import pytest
from django.urls import reverse

from billing.tests import staff
from billing.tests.buyer import Buyer
from billing.tests.documents import credited, paid

pytestmark = pytest.mark.django_db


def found(client, name: str, term: str) -> str:
    page = client.get(reverse(f"admin:billing_{name}_changelist"), {"q": term})
    assert page.status_code == 200
    text: str = page.content.decode().partition('id="result_list"')[2]
    return text


def test_a_document_is_found_by_its_number(buyer: Buyer):
    client = staff.at_the_browser(staff.superuser())
    first, second = (paid(buyer.organization, by=buyer.billing) for _ in range(2))
    credited(second)
    for term in ("R-000002", "r-2", "2"):
        assert "R-000002" in found(client, "receipt", term)
        assert "R-000001" not in found(client, "receipt", term)
    assert first.number_text in found(client, "receipt", buyer.organization.slug)
    assert "CN-000001" in found(client, "creditnote", "CN-000001")
    assert found(client, "receipt", "R-000009") == found(client, "receipt", "nothing") == ""


def test_staff_may_look_at_a_document_and_not_change_it(buyer: Buyer):
    client = staff.at_the_browser(staff.superuser())
    receipt = paid(buyer.organization, by=buyer.billing)
    url = reverse("admin:billing_receipt_change", args=[receipt.pk])
    assert "R-000001" in client.get(url).content.decode()
    assert client.post(url, {"buyer_name": "x"}).status_code == 403
    assert client.get(reverse("admin:billing_receipt_add")).status_code == 403
