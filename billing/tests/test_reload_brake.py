"""The brake: usage far above the usual pauses auto-reload and asks, and only a person's word lets it go on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.models import AuditEvent, Membership, OutboxMessage
from accounts.permissions import Role
from billing.errors import Refused
from billing.models import AutoReload, AutoReloadConsent, Purchase
from billing.money import nano_from_cents
from billing.payments import auto_reload, reload_rules
from billing.tests.buyer import Buyer, at_once, hours
from billing.tests.pages import Pages, text_of

START = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def brake(settings: Any) -> None:
    settings.AUTO_RELOAD_BRAKE_FACTOR = 4
    settings.AUTO_RELOAD_BRAKE_FLOOR_CENTS = 100
    settings.AUTO_RELOAD_GAP_SECONDS = 0


def with_usual_days(buyer: Buyer, clock: Any, *, days: int, cents: int = 100) -> None:
    """An organization that has used so much on each of so many days, and whose auto-reload is on."""
    clock.set(START)
    buyer.save_card()
    buyer.fund(cents * days + 2_000)
    buyer.arm()
    for _ in range(days):
        buyer.spend(cents)
        clock.advance(hours(24))
    clock.advance(hours(1))
    assert buyer.available_cents == 2_000


def test_usage_far_above_the_median_day_pauses_and_asks(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    assert buyer.is_due()
    assert buyer.attempt() is None
    assert not buyer.purchases
    assert not buyer.is_due()
    reload = buyer.reload
    assert (reload.suspension, reload.suspended_at) == ("brake", buyer.now())
    assert (reload.brake_used_nano, reload.brake_usual_nano) == (nano_from_cents(1_600), nano_from_cents(100))
    assert buyer.account.reload_below_nano is None
    (mail,) = buyer.mails("usage is 16 times your usual day")
    assert "/settings/billing/auto-reload/usage/" in mail.body
    assert "$16.00" in mail.body
    everybody = OutboxMessage.objects.filter(subject__contains="your usual day")
    assert sorted(row.recipients[0] for row in everybody) == sorted([buyer.admin.email, buyer.billing.email])
    (event,) = AuditEvent.objects.filter(action="auto_reload.suspended")
    assert event.after["suspension"] == "brake"


def test_while_it_is_paused_nothing_is_charged_and_nobody_is_told_again(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    for _ in range(5):
        buyer.spend(10)
        assert buyer.attempt() is None
        credits_clock.advance(hours(24))
    assert not buyer.journal()
    assert len(buyer.mails("your usual day")) == 1


def test_up_to_the_factor_nothing_is_asked(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7, cents=400)
    buyer.spend(1_600)
    purchase = buyer.attempt()
    assert purchase is not None
    assert purchase.state == Purchase.State.SUCCEEDED


def test_usage_of_the_last_24_hours_counts_across_midnight(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    credits_clock.set(buyer.now().replace(hour=23, minute=50))
    buyer.spend(800)
    credits_clock.advance(timedelta(minutes=20))
    buyer.spend(750)
    assert buyer.attempt() is None
    assert buyer.reload.brake_used_nano == nano_from_cents(1_550)


def test_what_was_used_more_than_24_hours_ago_does_not_count(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_300)
    credits_clock.advance(hours(24) + timedelta(seconds=1))
    buyer.spend(300)
    assert buyer.attempt() is not None


def test_confirming_lets_it_go_on_for_the_time_that_was_said_and_keeps_the_sentence(
    buyer: Buyer, credits_clock: Any
) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    confirmed_at = buyer.now()
    confirm(buyer)
    assert buyer.is_due()
    purchase = buyer.attempt()
    assert purchase is not None
    assert purchase.amount_cents == 1_600
    consent = AutoReloadConsent.objects.latest("id")
    assert (consent.kind, consent.actor) == ("usage_confirmed", buyer.billing)
    assert "16 times the usual day ($1.00)" in consent.consent_text
    assert "For the next 24 hours" in consent.consent_text
    (event,) = AuditEvent.objects.filter(action="auto_reload.usage_confirmed")
    assert event.after == {"allowed_until": (confirmed_at + hours(24)).isoformat()}
    assert purchase.terms_accepted_at == AutoReloadConsent.objects.filter(kind="saved").latest("id").consented_at

    credits_clock.set(confirmed_at + hours(24) - timedelta(seconds=1))
    buyer.spend(1_600)
    assert buyer.attempt() is not None, "within the time that was said"
    credits_clock.set(confirmed_at + hours(24))
    buyer.spend(1_600)
    assert buyer.attempt() is None, "it asks again afterwards"
    assert len(buyer.mails("your usual day")) == 2


def confirm(buyer: Buyer, *, shown_text: str | None = None, days: int = 1) -> AutoReload:
    allowance = timedelta(days=days)
    return auto_reload.confirm_usage(
        organization=buyer.organization,
        actor=buyer.billing,
        allowance=allowance,
        shown_text=auto_reload.usage_sentence(buyer.reload, allowance=allowance) if shown_text is None else shown_text,
        at=buyer.now(),
    )


def test_confirming_lifts_no_other_limit(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.arm(cap_cents=1_600)
    buyer.spend(1_600)
    buyer.attempt()
    confirm(buyer, days=7)
    buyer.attempt()
    buyer.spend(1_600)
    assert buyer.attempt() is None
    assert buyer.charged_cents == 1_600


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"shown_text": "something else"}, "changed"),
        ({"days": 3}, "not_braked"),
    ],
)
def test_only_the_sentence_that_was_shown_is_confirmed(
    buyer: Buyer, credits_clock: Any, change: dict[str, Any], code: str
) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    with pytest.raises(Refused) as refusal:
        confirm(buyer, **change)
    assert refusal.value.code == code
    assert buyer.reload.suspension == "brake"


def test_confirming_twice_or_without_a_brake_is_refused(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    confirm(buyer)
    with pytest.raises(Refused) as refusal:
        confirm(buyer)
    assert refusal.value.code == "not_braked"
    assert AutoReloadConsent.objects.filter(kind="usage_confirmed").count() == 1


def test_who_lost_the_right_confirms_nothing(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    Membership.objects.filter(user=buyer.billing).update(role=Role.DEVELOPER)
    with pytest.raises(Refused) as refusal:
        confirm(buyer)
    assert refusal.value.code == "permission"


@pytest.mark.django_db(transaction=True)
def test_the_brake_holds_when_many_try_at_once(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    results = at_once([buyer.attempt] * 8)
    assert results == [None] * 8
    assert not buyer.journal()
    assert len(buyer.mails("your usual day")) == 1


def test_a_young_organization_is_measured_by_one_full_reload(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.fund(8_000)
    buyer.arm()
    buyer.spend(6_000)
    buyer.spend(1_700)
    assert buyer.attempt() is None
    assert buyer.reload.brake_usual_nano == nano_from_cents(1_500)
    (mail,) = buyer.mails("Auto-reload is paused: usage is $77.00 in 24 hours")
    assert "too few days of use" in mail.body
    text = text_of(Pages(buyer.billing, slug=buyer.organization.slug).get())
    assert "Your usage of 24 hours is 5.1 times one full reload" in text
    assert "one full reload ($15.00)" in auto_reload.usage_sentence(buyer.reload, allowance=timedelta(days=1))


def test_a_young_organization_may_use_four_full_reloads_a_day(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.fund(6_400)
    buyer.arm()
    buyer.spend(6_000)
    assert buyer.attempt() is not None


def test_below_the_floor_nothing_is_asked(buyer: Buyer, credits_clock: Any, settings: Any) -> None:
    settings.AUTO_RELOAD_BRAKE_FLOOR_CENTS = 1_600
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    assert buyer.attempt() is not None


def test_a_factor_of_nothing_is_no_brake(buyer: Buyer, credits_clock: Any, settings: Any) -> None:
    settings.AUTO_RELOAD_BRAKE_FACTOR = 0
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    assert buyer.attempt() is not None


@pytest.mark.parametrize(
    ("days", "usual", "is_known"),
    [
        ([], 1_500, False),
        ([100] * 6, 1_500, False),
        ([100] * 6 + [0] * 20, 1_500, False),
        ([100] * 7, 100, True),
        ([1, 2, 3, 4, 5, 6, 700], 4, True),
        ([8, 1, 2, 3, 4, 5, 6, 7], 4, True),
        ([0, 0, 0, 1, 2, 3, 4, 5, 6, 700], 4, True),
    ],
)
def test_the_usual_day_is_the_median_of_the_days_that_had_use(days: list[int], usual: int, is_known: bool) -> None:
    reload = AutoReload(minimum_cents=500, target_cents=2_000, monthly_cap_cents=10_000)
    usage = reload_rules.usage_of(used_nano=1, days_nano=days, reload=reload)
    assert usage.is_known == is_known
    assert usage.usual_nano == (usual if is_known else nano_from_cents(usual))


@pytest.mark.parametrize(
    ("used", "usual", "text"),
    [(62, 10, "6.2"), (60, 10, "6"), (69, 10, "6.9"), (1_234_567, 10, "123,456"), (99, 10, "9.9")],
)
def test_times_are_rounded_down(used: int, usual: int, text: str) -> None:
    assert reload_rules.times_text(used_nano=used, usual_nano=usual) == text


# On the page


def test_the_banner_asks_and_the_dialog_confirms_without_script(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    overview = pages.get()
    assert "Your usage is 16 times your usual day, so auto-reload has paused." in text_of(overview)
    assert pages.url("auto_reload_usage") in overview.content.decode()
    form = pages.form("auto_reload_usage")
    assert form["allowance"] == "1"
    response = pages.client.post(pages.url("auto_reload_usage"), form | {"allowance": "7"}, follow=True)
    assert "Auto-reload goes on." in text_of(response)
    consent = AutoReloadConsent.objects.latest("id")
    assert consent.consent_text == form["shown_7"]
    assert "For the next 168 hours" in consent.consent_text
    assert buyer.reload.brake_allowed_until == buyer.now() + timedelta(days=7)


@pytest.mark.parametrize("sent", [{}, {"allowance": "365"}, {"allowance": "7"}, {"allowance": "x", "shown_1": "x"}])
def test_what_the_dialog_did_not_offer_is_refused_in_words(
    buyer: Buyer, credits_clock: Any, sent: dict[str, str]
) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    response = pages.post("auto_reload_usage", sent)
    assert response.status_code == 422
    assert "Choose for how long." in text_of(response) or "read the sentence once more" in text_of(response)
    assert buyer.reload.suspension == "brake"


def test_the_dialog_says_when_there_is_nothing_to_confirm(buyer: Buyer) -> None:
    buyer.save_card()
    pages = Pages(buyer.billing, slug=buyer.organization.slug)
    assert "does not wait for a confirmation of your usage: it is off" in text_of(pages.get("auto_reload_usage"))
    assert pages.post("auto_reload_usage", {"allowance": "1", "shown_1": "x"}).status_code == 422


def test_the_other_admins_hear_that_somebody_confirmed_high_usage(buyer: Buyer, credits_clock: Any) -> None:
    with_usual_days(buyer, credits_clock, days=7)
    buyer.spend(1_600)
    buyer.attempt()
    confirm(buyer)
    (mail,) = OutboxMessage.objects.filter(subject__endswith="goes on")
    assert mail.recipients == [buyer.admin.email]
    assert "Jonas Weber confirmed that it is wanted" in mail.body
