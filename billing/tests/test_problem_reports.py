"""Reporting a problem with a charge: the facts of that moment, the queue of staff, and the answer."""

from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, OutboxMessage
from billing.credits import metering
from billing.models import ProblemReport, Purchase
from billing.payments import problem_reports
from billing.tests import staff
from billing.tests.buyer import DECLINES_WHEN_CHARGED, MODEL, Buyer, at_once

pytestmark = pytest.mark.django_db


def page(buyer: Buyer, purchase: Purchase) -> tuple[Client, str]:
    client = Client()
    client.force_login(buyer.billing)
    return client, reverse("billing:problem", kwargs={"slug": buyer.organization.slug, "purchase_id": purchase.pk})


def told(**values: str) -> dict[str, str]:
    return {"report_key": str(uuid4()), "category": "twice", "text": "Charged twice, I think.", **values}


@pytest.fixture
def purchase(buyer, settings):
    settings.STAFF_EMAIL = "staff@platform.example"
    buyer.save_card()
    return buyer.buy(2_500)


def test_a_report_keeps_the_facts_of_its_moment_and_reaches_staff(buyer, purchase):
    metering.charge(
        organization_id=buyer.organization.pk, key="k", usage=metering.Usage(model=MODEL, quantities={"input": 300})
    )
    client, url = page(buyer, purchase)
    assert client.post(url, told()).status_code == 302
    report = ProblemReport.objects.get()
    assert (report.purchase, report.actor, report.state) == (purchase, buyer.billing, "open")
    assert report.facts["purchase"]["state"] == "succeeded"
    assert report.facts["purchase"]["payment_intent"] == purchase.payment_intent_id
    assert report.facts["lot"]["granted_nano"] == 25 * 10**9
    assert report.facts["lot"]["left_nano"] == report.facts["account"]["available_nano"] == 22 * 10**9
    assert [entry["kind"] for entry in report.facts["entries"]] == ["grant"]
    assert buyer.billing.email not in str(report.facts)
    mail = OutboxMessage.objects.get(recipients=["staff@platform.example"])
    assert "Charged twice, I think." in mail.body
    assert f"/admin/billing/problemreport/{report.pk}/change/" in mail.body
    metering.charge(
        organization_id=buyer.organization.pk, key="l", usage=metering.Usage(model=MODEL, quantities={"input": 300})
    )
    report.refresh_from_db()
    assert report.facts["lot"]["left_nano"] == 22 * 10**9
    assert AuditEvent.objects.filter(action="problem.reported", actor=buyer.billing).count() == 1


def test_a_declined_purchase_can_be_reported_and_has_no_lot(buyer, settings):
    buyer.save_card(DECLINES_WHEN_CHARGED)
    failed = buyer.buy()
    client, url = page(buyer, failed)
    assert client.post(url, told(category="declined")).status_code == 302
    report = ProblemReport.objects.get()
    assert (report.facts["lot"], report.facts["entries"]) == (None, [])
    assert report.facts["purchase"]["decline_code"] == failed.decline_code


def test_one_form_is_one_report_however_often_it_is_sent(buyer, purchase):
    client, url = page(buyer, purchase)
    sent = told()
    for _ in range(3):
        assert client.post(url, sent).status_code == 302
    assert ProblemReport.objects.count() == 1
    assert OutboxMessage.objects.filter(recipients=["staff@platform.example"]).count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_form_sent_eight_times_at_once_is_one_report(buyer, purchase):
    key = uuid4()

    def send() -> int:
        return problem_reports.report(
            organization=buyer.organization,
            actor=buyer.billing,
            purchase_id=purchase.pk,
            report_key=key,
            category="other",
            text="at once",
            at=purchase.created_at,
        ).pk

    assert len(set(at_once([send] * 8))) == 1
    assert ProblemReport.objects.count() == 1


def test_the_customer_sees_that_it_is_open_and_what_was_answered(buyer, purchase):
    client, url = page(buyer, purchase)
    client.post(url, told())
    assert "Open" in client.get(url).content.decode()
    problem_reports.answer(
        report_id=ProblemReport.objects.get().pk,
        actor=staff.superuser(),
        state="closed",
        text="One of them was refused by your bank.",
        at=purchase.created_at,
    )
    shown = client.get(url).content.decode()
    assert "Closed" in shown
    assert "One of them was refused by your bank." in shown
    mail = OutboxMessage.objects.get(recipients=[buyer.billing.email], subject__startswith="Your report")
    assert "One of them was refused by your bank." in mail.body


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"category": "nothing"}, "Choose what is wrong."),
        ({"category": ""}, "Choose what is wrong."),
        ({"text": " "}, "Tell us what happened."),
        ({"text": "x" * 4_001}, "At most 4,000 characters, please."),
        ({"text": "My card 4242 4242 4242 4242 was charged."}, "This looks like a card number."),
        ({"text": "4000-0000-0000-0002"}, "This looks like a card number."),
        ({"text": "nul \x00"}, "Null characters are not allowed."),
        ({"report_key": "x"}, "This page was out of date."),
    ],
)
def test_what_cannot_be_kept_is_said_at_its_field_and_nothing_is_lost(buyer, purchase, changed, words):
    client, url = page(buyer, purchase)
    answer = client.post(url, told(**changed))
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not ProblemReport.objects.exists()


def test_a_number_that_is_no_card_number_may_stand_in_a_report(buyer, purchase):
    client, url = page(buyer, purchase)
    assert client.post(url, told(text="Order 1234 5678 9012 3456, ticket 20261125.")).status_code == 302


def test_ten_open_reports_are_enough(buyer, purchase):
    client, url = page(buyer, purchase)
    for _ in range(10):
        assert client.post(url, told()).status_code == 302
    answer = client.post(url, told())
    assert answer.status_code == 422
    assert "10 of your reports are open." in answer.content.decode()
    assert ProblemReport.objects.count() == 10


def test_case_128_another_organizations_purchase_cannot_be_reported(buyer, purchase, stripe_stand_in):
    other = Buyer(stripe_stand_in)
    client = Client()
    client.force_login(other.billing)
    url = reverse("billing:problem", kwargs={"slug": other.organization.slug, "purchase_id": purchase.pk})
    assert (client.get(url).status_code, client.post(url, told()).status_code) == (404, 404)
    assert not ProblemReport.objects.exists()


# Staff


def test_staff_answer_once_and_a_closed_report_stays_closed(buyer, purchase):
    client, url = page(buyer, purchase)
    client.post(url, told())
    report = ProblemReport.objects.get()
    somebody = staff.somebody("view_problemreport", "change_problemreport")
    desk = staff.at_the_browser(somebody)
    shown = desk.get(reverse("admin:billing_problemreport_change", args=[report.pk])).content.decode()
    assert "payment_intent" in shown
    answer_url = reverse("admin:billing_problemreport_answer", args=[report.pk])
    assert desk.post(answer_url, {"state": "closed", "answer": ""}).status_code == 200
    assert desk.post(answer_url, {"state": "closed", "answer": "Done."}).status_code == 302
    report.refresh_from_db()
    assert (report.state, report.answer, report.handled_by) == ("closed", "Done.", somebody)
    assert (
        "This report is closed already."
        in desk.post(answer_url, {"state": "answered", "answer": "More."}).content.decode()
    )
    report.refresh_from_db()
    assert report.answer == "Done."


def test_staff_who_may_only_look_cannot_answer(buyer, purchase):
    client, url = page(buyer, purchase)
    client.post(url, told())
    report = ProblemReport.objects.get()
    desk = staff.at_the_browser(staff.somebody("view_problemreport"))
    answer_url = reverse("admin:billing_problemreport_answer", args=[report.pk])
    assert (
        desk.get(answer_url).status_code == desk.post(answer_url, {"state": "closed", "answer": "x"}).status_code == 403
    )
    report.refresh_from_db()
    assert report.state == "open"
