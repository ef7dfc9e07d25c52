"""Saving and replacing the card of an organization."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from accounts.models import AuditEvent, Membership
from accounts.permissions import Role
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import CardSetup, PaymentMethod, StripeCustomer
from billing.payments import payment_methods, reconciliation, stripe_events, stripe_gateway
from billing.payments.stripe_gateway import EventFacts
from billing.terms import CARD_CONSENT
from billing.tests.buyer import ASKS_ALWAYS, MASTERCARD, VISA, Buyer, at_once

ATTACHED = "4242424242424242"
REFUSED_AT_ONCE = "4000000000000002"
EXPIRED = "4000000000000069"


def begin(buyer, actor=None):
    return payment_methods.begin_setup(organization=buyer.organization, actor=actor or buyer.billing)


def test_a_card_is_saved_by_brand_digits_and_expiry_and_becomes_the_default(buyer):
    card = buyer.save_card()
    assert (card.brand, card.last4, card.exp_month, card.exp_year, card.is_default) == ("visa", "4242", 8, 2034, True)
    assert str(card) == "Visa ending in 4242"
    assert payment_methods.default_card(organization=buyer.organization) == card
    customer = StripeCustomer.objects.get(organization=buyer.organization)
    facts = stripe_gateway.read_card(payment_method_id=card.stripe_payment_method_id)
    assert facts.customer_id == customer.stripe_customer_id


def test_who_saved_which_card_under_which_consent_is_kept(buyer):
    card = buyer.save_card()
    setup = CardSetup.objects.get()
    assert (setup.state, setup.actor, setup.consent_version) == ("succeeded", buyer.billing, CARD_CONSENT.version)
    assert (card.card_setup, card.added_by) == (setup, buyer.billing)
    event = AuditEvent.objects.get(action="card.added")
    assert (event.actor, event.target) == (buyer.billing, f"payment_method:{card.pk}")


def test_a_new_card_replaces_the_former_everywhere_and_the_others_are_told(buyer):
    former = buyer.save_card(VISA)
    card = buyer.save_card(MASTERCARD)
    former.refresh_from_db()
    assert (former.is_default, card.is_default) == (False, True)
    assert former.removed_at is not None
    assert former.detached_at is not None
    assert stripe_gateway.read_card(payment_method_id=former.stripe_payment_method_id).customer_id is None
    (mail,) = buyer.mails("Payment method replaced")
    assert "Visa ending in 4242" in mail.body
    assert "Mastercard ending in 4444" in mail.body
    assert AuditEvent.objects.filter(action="card.replaced").count() == 1


def test_the_charge_goes_to_the_new_card(buyer):
    buyer.save_card(VISA)
    card = buyer.save_card(MASTERCARD)
    buyer.buy()
    (entry,) = buyer.journal("succeeded")
    assert entry["payment_method"] == card.stripe_payment_method_id


def test_finishing_twice_is_finishing_once(buyer):
    form = begin(buyer)
    buyer.type_card(form)
    assert buyer.finish_card(form) == buyer.finish_card(form)
    assert PaymentMethod.objects.count() == 1
    assert len(buyer.mails("Payment method")) == 1


@pytest.mark.django_db(transaction=True)
def test_finishing_from_many_places_at_once_saves_one_card(buyer):
    former = buyer.save_card(MASTERCARD)
    form = begin(buyer)
    buyer.type_card(form)
    results = at_once([partial(buyer.finish_card, form)] * 6)
    assert len({getattr(result, "pk", result) for result in results}) == 1, results
    assert PaymentMethod.objects.filter(is_default=True).count() == 1
    assert PaymentMethod.objects.exclude(pk=former.pk).count() == 1


def test_a_card_that_asks_the_bank_is_saved_after_the_answer(buyer):
    assert buyer.save_card(ASKS_ALWAYS).last4 == "3184"


@pytest.mark.parametrize("number", [REFUSED_AT_ONCE, EXPIRED])
def test_a_card_that_the_bank_declines_is_not_saved_and_the_former_stays(buyer, number):
    former = buyer.save_card()
    form = begin(buyer)
    buyer.type_card(form, number)
    with pytest.raises(Refused) as refusal:
        buyer.finish_card(form)
    assert refusal.value.code == "card_declined"
    assert payment_methods.default_card(organization=buyer.organization) == former
    buyer.type_card(form, MASTERCARD)
    assert buyer.finish_card(form).brand == "mastercard", "the same form may be tried with another card"


def test_a_form_that_was_never_sent_saves_nothing(buyer):
    with pytest.raises(Refused) as refusal:
        buyer.finish_card(begin(buyer))
    assert refusal.value.code == "setup_unfinished"
    assert not PaymentMethod.objects.exists()


def test_a_form_of_another_organization_is_not_known(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    form = begin(other)
    other.type_card(form)
    with pytest.raises(Refused) as refusal:
        buyer.finish_card(form)
    assert refusal.value.code == "unknown_setup"
    assert not PaymentMethod.objects.exists()


def test_a_form_whose_customer_is_another_at_stripe_is_not_known(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    begin(buyer)
    form = begin(other)
    other.type_card(form)
    CardSetup.objects.filter(stripe_setup_intent_id=form.setup_intent_id).update(
        organization=buyer.organization, actor=buyer.billing
    )
    with pytest.raises(Refused) as refusal:
        buyer.finish_card(form)
    assert refusal.value.code == "unknown_setup"


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.LIMITED_DEVELOPER, Role.CLAUDE_CODE_USER, Role.USER])
def test_rights_are_read_again_at_both_ends_of_the_form(buyer, role):
    form = begin(buyer)
    buyer.type_card(form)
    Membership.objects.filter(user=buyer.billing).update(role=role)
    with pytest.raises(Refused):
        buyer.finish_card(form)
    with pytest.raises(Refused):
        begin(buyer)
    assert not PaymentMethod.objects.exists()
    assert CardSetup.objects.count() == 1


# Card testing


def test_the_sixth_form_in_an_hour_is_refused(buyer):
    for _ in range(5):
        begin(buyer)
    with pytest.raises(Refused) as refusal:
        begin(buyer)
    assert refusal.value.code == "too_many_cards"
    assert CardSetup.objects.count() == 5
    CardSetup.objects.update(created_at=buyer.now() - timedelta(minutes=61))
    begin(buyer)


def test_the_eleventh_form_in_a_day_is_refused(buyer):
    for _ in range(2):
        for _ in range(5):
            begin(buyer)
        CardSetup.objects.update(created_at=buyer.now() - timedelta(hours=2))
    with pytest.raises(Refused):
        begin(buyer)


def test_forms_count_for_the_person_in_every_organization_and_for_the_organization_of_every_person(
    buyer, stripe_stand_in
):
    other = Buyer(stripe_stand_in, name="Borealis")
    Membership.objects.create(organization=other.organization, user=buyer.billing, role=Role.BILLING)
    for place in range(5):
        begin(buyer if place % 2 else other, actor=buyer.billing)
    with pytest.raises(Refused):
        begin(other, actor=buyer.billing)
    for _ in range(2):
        begin(other, actor=other.admin)
    for _ in range(3):
        begin(buyer, actor=buyer.admin)
    with pytest.raises(Refused):
        begin(buyer, actor=buyer.admin)


@pytest.mark.django_db(transaction=True)
def test_the_limit_holds_when_many_forms_are_opened_at_once(buyer):
    begin(buyer)
    results = at_once([partial(begin, buyer)] * 10)
    assert len([result for result in results if isinstance(result, Refused)]) == 6, results
    assert CardSetup.objects.count() == 5


# Replies that are lost


def test_the_customer_is_made_once_though_the_first_reply_is_lost(buyer):
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/customers", times=3)
    with pytest.raises(PaymentProcessorUnavailable):
        begin(buyer)
    buyer.save_card()
    client_ids = {
        request["idempotency_key"]
        for request in buyer.stripe.api.requests()
        if request["path"] == "/v1/customers" and request["method"] == "POST"
    }
    assert len(client_ids) == 1
    assert StripeCustomer.objects.get().stripe_customer_id


@pytest.mark.django_db(transaction=True)
def test_two_people_who_begin_at_once_share_one_customer(buyer):
    results = at_once([partial(begin, buyer), partial(begin, buyer, buyer.admin)])
    forms = [result for result in results if isinstance(result, payment_methods.CardForm)]
    assert forms, results
    customers = {stripe_gateway.read_setup(setup_intent_id=form.setup_intent_id).customer_id for form in forms}
    assert customers == {StripeCustomer.objects.get().stripe_customer_id}


def test_a_former_card_that_could_not_be_let_go_of_is_let_go_of_by_the_sweep(buyer):
    former = buyer.save_card(VISA)
    buyer.stripe.control.add_fault("cut_before", path="/v1/payment_methods", times=3)
    buyer.save_card(MASTERCARD)
    former.refresh_from_db()
    assert (former.removed_at is None, former.detached_at is None) == (False, True)
    reconciliation.sweep(at=buyer.now())
    former.refresh_from_db()
    assert former.detached_at is not None
    assert stripe_gateway.read_card(payment_method_id=former.stripe_payment_method_id).customer_id is None


def test_letting_go_of_a_card_twice_is_fine(buyer):
    card = buyer.save_card()
    for _ in range(2):
        stripe_gateway.detach_card(payment_method_id=card.stripe_payment_method_id)


# What Stripe tells of cards


def test_a_card_that_stripe_lets_go_of_is_charged_no_more(buyer):
    card = buyer.save_card()
    assert payment_methods.note_detached(payment_method_id=card.stripe_payment_method_id, at=buyer.now())
    assert payment_methods.default_card(organization=buyer.organization) == card, "it is still attached at Stripe"
    stripe_gateway.detach_card(payment_method_id=card.stripe_payment_method_id)
    assert payment_methods.note_detached(payment_method_id=card.stripe_payment_method_id, at=buyer.now())
    assert payment_methods.default_card(organization=buyer.organization) is None
    assert not payment_methods.note_detached(payment_method_id="pm_unknown", at=buyer.now())


def test_a_renewed_card_shows_its_new_expiry(buyer):
    card = buyer.save_card()
    PaymentMethod.objects.update(exp_year=2027, exp_month=1)
    assert payment_methods.note_updated(payment_method_id=card.stripe_payment_method_id)
    card.refresh_from_db()
    assert (card.exp_year, card.exp_month) == (2034, 8)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2034, 8, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2034, 9, 1, tzinfo=UTC), True),
        (datetime(2035, 1, 1, tzinfo=UTC), True),
        (datetime(2033, 12, 1, tzinfo=UTC), False),
    ],
)
def test_a_card_is_good_through_its_month(at, expected):
    card = PaymentMethod(exp_month=8, exp_year=2034)
    assert payment_methods.has_expired(card, at=at) is expected


def test_the_secret_of_a_form_never_shows_when_it_is_printed(buyer):
    form = begin(buyer)
    assert "_secret_" in form.client_secret
    assert "_secret_" not in repr(form)


def test_a_renewed_card_is_audited_once_however_often_it_is_told(buyer):
    card = buyer.save_card()
    buyer.stripe.control.update_card(card.stripe_payment_method_id, exp_month=3, exp_year=2037)
    buyer.hear("payment_method.automatically_updated", times=3)
    event = AuditEvent.objects.get(organization=buyer.organization, action="card.updated")
    assert (event.before["exp_year"], event.after["exp_year"]) == (2034, 2037)
    card.refresh_from_db()
    assert (card.exp_month, card.exp_year) == (3, 2037)


def customer_event(buyer, kind):
    customer_id = StripeCustomer.objects.get(organization=buyer.organization).stripe_customer_id
    payload = {"livemode": False, "data": {"object": {"id": customer_id}}}
    row = stripe_events.store(EventFacts(f"evt_{kind}", kind, customer_id, "", False, payload), at=buyer.now())
    stripe_events.process(event_id=row.pk, at=buyer.now())
    row.refresh_from_db()
    return row.outcome


def test_a_customer_that_was_changed_in_the_dashboard_changes_no_card_here(buyer):
    card = buyer.save_card()
    assert customer_event(buyer, "customer.updated") == "noted: nothing to take over"
    assert payment_methods.default_card(organization=buyer.organization) == card


def test_a_customer_that_was_deleted_is_charged_no_more(buyer):
    card = buyer.save_card()
    buyer.stripe.control.detach_card(card.stripe_payment_method_id)
    customer_event(buyer, "customer.deleted")
    assert payment_methods.default_card(organization=buyer.organization) is None


def test_an_event_alone_takes_no_card_away_that_stripe_still_has(buyer):
    card = buyer.save_card()
    customer_event(buyer, "customer.deleted")
    assert payment_methods.default_card(organization=buyer.organization) == card
