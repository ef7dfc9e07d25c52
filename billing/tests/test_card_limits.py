"""How often cards may be tried, by person, organization and time; and what a card form leaves behind when it fails."""

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Membership
from accounts.permissions import Role
from billing.errors import Refused
from billing.models import CardSetup, Purchase, RefusedAttempt, StripeEvent
from billing.payments import attempts, payment_methods, stripe_events
from billing.terms import CARD_CONSENT
from billing.tests.buyer import DECLINES_WHEN_CHARGED, VISA, Buyer, at_once

pytestmark = pytest.mark.django_db

LOST_CARD = "4000000000009987"
GENERIC_DECLINE = "4000000000000002"


def test_a_form_keeps_the_consent_as_it_was_shown_with_version_time_and_person(buyer):
    buyer.save_card()
    setup = CardSetup.objects.get()
    assert setup.consent_text == " ".join(CARD_CONSENT.paragraphs)
    assert (setup.consent_version, setup.actor, setup.state) == (CARD_CONSENT.version, buyer.billing, "succeeded")
    assert setup.created_at is not None


def test_forms_count_by_organization_and_say_from_when_another_may_be_opened(buyer, settings):
    settings.CARD_ATTEMPTS_PER_HOUR = 2
    for person in (buyer.billing, buyer.admin):
        payment_methods.begin_setup(organization=buyer.organization, actor=person)
    with pytest.raises(Refused, match=r"Another can be tried after \d\d:\d\d ") as refusal:
        payment_methods.begin_setup(organization=buyer.organization, actor=buyer.admin)
    assert refusal.value.code == "too_many_cards"
    kept = RefusedAttempt.objects.get()
    assert (kept.organization, kept.kind, kept.actor, kept.code) == (
        buyer.organization,
        "card",
        buyer.admin,
        "too_many_cards",
    )


def test_forms_count_by_person_across_organizations(buyer, stripe_stand_in, settings):
    settings.CARD_ATTEMPTS_PER_HOUR = 2
    other = Buyer(stripe_stand_in)
    Membership.objects.create(organization=other.organization, user=buyer.billing, role=Role.BILLING)
    payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    payment_methods.begin_setup(organization=other.organization, actor=buyer.billing)
    with pytest.raises(Refused) as refusal:
        payment_methods.begin_setup(organization=other.organization, actor=buyer.billing)
    assert refusal.value.code == "too_many_cards"
    payment_methods.begin_setup(organization=other.organization, actor=other.billing)


def test_what_was_tried_a_day_ago_counts_no_more(buyer, settings):
    settings.CARD_ATTEMPTS_PER_HOUR = settings.CARD_ATTEMPTS_PER_DAY = 1
    payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    CardSetup.objects.update(created_at=timezone.now() - timedelta(days=1, seconds=1))
    payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)


@pytest.mark.django_db(transaction=True)
def test_forms_opened_at_the_same_moment_in_two_organizations_do_not_pass_a_persons_limit(stripe_stand_in, settings):
    settings.CARD_ATTEMPTS_PER_HOUR = 1
    first, second = Buyer(stripe_stand_in), Buyer(stripe_stand_in)
    Membership.objects.create(organization=second.organization, user=first.billing, role=Role.BILLING)

    def begin(organization):
        try:
            payment_methods.begin_setup(organization=organization, actor=first.billing)
        except Refused as refusal:
            return refusal.code
        return "begun"

    outcomes = at_once([lambda: begin(first.organization), lambda: begin(second.organization)] * 3)
    assert Counter(outcomes) == {"begun": 1, "too_many_cards": 5}


def test_every_card_that_was_refused_in_a_form_counts_and_the_third_ends_it(buyer):
    form = payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    for number in range(1, 4):
        buyer.type_card(form, GENERIC_DECLINE)
        tell_of_failure(buyer, form, number)
    setup = CardSetup.objects.get()
    assert (setup.failures, setup.state, setup.failure_code, setup.decline_code) == (
        3,
        "failed",
        "card_declined",
        "generic_decline",
    )
    assert buyer.type_card(form, VISA).get("status") != "succeeded"
    with pytest.raises(Refused):
        buyer.finish_card(form)
    other = [payment_methods.begin_setup(organization=buyer.organization, actor=buyer.admin) for _ in range(2)]
    assert len(other) == 2
    with pytest.raises(Refused) as refusal:
        payment_methods.begin_setup(organization=buyer.organization, actor=buyer.admin)
    assert refusal.value.code == "too_many_cards"


def tell_of_failure(buyer: Buyer, form: payment_methods.CardForm, number: int) -> None:
    """The webhook that tells that a card was refused, and once more, as Stripe may."""
    event = StripeEvent.objects.create(
        stripe_event_id=f"evt_{form.setup_intent_id}_{number}",
        type="setup_intent.setup_failed",
        object_id=form.setup_intent_id,
        payload={"livemode": False, "data": {"object": {"metadata": {}}}},
    )
    for _ in range(2):
        stripe_events.process(event_id=event.pk, at=buyer.now())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("4000000000009995", "The bank declined this card: there are not enough funds on the account."),
        ("4000000000000069", "The bank declined this card: the card has expired."),
        (LOST_CARD, "The bank declined this card. Please use another card or ask your bank."),
    ],
)
def test_a_declined_card_is_told_in_the_words_of_the_one_table(buyer, number, words):
    form = payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    buyer.type_card(form, number)
    told = payment_methods.failure_words(
        organization=buyer.organization, actor=buyer.billing, setup_intent_id=form.setup_intent_id
    )
    assert told.startswith(words)
    with pytest.raises(Refused, match=words[:30]):
        buyer.finish_card(form)
    (attempt,) = attempts.last(organization=buyer.organization, at=buyer.now())
    assert (attempt.outcome, attempt.words, attempt.reached_bank) == ("Declined", told, True)


def test_a_card_that_was_saved_after_others_were_declined_tells_of_them(buyer):
    form = payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    buyer.type_card(form, GENERIC_DECLINE)
    tell_of_failure(buyer, form, 1)
    buyer.type_card(form, VISA)
    buyer.finish_card(form)
    (attempt,) = attempts.last(organization=buyer.organization, at=buyer.now())
    assert (attempt.outcome, attempt.words) == ("Saved", "Before it, 1 other card was declined in this form.")


def test_declined_charges_count_by_person_and_the_refused_one_is_kept(buyer, settings):
    settings.CARD_ATTEMPTS_PER_HOUR = 2
    buyer.save_card(DECLINES_WHEN_CHARGED)
    assert [buyer.buy().state for _ in range(2)] == ["failed", "failed"]
    with pytest.raises(Refused, match=r"You can buy again after \d\d:\d\d ") as refusal:
        buyer.buy(3_000)
    assert refusal.value.code == "too_many_declines"
    assert Purchase.objects.count() == 2
    newest, *others = attempts.last(organization=buyer.organization, at=buyer.now() + timedelta(seconds=1))
    assert newest.what.startswith("Purchase of $30.00, Visa")
    assert (newest.outcome, newest.reached_bank, newest.words) == ("Refused here", False, str(refusal.value))
    assert [other.outcome for other in others] == ["Declined", "Declined", "Saved"]


def test_a_refused_attempt_outlives_the_transaction_that_refused_it_and_is_bounded(buyer, settings):
    settings.CARD_ATTEMPTS_PER_HOUR = 1
    payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    for _ in range(55):
        with pytest.raises(Refused):
            payment_methods.begin_setup(organization=buyer.organization, actor=buyer.billing)
    assert RefusedAttempt.objects.count() == 50


def test_the_list_of_attempts_has_the_newest_ten_and_asks_three_queries(buyer, django_assert_num_queries):
    buyer.save_card()
    for _ in range(11):
        buyer.buy(500)
    at = buyer.now()
    with django_assert_num_queries(3):
        shown = attempts.last(organization=buyer.organization, at=at)
    assert len(shown) == 10
    assert {attempt.outcome for attempt in shown} == {"Paid"}
    assert shown == sorted(shown, key=lambda attempt: attempt.at, reverse=True)


def test_a_purchase_that_stripe_refused_did_not_reach_the_bank(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("refuse", method="POST", path="/v1/payment_intents", times=5)
    buyer.buy()
    assert attempts.last(organization=buyer.organization, at=buyer.now())[0].reached_bank in (False, None)
