"""Closing an organization: said before, refused while a payment is open, never by half, and final."""

from functools import partial

import pytest
from django.test import Client
from django.utils import timezone

from accounts import closing
from accounts.models import AuditEvent, Membership, Organization, OutboxMessage
from accounts.permissions import Role
from billing.credits import ledger
from billing.errors import Refused
from billing.models import AutoReload, CreditAccount, PaymentMethod, Purchase
from billing.payments import closing as billing_closing
from billing.payments import payment_methods
from billing.tests.buyer import ASKS_ALWAYS, at_once
from billing.tests.pages import text_of

pytestmark = pytest.mark.django_db(transaction=True)


def close(buyer, actor=None):
    return closing.close(organization=buyer.organization, actor=actor or buyer.admin, at=buyer.now())


def page(buyer):
    return f"/o/{buyer.organization.slug}/settings/close/"


def client_of(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def is_closed(buyer) -> bool:
    return Organization.objects.get(pk=buyer.organization.pk).is_closed


def test_the_page_says_what_is_lost_and_asks_for_the_name(buyer):
    buyer.save_card()
    buyer.buy(2_500)
    client = client_of(buyer.admin)
    text = text_of(client.get(page(buyer)))
    assert "They can't be used any more and are not refunded." in text
    assert "$25.00 would have expired on" in text
    assert "Visa ending in 4242" in text
    response = client.post(page(buyer), {"name": "Other"})
    assert response.status_code == 422
    assert not is_closed(buyer)
    assert client.post(page(buyer), {"name": f" {buyer.organization.name.upper()} "}).status_code == 302
    assert is_closed(buyer)


def test_card_reload_keys_and_account_end_together_and_all_is_told(buyer):
    buyer.save_card()
    buyer.arm()
    assert close(buyer)
    assert not PaymentMethod.objects.filter(is_default=True).exists()
    assert not PaymentMethod.objects.filter(detached_at=None).exists()
    assert not AutoReload.objects.get().is_enabled
    assert CreditAccount.objects.get().state == CreditAccount.State.CLOSED
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"organization.closed", "card.removed", "auto_reload.switched_off", "credit_account.closed"} <= actions
    told = OutboxMessage.objects.filter(subject=f"{buyer.organization.name} was closed")
    assert sorted(mail.recipients[0] for mail in told) == sorted([buyer.admin.email, buyer.billing.email])
    assert not close(buyer)
    assert AuditEvent.objects.filter(action="organization.closed").count() == 1


def test_a_payment_that_waits_keeps_it_open_and_the_page_says_what_to_do(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy(1_000)
    assert purchase.is_open
    with pytest.raises(closing.NotPossible) as refusal:
        close(buyer)
    assert [obstacle.do for obstacle in refusal.value.obstacles] == ["Confirm or cancel it on its page."]
    response = client_of(buyer.admin).post(page(buyer), {"name": buyer.organization.name})
    assert response.status_code == 422
    assert f"Purchase {purchase.pk} of $10.00 has not ended." in text_of(response)
    assert PaymentMethod.objects.filter(is_default=True).exists()
    assert not is_closed(buyer)


def test_a_dispute_that_the_bank_has_not_decided_keeps_it_open(buyer):
    buyer.save_card()
    disputed = buyer.stripe.control.open_dispute(buyer.buy().payment_intent_id)
    buyer.hear()
    with pytest.raises(closing.NotPossible) as refusal:
        close(buyer)
    assert [obstacle.what for obstacle in refusal.value.obstacles] == ["A payment of $25.00 is disputed at the bank."]
    buyer.stripe.control.change_dispute(disputed, status="lost")
    buyer.hear()
    assert close(buyer)


def test_a_refund_that_has_not_arrived_keeps_it_open(buyer):
    buyer.save_card()
    buyer.stripe.control.hold_refunds()
    refund = buyer.refund(buyer.buy(), 1_000)
    assert refund.is_open
    with pytest.raises(closing.NotPossible) as refusal:
        close(buyer)
    assert [obstacle.what for obstacle in refusal.value.obstacles] == ["A refund of $10.00 is on its way."]
    buyer.stripe.control.succeed_refund(refund.stripe_refund_id)
    buyer.hear()
    assert close(buyer)


def test_nobody_but_an_admin_closes_it_not_even_one_of_a_moment_ago(buyer):
    with pytest.raises(closing.NotPossible):
        close(buyer, buyer.billing)
    Membership.objects.filter(user=buyer.admin).update(role=Role.USER)
    with pytest.raises(closing.NotPossible):
        close(buyer)
    assert not is_closed(buyer)


def test_when_one_part_fails_nothing_is_closed(buyer, monkeypatch):
    buyer.save_card()

    def fail(*_):
        raise RuntimeError("late")

    monkeypatch.setattr(closing, "_end", lambda *_, **__: fail())
    with pytest.raises(RuntimeError):
        close(buyer)
    assert PaymentMethod.objects.filter(is_default=True).exists()
    assert CreditAccount.objects.get().state == CreditAccount.State.OPEN


def test_afterwards_admins_and_billing_read_what_is_kept_and_nothing_else(buyer):
    buyer.save_card()
    buyer.buy(1_000)
    close(buyer)
    slug = buyer.organization.slug
    for user in (buyer.admin, buyer.billing):
        client = client_of(user)
        assert client.get(f"/o/{slug}/settings/billing/receipts/").status_code == 200
        assert client.get(f"/o/{slug}/settings/billing/statement/").status_code == 200
        assert client.get(f"/o/{slug}/settings/billing/statement.csv").status_code == 200
        response = client.get(f"/o/{slug}/settings/billing/")
        assert response.status_code == 403
        assert "is closed" in text_of(response)
        assert client.post(f"/o/{slug}/settings/billing/buy/", {}).status_code == 403
    response = client_of(buyer.developer).get(f"/o/{slug}/usage/")
    assert response.status_code == 403
    assert "Receipts" not in text_of(response)
    assert client_of(buyer.developer).get(f"/o/{slug}/settings/billing/receipts/").status_code == 403


def test_afterwards_no_use_case_that_pays_lets_anybody_in(buyer):
    buyer.save_card()
    close(buyer)
    with pytest.raises(Refused, match="is closed"):
        buyer.buy(1_000)
    with pytest.raises(Refused, match="is closed"):
        payment_methods.begin_setup(organization=buyer.organization, actor=buyer.admin)


def outcome_of_both_at_once(buyer) -> tuple[bool, bool]:
    """Whether it is closed, and whether a purchase got through, when both come in the same moment."""
    at_once([partial(close, buyer), partial(buyer.buy, 1_000)])
    return is_closed(buyer), Purchase.objects.filter(organization=buyer.organization).exists()


@pytest.mark.parametrize("_round", range(3))
def test_a_purchase_in_the_same_moment_comes_before_or_not_at_all(buyer, _round):
    buyer.save_card()
    outcome_of_both_at_once(buyer)
    # Whoever was first: no purchase is open in a closed organization.
    assert not (is_closed(buyer) and Purchase.objects.filter(state__in=Purchase.OPEN_STATES).exists())


def test_without_the_lock_a_purchase_would_begin_in_a_closing_organization(buyer, monkeypatch):
    """The guard off: what the obstacles were is no longer so when the organization is closed."""
    buyer.save_card()
    real = billing_closing.obstacles

    def look_and_dawdle(organization):
        found = real(organization)
        if not Purchase.objects.exists():
            # Another connection, since nothing keeps it out.
            (outcome,) = at_once([partial(start_purchase, buyer)])
            assert outcome is None
        return found

    part = billing_closing.PART
    unguarded = closing.Part(
        lock=lambda organization: None,
        obstacles=look_and_dawdle,
        facts=part.facts,
        close=lambda *_: None,
        finish=part.finish,
    )
    monkeypatch.setattr(closing, "parts", [unguarded])
    close(buyer)
    assert is_closed(buyer)
    assert Purchase.objects.filter(state__in=Purchase.OPEN_STATES).exists()


def start_purchase(buyer) -> None:
    """The first half of a purchase: its row, committed under the account's lock."""
    from uuid import uuid4

    from billing.payments import purchases

    purchases._create(buyer.organization, buyer.billing, 1_000, uuid4(), reference="", at=timezone.now())


def test_the_books_hold_afterwards(buyer):
    buyer.save_card()
    buyer.buy(1_000)
    close(buyer)
    with pytest.raises(Refused, match="closed"):
        ledger.set_state(organization_id=buyer.organization.pk, state=CreditAccount.State.OPEN)
