"""A suspension by staff: usage and purchases stop, people still read, and it stands apart from every other stop."""

import pytest
from django.db import transaction
from django.urls import reverse

from accounts.models import AuditEvent, OutboxMessage
from billing import suspensions
from billing.credits import usage_blocks
from billing.errors import Refused
from billing.models import CreditAccount, UsageBlock
from billing.tests import staff
from billing.tests.pages import Pages, text_of

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "Chargebacks, ticket 4711"
NOTICE = "Please write to us about last week's payments."


def suspend(buyer, actor=None):
    return suspensions.suspend(
        organization=buyer.organization, reason=REASON, notice=NOTICE, actor=actor or staff.superuser()
    )


def lift(buyer):
    return suspensions.lift(organization=buyer.organization, reason=REASON, actor=staff.superuser())


def state(buyer):
    return CreditAccount.objects.get(organization=buyer.organization).state


def test_nothing_can_be_bought_while_it_stands_and_again_after(buyer):
    buyer.save_card()
    assert suspend(buyer)
    assert state(buyer) == CreditAccount.State.FROZEN
    with pytest.raises(Refused, match="is suspended"):
        buyer.buy(1_000)
    assert lift(buyer)
    assert state(buyer) == CreditAccount.State.OPEN
    assert buyer.buy(1_000).state == "succeeded"


@pytest.mark.parametrize("kind", [UsageBlock.Kind.STOP, UsageBlock.Kind.STAFF])
def test_lifting_it_ends_no_other_stop_and_says_so(buyer, kind):
    with transaction.atomic():
        usage_blocks.begin(organization=buyer.organization, kind=kind, actor=buyer.admin)
    suspend(buyer)
    lift(buyer)
    assert state(buyer) == CreditAccount.State.FROZEN
    mail = OutboxMessage.objects.filter(subject__contains="no longer suspended")[0]
    assert "still stopped for another reason" in mail.body


def test_everybody_who_gets_billing_mail_is_told_once_and_history_has_the_reason(buyer):
    actor = staff.superuser()
    assert suspend(buyer, actor)
    assert not suspend(buyer, actor)
    told = OutboxMessage.objects.filter(subject__contains="is suspended")
    assert sorted(mail.recipients[0] for mail in told) == sorted([buyer.admin.email, buyer.billing.email])
    assert all(NOTICE in mail.body and REASON not in mail.body for mail in told)
    event = AuditEvent.objects.get(action="organization.suspended")
    assert (event.actor, event.role, event.after["reason"]) == (actor, "staff", REASON)


def test_members_read_the_notice_on_every_page_until_it_is_lifted(buyer):
    suspend(buyer)
    for user in (buyer.admin, buyer.billing, buyer.developer):
        page = text_of(Pages(user, slug=buyer.organization.slug).get("usage"))
        assert "This organization is suspended." in page
        assert NOTICE in page
        assert REASON not in page
    lift(buyer)
    assert NOTICE not in text_of(Pages(buyer.admin, slug=buyer.organization.slug).get())


def test_staff_suspend_and_lift_with_a_reason(buyer):
    browser = staff.at_the_browser(staff.superuser())
    url = reverse("admin:billing_billingaccount_suspension", args=[buyer.organization.pk])
    assert "Suspend" in browser.get(url).content.decode()
    assert browser.post(url, {"reason": "short", "notice": NOTICE}).status_code == 200
    assert suspensions.standing(organization_id=buyer.organization.pk) is None
    assert browser.post(url, {"reason": REASON, "notice": NOTICE}).status_code == 302
    assert suspensions.standing(organization_id=buyer.organization.pk).notice == NOTICE
    assert "Lift the suspension" in browser.get(url).content.decode()
    assert browser.post(url, {"reason": REASON}).status_code == 302
    assert suspensions.standing(organization_id=buyer.organization.pk) is None


def test_staff_without_the_right_suspend_nobody(buyer):
    browser = staff.at_the_browser(staff.somebody("view_billingaccount"))
    url = reverse("admin:billing_billingaccount_suspension", args=[buyer.organization.pk])
    assert browser.post(url, {"reason": REASON, "notice": NOTICE}).status_code == 403
    assert not UsageBlock.objects.exists()
