"""Removing the card: what goes with it, what stands in the way, and what Stripe is told."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, OutboxMessage
from billing.errors import Refused
from billing.models import AutoReload, AutoReloadConsent, PaymentMethod
from billing.payments import card_removal, payment_methods
from billing.tests.buyer import ASKS_ALWAYS, Buyer

pytestmark = pytest.mark.django_db


def remove(buyer: Buyer, card: PaymentMethod) -> PaymentMethod:
    return card_removal.remove(
        organization=buyer.organization, actor=buyer.billing, payment_method_id=card.pk, at=buyer.now()
    )


def page(buyer: Buyer) -> tuple[Client, str]:
    client = Client()
    client.force_login(buyer.billing)
    return client, reverse("billing:card_remove", kwargs={"slug": buyer.organization.slug})


def test_a_removed_card_is_charged_no_more_and_stripe_lets_go_of_it(buyer):
    card = buyer.save_card()
    remove(buyer, card)
    card.refresh_from_db()
    assert (card.is_default, card.removed_at is not None, card.detached_at is not None) == (False, True, True)
    with pytest.raises(Refused) as refusal:
        buyer.buy()
    assert refusal.value.code == "no_card"
    assert AuditEvent.objects.filter(action="card.removed", actor=buyer.billing).count() == 1
    assert OutboxMessage.objects.filter(subject=f"{card} was removed").count() == 2


def test_auto_reload_is_switched_off_with_its_card_and_the_page_says_so_before(buyer):
    card = buyer.save_card()
    buyer.arm()
    client, url = page(buyer)
    assert "Auto-reload is switched off with it." in client.get(url).content.decode()
    assert client.post(url, {"payment_method_id": card.pk}).status_code == 302
    assert AutoReload.objects.get().is_enabled is False
    assert buyer.account.reload_below_nano is None
    last = AutoReloadConsent.objects.latest("id")
    assert (last.is_enabled, last.actor) == (False, buyer.billing)
    assert "Auto-reload was switched off with it" in OutboxMessage.objects.filter(subject__contains="removed")[0].body


def test_without_auto_reload_the_page_says_nothing_of_it(buyer):
    buyer.save_card()
    client, url = page(buyer)
    assert "Auto-reload is switched off with it." not in client.get(url).content.decode()


def test_a_card_with_an_open_payment_stays(buyer):
    card = buyer.save_card(ASKS_ALWAYS)
    assert buyer.buy().state == "requires_action"
    with pytest.raises(Refused) as refusal:
        remove(buyer, card)
    assert refusal.value.code == "open_payment"
    assert payment_methods.default_card(organization=buyer.organization) == card


def test_a_form_that_showed_another_card_removes_none(buyer):
    former, card = buyer.save_card(), buyer.save_card("5555555555554444")
    client, url = page(buyer)
    answer = client.post(url, {"payment_method_id": former.pk})
    assert answer.status_code == 422
    assert "This card is not in use any more." in answer.content.decode()
    assert payment_methods.default_card(organization=buyer.organization) == card


@pytest.mark.parametrize("value", ["", "x", "-1", str(2**70), "1e3"])
def test_a_malformed_form_removes_nothing(buyer, value):
    card = buyer.save_card()
    client, url = page(buyer)
    assert client.post(url, {"payment_method_id": value}).status_code == 422
    assert payment_methods.default_card(organization=buyer.organization) == card


def test_stripe_that_is_away_changes_nothing_of_it_and_is_told_later(buyer):
    card = buyer.save_card()
    buyer.stripe.control.add_fault(
        "cut_before", path=f"/v1/payment_methods/{card.stripe_payment_method_id}/detach", times=9
    )
    remove(buyer, card)
    card.refresh_from_db()
    assert (card.is_default, card.detached_at) == (False, None)
    buyer.stripe.control.faults.clear()
    assert payment_methods.untidy_organizations() == [buyer.organization]
    payment_methods.tidy(organization=buyer.organization)
    card.refresh_from_db()
    assert card.detached_at is not None


# The end of a card


def ends(buyer: Buyer, month: int, year: int) -> PaymentMethod:
    card = buyer.save_card()
    PaymentMethod.objects.filter(pk=card.pk).update(exp_month=month, exp_year=year)
    return card


def told() -> list[str]:
    return sorted(set(OutboxMessage.objects.filter(subject__contains="xpire").values_list("subject", flat=True)))


def test_the_end_of_a_card_is_told_once_before_it_and_once_after(buyer):
    card = ends(buyer, 8, 2031)
    last_instant = datetime(2031, 8, 31, 23, 59, 59, tzinfo=UTC)
    payment_methods.tell_expiry(at=last_instant - timedelta(days=45))
    assert told() == []
    for _ in range(2):
        payment_methods.tell_expiry(at=last_instant - timedelta(days=20))
    assert told() == [f"{card} expires at the end of 08/2031"]
    assert OutboxMessage.objects.filter(subject__contains="expires at").count() == 2
    payment_methods.tell_expiry(at=last_instant)
    assert len(told()) == 1
    for days in (0, 1, 40):
        payment_methods.tell_expiry(at=last_instant + timedelta(days=days, seconds=1))
    assert told() == [f"{card} expires at the end of 08/2031", f"{card} has expired"]
    assert OutboxMessage.objects.filter(subject__contains="has expired").count() == 2


def test_a_card_that_was_renewed_is_told_of_at_its_new_end_only(buyer):
    card = ends(buyer, 8, 2031)
    payment_methods.tell_expiry(at=datetime(2031, 8, 15, tzinfo=UTC))
    PaymentMethod.objects.filter(pk=card.pk).update(exp_year=2033)
    payment_methods.tell_expiry(at=datetime(2031, 9, 15, tzinfo=UTC))
    assert len(told()) == 1
    payment_methods.tell_expiry(at=datetime(2033, 8, 15, tzinfo=UTC))
    assert told() == [f"{card} expires at the end of 08/2031", f"{card} expires at the end of 08/2033"]


def test_a_card_that_is_not_in_use_is_not_told_of(buyer):
    ends(buyer, 8, 2031)
    buyer.save_card("5555555555554444")
    payment_methods.tell_expiry(at=datetime(2031, 9, 15, tzinfo=UTC))
    assert told() == []
