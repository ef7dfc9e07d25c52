"""Where people land, and what the side bar offers them."""

import re

import pytest
from django.utils import timezone

from accounts import invitations
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db

BILLING = "/o/acme/settings/billing/"
SECURITY = "/o/acme/settings/security/"
USAGE = "/o/acme/usage/"
KEYS = "/o/acme/keys/"
MEMBERS = "/o/acme/settings/members/"
AUDIT_LOG = "/o/acme/settings/audit-log/"
ROLES = "/o/acme/settings/roles/"
ORGANIZATION = "/o/acme/settings/organization/"


@pytest.mark.parametrize(
    ("role", "landing"),
    [
        (Role.ADMIN, BILLING),
        (Role.BILLING, BILLING),
        (Role.DEVELOPER, USAGE),
        (Role.LIMITED_DEVELOPER, USAGE),
        (Role.CLAUDE_CODE_USER, "/o/acme/"),
        (Role.USER, "/o/acme/"),
    ],
)
def test_each_role_lands_on_the_first_page_it_may_use(client, role, landing):
    client.force_login(cast.member(cast.organization("Acme"), role=role).user)
    response = client.get("/", follow=True)
    assert response.status_code == 200
    assert response.redirect_chain[-1][0] == landing


@pytest.mark.parametrize(
    ("role", "links"),
    [
        (Role.ADMIN, {BILLING, USAGE, KEYS, MEMBERS, SECURITY, AUDIT_LOG, ORGANIZATION}),
        (Role.BILLING, {BILLING, USAGE}),
        (Role.DEVELOPER, {USAGE, KEYS}),
        (Role.USER, set()),
    ],
)
def test_the_side_bar_has_only_links_that_the_role_may_follow(client, role, links):
    client.force_login(cast.member(cast.organization("Acme"), role=role).user)
    page = client.get("/", follow=True).content.decode()
    bar = re.search(r'<nav id="nav".*?<div class="foot">', page, re.DOTALL)
    assert bar is not None
    assert set(re.findall(r'href="([^"]+)"', bar[0])) == links | {ROLES}
    assert bar[0].count('aria-current="page"') == (1 if links else 0)


def test_a_role_without_pages_learns_who_can_change_that(client):
    acme = cast.organization("Acme")
    cast.member(acme, role=Role.ADMIN, name="Ada Admin")
    client.force_login(cast.member(acme, role=Role.USER).user)
    page = client.get("/o/acme/").content.decode()
    assert "You are a User of Acme" in page
    assert "Ada Admin" in page


def test_who_belongs_nowhere_is_told_what_to_do_and_staff_go_to_work(client):
    client.force_login(cast.person("new@acme.example"))
    page = client.get("/").content.decode()
    assert "You belong to no organization yet" in page
    assert "new@acme.example" in page
    assert "/organizations/new/" in page
    client.force_login(cast.person(is_staff=True))
    assert client.get("/")["Location"] == "/admin/"


def test_the_switcher_lists_ones_own_organizations_only(client):
    user = cast.person()
    for name, role in (("Acme", Role.ADMIN), ("Borealis", Role.USER)):
        cast.member(cast.organization(name), role=role, user=user)
    cast.organization("Cirrus")
    client.force_login(user)
    page = client.get("/o/borealis/").content.decode()
    switcher = re.search(r'<details class="switcher".*?</details>', page, re.DOTALL)
    assert switcher is not None
    assert re.findall(r'href="([^"]+)"', switcher[0]) == ["/o/acme/", "/o/borealis/", "/organizations/new/"]


def test_with_one_organization_the_switcher_leads_to_a_new_one(client):
    client.force_login(cast.member(cast.organization("Acme"), role=Role.USER).user)
    page = client.get("/o/acme/").content.decode()
    switcher = re.search(r'<details class="switcher".*?</details>', page, re.DOTALL)
    assert switcher is not None
    assert re.findall(r'href="([^"]+)"', switcher[0]) == ["/o/acme/", "/organizations/new/"]


def test_the_shell_costs_the_same_with_one_organization_or_thirty(client, django_assert_max_num_queries):
    user = cast.person()
    cast.member(cast.organization("Acme"), role=Role.USER, user=user)
    for number in range(30):
        cast.member(cast.organization(f"Other {number}"), role=Role.USER, user=user)
    client.force_login(user)
    # Session, user, membership, the page's Admins, the switcher, what stops the organization.
    with django_assert_max_num_queries(6):
        client.get("/o/acme/")


def test_whoever_is_invited_somewhere_sees_it_at_the_start_page(client):
    acme = cast.organization("Acme")
    admin = cast.member(acme, role=Role.ADMIN, name="Ada Admin").user
    lena = cast.member(cast.organization("Borealis"), user=cast.person("lena@partner.example")).user
    client.force_login(lena)
    assert client.get("/")["Location"] == "/o/borealis/"
    sent = invitations.invite(
        organization=acme, email="lena@partner.example", role=Role.BILLING, actor=admin, at=timezone.now()
    )
    page = client.get("/").content.decode()
    assert "You are invited" in page
    assert "as Billing, by Ada Admin" in page
    assert f"/invitation/{sent.pk}/" in page
    assert "/o/borealis/" in page
    client.force_login(cast.person("other@partner.example"))
    assert "Acme" not in client.get("/").content.decode()
