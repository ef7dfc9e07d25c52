"""Buying credits by card: charged once, granted once, whatever happens between."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
import stripe

from accounts.models import AuditEvent, Membership
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import ledger
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import CreditAccount, LedgerEntry, Purchase, StripeCustomer
from billing.payments import purchases, reconciliation, stripe_gateway
from billing.terms import CREDIT_TERMS
from billing.tests.buyer import (
    ASKS_ALWAYS,
    ASKS_THEN_INSUFFICIENT_FUNDS,
    DECLINES_WHEN_CHARGED,
    Buyer,
    at_once,
    hours,
)

PAYMENTS = "/v1/payment_intents"
State = Purchase.State


def fail_all_tries(buyer, kind, **options):
    """A fault for one call and both of the SDK's own retries."""
    return buyer.stripe.control.add_fault(kind, method="POST", path=PAYMENTS, times=3, **options)


# The plain way


def test_credits_can_be_used_in_the_moment_of_the_purchase(buyer):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    assert purchase.state == State.SUCCEEDED
    assert buyer.available_cents == 2_500
    assert buyer.spend(2_500).outcome == "charged"
    buyer.assert_stripe_agrees()


def test_what_was_agreed_and_when_stands_with_the_purchase(buyer):
    card = buyer.save_card()
    purchase = buyer.buy(2_500)
    purchase.refresh_from_db()
    assert (purchase.terms_version, purchase.actor, purchase.payment_method) == (
        CREDIT_TERMS.version,
        buyer.billing,
        card,
    )
    assert purchase.created_at <= purchase.sent_at <= purchase.settled_at
    (lot,) = buyer.lots
    assert (lot.granted_nano, lot.purchase, lot.effective_at) == (25 * 10**9, purchase, purchase.settled_at)
    assert lot.expires_at == lot.effective_at.replace(year=lot.effective_at.year + 1)


def test_stripe_is_told_what_the_charge_is_for_and_which_process_asked(buyer, monkeypatch):
    monkeypatch.delenv("PROCESS_NAME", raising=False)
    buyer.save_card()
    purchase = buyer.buy(2_500)
    (entry,) = buyer.journal("succeeded")
    assert entry["metadata"] == {
        "purchase_id": str(purchase.pk),
        "organization_id": str(buyer.organization.pk),
        "kind": "manual",
        "process": purchases.process_name(),
    }
    assert entry["metadata"]["process"].startswith("web:")
    assert (entry["amount"], entry["currency"], entry["off_session"]) == (2_500, "usd", False)


def test_the_receipt_goes_once_to_each_admin_and_billing_member(buyer):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    purchases.settle(purchase_id=purchase.pk, at=buyer.now())
    (mail,) = buyer.mails("Receipt")
    assert "$25.00" in mail.body
    assert "Visa ending in 4242" in mail.body
    assert buyer.developer.email not in mail.body
    assert buyer.admin.email in mail.body


def test_a_purchase_pays_debt_first(buyer):
    buyer.save_card()
    buyer.overspend(400)
    assert buyer.available_cents == -400
    buyer.buy(2_500)
    assert buyer.available_cents == 2_100
    buyer.assert_stripe_agrees()


def test_a_purchase_leaves_the_settings_of_auto_reload_alone(buyer):
    buyer.save_card()
    before = buyer.arm(500, 2_000, 10_000)
    buyer.buy(5_000)
    after = buyer.reload
    for name in ("is_enabled", "minimum_cents", "target_cents", "monthly_cap_cents", "updated_at"):
        assert getattr(after, name) == getattr(before, name), name


def test_every_end_of_a_purchase_is_audited(buyer):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    actions = (
        AuditEvent.objects.filter(target=f"purchase:{purchase.pk}").order_by("id").values_list("action", flat=True)
    )
    assert list(actions) == ["purchase.created", "purchase.paid"]


# Refusals before anything is charged


@pytest.mark.parametrize("amount_cents", [0, 1, 499, 1_000_001, -500])
def test_an_amount_outside_the_limits_is_refused_at_its_field(buyer, amount_cents):
    buyer.save_card()
    with pytest.raises(Refused) as refusal:
        buyer.buy(amount_cents)
    assert refusal.value.field == "amount"
    assert not buyer.purchases
    assert not buyer.journal()


def test_a_closed_account_buys_no_credit_that_it_could_not_spend(buyer):
    buyer.save_card()
    ledger.set_state(organization_id=buyer.organization.pk, state=CreditAccount.State.CLOSED)
    with pytest.raises(Refused, match="closed for good"):
        buyer.buy()
    assert not buyer.purchases
    assert not buyer.journal()


def test_without_a_card_nothing_is_written(buyer):
    with pytest.raises(Refused) as refusal:
        buyer.buy()
    assert (refusal.value.code, refusal.value.field) == ("no_card", "card")
    assert not buyer.purchases


def test_terms_that_have_changed_must_be_accepted_again(buyer):
    buyer.save_card()
    with pytest.raises(Refused) as refusal:
        purchases.buy(
            organization=buyer.organization,
            actor=buyer.billing,
            amount_cents=2_500,
            attempt_key=uuid4(),
            terms_version="2020-01-01",
            at=buyer.now(),
        )
    assert refusal.value.field == "terms"
    assert not buyer.purchases


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.LIMITED_DEVELOPER, Role.CLAUDE_CODE_USER, Role.USER])
def test_rights_are_read_again_when_the_row_is_written(buyer, role):
    buyer.save_card()
    Membership.objects.filter(user=buyer.billing).update(role=role)
    with pytest.raises(Refused) as refusal:
        buyer.buy()
    assert refusal.value.code == "permission"
    assert not buyer.purchases


def test_many_declines_slow_down_who_tries_out_cards(buyer):
    buyer.save_card(DECLINES_WHEN_CHARGED)
    for _ in range(5):
        assert buyer.buy().state == State.FAILED
    with pytest.raises(Refused) as refusal:
        buyer.buy()
    assert refusal.value.code == "too_many_declines"
    assert buyer.buy(at=buyer.now() + hours(1.1)).state == State.FAILED


# One key, one purchase


def test_case_018_and_025_the_same_form_sent_twice_is_one_purchase(buyer):
    buyer.save_card()
    key = uuid4()
    first, second = buyer.buy(key=key), buyer.buy(key=key)
    assert first.pk == second.pk
    assert second.state == State.SUCCEEDED
    assert buyer.charged_cents == 2_500
    assert Purchase.objects.get().attempt_key == key


def test_the_same_form_with_another_amount_changes_nothing(buyer):
    buyer.save_card()
    key = uuid4()
    buyer.buy(2_500, key=key)
    with pytest.raises(Refused) as refusal:
        buyer.buy(5_000, key=key)
    assert refusal.value.code == "conflict"
    assert buyer.charged_cents == 2_500


def test_case_032_two_forms_are_two_visible_purchases(buyer):
    buyer.save_card()
    buyer.buy(), buyer.buy()
    assert [purchase.state for purchase in purchases.recent(organization=buyer.organization)] == [State.SUCCEEDED] * 2
    assert buyer.grants == 2
    buyer.assert_stripe_agrees()


def test_case_021_the_same_key_of_two_organizations_is_independent(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    key = uuid4()
    for one in (buyer, other):
        one.save_card()
        assert one.buy(key=key).state == State.SUCCEEDED
    assert (buyer.available_cents, other.available_cents) == (2_500, 2_500)


@pytest.mark.django_db(transaction=True)
def test_eight_clicks_at_once_are_one_charge_and_one_lot(buyer):
    buyer.save_card()
    key = uuid4()
    results = at_once([partial(buyer.buy, key=key)] * 8)
    assert all(isinstance(result, Purchase) for result in results), results
    assert len({result.pk for result in results}) == 1
    assert buyer.charged_cents == 2_500
    assert (len(buyer.journal()), buyer.grants, buyer.available_cents) == (1, 1, 2_500)


@pytest.mark.django_db(transaction=True)
def test_case_009_settling_from_many_places_at_once_grants_once(buyer):
    buyer.save_card()
    fault = buyer.stripe.control.add_fault("error_500_after_effect", method="POST", path=PAYMENTS)
    purchase = buyer.buy()
    assert (fault.hit, purchase.state) == (1, State.PROCESSING)
    (entry,) = buyer.journal("succeeded")
    work = partial(purchases.settle, purchase_id=purchase.pk, at=buyer.now(), payment_intent_id=entry["payment_intent"])
    results = at_once([work] * 8)
    assert {result.state for result in results} == {State.SUCCEEDED}
    assert (buyer.grants, buyer.available_cents) == (1, 2_500)
    assert len(buyer.mails("Receipt")) == 1


# Declines and the bank's questions


def test_a_decline_is_a_failed_purchase_and_a_new_try_is_a_new_one(buyer):
    buyer.save_card(DECLINES_WHEN_CHARGED)
    failed = buyer.buy()
    assert failed.state == State.FAILED
    assert "declined" in purchases.failure_text(failed)
    assert "Nothing was charged" in purchases.failure_text(failed)
    buyer.save_card()
    assert buyer.buy().state == State.SUCCEEDED
    assert buyer.charged_cents == 2_500
    assert [entry["outcome"] for entry in buyer.journal()] == ["generic_decline", "succeeded"]


@pytest.mark.parametrize(
    ("decline_code", "failure_code", "words"),
    [
        ("insufficient_funds", "card_declined", "not enough funds"),
        ("", "expired_card", "expired"),
        ("stolen_card", "card_declined", "ask your bank"),
        ("lost_card", "card_declined", "ask your bank"),
        ("", "payment_intent_authentication_failure", "could not confirm that it is you"),
        ("", "never_received", "could not be made"),
        ("something_of_next_year", "card_declined", "ask your bank"),
    ],
)
def test_a_failure_is_told_in_words_that_tell_no_thief_anything(decline_code, failure_code, words):
    purchase = Purchase(state=State.FAILED, decline_code=decline_code, failure_code=failure_code)
    text = purchases.failure_text(purchase)
    assert words in text
    assert "stolen" not in text
    assert "lost" not in text
    assert "Nothing was charged" in text


def test_a_card_that_asks_the_bank_waits_and_is_granted_after_the_answer(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    assert purchase.state == State.REQUIRES_ACTION
    assert buyer.available_cents == 0
    assert "_secret_" in purchases.client_secret(purchase=purchase)
    buyer.answer_bank(purchase)
    assert purchases.refresh(purchase_id=purchase.pk, at=buyer.now()).state == State.SUCCEEDED
    assert buyer.available_cents == 2_500
    assert purchases.client_secret(purchase=Purchase.objects.get()) == ""
    buyer.assert_stripe_agrees()


def test_a_customer_whom_the_bank_does_not_know_is_charged_nothing_then_or_later(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    buyer.answer_bank(purchase, complete=False)
    failed = purchases.refresh(purchase_id=purchase.pk, at=buyer.now())
    assert (failed.state, failed.failure_code) == (State.FAILED, "payment_intent_authentication_failure")
    assert stripe_gateway.read_payment(payment_intent_id=failed.payment_intent_id).status == "canceled"
    assert buyer.charged_cents == 0


def test_a_decline_after_the_banks_question_fails_the_purchase(buyer):
    buyer.save_card(ASKS_THEN_INSUFFICIENT_FUNDS)
    purchase = buyer.buy()
    buyer.answer_bank(purchase)
    failed = purchases.refresh(purchase_id=purchase.pk, at=buyer.now())
    assert (failed.state, failed.decline_code) == (State.FAILED, "insufficient_funds")
    assert "not enough funds" in purchases.failure_text(failed)


def test_a_waiting_purchase_can_be_given_up(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    canceled = purchases.cancel(
        organization=buyer.organization, purchase_id=purchase.pk, actor=buyer.admin, at=buyer.now()
    )
    assert canceled.state == State.CANCELED
    # History tells who wanted it, besides what became of it.
    assert AuditEvent.objects.get(action="purchase.cancel_requested").actor == buyer.admin
    assert stripe_gateway.read_payment(payment_intent_id=canceled.payment_intent_id).status == "canceled"
    with pytest.raises(Refused):
        purchases.cancel(organization=buyer.organization, purchase_id=purchase.pk, actor=buyer.billing, at=buyer.now())


def test_giving_up_too_late_grants_what_was_paid(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    buyer.answer_bank(purchase)
    ended = purchases.cancel(
        organization=buyer.organization, purchase_id=purchase.pk, actor=buyer.billing, at=buyer.now()
    )
    assert ended.state == State.SUCCEEDED
    assert buyer.available_cents == 2_500


def test_a_purchase_of_another_organization_is_not_known(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    with pytest.raises(Refused) as refusal:
        purchases.cancel(organization=other.organization, purchase_id=purchase.pk, actor=other.billing, at=buyer.now())
    assert refusal.value.code == "unknown_purchase"


# Lost replies: never "failed", never charged again under another key


def test_a_reply_that_is_lost_once_is_asked_for_again_with_the_same_key(buyer):
    buyer.save_card()
    fault = buyer.stripe.control.add_fault("cut_after", method="POST", path=PAYMENTS)
    assert buyer.buy().state == State.SUCCEEDED
    assert fault.hit == 1
    assert (len(buyer.journal()), buyer.charged_cents) == (1, 2_500)


@pytest.mark.parametrize("kind", ["cut_after", "half_body"])
def test_case_047_a_charge_whose_reply_is_lost_is_found_and_granted(buyer, kind):
    buyer.save_card()
    fault = fail_all_tries(buyer, kind)
    purchase = buyer.buy()
    assert fault.hit >= 1
    assert (purchase.state, purchase.payment_intent_id) == (State.PROCESSING, None)
    assert buyer.available_cents == 0
    assert purchases.failure_text(purchase) == ""
    reconciliation.sweep(at=buyer.now() + timedelta(seconds=31))
    assert buyer.available_cents == 2_500
    assert (len(buyer.journal()), buyer.grants) == (1, 1)


@pytest.mark.parametrize("kind", ["cut_before", "refuse", "rate_limited", "lock_timeout"])
def test_a_request_that_never_arrived_is_sent_again_with_the_same_key(buyer, kind):
    buyer.save_card()
    fault = fail_all_tries(buyer, kind)
    purchase = buyer.buy()
    assert fault.hit >= 1
    assert purchase.state == State.PROCESSING
    assert not buyer.journal()
    buyer.stripe.control.faults.clear()
    reconciliation.sweep(at=buyer.now() + timedelta(seconds=31))
    assert Purchase.objects.get().state == State.PROCESSING, "the first call might still be running"
    reconciliation.sweep(at=buyer.now() + timedelta(seconds=120))
    (entry,) = buyer.journal("succeeded")
    assert entry["idempotency_key"] == purchase.stripe_key
    assert buyer.available_cents == 2_500


def test_an_error_500_after_the_charge_is_settled_from_the_list(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("error_500_after_effect", method="POST", path=PAYMENTS)
    purchase = buyer.buy()
    assert purchase.state == State.PROCESSING
    reconciliation.sweep(at=buyer.now() + timedelta(seconds=31))
    assert (buyer.available_cents, len(buyer.journal())) == (2_500, 1)


def test_a_repeated_click_while_the_outcome_is_unknown_charges_nothing_more(buyer):
    buyer.save_card()
    key = uuid4()
    fail_all_tries(buyer, "cut_after")
    buyer.buy(key=key)
    assert buyer.buy(key=key).state == State.PROCESSING
    assert len(buyer.journal()) == 1


def test_case_011_after_a_day_nothing_is_sent_again(buyer):
    buyer.save_card()
    fail_all_tries(buyer, "cut_before")
    purchase = buyer.buy()
    later = buyer.now() + hours(24)
    reconciliation.sweep(at=later)
    assert Purchase.objects.get().state == State.PROCESSING
    reconciliation.sweep(at=later + hours(2))
    ended = Purchase.objects.get()
    assert (ended.state, ended.failure_code) == (State.FAILED, purchases.NEVER_RECEIVED)
    assert not buyer.journal()
    assert purchase.pk == ended.pk


def test_after_a_day_a_charge_is_still_found_by_its_metadata(buyer):
    buyer.save_card()
    fail_all_tries(buyer, "cut_after")
    buyer.buy()
    buyer.stripe.control.move_clock(offset_seconds=26 * 3600)
    reconciliation.sweep(at=buyer.now() + hours(26))
    assert (buyer.available_cents, len(buyer.journal())) == (2_500, 1)


def test_while_stripe_can_not_be_asked_a_purchase_stays_open_however_old(buyer):
    buyer.save_card()
    fail_all_tries(buyer, "cut_before")
    buyer.buy()
    buyer.stripe.control.add_fault("refuse", times=1_000)
    reconciliation.sweep(at=buyer.now() + hours(48))
    assert Purchase.objects.get().state == State.PROCESSING


def test_case_012_a_key_used_for_another_request_charges_nothing_and_guesses_nothing(buyer, settings):
    buyer.save_card()
    fail_all_tries(buyer, "cut_after")
    purchase = buyer.buy()
    Purchase.objects.filter(pk=purchase.pk).update(sent_by="another:1")
    resent = purchases.send(purchase_id=purchase.pk, at=buyer.now() + timedelta(seconds=100), is_resend=True)
    assert resent.state == State.PROCESSING
    assert len(buyer.journal()) == 1


def test_the_stored_answer_to_a_resend_is_not_taken_for_the_truth(buyer):
    buyer.save_card(ASKS_ALWAYS)
    fail_all_tries(buyer, "cut_after")
    purchase = buyer.buy()
    (asked,) = buyer.journal("requires_action")
    buyer.stripe.control.answer_challenge(asked["payment_intent"], complete=True)
    resent = purchases.send(purchase_id=purchase.pk, at=buyer.now() + timedelta(seconds=100), is_resend=True)
    assert resent.state == State.SUCCEEDED
    assert (buyer.available_cents, buyer.grants) == (2_500, 1)


def test_a_request_that_died_before_it_was_sent_is_taken_over(buyer):
    card = buyer.save_card()
    key = uuid4()
    Purchase.objects.create(
        organization=buyer.organization,
        kind=Purchase.Kind.MANUAL,
        amount_cents=2_500,
        credit_nano=25 * 10**9,
        attempt_key=key,
        payment_method=card,
        actor=buyer.billing,
        terms_version=CREDIT_TERMS.version,
        terms_accepted_at=buyer.now(),
    )
    assert buyer.buy(key=key).state == State.SUCCEEDED
    assert buyer.charged_cents == 2_500


def test_a_card_that_stripe_has_lost_fails_the_purchase_at_once(buyer):
    card = buyer.save_card()
    stripe_gateway.detach_card(payment_method_id=card.stripe_payment_method_id)
    purchase = buyer.buy()
    assert purchase.state == State.FAILED
    assert buyer.charged_cents == 0


def test_rights_lost_at_stripe_leave_the_outcome_open(buyer, settings):
    buyer.save_card()
    settings.STRIPE_SECRET_KEY = "sk_live_" + "0" * 24
    assert buyer.buy().state == State.PROCESSING


# What Stripe says must be the row's own


def intent_of(buyer, purchase_id, *, amount=2_500, organization_id=None):
    """A payment that somebody made by hand at Stripe, in this purchase's name."""
    card = buyer.organization.payment_methods.get(is_default=True)
    client = stripe.StripeClient("sk_test_hand", base_addresses={"api": buyer.stripe.base_url})
    return client.v1.payment_intents.create(
        {
            "amount": amount,
            "currency": "usd",
            "customer": StripeCustomer.objects.get(organization=buyer.organization).stripe_customer_id,
            "payment_method": card.stripe_payment_method_id,
            "allowed_payment_method_types": ["card"],
            "confirm": True,
            "off_session": True,
            "metadata": {
                "purchase_id": str(purchase_id),
                "organization_id": str(organization_id or buyer.organization.pk),
            },
        }
    ).id


@pytest.fixture
def open_purchase(buyer):
    """A purchase of which Stripe has never heard."""
    buyer.save_card()
    fail_all_tries(buyer, "cut_before")
    purchase = buyer.buy(2_500)
    buyer.stripe.control.faults.clear()
    return purchase


def test_another_amount_grants_nothing_and_is_flagged(buyer, open_purchase):
    intent_id = intent_of(buyer, open_purchase.pk, amount=100)
    flagged = purchases.settle(purchase_id=open_purchase.pk, at=buyer.now(), payment_intent_id=intent_id)
    assert (flagged.state, flagged.failure_code) == (State.PROCESSING, "mismatch_amount")
    assert buyer.grants == 0
    assert AuditEvent.objects.filter(action="purchase.mismatched").count() == 1


def test_a_payment_of_another_customer_grants_nothing(buyer, open_purchase, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    other.save_card()
    intent_id = intent_of(other, open_purchase.pk, organization_id=buyer.organization.pk)
    flagged = purchases.settle(purchase_id=open_purchase.pk, at=buyer.now(), payment_intent_id=intent_id)
    assert flagged.failure_code == "mismatch_customer"
    assert (buyer.grants, other.grants) == (0, 0)


def test_a_payment_in_the_name_of_another_purchase_grants_nothing(buyer, open_purchase):
    intent_id = intent_of(buyer, open_purchase.pk + 1)
    flagged = purchases.settle(purchase_id=open_purchase.pk, at=buyer.now(), payment_intent_id=intent_id)
    assert flagged.failure_code == "mismatch_purchase"
    assert buyer.grants == 0


def test_a_second_payment_for_a_paid_purchase_grants_nothing_and_is_flagged(buyer):
    buyer.save_card()
    purchase = buyer.buy(2_500)
    intent_id = intent_of(buyer, purchase.pk)
    flagged = purchases.settle(purchase_id=purchase.pk, at=buyer.now(), payment_intent_id=intent_id)
    assert (flagged.state, flagged.failure_code) == (State.SUCCEEDED, "mismatch_intent")
    assert (buyer.grants, buyer.available_cents) == (1, 2_500)


def test_money_that_was_taken_is_granted_even_after_the_row_has_ended(buyer, open_purchase):
    purchases.end_without_payment(purchase_id=open_purchase.pk, failure_code=purchases.NEVER_RECEIVED)
    intent_id = intent_of(buyer, open_purchase.pk)
    late = purchases.settle(purchase_id=open_purchase.pk, at=buyer.now(), payment_intent_id=intent_id)
    assert (late.state, late.failure_code) == (State.SUCCEEDED, "")
    assert buyer.available_cents == 2_500


def test_old_facts_change_no_row_that_has_ended(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    old = stripe_gateway.read_payment(payment_intent_id=purchase.payment_intent_id)
    buyer.answer_bank(purchase)
    purchases.refresh(purchase_id=purchase.pk, at=buyer.now())
    again = purchases.settle(purchase_id=purchase.pk, at=buyer.now(), facts=old)
    assert again.state == State.SUCCEEDED
    assert buyer.grants == 1


# Lists


def test_the_history_goes_back_page_by_page_and_shows_no_other_organization(buyer, stripe_stand_in):
    other = Buyer(stripe_stand_in, name="Borealis")
    other.save_card()
    other.buy()
    buyer.save_card()
    made = [buyer.buy().pk for _ in range(5)]
    first = purchases.recent(organization=buyer.organization, limit=3)
    second = purchases.recent(organization=buyer.organization, before_id=first[-1].pk, limit=3)
    assert [purchase.pk for purchase in first + second] == made[::-1]


def test_a_secret_never_shows_when_facts_are_printed(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    facts = stripe_gateway.read_payment(payment_intent_id=purchase.payment_intent_id)
    assert "_secret_" in facts.client_secret
    assert "_secret_" not in repr(facts)


def test_the_ledger_has_one_grant_entry_with_the_purchase_as_its_cause(buyer):
    buyer.save_card()
    purchase = buyer.buy()
    (entry,) = LedgerEntry.objects.filter(organization=buyer.organization)
    assert (entry.kind, entry.cause_kind, entry.cause_id) == ("grant", "purchase", purchase.pk)
    assert entry.actor_id == buyer.billing.pk


def test_refresh_without_an_answer_leaves_the_row_as_it_is(buyer):
    buyer.save_card(ASKS_ALWAYS)
    purchase = buyer.buy()
    buyer.stripe.control.add_fault("refuse", times=1_000)
    assert purchases.refresh(purchase_id=purchase.pk, at=buyer.now()).state == State.REQUIRES_ACTION
    with pytest.raises(PaymentProcessorUnavailable):
        purchases.client_secret(purchase=purchase)


def test_a_member_who_left_is_no_recipient(buyer):
    left = cast.member(buyer.organization, role=Role.BILLING).user
    left.is_active = False
    left.save(update_fields=["is_active"])
    buyer.save_card()
    (mail,) = buyer.mails("Payment method added")
    assert left.email not in mail.body
