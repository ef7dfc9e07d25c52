"""How auto-reload stands: each state is reached by what really leads to it, said in words, and left as it should be."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, User
from billing.credits import ledger
from billing.models import AutoReload, CreditAccount, Purchase, ReloadState
from billing.payments import auto_reload, payment_methods, purchases, reconciliation, reload_line, stripe_gateway
from billing.tests import staff
from billing.tests.buyer import ASKS_ALWAYS, DECLINES_WHEN_CHARGED, MASTERCARD, VISA, Buyer, hours
from billing.tests.pages import Pages, text_of

PAYMENTS = "/v1/payment_intents"
DAY_AND_A_BIT = hours(24) + timedelta(seconds=1)
Step = Callable[[Buyer], object]


@pytest.fixture
def tight_brake(settings: Any) -> None:
    """More than one full reload in 24 hours brakes. Nothing else in these walks uses so much."""
    settings.AUTO_RELOAD_BRAKE_FACTOR = 1
    settings.AUTO_RELOAD_BRAKE_FLOOR_CENTS = 1_600


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tight_brake")]


def standing(buyer: Buyer, *, after: timedelta = timedelta(0)) -> auto_reload.ReloadStatus:
    return auto_reload.status(organization=buyer.organization, at=buyer.now() + after)


# How each state is reached


def off(buyer: Buyer) -> None:
    buyer.save_card()


def armed(buyer: Buyer, card: str = VISA, **numbers: int) -> None:
    buyer.save_card(card)
    buyer.fund(1_000)
    buyer.arm(**numbers)


def low(buyer: Buyer, card: str = VISA, **numbers: int) -> None:
    armed(buyer, card, **numbers)
    buyer.spend(600)


def charging(buyer: Buyer) -> None:
    low(buyer)
    buyer.stripe.control.add_fault("cut_after", method="POST", path=PAYMENTS, times=3)
    buyer.attempt()


def cooling_down(buyer: Buyer) -> None:
    low(buyer)
    buyer.attempt()


def backing_off(buyer: Buyer) -> None:
    low(buyer, DECLINES_WHEN_CHARGED)
    buyer.attempt()


def paused_declined(buyer: Buyer) -> None:
    low(buyer)
    card = buyer.organization.payment_methods.get()
    stripe_gateway.detach_card(payment_method_id=card.stripe_payment_method_id)
    buyer.attempt()


def paused_brake(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.fund(2_100)
    buyer.arm()
    buyer.spend(1_700)
    assert buyer.attempt() is None


def paused_dispute(buyer: Buyer) -> None:
    low(buyer)
    dispute(buyer)


def dispute(buyer: Buyer) -> None:
    with transaction.atomic():
        account = ledger.lock(organization_id=buyer.organization.pk)
        reload_line.note_disputed(organization_id=buyer.organization.pk, at=account.locked_at)


def win(buyer: Buyer) -> None:
    with transaction.atomic():
        ledger.lock(organization_id=buyer.organization.pk)
        reload_line.note_dispute_won(organization_id=buyer.organization.pk)


def capped(buyer: Buyer) -> None:
    low(buyer, cap_cents=1_600)
    buyer.attempt()
    buyer.fund(1_000)


def needs_you(buyer: Buyer) -> None:
    low(buyer, ASKS_ALWAYS)
    buyer.attempt()


def no_card(buyer: Buyer) -> None:
    low(buyer)
    lose_card(buyer)


def lose_card(buyer: Buyer) -> None:
    card_id = buyer.organization.payment_methods.get(is_default=True).stripe_payment_method_id
    stripe_gateway.detach_card(payment_method_id=card_id)
    payment_methods.note_detached(payment_method_id=card_id, at=buyer.now())


def no_recipient(buyer: Buyer) -> None:
    low(buyer)
    lose_people(buyer)


def lose_people(buyer: Buyer) -> None:
    User.objects.filter(pk__in=[buyer.admin.pk, buyer.billing.pk]).update(is_active=False)


def frozen(buyer: Buyer) -> None:
    low(buyer)
    freeze(buyer)


def freeze(buyer: Buyer) -> None:
    ledger.set_state(organization_id=buyer.organization.pk, state=CreditAccount.State.FROZEN)


def unfreeze(buyer: Buyer) -> None:
    ledger.set_state(organization_id=buyer.organization.pk, state=CreditAccount.State.OPEN)


REACH: dict[str, tuple[ReloadState, Step]] = {
    "off": (ReloadState.OFF, off),
    "armed": (ReloadState.ARMED, armed),
    "low": (ReloadState.ARMED, low),
    "charging": (ReloadState.CHARGING, charging),
    "cooling down": (ReloadState.COOLING_DOWN, cooling_down),
    "backing off": (ReloadState.PAUSED_DECLINED, backing_off),
    "paused: declined": (ReloadState.PAUSED_DECLINED, paused_declined),
    "paused: brake": (ReloadState.PAUSED_BRAKE, paused_brake),
    "paused: dispute": (ReloadState.PAUSED_DISPUTE, paused_dispute),
    "capped": (ReloadState.CAPPED, capped),
    "needs you": (ReloadState.NEEDS_YOU, needs_you),
    "no card": (ReloadState.NO_CARD, no_card),
    "nobody to tell": (ReloadState.NO_RECIPIENT, no_recipient),
    "frozen": (ReloadState.FROZEN, frozen),
}


@pytest.mark.parametrize("name", REACH)
def test_a_state_is_reached_by_what_leads_to_it_and_only_armed_may_charge(buyer: Buyer, name: str) -> None:
    expected, reach = REACH[name]
    reach(buyer)
    assert standing(buyer).state == expected
    before = len(buyer.journal())
    buyer.spend(1)
    assert (buyer.attempt() is not None) == (name == "low")
    assert len(buyer.journal()) - before == (1 if name == "low" else 0)


def test_every_state_is_reached() -> None:
    assert {state for state, _ in REACH.values()} == set(ReloadState)


WORDS = {
    "off": "It stays off until you turn it on",
    "armed": "When credit falls below $5.00 , Visa ending in 4242 is charged to bring it back to $20.00",
    "low": "a reload is due and comes within seconds",
    "charging": "Visa ending in 4242 is being charged $16.00 right now",
    "cooling down": "It waits a little after the last charge: the next one can come on",
    "backing off": "The last charge was declined. It tries again on",
    "paused: declined": "It starts again with another card, or when a purchase with this one succeeds",
    "paused: brake": "24 hours of usage had cost $17.00, 1.1 times one full reload ($15.00)",
    "paused: dispute": "because a charge was disputed. It starts again when a card other than the disputed one",
    "capped": "The limit of $16.00 a month is used up",
    "needs you": "The bank wants a confirmation of the charge of $16.00",
    "no card": "there is no card to charge",
    "nobody to tell": "no Admin or Billing member is left who would get its mail",
    "frozen": "charges nothing while the account is suspended",
}


@pytest.mark.parametrize("name", [name for name in REACH if name != "nobody to tell"])
def test_the_page_says_it_in_words(buyer: Buyer, name: str) -> None:
    state, reach = REACH[name]
    reach(buyer)
    text = text_of(Pages(buyer.billing, slug=buyer.organization.slug).get())
    assert f"Auto-reload {state.label}" in text
    assert squeezed(WORDS[name]) in squeezed(text)


@pytest.mark.parametrize("name", REACH)
def test_staff_read_the_same(buyer: Buyer, name: str) -> None:
    state, reach = REACH[name]
    reach(buyer)
    client = Client()
    client.force_login(staff.superuser())
    text = text_of(client.get(reverse("admin:billing_billingaccount_change", args=[buyer.organization.pk])))
    assert f"{state.label}." in text
    words = "Auto-reload is off: no charge comes by itself" if name == "off" else WORDS[name]
    assert squeezed(words) in squeezed(text)


def squeezed(text: str) -> str:
    """Without the spaces that tags leave."""
    return text.replace(" ", "")


# What leads from one to the other


def pay(buyer: Buyer) -> None:
    """The customer answers the bank, and the reload is paid."""
    (purchase,) = buyer.purchases
    purchases.confirm(organization=buyer.organization, purchase_id=purchase.pk, actor=buyer.billing, at=buyer.now())
    buyer.answer_bank(purchase)
    assert purchases.refresh(purchase_id=purchase.pk, at=buyer.now()).state == Purchase.State.SUCCEEDED


def give_up(buyer: Buyer) -> None:
    (purchase,) = buyer.purchases
    purchases.cancel(organization=buyer.organization, purchase_id=purchase.pk, actor=buyer.billing, at=buyer.now())


def confirm_usage(buyer: Buyer) -> None:
    allowance = auto_reload.BRAKE_ALLOWANCES[0]
    auto_reload.confirm_usage(
        organization=buyer.organization,
        actor=buyer.billing,
        allowance=allowance,
        shown_text=auto_reload.usage_sentence(buyer.reload, allowance=allowance),
        at=buyer.now(),
    )


def raise_cap(buyer: Buyer) -> None:
    buyer.arm(cap_cents=10_000)


def another_card(buyer: Buyer) -> None:
    buyer.save_card(MASTERCARD)


def same_card(buyer: Buyer) -> None:
    buyer.save_card(VISA)


def declined_card_again(buyer: Buyer) -> None:
    buyer.save_card(DECLINES_WHEN_CHARGED)


def buy(buyer: Buyer) -> None:
    assert buyer.buy(500).state == Purchase.State.SUCCEEDED


def saved_again(buyer: Buyer) -> None:
    buyer.arm()


def switched_off(buyer: Buyer) -> None:
    buyer.disarm()


def switched_off_and_on(buyer: Buyer) -> None:
    buyer.disarm()
    buyer.arm()


def attempt(buyer: Buyer) -> None:
    buyer.attempt()


def reconcile(buyer: Buyer) -> None:
    reconciliation.sweep(at=buyer.now() + timedelta(seconds=31))


def free_credit(buyer: Buyer) -> None:
    buyer.fund(5_000)


def new_people(buyer: Buyer) -> None:
    User.objects.filter(pk=buyer.admin.pk).update(is_active=True)


TRANSITIONS: list[tuple[str, Step, ReloadState]] = [
    ("off", saved_again, ReloadState.ARMED),
    ("armed", switched_off, ReloadState.OFF),
    ("armed", freeze, ReloadState.FROZEN),
    ("armed", lose_card, ReloadState.NO_CARD),
    ("armed", lose_people, ReloadState.NO_RECIPIENT),
    ("armed", dispute, ReloadState.PAUSED_DISPUTE),
    ("low", attempt, ReloadState.COOLING_DOWN),
    ("low", free_credit, ReloadState.ARMED),
    ("charging", reconcile, ReloadState.COOLING_DOWN),
    ("charging", switched_off, ReloadState.CHARGING),
    ("cooling down", switched_off, ReloadState.OFF),
    ("cooling down", dispute, ReloadState.PAUSED_DISPUTE),
    ("backing off", declined_card_again, ReloadState.PAUSED_DECLINED),
    ("backing off", another_card, ReloadState.ARMED),
    ("backing off", saved_again, ReloadState.PAUSED_DECLINED),
    ("backing off", free_credit, ReloadState.PAUSED_DECLINED),
    ("backing off", switched_off, ReloadState.OFF),
    ("paused: declined", same_card, ReloadState.PAUSED_DECLINED),
    ("paused: declined", another_card, ReloadState.ARMED),
    ("paused: declined", saved_again, ReloadState.PAUSED_DECLINED),
    ("paused: declined", switched_off_and_on, ReloadState.PAUSED_DECLINED),
    ("paused: declined", free_credit, ReloadState.PAUSED_DECLINED),
    ("paused: declined", dispute, ReloadState.PAUSED_DISPUTE),
    ("paused: declined", switched_off, ReloadState.OFF),
    ("paused: brake", confirm_usage, ReloadState.ARMED),
    ("paused: brake", another_card, ReloadState.PAUSED_BRAKE),
    ("paused: brake", buy, ReloadState.PAUSED_BRAKE),
    ("paused: brake", saved_again, ReloadState.PAUSED_BRAKE),
    ("paused: brake", switched_off_and_on, ReloadState.PAUSED_BRAKE),
    ("paused: brake", free_credit, ReloadState.PAUSED_BRAKE),
    ("paused: brake", dispute, ReloadState.PAUSED_DISPUTE),
    ("paused: dispute", same_card, ReloadState.PAUSED_DISPUTE),
    ("paused: dispute", buy, ReloadState.PAUSED_DISPUTE),
    ("paused: dispute", saved_again, ReloadState.PAUSED_DISPUTE),
    ("paused: dispute", switched_off_and_on, ReloadState.PAUSED_DISPUTE),
    ("paused: dispute", another_card, ReloadState.ARMED),
    ("paused: dispute", win, ReloadState.ARMED),
    ("capped", raise_cap, ReloadState.COOLING_DOWN),
    ("capped", free_credit, ReloadState.CAPPED),
    ("capped", switched_off, ReloadState.OFF),
    ("needs you", pay, ReloadState.COOLING_DOWN),
    ("needs you", give_up, ReloadState.PAUSED_DECLINED),
    ("needs you", saved_again, ReloadState.NEEDS_YOU),
    ("no card", same_card, ReloadState.ARMED),
    ("no card", switched_off, ReloadState.OFF),
    ("nobody to tell", new_people, ReloadState.ARMED),
    ("frozen", unfreeze, ReloadState.ARMED),
    ("frozen", switched_off, ReloadState.OFF),
]


@pytest.mark.parametrize(
    ("start", "step", "end"), TRANSITIONS, ids=[f"{start}, {step.__name__}" for start, step, _ in TRANSITIONS]
)
def test_a_state_is_left_by_what_leads_out_of_it_and_by_nothing_else(
    buyer: Buyer, start: str, step: Step, end: ReloadState
) -> None:
    expected, reach = REACH[start]
    reach(buyer)
    assert standing(buyer).state == expected
    step(buyer)
    assert standing(buyer).state == end
    reload = AutoReload.objects.filter(organization=buyer.organization).first()
    is_lined = buyer.account.reload_below_nano is not None
    assert is_lined == (reload is not None and reload.is_enabled and not reload.suspension)


def test_every_state_is_left_and_entered_in_the_table() -> None:
    assert {REACH[start][0] for start, _, _ in TRANSITIONS} == set(ReloadState)
    assert {end for _, _, end in TRANSITIONS} == set(ReloadState)


@pytest.mark.parametrize("name", ["cooling down", "backing off"])
def test_what_only_takes_time_ends_at_the_instant_that_was_said(buyer: Buyer, name: str) -> None:
    _, reach = REACH[name]
    reach(buyer)
    status = standing(buyer)
    assert status.until is not None
    just_before = status.until - timedelta(microseconds=1)
    assert auto_reload.status(organization=buyer.organization, at=just_before).state == status.state
    assert auto_reload.status(organization=buyer.organization, at=status.until).state == ReloadState.ARMED


def test_five_reloads_in_24_hours_are_said_to_be_the_most(buyer: Buyer, settings: Any) -> None:
    settings.AUTO_RELOAD_BRAKE_FACTOR = settings.AUTO_RELOAD_GAP_SECONDS = 0
    armed(buyer, target_cents=1_000)
    for _ in range(5):
        buyer.spend(buyer.available_cents - 400)
        buyer.attempt()
    assert standing(buyer).state == ReloadState.COOLING_DOWN
    text = text_of(Pages(buyer.billing, slug=buyer.organization.slug).get())
    assert "Five reloads in 24 hours are the most. The next one can come on" in text
    assert "5 of 5 reloads" in text


@pytest.mark.parametrize("name", ["paused: declined", "paused: brake", "paused: dispute", "capped", "frozen"])
def test_saving_says_that_it_charges_nothing_now(buyer: Buyer, name: str) -> None:
    state, reach = REACH[name]
    reach(buyer)
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    response = pages.client.post(pages.url("auto_reload"), pages.form("auto_reload"), follow=True)
    assert f"Auto-reload is on, but charges nothing now: {state.label.lower()}." in text_of(response)


def test_a_capped_month_ends_with_it(buyer: Buyer) -> None:
    capped(buyer)
    status = standing(buyer)
    assert status.until is not None
    assert (status.until.day, status.until.hour) == (1, 0)
    assert auto_reload.status(organization=buyer.organization, at=status.until).state == ReloadState.ARMED


def test_a_card_that_is_gone_is_told_once_where_auto_reload_is_on(buyer: Buyer) -> None:
    no_card(buyer)
    (mail,) = buyer.mails("Auto-reload has no card to charge: Visa ending in 4242 is gone")
    assert "/settings/billing/card/" in mail.body
    buyer.save_card(VISA)
    buyer.disarm()
    lose_card(buyer)
    assert len(buyer.mails("Auto-reload has no card to charge")) == 1


# Disputes


def test_a_dispute_pauses_and_tells_once(buyer: Buyer) -> None:
    paused_dispute(buyer)
    dispute(buyer)
    assert len(buyer.mails("Auto-reload is paused: a charge was disputed")) == 1
    assert AuditEvent.objects.filter(action="auto_reload.suspended").count() == 1
    assert not buyer.is_due()


def test_a_dispute_tells_nobody_of_auto_reload_that_is_off_and_still_pauses_what_is_switched_on_later(
    buyer: Buyer,
) -> None:
    armed(buyer)
    buyer.disarm()
    dispute(buyer)
    assert not buyer.mails("Auto-reload is paused")
    buyer.arm()
    assert standing(buyer).state == ReloadState.PAUSED_DISPUTE


def test_a_dispute_without_settings_is_nothing(buyer: Buyer) -> None:
    buyer.save_card()
    dispute(buyer)
    assert not AutoReload.objects.exists()


def test_a_dispute_stops_a_reload_that_was_planned_and_not_sent(buyer: Buyer) -> None:
    low(buyer)
    purchase_id = auto_reload.plan(organization_id=buyer.organization.pk)
    assert purchase_id is not None
    dispute(buyer)
    assert purchases.send(purchase_id=purchase_id, at=buyer.now()).state == Purchase.State.CANCELED
    assert not buyer.journal()


def test_a_decline_after_a_dispute_leaves_the_dispute_as_the_reason(buyer: Buyer) -> None:
    needs_you(buyer)
    dispute(buyer)
    give_up(buyer)
    assert buyer.reload.suspension == AutoReload.Suspension.DISPUTED
    assert standing(buyer).state == ReloadState.PAUSED_DISPUTE
    buyer.save_card(VISA)
    assert standing(buyer).state == ReloadState.ARMED
