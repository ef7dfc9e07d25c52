"""The pages for members, their roles, removing and leaving."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts import api_keys, invitations
from accounts.models import ApiKey, AuditEvent, Membership, OutboxMessage
from accounts.permissions import Role
from accounts.tests import cast
from accounts.views import members

pytestmark = pytest.mark.django_db

MEMBERS = "/o/acme/settings/members/"


@pytest.fixture
def acme():
    return cast.organization("Acme")


@pytest.fixture
def ada(acme):
    return cast.member(acme, role=Role.ADMIN, user=cast.person("ada@acme.example", name="Ada Admin"))


@pytest.fixture
def dana(acme):
    return cast.member(acme, role=Role.DEVELOPER, user=cast.person("dana@acme.example", name="Dana Developer"))


@pytest.fixture
def adas_client(ada) -> Client:
    """Ada's, who has just signed in."""
    client = Client()
    client.force_login(ada.user)
    return client


def text_of(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def key(organization, membership, name):
    issued = api_keys.create(
        organization=organization, name=name, surface=ApiKey.Surface.API, expires_at=None, actor=membership.user
    )
    return issued.api_key


def role_of(membership):
    return Membership.objects.get(pk=membership.pk).role


# --- The list --------------------------------------------------------------------------------------------------------


def test_the_list_names_people_roles_and_open_invitations(acme, ada, dana, adas_client):
    at = timezone.now()
    invitations.invite(organization=acme, email="lena@b.example", role=Role.BILLING, actor=ada.user, at=at)
    invitations.invite(
        organization=acme, email="old@b.example", role=Role.USER, actor=ada.user, at=at - timedelta(days=9)
    )
    page = text_of(adas_client.get(MEMBERS))
    assert "2 people, 2 invitations" in page
    assert "Ada Admin (you) ada@acme.example Admin" in page
    assert "The only Admin" in page
    assert "Dana Developer dana@acme.example Developer" in page
    assert re.search(r"lena@b\.example .*Billing .*Open", page)
    assert re.search(r"old@b\.example .*User .*Expired", page)


def test_the_list_knows_nothing_of_other_organizations(acme, ada, adas_client):
    other = cast.organization("Other")
    stranger = cast.member(other, role=Role.ADMIN, name="Otto Other").user
    invitations.invite(organization=other, email="x@y.example", role=Role.USER, actor=stranger, at=timezone.now())
    page = text_of(adas_client.get(MEMBERS, {"q": "o"}))
    assert "Otto" not in page
    assert "x@y.example" not in page


def test_people_are_found_by_a_part_of_name_or_address(acme, ada, dana, adas_client):
    for search, found in (("DANA", True), ("dana@acme", True), ("veloper", True), ("ada", False), ("100%", False)):
        assert ("Dana Developer" in text_of(adas_client.get(MEMBERS, {"q": search}))) is found, search
    assert "No member's name or address contains “100%”" in text_of(adas_client.get(MEMBERS, {"q": "100%"})).replace(
        "&#x27;", "'"
    )


@pytest.mark.parametrize(
    "query",
    [{"q": "\x00"}, {"q": "x" * 5000}, {"after": "x"}, {"after": "-1"}, {"after": 10**30}, {"after": ["1", "2"]}],
)
def test_a_search_that_makes_no_sense_is_none(acme, ada, adas_client, query):
    assert adas_client.get(MEMBERS, query).status_code == 200


def test_long_lists_come_in_pages_and_cost_the_same(acme, ada, adas_client, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(members, "MEMBERS_ON_PAGE", 3)
    for number in range(7):
        cast.member(acme, name=f"Person {number}")
    seen, url = [], MEMBERS
    while url:
        with django_assert_max_num_queries(12):
            page = adas_client.get(url).content.decode()
        seen += re.findall(r"Person \d(?=\s*<small>)", page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        url = following[1] if following else ""
    assert seen == [f"Person {number}" for number in range(7)]


def test_a_name_is_never_markup(acme, ada, adas_client):
    cast.member(acme, name="<script>alert(1)</script>")
    assert "<script>alert" not in adas_client.get(MEMBERS, {"q": "<script>alert"}).content.decode()


def test_the_list_tells_who_has_which_second_factor(acme, ada, dana, adas_client):
    cast.second_factor(dana.user)
    page = text_of(adas_client.get(MEMBERS))
    assert re.search(r"dana@acme\.example Developer Developer Authenticator app", page)
    assert re.search(r"ada@acme\.example Admin, no second factor Admin The only Admin Off", page)


# --- Roles -----------------------------------------------------------------------------------------------------------


def test_a_changed_role_is_told_to_the_person_and_the_other_admins(acme, ada, dana, adas_client):
    second = cast.member(acme, role=Role.ADMIN, name="Second").user
    response = adas_client.post(f"{MEMBERS}{dana.pk}/", {"role": "billing"}, follow=True)
    assert "Dana Developer is now Billing" in text_of(response)
    assert role_of(dana) == Role.BILLING
    event = AuditEvent.objects.get(action="membership.role_changed")
    assert (event.actor, event.role) == (ada.user, "admin")
    mails = {mail.recipients[0]: mail for mail in OutboxMessage.objects.all()}
    assert set(mails) == {"dana@acme.example", second.email}
    assert mails["dana@acme.example"].subject == "Your role in Acme is now Billing"
    assert "Ada Admin changed your role in Acme\nfrom Developer to Billing" in mails["dana@acme.example"].body
    assert mails[second.email].subject == "Dana Developer is now Billing of Acme"


def test_a_new_role_counts_from_the_next_request(acme, ada, dana, adas_client):
    danas = Client()
    danas.force_login(dana.user)
    assert danas.get(MEMBERS).status_code == 403
    adas_client.post(f"{MEMBERS}{dana.pk}/", {"role": "admin"})
    assert danas.get(MEMBERS).status_code == 200
    adas_client.post(f"{MEMBERS}{dana.pk}/", {"role": "user"})
    assert danas.get(MEMBERS).status_code == 403


@pytest.mark.parametrize("role", ["", "owner", "ADMIN", "admin\x00", "1"])
def test_a_role_that_is_none_is_refused_at_its_field(acme, ada, dana, adas_client, role):
    response = adas_client.post(f"{MEMBERS}{dana.pk}/", {"role": role})
    assert response.status_code == 422
    assert re.search(r"Choose (a|one of the) role", text_of(response))
    assert role_of(dana) == Role.DEVELOPER


def test_the_last_admin_stays_admin_and_reads_why(acme, ada, dana, adas_client):
    response = adas_client.post(f"{MEMBERS}{ada.pk}/", {"role": "user", "is_confirmed": "on"})
    assert response.status_code == 422
    assert "An organization always keeps an Admin. Make somebody else Admin first." in text_of(response)
    assert role_of(ada) == Role.ADMIN


def test_ones_own_role_changes_only_after_a_warning(acme, ada, adas_client):
    cast.member(acme, role=Role.ADMIN)
    warning = adas_client.post(f"{MEMBERS}{ada.pk}/", {"role": "user"})
    assert (warning.status_code, role_of(ada)) == (200, Role.ADMIN)
    assert "You can't take this back yourself." in text_of(warning)
    confirmed = adas_client.post(f"{MEMBERS}{ada.pk}/", {"role": "user", "is_confirmed": "on"}, follow=True)
    assert role_of(ada) == Role.USER
    assert "You are now User of Acme." in text_of(confirmed)
    assert adas_client.get(MEMBERS).status_code == 403


def test_a_role_changes_only_shortly_after_proving_who_one_is(acme, ada, dana):
    client = Client()
    client.force_login(ada.user)
    cast.grow_stale(client)
    for path, form in ((f"{dana.pk}/", {"role": "admin"}), (f"{dana.pk}/remove/", {})):
        assert client.get(MEMBERS + path).status_code == 200
        response = client.post(MEMBERS + path, form)
        assert response["Location"].startswith("/accounts/reauthenticate/"), path
    assert role_of(dana) == Role.DEVELOPER


# --- Removing and leaving --------------------------------------------------------------------------------------------


def test_removing_is_explained_done_told_and_ends_the_access(acme, ada, dana, adas_client):
    danas = Client()
    danas.force_login(dana.user)
    assert danas.get("/o/acme/usage/").status_code == 200
    page = text_of(adas_client.get(f"{MEMBERS}{dana.pk}/remove/"))
    assert "Keys stay." in page
    assert "Billing contacts stay" in page
    response = adas_client.post(f"{MEMBERS}{dana.pk}/remove/", follow=True)
    assert "Dana Developer is no longer a member of Acme." in text_of(response)
    assert danas.get("/o/acme/usage/").status_code == 404
    mail = OutboxMessage.objects.get(recipients=["dana@acme.example"])
    assert mail.subject == "You are no longer a member of Acme"
    # The page of somebody who is gone is no page.
    assert adas_client.post(f"{MEMBERS}{dana.pk}/remove/").status_code == 404


def test_the_pages_for_removing_and_leaving_name_the_keys_that_stay(acme, ada, dana, adas_client):
    at = timezone.now()
    danas = Client()
    danas.force_login(dana.user)
    pages = ((adas_client, f"{MEMBERS}{dana.pk}/remove/"), (danas, "/o/acme/leave/"))
    for client, path in pages:
        assert "created none that works now." in text_of(client.get(path))
    made = [key(acme, dana, f"Key {number}") for number in range(12)]
    key(acme, ada, "Of Ada")
    key(cast.organization("Other"), dana, "Elsewhere")
    api_keys.revoke(api_key=made[-1], at=at, actor=None)
    for client, path in pages:
        page = text_of(client.get(path))
        assert f"Key 10 {made[10].prefix}…" in page
        assert "Key 1 " in page
        assert "and 1 more" in page
        for absent in ("Key 0 ", "Key 11", "Of Ada", "Elsewhere"):
            assert absent not in page


def test_the_page_for_removing_counts_the_invitations_that_stay(acme, ada, adas_client):
    second = cast.member(acme, role=Role.ADMIN, name="Second")
    invitations.invite(organization=acme, email="a@b.example", role=Role.USER, actor=second.user, at=timezone.now())
    assert "1 open invitation sent by this person stays open" in text_of(
        adas_client.get(f"{MEMBERS}{second.pk}/remove/")
    )


def test_leaving_is_explained_and_told_to_the_admins(acme, ada, dana):
    client = Client()
    client.force_login(dana.user)
    assert "you need a new invitation" in text_of(client.get("/o/acme/leave/"))
    response = client.post("/o/acme/leave/", follow=True)
    assert "You left Acme." in text_of(response)
    assert not Membership.objects.filter(pk=dana.pk).exists()
    mail = OutboxMessage.objects.get()
    assert (mail.recipients, mail.subject) == (["ada@acme.example"], "Dana Developer left Acme")
    assert AuditEvent.objects.get(action="membership.removed").actor == dana.user


def test_the_last_admin_neither_leaves_nor_is_removed(acme, ada, adas_client):
    assert adas_client.get(f"{MEMBERS}{ada.pk}/remove/")["Location"] == "/o/acme/leave/"
    response = adas_client.post("/o/acme/leave/")
    assert response.status_code == 422
    assert "An organization always keeps an Admin." in text_of(response)
    assert role_of(ada) == Role.ADMIN


@pytest.mark.parametrize(
    "path", ["members/{}/", "members/{}/remove/", "invitations/{}/send/", "invitations/{}/withdraw/"]
)
def test_people_of_another_organization_look_like_none(acme, ada, adas_client, path):
    other = cast.member(cast.organization("Other"), role=Role.ADMIN)
    cast.member(other.organization, role=Role.ADMIN)
    sent = invitations.invite(
        organization=other.organization, email="x@y.example", role=Role.USER, actor=other.user, at=timezone.now()
    )
    foreign = other.pk if path.startswith("members") else sent.pk
    answers = [
        adas_client.post(f"/o/acme/settings/{path.format(number)}", {"role": "user"})
        for number in (foreign, 987_654_321, 10**30)
    ]
    bodies = {answer.content.replace(answer["X-Request-Id"].encode(), b"") for answer in answers}
    assert {answer.status_code for answer in answers} == {404}
    assert len(bodies) == 1
    assert role_of(other) == Role.ADMIN
    digest = sent.token_sha256
    sent.refresh_from_db()
    assert (sent.revoked_at, sent.token_sha256) == (None, digest)


# --- The table of roles ----------------------------------------------------------------------------------------------


def test_every_member_can_read_what_roles_may_do_and_who_has_them(acme, ada, dana):
    client = Client()
    client.force_login(dana.user)
    response = client.get("/o/acme/settings/roles/")
    page = text_of(response)
    assert "Your role in Acme is Developer." in page
    assert "Developer Yours Manages API keys" in page
    assert re.search(r"Everything, members and roles included\. Ada Admin", page)
    assert "Manage members and roles members.manage Yes – No – No – No – No – No" in page
    assert "Use the Workbench workbench.use Yes Yes Yes Yes Yes Yes" in page


def test_a_refusal_names_who_can_help_what_else_can_be_seen_and_its_reference(acme, ada, dana):
    client = Client()
    client.force_login(dana.user)
    response = client.get(MEMBERS)
    page = text_of(response)
    assert "This needs the permission members.manage . Your role in Acme is Developer ." in page
    assert "Who has it Ada Admin (Admin)" in page
    assert "ada@acme.example" not in page
    assert re.search(r"What you can see .*Usage .*Roles", page)
    reference = response["X-Request-Id"]
    assert f"Reference {reference}" in page
    assert AuditEvent.objects.get(action="access.refused").request_id == reference
