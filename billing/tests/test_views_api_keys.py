"""Build > API keys: shown once, changed by who may, and all usage stopped and let go on."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys as use_cases
from accounts import key_text
from accounts.models import ApiKey, AuditEvent
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import key_limits, usage_blocks
from billing.tests.customer import Customer

pytestmark = pytest.mark.django_db

KEY = re.compile(r"ck_live_[A-Za-z0-9]{8}_[A-Za-z0-9]{49}")


def signed_in(customer: Customer, role: Role = Role.DEVELOPER) -> Client:
    client = Client()
    client.force_login(cast.member(customer.organization, role=role, name=f"{role.label} Person").user)
    return client


NEW = {
    "name": "batch",
    "surface": "api",
    "limit_cents": "",
    "last_day": "",
    "attempt_key": "6f1c1c7e-7a52-4d0c-9d57-3a1f0f6a2b11",
}


def url(name: str, customer: Customer, *more: object) -> str:
    return reverse(f"billing:{name}", args=[customer.organization.slug, *more])


def create(customer: Customer, **changes) -> ApiKey:
    settings = {"name": "production", "surface": ApiKey.Surface.API, "expires_at": None, "limit_cents": None} | changes
    return key_limits.create_key(organization=customer.organization, actor=None, **settings).api_key


def test_a_new_key_is_shown_once_and_is_on_no_other_page(customer):
    client = signed_in(customer)
    sent = NEW | {"surface": "claude_code", "limit_cents": "25.50", "last_day": "2027-01-31"}
    response = client.post(url("api_key_create", customer), sent)
    found = KEY.search(response.content.decode())
    assert found is not None
    assert "no-store" in response["Cache-Control"]
    key = ApiKey.objects.get()
    assert use_cases.verify(prefix=key.prefix, key_sha256=key_text.digest(found[0])) == key
    assert (key.name, key.surface, key_limits.limit_of(key)) == ("batch", "claude_code", 2_550)
    assert key.expires_at is not None
    assert key.expires_at.isoformat() == "2027-02-01T00:00:00+00:00"
    for address in (url("api_keys", customer), url("api_key", customer, key.pk), url("api_key_create", customer)):
        page = client.get(address)
        assert page.status_code == 200
        assert found[0] not in page.content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "n" * 81),
        ("name", "two\nlines"),
        ("surface", "moon"),
        ("limit_cents", "much"),
        ("limit_cents", "0"),
        ("limit_cents", "-1"),
        ("last_day", "2020-01-01"),
        ("last_day", "9999-12-31"),
        ("last_day", "tomorrow"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(customer, field, value):
    response = signed_in(customer).post(url("api_key_create", customer), NEW | {field: value})
    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert not ApiKey.objects.exists()


def test_a_form_that_is_sent_twice_makes_one_key_and_says_so(customer):
    client = signed_in(customer)
    first = client.post(url("api_key_create", customer), NEW)
    second = client.post(url("api_key_create", customer), NEW | {"name": "another"}, follow=True)
    assert KEY.search(first.content.decode())
    assert not KEY.search(second.content.decode())
    assert "no second key was" in second.content.decode()
    assert ApiKey.objects.get().name == "batch"
    assert AuditEvent.objects.filter(action="api_key.created").count() == 1


def test_each_rendering_of_the_form_makes_a_key_of_its_own(customer):
    client = signed_in(customer)
    for _ in range(2):
        page = client.get(url("api_key_create", customer)).content.decode()
        attempt_key = re.search(r'name="attempt_key" value="([0-9a-f-]{36})"', page)
        assert attempt_key is not None
        assert client.post(url("api_key_create", customer), NEW | {"attempt_key": attempt_key[1]}).status_code == 200
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("attempt_key", ["", "again", "0"])
def test_a_form_without_its_key_is_refused_in_words(customer, attempt_key):
    response = signed_in(customer).post(url("api_key_create", customer), NEW | {"attempt_key": attempt_key})
    assert response.status_code == 422
    assert "This form is incomplete" in response.content.decode()
    assert not ApiKey.objects.exists()


def test_settings_are_changed_and_an_ended_key_says_so(customer):
    client, key = signed_in(customer), create(customer, limit_cents=100)
    page = client.get(url("api_key", customer, key.pk)).content.decode()
    assert 'value="1"' in page
    response = client.post(url("api_key", customer, key.pk), {"name": "new", "limit_cents": "", "last_day": ""})
    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key_limits.limit_of(key)) == ("new", None)
    use_cases.revoke(api_key=key, at=timezone.now(), actor=None)
    response = client.post(url("api_key", customer, key.pk), {"name": "later", "limit_cents": "5", "last_day": ""})
    assert response.status_code == 422
    assert "has ended or was replaced" in response.content.decode()
    assert key_limits.limit_of(key) is None


def test_a_key_is_replaced_and_the_old_one_works_for_the_overlap(customer):
    client, key = signed_in(customer), create(customer, limit_cents=100)
    address = url("api_key_rotate", customer, key.pk)
    assert client.get(address).status_code == 200
    assert client.post(address, {"overlap": "7"}).status_code == 422
    response = client.post(address, {"overlap": "3600"})
    assert KEY.search(response.content.decode())
    key.refresh_from_db()
    assert key.expires_at is not None
    assert timedelta(minutes=59) < key.expires_at - timezone.now() <= timedelta(hours=1)
    assert key_limits.limit_of(key.replacement) == 100
    assert f"Replaced by {key.replacement.prefix}" in client.get(url("api_keys", customer)).content.decode()
    assert client.post(address, {"overlap": "3600"}).status_code == 422
    assert ApiKey.objects.count() == 2


def test_stopping_and_revoking_ask_for_no_new_proof_and_the_rest_does(customer):
    client, key = signed_in(customer), create(customer)
    cast.grow_stale(client)
    assert client.post(url("api_key_stop", customer, key.pk)).headers["Location"] == url("api_key", customer, key.pk)
    for name, args in (("api_key_create", []), ("api_key", [key.pk]), ("api_key_rotate", [key.pk])):
        assert "reauthenticate" in client.post(url(name, customer, *args)).headers["Location"]
    assert "reauthenticate" in client.post(url("api_key_resume", customer, key.pk)).headers["Location"]
    assert client.post(url("api_key_revoke", customer, key.pk)).headers["Location"] == url("api_keys", customer)
    key.refresh_from_db()
    assert key.stopped_at is not None
    assert key.revoked_at is not None


def test_a_stopped_key_is_let_work_again(customer):
    client, key = signed_in(customer), create(customer)
    client.post(url("api_key_stop", customer, key.pk))
    assert "Let it work again" in client.get(url("api_key", customer, key.pk)).content.decode()
    client.post(url("api_key_resume", customer, key.pk))
    key.refresh_from_db()
    assert key.stopped_at is None


def test_billing_may_not_manage_keys_and_developers_may_not_stop_all_usage(customer):
    create(customer)
    assert signed_in(customer, Role.BILLING).get(url("api_keys", customer)).status_code == 403
    assert signed_in(customer, Role.DEVELOPER).post(url("usage_stop", customer)).status_code == 403
    assert not usage_blocks.is_stopped(organization_id=customer.id)


def test_an_admin_stops_all_usage_everybody_sees_it_and_it_goes_on_after_a_proof(customer):
    customer.give(100)
    admin, user = signed_in(customer, Role.ADMIN), signed_in(customer, Role.BILLING)
    cast.grow_stale(admin)
    assert admin.get(url("usage_stop", customer)).status_code == 200
    admin.post(url("usage_stop", customer))
    assert customer.charge(1, key="a").outcome == "organization_suspended"
    for client, address in ((admin, url("api_keys", customer)), (user, url("usage", customer))):
        assert "All usage is stopped." in client.get(address).content.decode()
    assert "reauthenticate" in admin.post(url("usage_resume", customer)).headers["Location"]
    fresh = signed_in(customer, Role.ADMIN)
    assert fresh.get(url("usage_resume", customer)).status_code == 200
    fresh.post(url("usage_resume", customer))
    assert customer.charge(1, key="a").outcome == "charged"
    assert "All usage is stopped." not in fresh.get(url("usage", customer)).content.decode()
    actions = AuditEvent.objects.filter(action__startswith="usage.").order_by("pk")
    assert [event.action for event in actions] == ["usage.stopped", "usage.resumed"]


def test_queries_do_not_grow_with_keys_and_older_ones_are_a_page_away(customer, django_assert_num_queries):

    client = signed_in(customer)
    create(customer, limit_cents=100)
    use_cases.revoke(api_key=create(customer), at=timezone.now(), actor=None)
    with CaptureQueriesContext(connection) as one:
        client.get(url("api_keys", customer))
    for number in range(55):
        create(customer, name=f"key-{number}", limit_cents=100 + number)
    with django_assert_num_queries(len(one)):
        page = client.get(url("api_keys", customer)).content.decode()
    assert "key-54" in page
    assert "production" not in re.sub(r"<details>.*</details>", "", page, flags=re.S)
    older = re.search(r"\?before=\d+", page)
    assert older is not None
    assert "production" in client.get(url("api_keys", customer) + older[0]).content.decode()
    assert client.get(url("api_keys", customer) + "?before=x").status_code == 404


def test_case_128_keys_of_another_organization_are_not_found(customer):
    key = create(Customer("other"))
    client = signed_in(customer, Role.ADMIN)
    for name in ("api_key", "api_key_rotate", "api_key_stop", "api_key_resume", "api_key_revoke"):
        assert client.post(url(name, customer, key.pk), {"name": "x", "overlap": "0"}).status_code == 404
    key.refresh_from_db()
    assert (key.name, key.stopped_at, key.revoked_at) == ("production", None, None)
