"""Who is told of a change that an intruder would make."""

import pytest

from accounts import notices
from accounts.models import OutboxMessage, Role
from accounts.tests import cast


@pytest.mark.django_db
def test_the_other_admins_are_told_once_each(monkeypatch):
    acme = cast.organization()
    actor = cast.member(acme, role=Role.ADMIN).user
    other = cast.member(acme, role=Role.ADMIN).user
    cast.member(acme, role=Role.BILLING)
    monkeypatch.setattr(notices, "extra_recipients", [lambda organization: ["Books@Example.test", actor.email]])
    for _ in range(2):
        notices.tell_people(
            organization=acme, actor=actor, kind="role", subject="A role changed", body="Text", key="event-1"
        )
    told = sorted(message.recipients for message in OutboxMessage.objects.all())
    assert told == sorted([[other.email], ["books@example.test"]])
