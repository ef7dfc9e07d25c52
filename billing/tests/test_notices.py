"""Who hears of a changed card or auto-reload: everybody who should, once, with who did it and what to do."""

import pytest

from accounts.models import AuditEvent, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast
from billing.models import BillingContact
from billing.tests.buyer import MASTERCARD, Buyer
from billing.tests.pages import Pages
from billing.tests.test_card_removal import remove

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def contacts(buyer: Buyer) -> None:
    """Billing contacts of which one is a member too."""
    for email in ("books@acme.test", buyer.billing.email.lower()):
        BillingContact.objects.create(
            organization=buyer.organization, name="Books", email=email, confirmed_at=buyer.now()
        )


def told() -> list[str]:
    """Whom the outbox holds mail for, cleared for what comes next."""
    found = sorted(message.recipients[0] for message in OutboxMessage.objects.all())
    OutboxMessage.objects.all().delete()
    return found


def everybody(buyer: Buyer) -> list[str]:
    return sorted([buyer.admin.email, buyer.billing.email, "books@acme.test"])


def test_a_card_that_is_added_replaced_or_removed_is_told_to_everybody_once(buyer: Buyer) -> None:
    buyer.save_card()
    assert told() == everybody(buyer)
    card = buyer.save_card(MASTERCARD)
    (mail,) = OutboxMessage.objects.filter(recipients=[buyer.admin.email])
    assert "Who: Jonas Weber\nWhen: " in mail.body
    assert f"/o/{buyer.organization.slug}/settings/audit-log/" in mail.body
    (mail,) = OutboxMessage.objects.filter(recipients=["books@acme.test"])
    assert f"books@acme.test is a billing contact of {buyer.organization}." in mail.body
    assert "Visa ending in 4242" in mail.body
    assert "Mastercard ending in 4444" in mail.body
    assert told() == everybody(buyer)
    remove(buyer, card)
    assert told() == everybody(buyer)


def test_a_card_that_is_removed_tells_of_auto_reload_in_the_same_mail(buyer: Buyer) -> None:
    card = buyer.save_card()
    buyer.arm()
    told()
    remove(buyer, card)
    assert all("uto-reload was switched off with it" in mail.body for mail in OutboxMessage.objects.all())
    assert told() == everybody(buyer)


def test_changed_settings_of_auto_reload_are_told_to_the_admins_and_contacts_but_the_actor(buyer: Buyer) -> None:
    buyer.save_card()
    other = cast.member(buyer.organization, role=Role.ADMIN).user
    told()
    buyer.arm(1_000, 5_000, 20_000)
    (mail,) = OutboxMessage.objects.filter(recipients=[other.email])
    assert "Below $10.00 it buys credits up to $50.00, for $200.00 a month at most." in mail.body
    assert told() == sorted([buyer.admin.email, other.email, "books@acme.test"])
    # Saved again as it was, nothing has changed.
    buyer.arm(1_000, 5_000, 20_000)
    assert told() == []
    buyer.save_reload(False, 1_000, 5_000, 20_000)
    assert all("It is off" in mail.body for mail in OutboxMessage.objects.all())
    assert told() == sorted([buyer.admin.email, other.email, "books@acme.test"])


def test_a_change_through_the_page_tells_the_address_it_came_from(buyer: Buyer) -> None:
    buyer.save_card()
    told()
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    form = pages.form("auto_reload") | {"is_enabled": "on"}
    answer = pages.client.post(pages.url("auto_reload"), form, REMOTE_ADDR="192.0.2.77", HTTP_USER_AGENT="Test/1")
    assert answer.status_code == 302
    assert "From: 192.0.2.77\n" in OutboxMessage.objects.filter(recipients=[buyer.admin.email])[0].body
    event = AuditEvent.objects.get(action="auto_reload.saved")
    assert (event.origin.ip_address, event.origin.user_agent, event.role) == ("192.0.2.77", "Test/1", "billing")
    assert event.request_id == answer["X-Request-Id"]
