"""The outbox: with the transaction, once per key, never lost, never given up in silence."""

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connections, transaction

from accounts import outbox
from accounts.models import OutboxMessage

AT = datetime(2100, 1, 1, tzinfo=UTC)


class RefusingBackend(BaseEmailBackend):
    """A mail server that is down."""

    def send_messages(self, email_messages):
        raise ConnectionRefusedError("no mail server")


class PickyBackend(BaseEmailBackend):
    """A mail server that refuses one recipient."""

    def send_messages(self, email_messages):
        if any("bad" in address for mail in email_messages for address in mail.to):
            raise ConnectionRefusedError("mailbox unknown")
        return len(email_messages)


def write(key: str = "receipt:1", to: str = "maya@acme.example") -> None:
    outbox.send_mail_later(to=[to], subject="Your\nreceipt", body="Thank you.", html_body="<p>Thank you.</p>", key=key)


@pytest.mark.django_db
def test_a_mail_is_sent_with_text_and_html(mailoutbox):
    write()
    assert mailoutbox == []
    assert outbox.deliver(at=AT) == outbox.Delivery(sent=1)
    (mail,) = mailoutbox
    assert (mail.to, mail.subject, mail.body) == (["maya@acme.example"], "Your receipt", "Thank you.")
    assert mail.alternatives[0].content == "<p>Thank you.</p>"
    assert mail.extra_headers["Message-ID"].startswith("<outbox.")


@pytest.mark.django_db
def test_a_sent_mail_keeps_no_text_and_is_not_sent_again(mailoutbox):
    write()
    outbox.deliver(at=AT)
    message = OutboxMessage.objects.get()
    assert (message.state, message.sent_at, message.body, message.html_body) == ("sent", AT, "", "")
    assert outbox.deliver(at=AT + timedelta(days=1)) == outbox.Delivery()
    assert len(mailoutbox) == 1


@pytest.mark.django_db
def test_a_key_sends_one_mail_before_and_after_delivery(mailoutbox):
    write()
    write()
    outbox.deliver(at=AT)
    write()
    outbox.deliver(at=AT)
    assert len(mailoutbox) == 1


@pytest.mark.django_db(transaction=True)
def test_a_mail_of_a_transaction_that_rolls_back_is_never_sent(mailoutbox):
    with pytest.raises(RuntimeError), transaction.atomic():
        write()
        raise RuntimeError
    outbox.deliver(at=AT)
    assert mailoutbox == []


@pytest.mark.django_db
def test_a_mail_without_recipients_is_none():
    outbox.send_mail_later(to=[], subject="s", body="b", key="k")
    assert not OutboxMessage.objects.exists()


@pytest.mark.django_db
def test_a_mail_that_fails_is_tried_again_later(settings, mailoutbox):
    write()
    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = f"{__name__}.RefusingBackend"
    assert outbox.deliver(at=AT) == outbox.Delivery(failed=1)
    message = OutboxMessage.objects.get()
    assert (message.state, message.attempts, message.due_at) == ("pending", 1, AT + outbox.BACKOFF_FIRST)
    assert message.last_error == "ConnectionRefusedError: no mail server"
    settings.EMAIL_BACKEND = backend
    assert outbox.deliver(at=AT + outbox.BACKOFF_FIRST - timedelta(microseconds=1)) == outbox.Delivery()
    assert outbox.deliver(at=AT + outbox.BACKOFF_FIRST) == outbox.Delivery(sent=1)


@pytest.mark.django_db
def test_one_refused_recipient_holds_up_nobody_else(settings):
    write(key="1", to="bad@acme.example")
    write(key="2", to="good@acme.example")
    settings.EMAIL_BACKEND = f"{__name__}.PickyBackend"
    assert outbox.deliver(at=AT) == outbox.Delivery(sent=1, failed=1)


@pytest.mark.django_db
def test_after_the_last_try_a_mail_is_given_up_aloud(settings, caplog):
    write()
    settings.EMAIL_BACKEND = f"{__name__}.RefusingBackend"
    at = AT
    with caplog.at_level(logging.ERROR, logger="accounts.outbox"):
        for _attempt in range(outbox.ATTEMPTS_MAX):
            outbox.deliver(at=at)
            at += timedelta(hours=7)
    message = OutboxMessage.objects.get()
    assert (message.state, message.attempts) == ("given_up", outbox.ATTEMPTS_MAX)
    assert message.body == "Thank you."
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert outbox.deliver(at=at) == outbox.Delivery()


@pytest.mark.django_db
def test_a_given_up_mail_can_be_tried_again(mailoutbox):
    write()
    OutboxMessage.objects.update(state="given_up", attempts=outbox.ATTEMPTS_MAX)
    assert outbox.try_again(OutboxMessage.objects.all(), at=AT) == 1
    assert outbox.deliver(at=AT) == outbox.Delivery(sent=1)


def test_waiting_doubles_and_stays_below_six_hours():
    waits = [outbox.backoff(attempts) for attempts in range(1, 40)]
    assert waits[:3] == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2)]
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=6)


@pytest.mark.django_db
def test_a_delivery_that_dies_leaves_the_mail_to_the_next_one(mailoutbox):
    write()
    assert [message.attempts for message in outbox._claim(at=AT, limit=5)] == [1]
    assert outbox.deliver(at=AT) == outbox.Delivery()
    assert outbox.deliver(at=AT + outbox.LEASE) == outbox.Delivery(sent=1)
    assert len(mailoutbox) == 1


@pytest.mark.django_db(transaction=True)
def test_deliveries_at_once_share_the_work(mailoutbox):
    for number in range(40):
        write(key=f"receipt:{number}")
    barrier = threading.Barrier(4)

    def run() -> None:
        barrier.wait(timeout=10)
        try:
            while outbox.deliver(at=AT, limit=3).sent:
                pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(mailoutbox) == 40
    assert len({mail.extra_headers["Message-ID"] for mail in mailoutbox}) == 40
