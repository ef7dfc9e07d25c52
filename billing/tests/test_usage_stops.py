"""An Admin's stop: made and ended once, on record, and told to the other Admins in words."""

import pytest

from accounts.models import AuditEvent, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import usage_blocks, usage_stops

pytestmark = pytest.mark.django_db


@pytest.fixture
def admins(customer):
    """Two; the first one acts."""
    return [cast.member(customer.organization, role=Role.ADMIN, name=name).user for name in ("Ada Admin", "Otto Other")]


def told() -> list[tuple[str, str, list[str]]]:
    return [
        (message.subject, message.body.split("\n")[0], message.recipients)
        for message in OutboxMessage.objects.filter(subject__startswith="Usage of").order_by("pk")
    ]


def test_a_stop_and_its_end_happen_once_and_say_whether_they_did(customer, admins):
    does = {"organization": customer.organization, "actor": admins[0]}
    assert not usage_stops.resume(**does)
    assert usage_stops.stop(**does)
    assert not usage_stops.stop(**does)
    assert usage_blocks.is_stopped(organization_id=customer.id)
    assert usage_stops.resume(**does)
    assert not usage_stops.resume(**does)
    assert not usage_blocks.is_stopped(organization_id=customer.id)
    events = AuditEvent.objects.filter(action__startswith="usage.").order_by("pk")
    assert [(event.action, event.target) for event in events] == [
        ("usage.stopped", f"credit_account:{customer.id}"),
        ("usage.resumed", f"credit_account:{customer.id}"),
    ]


def test_the_other_admins_read_who_stopped_usage_and_who_let_it_go_on(customer, admins):
    usage_stops.stop(organization=customer.organization, actor=admins[0])
    usage_stops.resume(organization=customer.organization, actor=admins[0])
    assert told() == [
        (
            "Usage of Acme was stopped",
            "Usage of Acme was stopped by Ada Admin. All new requests are refused: API, Workbench and Claude Code.",
            [admins[1].email],
        ),
        ("Usage of Acme was resumed", "Usage of Acme was resumed by Ada Admin. Requests go on.", [admins[1].email]),
    ]
