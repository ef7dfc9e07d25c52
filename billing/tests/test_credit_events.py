"""The ledger's events: written with what they tell, handled once, and never heard of before their commit."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from django.db import DatabaseError, connection, connections, transaction

from accounts.models import OutboxMessage
from billing import tasks
from billing.credits import corrections, ledger, metering
from billing.models import AutoReload, CreditAccount, CreditEvent, CreditLot, Purchase
from billing.payments import auto_reload, credit_events
from billing.tests import staff
from billing.tests.buyer import Buyer
from billing.tests.customer import Customer, units

pytestmark = pytest.mark.django_db

Connection = psycopg.Connection[tuple[object, ...]]
PAUSED_AT = datetime(2026, 11, 1, tzinfo=UTC)


def relay(buyer: Buyer) -> list[int]:
    return credit_events.relay(at=buyer.now())


def waiting() -> list[str]:
    return list(CreditEvent.objects.filter(handled_at__isnull=True).order_by("pk").values_list("kind", flat=True))


def run_dry(buyer: Buyer, amount_cents: int = 1_000) -> None:
    """Give credit, and use all of it."""
    buyer.fund(amount_cents)
    assert buyer.spend(amount_cents).outcome == "charged"


def ran_out(buyer: Buyer) -> list[OutboxMessage]:
    return list(OutboxMessage.objects.filter(subject__startswith="Credit has run out").order_by("pk"))


# --- Written ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_case_033_nothing_is_heard_of_before_the_commit_it_describes(buyer: Buyer) -> None:
    """An adjustment takes the last credit; until its transaction commits, another connection's relay finds nothing."""
    buyer.fund(1_000)
    organization_id = buyer.organization.pk
    heard: list[tuple[list[int], int]] = []

    def listen() -> None:
        reloads = credit_events.relay(at=buyer.now())
        heard.append((reloads, OutboxMessage.objects.count()))
        connections.close_all()

    with transaction.atomic():
        ledger.adjust(
            organization_id=organization_id, amount_nano=10 * 10**9, key=UUID(int=7), label="x",
            reason="for a test", actor_id=None, may_owe=False,
        )  # fmt: skip
        assert waiting() == ["exhausted"]
        other = threading.Thread(target=listen)
        other.start()
        other.join(20)
    assert heard == [([], 0)]
    listen()
    assert heard[1][1] == 2, "the Admin and the Billing member"


@pytest.mark.django_db(transaction=True)
def test_case_033_what_was_rolled_back_is_never_told(buyer: Buyer) -> None:
    buyer.fund(1_000)
    with pytest.raises(RuntimeError), transaction.atomic():
        ledger.adjust(
            organization_id=buyer.organization.pk, amount_nano=10 * 10**9, key=UUID(int=7), label="x",
            reason="for a test", actor_id=None, may_owe=False,
        )  # fmt: skip
        raise RuntimeError("the transaction fails after all")
    assert not CreditEvent.objects.exists()
    relay(buyer)
    assert not OutboxMessage.objects.exists()


def test_a_rehearsed_correction_tells_nobody(buyer: Buyer) -> None:
    buyer.fund(1_000)
    actor = staff.superuser()
    corrections.rehearse(
        organization=buyer.organization,
        correct=lambda: corrections.take_credit(
            organization=buyer.organization, amount_nano=10 * 10**9, may_owe=False, label="Correction",
            reason="for this very test", actor=actor, key=UUID(int=7),
        ),
    )  # fmt: skip
    assert not CreditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_case_124_state_sums_and_event_change_together_or_not_at_all(
    customer: Customer, owner_connection: Connection
) -> None:
    """An event that can't be written takes the charge with it that made it true, and its mark."""
    customer.give(100)
    ledger.set_reload_line(organization_id=customer.id, below_nano=50)
    before = customer.footprint()
    owner_connection.execute(
        "create function pg_temp_refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'no event today'; end $$"
    )
    owner_connection.execute(
        "create trigger refuse before insert on billing_creditevent for each row execute function pg_temp_refuse()"
    )
    try:
        for operate in (metering.charge, metering.report_usage):
            with pytest.raises(DatabaseError, match="no event today"):
                operate(organization_id=customer.id, key="a", usage=units(60))
    finally:
        owner_connection.execute("drop trigger refuse on billing_creditevent")
        owner_connection.execute("drop function pg_temp_refuse()")
    assert customer.footprint() == before
    assert CreditAccount.objects.get().low_at is None
    customer.charge(60, key="a")
    assert CreditAccount.objects.get().low_at == CreditEvent.objects.get().occurred_at


def test_nobody_rewrites_what_an_event_tells(buyer: Buyer) -> None:
    run_dry(buyer)
    for statement in (
        "update billing_creditevent set kind = 'reload_due'",
        "update billing_creditevent set occurred_at = now()",
        "delete from billing_creditevent",
        "insert into billing_creditevent (organization_id, kind, occurred_at) values (1, 'exhausted', now())",
    ):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


# --- Told ------------------------------------------------------------------------------------------------------------


def test_each_admin_and_billing_member_is_told_once_that_credit_ran_out(buyer: Buyer) -> None:
    run_dry(buyer)
    assert relay(buyer) == []
    assert relay(buyer) == []
    mails = ran_out(buyer)
    assert sorted(mail.recipients for mail in mails) == sorted([[buyer.admin.email], [buyer.billing.email]])
    for mail in mails:
        assert f"/o/{buyer.organization.slug}/settings/billing/buy/" in mail.body
        assert "Auto-reload is off" in mail.body
    assert waiting() == []


def test_a_refused_request_counts_as_running_out_and_says_what_is_left(buyer: Buyer) -> None:
    buyer.fund(500)
    assert buyer.spend(501).outcome == "insufficient"
    for _ in range(3):
        buyer.spend(501)
    relay(buyer)
    (mail, _) = ran_out(buyer)
    assert "$5.00, does not cover them" in mail.body


def test_debt_is_told_too(buyer: Buyer) -> None:
    buyer.fund(500)
    buyer.overspend(800)
    relay(buyer)
    assert "$3.00, paid first by the next credit" in ran_out(buyer)[0].body


def test_nobody_is_told_when_credit_has_come_in_since(buyer: Buyer) -> None:
    run_dry(buyer)
    buyer.fund(1_000)
    relay(buyer)
    assert ran_out(buyer) == []
    assert waiting() == []


def test_running_out_again_is_told_again_and_only_the_latest(buyer: Buyer) -> None:
    run_dry(buyer)
    run_dry(buyer)
    assert waiting() == ["exhausted", "exhausted"]
    relay(buyer)
    assert len(ran_out(buyer)) == 2, "one for each of two people, about the second time"
    run_dry(buyer)
    relay(buyer)
    assert len(ran_out(buyer)) == 4


def test_an_account_that_is_frozen_is_refused_for_another_reason(buyer: Buyer) -> None:
    buyer.fund(1_000)
    ledger.set_state(organization_id=buyer.organization.pk, state=CreditAccount.State.FROZEN)
    buyer.overspend(1_000)
    relay(buyer)
    assert ran_out(buyer) == []
    assert waiting() == []


def test_with_auto_reload_armed_the_mail_says_that_a_reload_is_under_way(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(1_000)
    assert waiting() == ["reload_due", "exhausted"]
    assert relay(buyer) == [buyer.organization.pk]
    assert "a reload is under way" in " ".join(ran_out(buyer)[0].body.split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suspension": "declined", "suspended_at": PAUSED_AT}, "paused, because the card was declined"),
        ({"suspension": "disputed", "suspended_at": PAUSED_AT}, "paused, because a charge was disputed"),
        (
            {"suspension": "brake", "suspended_at": PAUSED_AT, "brake_used_nano": 2, "brake_usual_nano": 1},
            "Confirm that the usage is wanted, and it goes on",
        ),
        ({"is_enabled": False}, "Auto-reload is off"),
    ],
)
def test_the_mail_is_true_where_no_reload_will_come(buyer: Buyer, change: dict[str, object], words: str) -> None:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    AutoReload.objects.update(**change)
    buyer.spend(1_000)
    relay(buyer)
    assert words in " ".join(ran_out(buyer)[0].body.split())


def test_the_mail_is_true_while_reload_backs_off(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    AutoReload.objects.update(next_attempt_at=buyer.now() + timedelta(days=1), declines=1)
    buyer.spend(1_000)
    relay(buyer)
    body = " ".join(ran_out(buyer)[0].body.split())
    assert "the card was declined. It tries again on" in body
    assert "under way" not in body


def test_the_mail_is_true_where_the_monthly_cap_is_used_up(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.arm(500, 2_000, 2_000)
    buyer.attempt()
    buyer.spend(2_000)
    relay(buyer)
    assert "used its limit for this month" in " ".join(ran_out(buyer)[0].body.split())


# --- Handled ---------------------------------------------------------------------------------------------------------


def test_a_reload_that_is_due_is_attempted(buyer: Buyer, at_once_in_this_process: None) -> None:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(600)
    tasks.relay_credit_events.apply(throw=True)
    assert buyer.available_cents == 2_000
    # The attempt itself looked at the level anew, before its money came.
    tasks.relay_credit_events.apply(throw=True)
    assert waiting() == []
    assert len(buyer.journal("succeeded")) == 1


def test_a_lost_message_is_found_by_the_sweep(buyer: Buyer) -> None:
    """The relay's worker dies after it has marked the event: the account is still low."""
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    buyer.spend(600)
    assert relay(buyer) == [buyer.organization.pk]
    assert buyer.is_due()


def test_a_cap_that_stands_in_the_way_makes_no_event_after_event(buyer: Buyer) -> None:
    """What the cap has left would not lift credit to the line, so nothing is charged, and nothing is asked for anew."""
    buyer.save_card()
    buyer.arm(500, 2_000, 2_500)
    buyer.attempt()
    buyer.overspend(2_500)
    relay(buyer)
    before = CreditEvent.objects.count()
    for _ in range(3):
        assert auto_reload.attempt(organization_id=buyer.organization.pk, at=buyer.now()) is None
    assert CreditEvent.objects.count() == before
    assert len(buyer.journal("succeeded")) == 1


@pytest.mark.parametrize("state", [CreditAccount.State.FROZEN, CreditAccount.State.CLOSED])
def test_an_account_that_is_not_open_is_not_reloaded(buyer: Buyer, state: CreditAccount.State) -> None:
    buyer.save_card()
    buyer.fund(1_000)
    buyer.arm()
    ledger.set_state(organization_id=buyer.organization.pk, state=state)
    buyer.overspend(900)
    assert not buyer.is_due()
    assert buyer.attempt() is None
    assert not Purchase.objects.exists()
    if state == CreditAccount.State.FROZEN:
        ledger.set_state(organization_id=buyer.organization.pk, state=CreditAccount.State.OPEN)
        assert buyer.is_due()


@pytest.mark.django_db(transaction=True)
def test_two_relays_at_once_share_the_work_and_no_event(buyer: Buyer) -> None:
    run_dry(buyer)
    with transaction.atomic():
        assert credit_events._claim(after_id=0) is not None
        found: list[object] = []

        def look() -> None:
            with transaction.atomic():
                found.append(credit_events._claim(after_id=0))
            connections.close_all()

        other = threading.Thread(target=look)
        other.start()
        other.join(20)
    assert found == [None], "skipped, not waited for"
    assert waiting() == ["exhausted"]
    relay(buyer)
    assert waiting() == []


def test_an_event_that_can_not_be_handled_holds_up_no_other(
    buyer: Buyer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = Buyer(buyer.stripe, name="Borealis")
    run_dry(buyer)
    run_dry(other)
    real = credit_events._tell_exhausted

    def fail_for_one(event: CreditEvent, **arguments: object) -> None:
        OutboxMessage.objects.create(key="half", recipients=["x@example.com"], subject="half done", body="x")
        if event.organization_id == buyer.organization.pk:
            raise RuntimeError("no such template")
        OutboxMessage.objects.filter(key="half").delete()
        real(event, at=buyer.now())

    with monkeypatch.context() as patch:
        patch.setattr(credit_events, "_tell_exhausted", fail_for_one)
        relay(buyer)
    assert waiting() == ["exhausted"]
    assert not OutboxMessage.objects.filter(key="half").exists(), "what a failed event did is undone"
    assert len(ran_out(buyer)) == 2
    assert "was not handled" in caplog.text
    relay(buyer)
    assert waiting() == []
    assert len(ran_out(buyer)) == 4


def test_an_organization_without_credit_so_far_is_not_told_that_it_ran_out(buyer: Buyer) -> None:
    assert buyer.spend(1).outcome == "insufficient"
    assert waiting() == []
    assert not CreditLot.objects.exists()
