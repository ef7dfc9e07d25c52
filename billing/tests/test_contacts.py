"""Billing contacts: asked first, confirmed by a link once, ended by themselves, untouched by roles, known at Stripe."""

import re
from datetime import timedelta
from functools import partial

import pytest
from django.core import signing
from django.test import Client
from django.utils import timezone

from accounts import memberships
from accounts.models import AuditEvent, Membership, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast
from billing import contacts, emails
from billing.errors import PaymentProcessorUnavailable, Refused
from billing.models import BillingContact, PaymentMethod, StripeCustomer
from billing.payments import payment_methods, stripe_gateway
from billing.tests.buyer import at_once
from billing.tests.pages import Pages, text_of

pytestmark = pytest.mark.django_db

EMAIL = "payable@acme.example"
FORM = {"name": "Accounts payable", "email": EMAIL}


@pytest.fixture
def pages(buyer) -> Pages:
    return Pages(buyer.billing, slug=buyer.organization.slug)


def link(to=EMAIL) -> str:
    """The path of the newest link that was mailed to an address."""
    body = OutboxMessage.objects.filter(recipients=[to]).latest("pk").body
    found = re.findall(r"https?://[^/\s]+(/billing-contacts/\S+)", body)
    return found[-1]


def confirmed(pages) -> BillingContact:
    pages.post("contacts", FORM)
    Client().post(link())
    return BillingContact.objects.get(email=EMAIL)


def mails_to(address) -> int:
    return OutboxMessage.objects.filter(recipients=[address]).count()


def test_an_address_gets_no_billing_mail_before_its_owner_has_confirmed(pages, buyer):
    pages.post("contacts", FORM)
    assert mails_to(EMAIL) == 1
    buyer.save_card()
    buyer.buy(1_000)
    assert mails_to(EMAIL) == 1
    client = Client(enforce_csrf_checks=False)
    assert "Get billing mail of" in text_of(client.get(link()))
    assert not BillingContact.objects.get().is_confirmed
    assert "Confirmed" in text_of(client.post(link()))
    buyer.buy(1_000)
    assert mails_to(EMAIL) == 2
    mail = OutboxMessage.objects.filter(recipients=[EMAIL]).latest("pk")
    assert f"{EMAIL} is a billing contact of" in mail.body
    assert "No more of these mails to this address" in mail.body


def test_only_a_digest_of_the_link_is_kept_and_it_works_once_for_seven_days(pages, buyer):
    pages.post("contacts", FORM)
    token = link().rstrip("/").rpartition("/")[2]
    contact = BillingContact.objects.get()
    assert contact.token_sha256 == contacts.digest(token) != token
    at = contact.token_expires_at
    assert at is not None
    assert contacts.asked(token=token, at=at - timedelta(seconds=1)) == contact
    assert contacts.confirm(token=token, at=at) is None
    assert contacts.confirm(token=token, at=at - timedelta(seconds=1)) == contact
    assert contacts.confirm(token=token, at=at - timedelta(seconds=1)) is None
    assert Client().get(f"/billing-contacts/{token}/").status_code == 404


def test_sent_again_the_former_link_is_dead_and_sending_has_a_limit(pages, buyer):
    pages.post("contacts", FORM)
    first, contact = link(), BillingContact.objects.get()
    assert "gets a new link" in text_of(
        pages.client.post(pages.url("contact_send", contact_id=contact.pk), follow=True)
    )
    assert link() != first
    assert Client().get(first).status_code == 404
    assert Client().get(link()).status_code == 200
    for _ in range(5):
        response = pages.client.post(pages.url("contact_send", contact_id=contact.pk), follow=True)
    assert "Too many mails" in text_of(response)
    assert mails_to(EMAIL) == contacts.MAILS_A_DAY_TO_ADDRESS


def test_a_contact_ends_itself_signed_out_and_the_others_are_told(pages, buyer):
    contact = confirmed(pages)
    stop = f"/billing-contacts/stop/{contacts.stop_token(contact_id=contact.pk)}/"
    assert contacts.stop_url(contact_id=contact.pk).endswith(stop)
    before = mails_to(buyer.admin.email)
    assert Client().get(stop).status_code == 200
    assert BillingContact.objects.count() == 1
    assert "gets no more billing mail" in text_of(Client().post(stop))
    assert not BillingContact.objects.exists()
    assert mails_to(buyer.admin.email) == before + 1
    assert Client().post(stop).status_code == 404
    assert list(AuditEvent.objects.filter(action__startswith="billing_contact").values_list("action", flat=True)) == [
        "billing_contact.left",
        "billing_contact.confirmed",
        "billing_contact.added",
    ]


def test_a_link_for_another_purpose_ends_nothing(pages):
    contact = confirmed(pages)
    for token in ("x", str(contact.pk), signing.dumps(contact.pk), signing.dumps(contact.pk, salt="other")):
        assert Client().post(f"/billing-contacts/stop/{token}/").status_code == 404
    assert BillingContact.objects.exists()


def test_a_member_who_is_a_contact_too_gets_one_mail(pages, buyer):
    contact = confirmed(pages)
    BillingContact.objects.filter(pk=contact.pk).update(email=buyer.admin.email)
    addresses = [recipient.email for recipient in contacts.recipients(organization=buyer.organization)]
    assert sorted(addresses) == sorted([buyer.admin.email, buyer.billing.email])


def test_a_contact_stays_through_every_change_of_roles_and_who_gets_mail_is_told(pages, buyer):
    confirmed(pages)
    membership = Membership.objects.get(user=buyer.billing)
    memberships.change_role(membership=membership, role=Role.USER, actor=buyer.admin)
    addresses = [recipient.email for recipient in contacts.recipients(organization=buyer.organization)]
    assert addresses == [buyer.admin.email, EMAIL]
    told = OutboxMessage.objects.filter(recipients=[EMAIL], key__startswith="notice:role").latest("pk")
    assert f"go to:\n{EMAIL}, {buyer.admin.email}\n" in told.body
    memberships.remove_member(membership=membership, actor=buyer.admin)
    assert EMAIL in [recipient.email for recipient in contacts.recipients(organization=buyer.organization)]


def test_stripe_learns_whom_mail_goes_to_after_a_change_and_not_in_its_transaction(pages, buyer, monkeypatch):
    buyer.save_card()
    told = []
    monkeypatch.setattr(stripe_gateway, "describe_customer", lambda **facts: told.append(facts["email"]))
    assert payment_methods.tidy_stale() == 0
    memberships.change_role(membership=Membership.objects.get(user=buyer.billing), role=Role.USER, actor=buyer.admin)
    assert told == []
    assert PaymentMethod.objects.get(is_default=True).added_by == buyer.billing
    assert payment_methods.tidy_stale() == 1
    assert told == [buyer.admin.email]
    confirmed(pages_of_admin := Pages(buyer.admin, slug=buyer.organization.slug))
    assert pages_of_admin.get("contacts").status_code == 200
    payment_methods.tidy_stale()
    assert told[-1] == EMAIL
    assert payment_methods.tidy_stale() == 0


def test_a_stripe_that_can_not_be_reached_is_told_later(buyer, monkeypatch):
    buyer.save_card()
    StripeCustomer.objects.update(is_stale=True)

    def unreachable(**_):
        raise PaymentProcessorUnavailable("down")

    monkeypatch.setattr(stripe_gateway, "describe_customer", unreachable)
    assert payment_methods.tidy_stale() == 0
    assert StripeCustomer.objects.get().is_stale


@pytest.mark.parametrize("wrong", [{"email": "no address"}, {"email": ""}, {"name": " "}, {"name": "a\u202eb"}])
def test_what_is_wrong_is_said_at_its_field(pages, wrong):
    response = pages.post("contacts", FORM | wrong)
    assert response.status_code == 422
    assert set(response.context["form"].errors) == set(wrong)
    assert not BillingContact.objects.exists()


def test_the_same_address_is_a_contact_once_whatever_its_case(pages):
    pages.post("contacts", FORM)
    response = pages.post("contacts", FORM | {"email": EMAIL.upper()})
    assert response.status_code == 422
    assert "a billing contact already" in text_of(response)


@pytest.mark.django_db(transaction=True)
def test_two_who_add_the_last_at_once_keep_the_maximum(buyer):
    organization = buyer.organization
    for number in range(contacts.CONTACTS_MAXIMUM - 1):
        contacts.add(
            organization=organization, name="x", email=f"{number}@acme.example", actor=buyer.admin, at=buyer.now()
        )

    def add(number):
        return contacts.add(
            organization=organization, name="x", email=f"late{number}@acme.example", actor=buyer.admin, at=buyer.now()
        )

    results = at_once([partial(add, number) for number in range(4)])
    assert sum(isinstance(result, BillingContact) for result in results) == 1
    assert all(isinstance(result, BillingContact) or result.code == "too_many" for result in results)
    assert BillingContact.objects.count() == contacts.CONTACTS_MAXIMUM


def test_a_foreign_contact_is_not_found(pages):
    other = cast.organization("Other")
    contact = contacts.add(
        organization=other, name="x", email="x@other.example", actor=cast.person(), at=timezone.now()
    )
    assert pages.client.post(pages.url("contact_remove", contact_id=contact.pk)).status_code == 404
    assert BillingContact.objects.filter(pk=contact.pk).exists()


def test_refused_texts_reach_the_page_and_nothing_is_sent(pages, buyer):
    with pytest.raises(Refused):
        for _ in range(5):
            contacts._allow_mail(buyer.organization, EMAIL, at=buyer.now())
    assert emails.recipients_of(buyer.organization.pk).count() == 2
