"""Consent to auto-reload: kept for ever with its exact sentence, and asked for anew when whoever gave it has left."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent, AuditOrigin, Membership, User
from accounts.permissions import Role
from billing.errors import Refused
from billing.models import AutoReloadConsent, Purchase
from billing.payments import auto_reload
from billing.terms import RELOAD_CONSENT
from billing.tests.buyer import MASTERCARD, Buyer
from billing.tests.pages import Pages, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def armed(buyer: Buyer) -> Buyer:
    """Auto-reload was switched on by the Billing member."""
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    return buyer


def leave(buyer: Buyer) -> None:
    Membership.objects.filter(user=buyer.billing).delete()


def be_deactivated(buyer: Buyer) -> None:
    User.objects.filter(pk=buyer.billing.pk).update(is_active=False)


def lose_the_right(buyer: Buyer) -> None:
    Membership.objects.filter(user=buyer.billing).update(role=Role.DEVELOPER)


def status_of(buyer: Buyer) -> auto_reload.ReloadStatus:
    return auto_reload.status(organization=buyer.organization, at=buyer.now())


@pytest.mark.parametrize("go", [leave, be_deactivated, lose_the_right])
def test_when_who_agreed_may_not_any_more_it_works_on_and_asks_for_a_new_consent(
    armed: Buyer, go: Callable[[Buyer], None]
) -> None:
    assert not status_of(armed).needs_consent
    go(armed)
    status = status_of(armed)
    assert (status.state, status.needs_consent) == ("armed", True)
    assert "Auto-reload rests on the word of somebody who has left" in text_of(pages_of(armed).get())
    armed.spend(600)
    purchase = armed.attempt()
    assert purchase is not None
    assert purchase.state == Purchase.State.SUCCEEDED


def pages_of(buyer: Buyer) -> Pages:
    return Pages(buyer.admin, slug=buyer.organization.slug)


def test_when_nobody_is_left_who_gets_its_mail_nothing_is_charged_until_there_is(armed: Buyer) -> None:
    User.objects.filter(pk__in=[armed.admin.pk, armed.billing.pk]).update(is_active=False)
    armed.spend(600)
    assert not armed.is_due()
    assert armed.attempt() is None
    assert status_of(armed).state == "no_recipient"
    User.objects.filter(pk=armed.admin.pk).update(is_active=True)
    assert armed.is_due()
    assert armed.attempt() is not None
    assert len(armed.journal()) == 1


def test_one_click_agrees_to_the_exact_sentence_and_reloads_rest_on_it(armed: Buyer) -> None:
    leave(armed)
    pages = pages_of(armed)
    form = pages.form("auto_reload_consent")
    assert form["shown_text"] in text_of(pages.get("auto_reload_consent"))
    response = pages.client.post(pages.url("auto_reload_consent"), form, follow=True)
    assert "Auto-reload rests on your word now." in text_of(response)
    assert "somebody who has left" not in text_of(response)
    first, renewed = AutoReloadConsent.objects.order_by("id")
    assert (renewed.kind, renewed.actor, renewed.is_enabled) == ("renewed", armed.admin, True)
    assert (renewed.consent_text, renewed.consent_version) == (form["shown_text"], RELOAD_CONSENT.version)
    assert (first.kind, first.actor) == ("saved", armed.billing), "history stays as it was"
    event = AuditEvent.objects.get(action="auto_reload.consent_renewed")
    assert event.actor == armed.admin
    assert AuditOrigin.objects.filter(event=event).exists()
    armed.spend(600)
    purchase = armed.attempt()
    assert purchase is not None
    assert purchase.terms_accepted_at == renewed.consented_at


def test_settings_or_a_card_that_changed_meanwhile_are_read_again(armed: Buyer) -> None:
    leave(armed)
    pages = pages_of(armed)
    form = pages.form("auto_reload_consent")
    setup = AutoReloadConsent.objects.count()
    armed.billing = armed.admin
    armed.save_card(MASTERCARD)
    response = pages.post("auto_reload_consent", form)
    assert response.status_code == 422
    assert "Please read the sentence once more" in text_of(response)
    assert "Mastercard ending in 4444" in text_of(response)
    assert AutoReloadConsent.objects.count() == setup


@pytest.mark.parametrize("sent", [{}, {"shown_text": ""}, {"shown_text": "x" * 3_000}, {"shown_text": "\x00"}])
def test_a_sentence_that_was_not_shown_is_refused_in_words(armed: Buyer, sent: dict[str, str]) -> None:
    response = pages_of(armed).post("auto_reload_consent", sent)
    assert response.status_code == 422
    assert response.context["form"].errors
    assert AutoReloadConsent.objects.count() == 1


def test_there_is_nothing_to_agree_to_while_it_is_off(armed: Buyer) -> None:
    armed.disarm()
    pages = pages_of(armed)
    assert "there is nothing to agree to" in text_of(pages.get("auto_reload_consent"))
    assert pages.post("auto_reload_consent", {"shown_text": "x"}).status_code == 422
    assert not status_of(armed).needs_consent


def test_who_lost_the_right_agrees_to_nothing(armed: Buyer) -> None:
    text = auto_reload.consent_sentence(organization=armed.organization)
    lose_the_right(armed)
    with pytest.raises(Refused) as refusal:
        auto_reload.renew_consent(organization=armed.organization, actor=armed.billing, shown_text=text, at=armed.now())
    assert refusal.value.code == "permission"


# History


def test_the_history_lists_everything_that_was_agreed_to_newest_first(armed: Buyer) -> None:
    armed.save_reload(True, 700, 2_500, 9_000)
    armed.disarm()
    pages = pages_of(armed)
    text = text_of(pages.get("auto_reload_history"))
    for part in ("$7.00", "$25.00", "$90.00", "Switched on, or changed", "By Jonas Weber", RELOAD_CONSENT.version):
        assert part in text
    places = [text.index(part) for part in ("Auto-reload is off", "bring it back to $25.00", "bring it back to $20.00")]
    assert places == sorted(places)
    for consent in AutoReloadConsent.objects.all():
        assert consent.consent_text in text


def test_the_history_comes_in_pages_and_costs_the_same_on_each(armed: Buyer) -> None:
    for number in range(30):
        armed.save_reload(True, 500 + number, 2_000, 10_000)
    pages = pages_of(armed)
    pages.get("auto_reload_history")
    with CaptureQueriesContext(connection) as first:
        newest = pages.get("auto_reload_history")
    older_id = newest.context["older_id"]
    with CaptureQueriesContext(connection) as second:
        older = pages.get("auto_reload_history", f"?before={older_id}")
    assert (len(newest.context["rows"]), len(older.context["rows"])) == (20, 11)
    shown = [row.consent.pk for page in (newest, older) for row in page.context["rows"]]
    assert shown == sorted(AutoReloadConsent.objects.values_list("pk", flat=True), reverse=True)
    assert len(first) == len(second)
    assert "There is nothing older" in text_of(pages.get("auto_reload_history", "?before=1"))
    assert pages.get("auto_reload_history", "?before=x").status_code == 200


def test_another_organizations_consents_are_not_in_it(armed: Buyer) -> None:
    other = Buyer(armed.stripe, name="Borealis")
    other.save_card()
    other.arm(900, 3_300, 10_000)
    assert "$33.00" not in text_of(pages_of(armed).get("auto_reload_history"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", ["console_app", "console_owner"])
def test_a_consent_can_neither_be_changed_nor_removed(buyer: Buyer, role_address: Any, role: str) -> None:
    buyer.save_card()
    buyer.arm()
    with psycopg.connect(role_address(role), autocommit=True) as anybody:
        for statement in (
            "update billing_autoreloadconsent set consent_text = 'other'",
            "update billing_autoreloadconsent set actor_id = actor_id",
            "delete from billing_autoreloadconsent",
            "truncate billing_autoreloadconsent",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                anybody.execute(statement)
    assert AutoReloadConsent.objects.get().actor == buyer.billing
