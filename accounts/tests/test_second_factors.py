"""Second factors: set up, asked for, taken once, required, audited, told, and kept encrypted."""

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission as ModelPermission
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts import encryption, organizations, second_factors
from accounts.models import AuditEvent, Membership, Organization, OutboxMessage, UsedCode, User
from accounts.permissions import Role
from accounts.tests import cast

pytestmark = pytest.mark.django_db(transaction=True)

LOGIN = "/accounts/login/"
SECOND_STEP = "/accounts/2fa/authenticate/"
REQUIRED = "/accounts/2fa/required/"


@pytest.fixture(autouse=True)
def _fresh_cache(transactional_db):
    cache.clear()


def begin_sign_in(client: Client, user: User, **extra: str):
    return client.post(LOGIN, {"login": user.email, "password": cast.PASSWORD, **extra})


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def actions(user: User) -> list[str]:
    events = AuditEvent.objects.filter(target=f"user:{user.pk}").exclude(action__startswith="session.")
    return list(events.order_by("id").values_list("action", flat=True))


def subjects(address: str) -> list[str]:
    mails = OutboxMessage.objects.filter(recipients=[address])
    return list(mails.order_by("id").values_list("subject", flat=True))


def confirm(client: Client) -> None:
    """Prove by the password who is there, as the pages of second factors ask first."""
    assert client.post("/accounts/reauthenticate/", {"password": cast.PASSWORD}).status_code == 302


def set_up(client: Client) -> str:
    """Set up an app through the page; returns its secret."""
    page = client.get(reverse("mfa_activate_totp")).content.decode()
    found = re.search(r'id="secret">([A-Z2-7]+)<', page)
    assert found is not None
    response = client.post(reverse("mfa_activate_totp"), {"code": cast.code(secret=found[1])})
    assert response["Location"] == reverse("mfa_view_recovery_codes")
    return found[1]


@pytest.fixture
def maya() -> User:
    return cast.person("maya@acme.example", name="Maya Lindqvist")


@pytest.fixture
def acme(maya: User) -> Organization:
    acme = cast.organization("Acme")
    cast.member(acme, role=Role.ADMIN, user=maya)
    return acme


# --- Signing in ------------------------------------------------------------------------------------------------------


def test_the_password_alone_no_longer_signs_in(client, maya):
    cast.second_factor(maya)
    assert begin_sign_in(client, maya, next="/accounts/2fa/")["Location"].startswith(SECOND_STEP)
    assert not is_signed_in(client)
    assert client.get("/accounts/2fa/")["Location"].startswith(LOGIN)
    client.post(SECOND_STEP, {"code": cast.code()})
    assert is_signed_in(client)


def test_a_wrong_code_is_refused_and_kept_in_history(client, maya):
    cast.second_factor(maya)
    begin_sign_in(client, maya)
    wrong = f"{(int(cast.code()) + 1) % 10**6:06}"
    response = client.post(SECOND_STEP, {"code": wrong})
    assert "didn&#x27;t work" in response.content.decode()
    assert not is_signed_in(client)
    event = AuditEvent.objects.get(action="second_factor.refused")
    assert (event.actor, event.target, event.after) == (None, f"user:{maya.pk}", {"type": "totp"})


@pytest.mark.parametrize("periods_ago", [-2, 2, 10])
def test_a_code_of_another_time_is_refused(client, maya, periods_ago):
    cast.second_factor(maya)
    begin_sign_in(client, maya)
    client.post(SECOND_STEP, {"code": cast.code(periods_ago=periods_ago)})
    assert not is_signed_in(client)


@pytest.mark.parametrize("code", ["", "abc", "１２３４５６", "\x00", "9" * 10_000, "-1", "[]"])
def test_whatever_is_typed_as_a_code_is_an_answer_and_no_error(client, maya, code):
    cast.second_factor(maya)
    begin_sign_in(client, maya)
    assert client.post(SECOND_STEP, {"code": code}).status_code == 200
    assert not is_signed_in(client)


MALFORMED = [
    *(
        "",
        "null",
        "[]",
        '"x"',
        "{}",
        "0",
        "\x00",
        "[" * 20_000,
        "[" * 60_000,
        "9" * 5_000,
        '{"id":"x","response":{"userHandle":"AAAA"}}',
    ),
    '{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{"userHandle":"AAAA","clientDataJSON":"AAAA",'
    '"authenticatorData":"AAAA","signature":"AAAA","attestationObject":"AAAA"}}',
]


@pytest.mark.parametrize("credential", MALFORMED)
def test_whatever_is_sent_as_a_new_passkey_is_an_answer_and_no_error(client, maya, credential):
    client.force_login(maya)
    confirm(client)
    client.get(reverse("mfa_add_webauthn"))
    assert client.post(reverse("mfa_add_webauthn"), {"credential": credential}).status_code == 200
    assert client.post(reverse("mfa_reauthenticate_webauthn"), {"credential": credential}).status_code in (200, 302)
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize("credential", MALFORMED)
@pytest.mark.parametrize("path", [SECOND_STEP, "/accounts/2fa/webauthn/login/"])
def test_whatever_is_sent_as_a_passkey_is_an_answer_and_no_error(client, maya, credential, path):
    cast.second_factor(maya)
    begin_sign_in(client, maya)
    client.get(path, headers={"Accept": "application/json"})
    assert client.post(path, {"credential": credential}).status_code in (200, 302)
    assert not is_signed_in(client)


def test_a_recovery_code_works_once_and_is_told(client, maya):
    cast.second_factor(maya)
    code = cast.recovery_codes(maya)[3]
    begin_sign_in(client, maya)
    client.post(SECOND_STEP, {"code": code})
    assert is_signed_in(client)
    event = AuditEvent.objects.get(action="recovery_code.used")
    assert (event.actor, event.after) == (maya, {"codes_left": 9})
    assert subjects(maya.email) == ["A recovery code was used"]
    other = Client()
    begin_sign_in(other, maya)
    other.post(SECOND_STEP, {"code": code})
    assert not is_signed_in(other)


def test_a_used_code_is_refused_though_the_cache_was_flushed(client, maya):
    cast.second_factor(maya)
    begin_sign_in(client, maya)
    code = cast.code()
    client.post(SECOND_STEP, {"code": code})
    assert is_signed_in(client)
    cache.clear()
    other = Client()
    begin_sign_in(other, maya)
    other.post(SECOND_STEP, {"code": code})
    assert not is_signed_in(other)
    cache.clear()
    confirmed = client.post(reverse("mfa_reauthenticate"), {"code": code})
    assert confirmed.status_code == 200
    assert UsedCode.objects.filter(user=maya).count() == 1


def test_the_code_that_set_an_app_up_is_used_by_that(client, maya):
    client.force_login(maya)
    confirm(client)
    secret = set_up(client)
    cache.clear()
    other = Client()
    begin_sign_in(other, maya)
    other.post(SECOND_STEP, {"code": cast.code(secret=secret)})
    assert not is_signed_in(other)


# --- Changing factors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mfa_activate_totp", "mfa_add_webauthn", "mfa_generate_recovery_codes", "mfa_view_recovery_codes"]
)
def test_an_open_session_alone_changes_no_factor(client, maya, name):
    if "recovery" in name:
        cast.second_factor(maya)
    client.force_login(maya)
    cast.grow_stale(client)
    for method in (client.get, client.post) if "view" not in name else (client.get,):
        assert method(reverse(name))["Location"].startswith("/accounts/reauthenticate/")


def test_setting_up_an_app_is_in_history_and_told_and_ends_other_sessions(client, maya, acme):
    jonas = cast.member(acme, role=Role.ADMIN, name="Jonas Weber").user
    other = Client()
    other.force_login(maya)
    client.force_login(maya)
    confirm(client)
    set_up(client)
    assert actions(maya) == ["recovery_codes.generated", "second_factor.added"] or actions(maya) == [
        "second_factor.added",
        "recovery_codes.generated",
    ]
    assert subjects(maya.email) == ["An authenticator app was added"]
    assert subjects(jonas.email) == ["Maya Lindqvist added an authenticator app as second factor"]
    assert client.get("/accounts/2fa/").status_code == 200
    assert other.get("/accounts/2fa/")["Location"].startswith(LOGIN)


def test_removing_the_app_takes_the_recovery_codes_with_it(client, maya, acme):
    cast.second_factor(maya)
    client.force_login(maya)
    other = Client()
    other.force_login(maya)
    confirm(client)
    client.post(reverse("mfa_deactivate_totp"))
    assert not Authenticator.objects.filter(user=maya).exists()
    assert actions(maya) == ["second_factor.removed", "recovery_codes.removed"]
    assert subjects(maya.email) == ["The authenticator app was removed"]
    assert client.get("/accounts/2fa/").status_code == 200
    assert other.get("/accounts/2fa/")["Location"].startswith(LOGIN)


def test_new_recovery_codes_void_the_old_ones(client, maya):
    cast.second_factor(maya)
    old = cast.recovery_codes(maya)
    client.force_login(maya)
    confirm(client)
    client.post(reverse("mfa_generate_recovery_codes"))
    new = cast.recovery_codes(maya)
    assert not set(old) & set(new)
    assert actions(maya) == ["recovery_codes.generated"]
    assert subjects(maya.email) == ["New recovery codes were made"]
    page = client.get(reverse("mfa_view_recovery_codes")).content.decode()
    assert all(code in page for code in new)
    file = client.get(reverse("mfa_download_recovery_codes"))
    assert file["Content-Type"].startswith("text/plain")
    assert all(code in file.content.decode() for code in new)


def test_looking_at_recovery_codes_writes_nothing_about_them(client, maya):
    cast.second_factor(maya)
    before = Authenticator.objects.values_list("data", flat=True).get(user=maya, type="recovery_codes")
    client.force_login(maya)
    confirm(client)
    client.get(reverse("mfa_view_recovery_codes"))
    assert Authenticator.objects.values_list("data", flat=True).get(user=maya, type="recovery_codes") == before


@pytest.mark.parametrize("name", ["mfa_edit_webauthn", "mfa_remove_webauthn"])
def test_another_persons_passkey_looks_like_none(client, maya, name):
    theirs = Authenticator.objects.create(
        user=cast.person(), type="webauthn", data={"name": "Theirs", "credential": {}}
    )
    client.force_login(maya)
    for method in (client.get, client.post):
        real, none = (method(reverse(name, args=[pk]), {"name": "Mine"}) for pk in (theirs.pk, theirs.pk + 1))
        # But for the reference of the request, which the page shows.
        contents = [re.sub(rb"req_[0-9a-f]+", b"req", response.content) for response in (real, none)]
        assert (real.status_code, contents[0]) == (404, contents[1])
    theirs.refresh_from_db()
    assert theirs.data["name"] == "Theirs"


def test_people_without_memberships_of_weight_are_nobodys_news(client, maya):
    acme = cast.organization("Acme")
    cast.member(acme, role=Role.USER, user=maya)
    admin = cast.member(acme, role=Role.ADMIN).user
    client.force_login(maya)
    confirm(client)
    set_up(client)
    assert subjects(admin.email) == []


def test_an_address_that_waits_to_be_confirmed_and_a_factor_are_not_in_each_others_way(client, maya):
    client.force_login(maya)
    client.post("/accounts/email/", {"action_add": "", "email": "maya@new.example"})
    set_up(client)
    assert EmailAddress.objects.filter(user=maya, email="maya@new.example", verified=False).exists()
    response = client.post("/accounts/email/", {"action_add": "", "email": "maya@other.example"})
    assert response.status_code == 302
    assert EmailAddress.objects.filter(user=maya, email="maya@other.example").exists()


# --- Required --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("is_required", [True, False])
def test_only_admin_and_billing_of_an_organization_that_asks_are_led_to_set_one_up(client, role, is_required):
    acme = cast.organization("Acme")
    Organization.objects.update(requires_second_factor=is_required)
    client.force_login(cast.member(acme, role=role).user)
    response = client.get("/o/acme/?from=here")
    is_led = response.status_code == 302 and response["Location"] == REQUIRED
    assert is_led == (is_required and role in (Role.ADMIN, Role.BILLING))


def test_whoever_has_to_set_one_up_learns_why_and_comes_back(client, maya, acme):
    Organization.objects.update(requires_second_factor=True)
    client.force_login(maya)
    wanted = "/o/acme/settings/billing/?page=2"
    assert client.get(wanted)["Location"] == REQUIRED
    page = client.get(REQUIRED).content.decode()
    assert "requires a second factor of everyone who is Admin or Billing" in page
    assert "You are Admin there" in page
    confirm(client)
    set_up(client)
    assert f'href="{REQUIRED}"' in client.get(reverse("mfa_view_recovery_codes")).content.decode()
    assert client.get(REQUIRED)["Location"] == wanted
    assert client.get(wanted).status_code == 200
    assert client.get(REQUIRED)["Location"] == reverse("mfa_index")


def test_a_form_is_not_taken_before_the_factor_and_its_page_is_where_one_goes_on(client, maya, acme):
    Organization.objects.update(requires_second_factor=True)
    client.force_login(maya)
    assert client.post("/o/acme/settings/security/", {})["Location"] == REQUIRED
    assert client.session["second_factor_return_to"] == "/o/acme/settings/security/"
    assert Organization.objects.get().requires_second_factor


def test_strangers_learn_nothing_about_what_an_organization_requires(client, acme):
    Organization.objects.update(requires_second_factor=True)
    client.force_login(cast.person())
    assert client.get("/o/acme/").status_code == 404


def test_a_session_from_before_the_demand_meets_it_at_the_next_request(client, maya, acme):
    billing = cast.member(acme, role=Role.BILLING).user
    client.force_login(billing)
    assert client.get("/o/acme/settings/billing/").status_code == 200
    cast.second_factor(maya)
    organizations.require_second_factor(organization=acme, is_required=True, actor=maya)
    assert client.get("/o/acme/settings/billing/")["Location"] == REQUIRED


def test_removing_the_last_factor_meets_the_demand_at_once(client, maya, acme):
    Organization.objects.update(requires_second_factor=True)
    cast.second_factor(maya)
    client.force_login(maya)
    assert client.get("/o/acme/settings/billing/").status_code == 200
    confirm(client)
    assert "Acme requires a second factor of you" in client.get(reverse("mfa_deactivate_totp")).content.decode()
    client.post(reverse("mfa_deactivate_totp"))
    assert client.get("/o/acme/settings/billing/")["Location"] == REQUIRED


def test_an_admin_switches_the_demand_on_and_off_and_others_are_told(client, maya, acme):
    jonas = cast.member(acme, role=Role.ADMIN, name="Jonas Weber").user
    cast.second_factor(maya)
    client.force_login(maya)
    confirm(client)
    url = reverse("organization_security", args=["acme"])
    assert client.post(url, {"is_required": "on"}).status_code == 302
    assert Organization.objects.get().requires_second_factor
    assert client.post(url, {"is_required": "on"}).status_code == 302
    assert "Jonas Weber" in client.get(url).content.decode()
    assert client.post(url, {}).status_code == 302
    assert not Organization.objects.get().requires_second_factor
    events = AuditEvent.objects.filter(organization=acme).order_by("id")
    assert [(event.action, event.after) for event in events] == [
        ("organization.second_factor_required", {"requires_second_factor": True}),
        ("organization.second_factor_not_required", {"requires_second_factor": False}),
    ]
    assert subjects(jonas.email) == [
        "Admin and Billing members of Acme now need a second factor",
        "Admin and Billing members of Acme no longer need a second factor",
    ]


def test_an_admin_without_one_sets_up_their_own_first(client, maya, acme):
    client.force_login(maya)
    confirm(client)
    response = client.post(reverse("organization_security", args=["acme"]), {"is_required": "on"})
    assert response.status_code == 422
    assert "Set one up first" in response.content.decode()
    assert not Organization.objects.get().requires_second_factor
    with pytest.raises(organizations.SecondFactorMissing):
        organizations.require_second_factor(organization=acme, is_required=True, actor=maya)


def test_an_old_sign_in_proves_itself_before_the_demand_changes(client, maya, acme):
    cast.second_factor(maya)
    client.force_login(maya)
    cast.grow_stale(client)
    response = client.post(reverse("organization_security", args=["acme"]), {"is_required": "on"})
    assert response["Location"].startswith("/accounts/reauthenticate/")
    assert not Organization.objects.get().requires_second_factor


# --- Staff -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/accounts/user/", "/admin/jsi18n/", "/admin/login/", "/", "/o/acme/", "/admin/no-such/"]
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_without_a_second_factor_get_nowhere_but_to_setting_one_up(client, acme, path, method):
    staff = cast.person(is_staff=True, is_superuser=True, has_factor=False)
    cast.member(acme, role=Role.DEVELOPER, user=staff)
    client.force_login(staff)
    assert getattr(client, method)(path)["Location"] == REQUIRED
    assert "You are staff of the platform" in client.get(REQUIRED).content.decode()


def test_staff_set_one_up_and_go_on(client):
    client.force_login(cast.person(is_staff=True, is_superuser=True, has_factor=False))
    assert client.get("/admin/accounts/user/")["Location"] == REQUIRED
    confirm(client)
    set_up(client)
    assert client.get(REQUIRED)["Location"] == "/admin/accounts/user/"
    assert client.get("/admin/accounts/user/").status_code == 200


def test_somebody_who_becomes_staff_meets_the_demand_in_the_open_session(client, maya):
    client.force_login(maya)
    User.objects.filter(pk=maya.pk).update(is_staff=True)
    assert client.get("/admin/")["Location"] == REQUIRED


@pytest.fixture
def admin_site(client):
    client.force_login(cast.person(is_staff=True, is_superuser=True))
    return client


def removal(user: User) -> str:
    return reverse("admin:accounts_user_second_factors", args=[user.pk])


REASON = "Ticket 4711: called back on the number in the contract"


def test_staff_remove_lost_factors_with_a_reason(admin_site, maya, acme):
    jonas = cast.member(acme, role=Role.ADMIN).user
    cast.second_factor(maya)
    theirs = Client()
    theirs.force_login(maya)
    assert admin_site.post(removal(maya), {"reason": "lost"}).status_code == 422
    assert Authenticator.objects.filter(user=maya).exists()
    assert admin_site.post(removal(maya), {"reason": REASON}).status_code == 302
    assert not Authenticator.objects.filter(user=maya).exists()
    event = AuditEvent.objects.get(action="second_factor.removed_by_staff")
    assert event.actor is not None
    assert event.actor.is_staff
    assert (event.role, event.before, event.after) == (
        "staff",
        {"types": ["totp", "recovery_codes"]},
        {"reason": REASON},
    )
    assert theirs.get("/accounts/2fa/")["Location"].startswith(LOGIN)
    assert subjects(maya.email) == ["Your second factors were removed"]
    assert subjects(jonas.email) == ["Maya Lindqvist has no second factor any more"]
    assert "staff of" in OutboxMessage.objects.get(recipients=[jonas.email]).body
    again = admin_site.post(removal(maya), {"reason": REASON})
    assert "nothing to remove" in again.content.decode()


def test_nobody_removes_their_own_factors_as_staff(client):
    staff = cast.person(is_staff=True, is_superuser=True)
    client.force_login(staff)
    response = client.post(removal(staff), {"reason": REASON})
    assert (response.status_code, Authenticator.objects.filter(user=staff).exists()) == (422, True)
    with pytest.raises(second_factors.OwnFactors):
        second_factors.remove_lost(user=staff, reason=REASON, actor=staff)


def test_only_a_superuser_removes_the_factors_of_staff():
    helper, boss = cast.person(is_staff=True), cast.person(is_staff=True, is_superuser=True)
    with pytest.raises(second_factors.OfStaff):
        second_factors.remove_lost(user=boss, reason=REASON, actor=helper)
    second_factors.remove_lost(user=helper, reason=REASON, actor=boss)


def test_staff_who_may_only_look_remove_nothing(client, maya):
    cast.second_factor(maya)
    helper = cast.person(is_staff=True)
    helper.user_permissions.set(ModelPermission.objects.filter(codename="view_user"))
    client.force_login(helper)
    assert client.post(removal(maya), {"reason": REASON}).status_code == 403
    assert Authenticator.objects.filter(user=maya).exists()


def test_what_is_in_a_factor_has_no_page_in_the_administration(admin_site, maya):
    cast.second_factor(maya)
    assert admin_site.get("/admin/mfa/authenticator/").status_code == 404
    page = admin_site.get(reverse("admin:accounts_user_change", args=[maya.pk])).content.decode()
    assert "TOTP Authenticator" in page
    assert cast.TOTP_SECRET not in page
    assert Authenticator.objects.get(user=maya, type="totp").data["secret"] not in page


# --- At rest ---------------------------------------------------------------------------------------------------------


def test_no_secret_stands_in_the_database_as_it_is(client, maya):
    client.force_login(maya)
    confirm(client)
    page = client.get(reverse("mfa_activate_totp")).content.decode()
    found = re.search(r'id="secret">([A-Z2-7]+)<', page)
    assert found is not None
    assert found[1] not in repr(client.session.items())
    client.post(reverse("mfa_activate_totp"), {"code": cast.code(secret=found[1])})
    app = Authenticator.objects.get(user=maya, type="totp")
    codes = Authenticator.objects.get(user=maya, type="recovery_codes")
    assert encryption.decrypt(app.data["secret"]) == found[1]
    assert found[1] not in repr(app.data)
    assert len(encryption.decrypt(codes.data["seed"])) == 80
    assert not any(code in repr(codes.data) for code in cast.recovery_codes(maya))


def test_a_query_is_spent_on_the_demand_only_where_there_is_one(maya, acme, django_assert_num_queries):
    membership = Membership.objects.select_related("organization", "user").get(user=maya)
    with django_assert_num_queries(0):
        assert not second_factors.is_missing(membership=membership)
    membership.organization.requires_second_factor = True
    with django_assert_num_queries(1):
        assert second_factors.is_missing(membership=membership)
