"""The administration: changes go through the use cases, history is only looked at, a key is shown once."""

import re
from html import unescape

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission as ModelPermission
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import audit, memberships, service_keys
from accounts.models import AuditEvent, Membership, Organization, OutboxMessage, ServiceKey, User
from accounts.permissions import Role
from accounts.staff_lists import KeysetAdmin
from accounts.tests import cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff():
    return cast.person("staff@example.test", is_staff=True, is_superuser=True)


@pytest.fixture
def admin_site(client, staff):
    client.force_login(staff)
    return client


def events(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action))


def test_a_new_user_gets_no_password_but_an_address(admin_site, staff):
    response = admin_site.post(
        reverse("admin:accounts_user_add"), {"email": "New@Acme.example", "name": "New", "is_email_verified": "on"}
    )
    assert response.status_code == 302
    user = User.objects.get(email="new@acme.example")
    assert not user.has_usable_password()
    assert EmailAddress.objects.get(user=user).verified
    (event,) = events("user.created")
    assert (event.actor, event.target, event.origin.ip_address) == (staff, f"user:{user.pk}", "127.0.0.1")


def test_a_taken_address_in_another_case_is_an_error_of_the_form(admin_site):
    cast.person("maya@acme.example")
    response = admin_site.post(reverse("admin:accounts_user_add"), {"email": "MAYA@acme.example", "name": ""})
    assert response.status_code == 200
    assert "already exists" in response.content.decode()


def test_closing_an_account_is_in_history(admin_site):
    user = cast.person()
    admin_site.post(reverse("admin:accounts_user_change", args=[user.pk]), inline_forms(user) | {"name": "x"})
    user.refresh_from_db()
    assert not user.is_active
    (event,) = events("user.changed")
    assert event.before is not None
    assert event.after is not None
    assert (event.before["is_active"], event.after["is_active"]) == (True, False)


def inline_forms(user: User) -> dict[str, str]:
    return {
        f"{name}-{kind}_FORMS": "0"
        for name in ("memberships", "emailaddress_set", "authenticator_set")
        for kind in ("TOTAL", "INITIAL")
    }


def test_staff_who_are_no_superuser_cannot_make_themselves_one(client):
    helper = cast.person(is_staff=True)
    helper.user_permissions.set(ModelPermission.objects.filter(codename__in=["view_user", "change_user"]))
    client.force_login(helper)
    client.post(
        reverse("admin:accounts_user_change", args=[helper.pk]),
        {"name": "x", "is_active": "on", "is_staff": "on", "is_superuser": "on"},
    )
    helper.refresh_from_db()
    assert (helper.name, helper.is_superuser) == ("x", False)


def test_a_new_organization_has_an_admin(admin_site, staff):
    admin = cast.person()
    admin_site.post(
        reverse("admin:accounts_organization_add"),
        {"name": "Acme", "slug": "acme", "time_zone": "Europe/Berlin", "admin": admin.pk},
    )
    acme = Organization.objects.get(slug="acme")
    assert Membership.objects.get(organization=acme, user=admin).role == Role.ADMIN
    assert [event.actor for event in AuditEvent.objects.filter(organization=acme)] == [staff, staff]


def test_a_role_is_changed_through_the_use_case(admin_site):
    member = cast.member(cast.organization(), role=Role.USER)
    admin_site.post(reverse("admin:accounts_membership_change", args=[member.pk]), {"role": "billing"})
    member.refresh_from_db()
    assert member.role == Role.BILLING
    (event,) = events("membership.role_changed")
    assert event.before == {"user": member.user_id, "role": "user"}


@pytest.mark.parametrize("choice", ["1.5", "1e3", "x", "9" * 5_000, "١", "-1", "0"])
def test_a_choice_that_is_no_row_is_an_error_of_the_form(admin_site, choice):
    page = admin_site.post(
        reverse("admin:accounts_membership_add"), {"organization": choice, "user": choice, "role": Role.BILLING}
    )
    assert page.status_code == 200
    assert page.content.decode().count("Select a valid choice") == 2
    assert not Membership.objects.exists()


def test_the_last_admin_stays_and_the_form_says_why(admin_site):
    member = cast.member(cast.organization(), role=Role.ADMIN)
    url = reverse("admin:accounts_membership_change", args=[member.pk])
    page = admin_site.post(url, {"role": "user"}).content.decode()
    assert "last Admin" in page
    assert admin_site.post(reverse("admin:accounts_membership_delete", args=[member.pk])).status_code == 403
    member.refresh_from_db()
    assert member.role == Role.ADMIN


@pytest.mark.parametrize("page", ["change", "delete"])
def test_somebody_who_was_quicker_is_an_answer_and_no_error(admin_site, monkeypatch, page):
    """The membership ends between staff's form and the use case, which looks again."""
    acme = cast.organization()
    cast.member(acme, role=Role.ADMIN)
    member = cast.member(acme, role=Role.USER)
    look_again = memberships._locked

    def after_the_end(membership: Membership) -> Membership:
        Membership.objects.filter(pk=membership.pk).delete()
        return look_again(membership)

    monkeypatch.setattr(memberships, "_locked", after_the_end)
    sent = {"role": "billing"} if page == "change" else {"post": "yes"}
    answer = admin_site.post(reverse(f"admin:accounts_membership_{page}", args=[member.pk]), sent, follow=True)
    assert answer.status_code == 200
    assert "They are no member any more. Nothing was changed." in answer.content.decode()
    assert not events("membership.removed")
    assert not events("membership.role_changed")


def test_a_member_is_removed_through_the_use_case(admin_site):
    acme = cast.organization()
    cast.member(acme, role=Role.ADMIN)
    member = cast.member(acme, role=Role.USER)
    admin_site.post(reverse("admin:accounts_membership_delete", args=[member.pk]), {"post": "yes"})
    assert not Membership.objects.filter(pk=member.pk).exists()
    assert len(events("membership.removed")) == 1


def test_history_and_mail_can_only_be_looked_at(admin_site):
    cast.member(cast.organization())
    OutboxMessage.objects.create(key="k", recipients=["a@example.test"], subject="s", body="secret link")
    for model, row in (("auditevent", AuditEvent.objects.latest("id")), ("outboxmessage", OutboxMessage.objects.get())):
        page = admin_site.get(reverse(f"admin:accounts_{model}_change", args=[row.pk]))
        assert page.status_code == 200
        assert "secret link" not in page.content.decode()
        assert admin_site.get(reverse(f"admin:accounts_{model}_add")).status_code == 403
        for action in ("change", "delete"):
            url = reverse(f"admin:accounts_{model}_{action}", args=[row.pk])
            assert admin_site.post(url, {"post": "yes"}).status_code == 403


def test_a_key_is_shown_once_and_kept_nowhere(admin_site, staff):
    url = reverse("admin:accounts_servicekey_add")
    response = admin_site.post(url, {"name": "gateway", "scopes": ["meter", "read"]})
    found = re.search(r"ck_gate_[A-Za-z0-9]{8}_[A-Za-z0-9]{49}", response.content.decode())
    assert found is not None
    key = ServiceKey.objects.get()
    assert service_keys.find(key_text=found[0]) == key
    assert key.scopes == ["meter", "read"]
    assert "no-store" in response["Cache-Control"]
    assert events("service_key.issued")[0].actor == staff
    for url in (
        reverse("admin:accounts_servicekey_changelist"),
        reverse("admin:accounts_servicekey_change", args=[key.pk]),
        reverse("admin:accounts_servicekey_history", args=[key.pk]),
        reverse("admin:index"),
    ):
        page = admin_site.get(url)
        assert page.status_code == 200
        assert found[0] not in page.content.decode()


def test_a_key_that_may_do_nothing_is_not_made(admin_site):
    for scopes in ([], ["everything"]):
        response = admin_site.post(reverse("admin:accounts_servicekey_add"), {"name": "gateway", "scopes": scopes})
        assert response.context["errors"]
    assert not ServiceKey.objects.exists()


def test_a_key_is_revoked_from_the_list(admin_site):
    issued = service_keys.issue(name="gateway", actor=None)
    admin_site.post(
        reverse("admin:accounts_servicekey_changelist"),
        {"action": "revoke", "_selected_action": [issued.service_key.pk]},
    )
    assert service_keys.find(key_text=issued.key_text) is None
    assert len(events("service_key.revoked")) == 1


def test_given_up_mails_are_tried_again_from_the_list(admin_site):
    message = OutboxMessage.objects.create(
        key="k", recipients=["a@example.test"], subject="s", state="given_up", attempts=10
    )
    admin_site.post(
        reverse("admin:accounts_outboxmessage_changelist"), {"action": "send_again", "_selected_action": [message.pk]}
    )
    message.refresh_from_db()
    assert (message.state, message.attempts) == ("pending", 0)


@pytest.mark.parametrize("model", ["user", "organization", "membership", "auditevent", "outboxmessage", "servicekey"])
def test_every_list_and_form_opens(admin_site, model):
    member = cast.member(cast.organization(), role=Role.ADMIN)
    service_keys.issue(name="gateway", actor=member.user)
    OutboxMessage.objects.create(key="k", recipients=["a@example.test"], subject="s")
    assert admin_site.get(reverse(f"admin:accounts_{model}_changelist"), {"q": "x"}).status_code == 200
    page = admin_site.get(reverse(f"admin:accounts_{model}_changelist"))
    assert page.status_code == 200
    link = re.search(rf"/admin/accounts/{model}/\d+/change/", page.content.decode())
    assert link is not None
    assert admin_site.get(link[0]).status_code == 200
    if model not in ("auditevent", "outboxmessage"):
        assert admin_site.get(reverse(f"admin:accounts_{model}_add")).status_code == 200


@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_an_address_that_names_no_field_finds_the_row_by_its_id(admin_site, page):
    group = Group.objects.create(name="Support")
    organization = cast.organization()
    for where in ("auth_group", group.pk), ("accounts_organization", organization.pk):
        answer = admin_site.get(reverse(f"admin:{where[0]}_{page}", args=[where[1]]), {"_to_field": ""})
        assert answer.status_code in ((200, 403) if page == "delete" else (200,)), where


@pytest.mark.parametrize("model", ["user", "organization", "membership", "auditevent", "outboxmessage"])
def test_long_lists_are_paged_without_counting_or_skipping(admin_site, model, monkeypatch):
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)
    for number in range(5):
        cast.member(cast.organization(f"Acme {number}"), role=Role.ADMIN)
        OutboxMessage.objects.create(key=f"k{number}", recipients=["a@example.test"], subject="s")
    rows = apps.get_model("accounts", model)._default_manager
    url = reverse(f"admin:accounts_{model}_changelist")
    found, query = [], ""
    for _ in range(rows.count()):
        with CaptureQueriesContext(connection) as captured:
            page = admin_site.get(url + query).content.decode()
        for sql in captured.captured_queries:
            assert "COUNT(" not in sql["sql"].upper()
            assert "OFFSET" not in sql["sql"].upper()
        found += [int(pk) for pk in re.findall(rf'<th [^>]*><a href="/admin/accounts/{model}/(\d+)/change/', page)]
        link = re.search(r'<a href="([^"]*)">Older</a>', page)
        if link is None:
            break
        query = unescape(link[1])
    assert found == sorted(rows.values_list("pk", flat=True), reverse=True)


def test_history_is_found_by_its_organization_or_its_whole_action(admin_site):
    acme, other = cast.organization("Acme"), cast.organization("Other")
    for organization in (acme, other):
        cast.member(organization, role=Role.ADMIN)
    url = reverse("admin:accounts_auditevent_changelist")
    for term, expected in (
        (acme.slug, AuditEvent.objects.filter(organization=acme)),
        ("membership.added", AuditEvent.objects.filter(action="membership.added")),
        ("nothing.happened", AuditEvent.objects.none()),
    ):
        page = admin_site.get(url, {"q": term}).content.decode()
        shown = {int(pk) for pk in re.findall(r'<th [^>]*><a href="/admin/accounts/auditevent/(\d+)/change/', page)}
        assert shown == {event.pk for event in expected}, term


def test_the_page_of_a_person_does_not_ask_once_for_each_right_there_is(admin_site, staff):
    with CaptureQueriesContext(connection) as queries:
        page = admin_site.get(reverse("admin:accounts_user_change", args=[staff.pk])).content.decode()
    assert page.count("<option") > 100
    assert len(queries) < 40


def test_staff_change_their_password_where_everyone_does(admin_site):
    assert admin_site.get(reverse("admin:password_change"))["Location"] == reverse("account_change_password")


def test_addresses_cannot_be_edited_apart_from_their_user(admin_site):
    assert admin_site.get("/admin/account/emailaddress/").status_code == 404


def test_history_is_found_by_reference_group_and_role(admin_site):
    acme = cast.organization("Acme")
    admin = cast.member(acme, role=Role.ADMIN).user
    request = RequestFactory().get("/")
    request.request_id = "req_42"  # type: ignore[attr-defined]
    events = {
        "card": audit.record(organization=acme, actor=admin, action="card.added", request=request),
        "freeze": audit.record(organization=acme, actor=cast.person(is_staff=True), action="credit_account.frozen"),
    }
    url = reverse("admin:accounts_auditevent_changelist")
    for query, expected in (
        ({"q": "req_42"}, {"card"}),
        ({"group": "card"}, {"card"}),
        ({"group": "credits"}, {"freeze"}),
        ({"role": "staff", "q": acme.slug}, {"freeze"}),
        ({"role": "admin"}, {"card"}),
        ({"group": "nonsense", "role": "nonsense", "q": acme.slug}, {"card", "freeze"}),
    ):
        page = admin_site.get(url, query).content.decode()
        shown = {int(pk) for pk in re.findall(r'<th [^>]*><a href="/admin/accounts/auditevent/(\d+)/change/', page)}
        assert shown == {events[name].pk for name in expected}, query


def test_rights_as_staff_and_new_names_are_kept_in_history(admin_site, staff):
    helper = cast.person(is_staff=True, name="Hal")
    right = ModelPermission.objects.get(codename="view_user")
    form = {"name": "Hal Helper", "is_active": "on", "is_staff": "on", "user_permissions": [right.pk]}
    admin_site.post(reverse("admin:accounts_user_change", args=[helper.pk]), {**form, **inline_forms(helper)})
    (event,) = events("user.rights_changed")
    assert (event.before, event.after) == ({"groups": [], "rights": []}, {"groups": [], "rights": ["view_user"]})
    (renamed,) = events("user.renamed")
    assert "Hal" not in repr((renamed.before, renamed.after))
    admin_site.post(reverse("admin:accounts_user_change", args=[helper.pk]), {**form, **inline_forms(helper)})
    assert len(events("user.rights_changed")) == len(events("user.renamed")) == 1


def test_groups_of_staff_are_changed_by_superusers_and_each_change_is_kept(admin_site, client):
    right = ModelPermission.objects.get(codename="view_user")
    admin_site.post(reverse("admin:auth_group_add"), {"name": "Support", "permissions": [right.pk]})
    group = Group.objects.get()
    url = reverse("admin:auth_group_change", args=[group.pk])
    admin_site.post(url, {"name": "Helpers", "permissions": [right.pk]})
    admin_site.post(url, {"name": "Helpers", "permissions": [right.pk]})
    admin_site.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})
    (added,), (changed,), (removed,) = (events(f"staff_group.{done}") for done in ("added", "changed", "removed"))
    assert added.after == {"name": "Support", "rights": ["view_user"]}
    assert (changed.before, changed.after) == (added.after, {"name": "Helpers", "rights": ["view_user"]})
    assert removed.before == changed.after
    helper = cast.person(is_staff=True)
    helper.user_permissions.set(ModelPermission.objects.filter(codename__endswith="_group"))
    client.force_login(helper)
    assert client.get(reverse("admin:auth_group_add")).status_code == 403


def test_a_page_of_the_administration_that_is_refused_is_kept_once_in_a_minute(client):
    helper, customer = cast.person(is_staff=True), cast.person()
    url = reverse("admin:accounts_user_changelist")
    client.force_login(helper)
    for _ in range(3):
        assert client.get(url).status_code == 403
    (event,) = events("access.staff_refused")
    assert (event.actor, event.role, event.organization) == (helper, "staff", None)
    assert event.after == {"page": "admin:accounts_user_changelist", "method": "GET"}
    client.force_login(customer)
    answer = client.get(url, follow=True)
    assert answer.status_code == 403
    assert {event.actor for event in events("access.staff_refused")} == {helper, customer}
