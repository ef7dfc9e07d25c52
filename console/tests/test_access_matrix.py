"""Every route against everybody. What is expected stands here by hand, apart from the code that decides.

The routes come from the URLconfs themselves: one that is not in a table below fails, and so does a row without a route.
"""

import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import path, reverse
from django.utils import timezone

from accounts import invitations, service_keys
from accounts.access import Route, routes_of
from accounts.models import AuditEvent, Invitation, Membership, Organization, User
from accounts.permissions import Role
from accounts.tests import cast
from billing.models import PaymentMethod, Purchase
from billing.payments import stripe_gateway
from billing.tests.documents import credited, paid
from console import access_table, gateway_urls, urls

pytestmark = pytest.mark.django_db

MONEY = {"admin", "billing"}
NUMBERS = {"admin", "billing", "developer", "limited_developer"}
EVERY_ROLE = {"admin", "billing", "developer", "limited_developer", "claude_code_user", "user"}

# Pages of an organization: which roles get in. Other members get 403, everybody else 404.
MEMBER_ROUTES = {
    "organization": EVERY_ROLE,
    "audit_log": {"admin"},
    "audit_log_csv": {"admin"},
    "billing:overview": MONEY,
    "billing:buy": MONEY,
    "billing:purchase": MONEY,
    "billing:problem": MONEY,
    "billing:card": MONEY,
    "billing:card_attempts": MONEY,
    "billing:card_remove": MONEY,
    "billing:auto_reload": MONEY,
    "billing:auto_reload_back_test": MONEY,
    "billing:auto_reload_consent": MONEY,
    "billing:auto_reload_usage": MONEY,
    "billing:auto_reload_history": MONEY,
    "billing:billing_details": MONEY,
    "billing:receipts": MONEY,
    "billing:receipt": MONEY,
    "billing:receipt_pdf": MONEY,
    "billing:receipt_at_processor": MONEY,
    "billing:credit_note": MONEY,
    "billing:credit_note_pdf": MONEY,
    "billing:statement": MONEY,
    "billing:statement_csv": MONEY,
    "billing:usage": NUMBERS,
    "members": {"admin"},
    "member": {"admin"},
    "member_remove": {"admin"},
    "invite": {"admin"},
    "invitation_send": {"admin"},
    "invitation_withdraw": {"admin"},
    "roles": EVERY_ROLE,
    "leave": EVERY_ROLE,
    "organization_security": {"admin"},
}
# Pages of a person: everybody who is signed in.
SIGNED_IN_ROUTES = {
    "home",
    "account_reauthenticate",
    "account_email",
    "account_change_password",
    "account_set_password",
    "account_profile",
    "account_sessions",
    "organization_create",
    "second_factor_required",
    "mfa_index",
    "mfa_reauthenticate",
    "mfa_activate_totp",
    "mfa_deactivate_totp",
    "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_download_recovery_codes",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "mfa_reauthenticate_webauthn",
    "mfa_remove_webauthn",
    "mfa_edit_webauthn",
}
# Pages of a person that show one row, and only to the person it is meant for; tested where they are.
OWN_ROUTES = {"own_invitation"}
# Open to all. What guards those that need a guard (a signature, a secret link) is tested where they are.
PUBLIC_ROUTES = {
    "health",
    "invitation",
    "invitation_link",
    "account_login",
    "mfa_authenticate",
    "mfa_login_webauthn",
    "account_logout",
    "account_inactive",
    "account_signup",
    "account_resend_confirmation",
    "account_email_verification_sent",
    "account_confirm_email",
    "account_confirm_login_code",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "billing:credit_terms",
    "billing:stripe_webhook",
}
# Forms that take no token from a page, since no page sends them.
WITHOUT_CSRF = {"billing:stripe_webhook"}

# Tables of sessions and their activity, which reading may write.
ACTIVITY = ("django_session", "console_cache", "accounts_browsersession")

STRANGERS = {"stranger", "former member", "staff"}
PRINCIPALS = ["anonymous", *sorted(STRANGERS), *sorted(EVERY_ROLE)]

LOGIN = "/accounts/login/"
ADMIN_PREFIX = "admin/"


def page_routes() -> list[Route]:
    """The routes of the web process that are this product's or allauth's; the admin's are counted apart."""
    return [route for route in routes_of(urls.urlpatterns) if not route.pattern.startswith(ADMIN_PREFIX)]


def admin_routes() -> list[Route]:
    return [route for route in routes_of(urls.urlpatterns) if route.pattern.startswith(ADMIN_PREFIX)]


class World:
    """Two organizations with the same kinds of rows, and everybody who may come by."""

    def __init__(self) -> None:
        self.acme = cast.organization("Acme")
        self.other = cast.organization("Other")
        self.people: dict[str, User] = {
            role.value: cast.member(self.acme, role=role, name=f"Acme {role.label}").user for role in Role
        }
        self.people["stranger"] = cast.member(self.other, role=Role.ADMIN).user
        self.people["staff"] = cast.person(is_staff=True, is_superuser=True)
        for person in ("admin", "user", "stranger", "staff"):
            cast.second_factor(self.people[person])
        self.people["former member"] = cast.member(self.acme, role=Role.ADMIN).user
        self.purchase = purchase_of(self.acme, by=self.people["billing"])
        self.purchase_of_other = purchase_of(self.other, by=self.people["stranger"])
        self.receipt = paid(self.acme, by=self.people["billing"])
        self.receipt_of_other = paid(self.other, by=self.people["stranger"])
        self.credit_note = credited(self.receipt)
        self.credit_note_of_other = credited(self.receipt_of_other)
        self.membership = Membership.objects.get(user=self.people["user"])
        self.membership_of_other = Membership.objects.get(user=self.people["stranger"])
        self.invitation = self.invite(self.acme, by=self.people["admin"])
        self.invitation_of_other = self.invite(self.other, by=self.people["stranger"])

    def invite(self, organization: Organization, *, by: User) -> Invitation:
        at = timezone.now()
        return Invitation.objects.create(
            organization=organization,
            email="lena@partner.example",
            role=Role.USER,
            token_sha256=invitations.token_sha256(organization.slug),
            invited_by=by,
            sent_at=at,
            expires_at=at + invitations.LIFETIME,
        )

    def client(self, principal: str, **options: Any) -> Client:
        """A browser with the principal's session; the former member's was open when the membership ended."""
        client = Client(**options)
        if principal != "anonymous":
            client.force_login(self.people[principal])
        if principal == "former member":
            Membership.objects.filter(user=self.people[principal]).delete()
        return client

    def url(self, name: str) -> str:
        """The route's address with ids of rows that exist."""
        values: dict[str, dict[str, Any]] = {
            "organization": {"slug": "acme"},
            "mfa_edit_webauthn": {"pk": 1},
            "mfa_remove_webauthn": {"pk": 1},
            "account_confirm_email": {"key": "no-such-key"},
            "invitation_link": {"token": "no-such-link"},
            "own_invitation": {"invitation_id": self.invitation.pk},
            "member": {"slug": "acme", "membership_id": self.membership.pk},
            "member_remove": {"slug": "acme", "membership_id": self.membership.pk},
            "invitation_send": {"slug": "acme", "invitation_id": self.invitation.pk},
            "invitation_withdraw": {"slug": "acme", "invitation_id": self.invitation.pk},
            "account_reset_password_from_key": {"uidb36": "1", "key": "no-such-key"},
            "billing:purchase": {"slug": "acme", "purchase_id": self.purchase.pk},
            "billing:problem": {"slug": "acme", "purchase_id": self.purchase.pk},
            "billing:receipt": {"slug": "acme", "number": self.receipt.number},
            "billing:receipt_pdf": {"slug": "acme", "number": self.receipt.number},
            "billing:receipt_at_processor": {"slug": "acme", "number": self.receipt.number},
            "billing:credit_note": {"slug": "acme", "number": self.credit_note.number},
            "billing:credit_note_pdf": {"slug": "acme", "number": self.credit_note.number},
        }
        default = {"slug": "acme"} if name in MEMBER_ROUTES else {}
        return reverse(name, kwargs=values.get(name, default))


def purchase_of(organization: Organization, *, by: User) -> Purchase:
    """An open purchase, which its page shows."""
    card = PaymentMethod.objects.create(
        organization=organization,
        stripe_payment_method_id=f"pm_{organization.slug}",
        brand="visa",
        last4="4242",
        exp_month=12,
        exp_year=2099,
        fingerprint="fingerprint",
        is_default=True,
        added_by=by,
    )
    return Purchase.objects.create(
        organization=organization,
        kind=Purchase.Kind.MANUAL,
        state=Purchase.State.PROCESSING,
        amount_cents=2_500,
        credit_nano=25 * 10**9,
        attempt_key=uuid4(),
        payment_method=card,
        actor=by,
        terms_version="test",
        terms_accepted_at=timezone.now(),
        payment_intent_id=f"pi_{organization.slug}",
        sent_at=timezone.now(),
    )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    # Who may ask the payment processor is what counts here, not what it answers.
    monkeypatch.setattr(stripe_gateway, "receipt_url", lambda *, payment_intent_id: "")
    return World()


def without_reference(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers but the one that is another at each request."""
    return {name: value for name, value in headers.items() if name != "X-Request-Id"}


def outcome(response: Any) -> str:
    """What an answer means for access."""
    if response.status_code in (301, 302) and response["Location"].startswith(LOGIN):
        return "sign in first"
    return {401: "no key", 403: "refused", 404: "not found"}.get(response.status_code, "in")


# --- No route is forgotten -------------------------------------------------------------------------------------------


def test_every_route_has_its_row_and_every_row_its_route():
    rows = set(MEMBER_ROUTES) | SIGNED_IN_ROUTES | OWN_ROUTES | PUBLIC_ROUTES
    assert {route.name for route in page_routes()} == rows


def test_no_route_has_two_rows():
    assert len(set(MEMBER_ROUTES) | SIGNED_IN_ROUTES | PUBLIC_ROUTES) == (
        len(MEMBER_ROUTES) + len(SIGNED_IN_ROUTES) + len(PUBLIC_ROUTES)
    )


def test_every_route_declares_who_may_reach_it():
    assert access_table.check_access_is_declared() == []


def test_a_route_that_declares_nothing_stops_the_start(monkeypatch):
    forgotten = SimpleNamespace(urlpatterns=[path("forgotten/", lambda request: HttpResponse(), name="forgotten")])
    monkeypatch.setattr(access_table, "import_module", lambda name: forgotten)
    errors = access_table.check_access_is_declared()
    assert {error.id for error in errors} == {"console.E010"}
    assert "forgotten" in errors[0].msg


def test_the_table_of_library_routes_names_no_route_that_is_gone():
    names = {route.name for route in access_table.all_routes()}
    assert set(access_table.BY_NAME) <= names


# --- Pages of an organization ----------------------------------------------------------------------------------------


def expected(name: str, principal: str) -> str:
    if principal == "anonymous":
        return "sign in first"
    if principal in STRANGERS:
        return "not found"
    return "in" if principal in MEMBER_ROUTES[name] else "refused"


@pytest.mark.parametrize("name", MEMBER_ROUTES)
@pytest.mark.parametrize("principal", PRINCIPALS)
def test_who_gets_into_a_page_of_an_organization(world, name, principal):
    client = world.client(principal)
    before = AuditEvent.objects.count()
    response = client.get(world.url(name))
    assert outcome(response) == expected(name, principal)
    told = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))[before:]
    assert told == {"refused": ["access.refused"], "not found": ["access.not_found"]}.get(outcome(response), [])


@pytest.mark.parametrize("name", MEMBER_ROUTES)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options", "head"])
def test_no_method_is_a_way_around(world, name, method):
    for principal in PRINCIPALS:
        if expected(name, principal) != "in":
            response = getattr(world.client(principal), method)(world.url(name), {})
            assert outcome(response) == expected(name, principal), principal


@pytest.mark.parametrize("name", MEMBER_ROUTES)
def test_an_organization_that_exists_looks_to_strangers_like_one_that_does_not(world, name):
    client = world.client("stranger")
    url = world.url(name)
    real, made_up = client.get(url), client.get(url.replace("/o/acme/", "/o/nowhere/"))
    assert (real.status_code, real.content) == (made_up.status_code, made_up.content)
    assert without_reference(real.headers) == without_reference(made_up.headers)


def test_another_organizations_purchase_looks_like_none(world):
    client = world.client("admin")
    url = reverse("billing:purchase", kwargs={"slug": "acme", "purchase_id": world.purchase_of_other.pk})
    missing = reverse("billing:purchase", kwargs={"slug": "acme", "purchase_id": 987_654_321})
    for method in ("get", "post"):
        real, none = getattr(client, method)(url), getattr(client, method)(missing)
        assert (real.status_code, real.content) == (404, none.content)


@pytest.mark.parametrize("name", ["receipt", "receipt_pdf", "receipt_at_processor", "credit_note", "credit_note_pdf"])
def test_another_organizations_documents_look_like_none(world, name):
    client = world.client("admin")
    other = world.credit_note_of_other if "credit_note" in name else world.receipt_of_other
    real = client.get(reverse(f"billing:{name}", kwargs={"slug": "acme", "number": other.number}))
    none = client.get(reverse(f"billing:{name}", kwargs={"slug": "acme", "number": 987_654_321}))
    assert (real.status_code, real.content) == (404, none.content)


@pytest.mark.parametrize("name", ["member", "member_remove", "invitation_send", "invitation_withdraw"])
def test_another_organizations_people_look_like_none(world, name):
    client = world.client("admin")
    is_member = name.startswith("member")
    other = world.membership_of_other if is_member else world.invitation_of_other
    argument = "membership_id" if is_member else "invitation_id"
    answers = [
        client.post(reverse(name, kwargs={"slug": "acme", argument: number}), {"role": "user"})
        for number in (other.pk, 987_654_321, 10**30)
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    assert Membership.objects.filter(pk=world.membership_of_other.pk, role=Role.ADMIN).exists()
    assert Invitation.objects.filter(pk=world.invitation_of_other.pk, revoked_at=None).exists()


def test_an_invitation_to_somebody_else_looks_like_none(world):
    for name in ("stranger", "admin", "staff"):
        client = world.client(name)
        real = client.get(world.url("own_invitation"))
        none = client.get(reverse("own_invitation", kwargs={"invitation_id": 987_654_321}))
        assert (real.status_code, real.content) == (404, none.content)
    assert outcome(world.client("anonymous").get(world.url("own_invitation"))) == "sign in first"


def test_an_id_larger_than_the_database_holds_is_not_found(world):
    url = reverse("billing:purchase", kwargs={"slug": "acme", "purchase_id": 10**30})
    assert world.client("admin").get(url).status_code == 404


@pytest.mark.parametrize("name", MEMBER_ROUTES)
def test_a_changed_role_counts_from_the_next_request_on(world, name):
    client = world.client("admin")
    assert outcome(client.get(world.url(name))) == "in"
    Membership.objects.filter(user=world.people["admin"]).update(role=Role.USER)
    assert outcome(client.get(world.url(name))) == ("in" if "user" in MEMBER_ROUTES[name] else "refused")


@pytest.mark.parametrize("name", MEMBER_ROUTES)
def test_somebody_who_may_no_longer_log_in_is_out_at_once(world, name):
    client = world.client("admin")
    User.objects.filter(pk=world.people["admin"].pk).update(is_active=False)
    assert outcome(client.get(world.url(name))) == "sign in first"


# --- Other pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SIGNED_IN_ROUTES))
def test_pages_of_a_person_need_a_session(world, name):
    assert outcome(world.client("anonymous").get(world.url(name))) == "sign in first"
    for principal in ("user", "stranger", "staff"):
        assert outcome(world.client(principal).get(world.url(name))) == "in"


@pytest.mark.parametrize("name", sorted(PUBLIC_ROUTES))
def test_public_pages_are_public(world, name):
    response = world.client("anonymous").get(world.url(name))
    # Without a session, without a first step, or with sign-in by code off, these only lead to the way in.
    leads_to_sign_in = name in {
        *("account_logout", "account_confirm_login_code", "mfa_authenticate", "mfa_login_webauthn")
    }
    assert outcome(response) == ("sign in first" if leads_to_sign_in else "in")


@pytest.mark.parametrize("name", sorted((set(MEMBER_ROUTES) | SIGNED_IN_ROUTES | PUBLIC_ROUTES) - WITHOUT_CSRF))
def test_a_forged_form_is_refused(world, name):
    client = world.client("admin", enforce_csrf_checks=True)
    response = client.post(world.url(name), {"amount": "25.00"})
    assert response.status_code == 403


@pytest.mark.parametrize("name", sorted(set(MEMBER_ROUTES) | SIGNED_IN_ROUTES))
@pytest.mark.parametrize("method", ["get", "head"])
def test_reading_writes_nothing(world, name, method):
    client = world.client("admin")
    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        response = getattr(client, method)(world.url(name))
    assert outcome(response) == "in"
    writes = [sql for sql in statements if re.match(r"\s*(INSERT|UPDATE|DELETE|MERGE|TRUNCATE)", sql, re.IGNORECASE)]
    assert [sql for sql in writes if not any(table in sql for table in ACTIVITY)] == []


# --- The administration ----------------------------------------------------------------------------------------------


def admin_urls() -> Iterator[str]:
    """One address for each route of the admin, ids and all; nothing has to exist there to be refused."""
    for route in admin_routes():
        pattern = re.sub(r"<[a-z]+:[a-z_]+>", "1", route.pattern)
        pattern = re.sub(r"\(\?P<\w+>[^)]*\)|[\^$]", "1" if "(?P" in pattern else "", pattern)
        yield f"/{pattern}"


def test_the_administration_is_closed_to_everybody_but_staff(world):
    addresses = sorted(set(admin_urls()))
    assert len(addresses) > 20
    for principal in ("anonymous", "admin", "stranger"):
        client = world.client(principal)
        for address in addresses:
            for method in ("get", "post"):
                response = getattr(client, method)(address)
                assert response.status_code in (301, 302, 403, 404), (principal, address)
                if response.status_code in (301, 302):
                    assert re.match(r"/accounts/login/|/admin/login/|/admin/", response["Location"]), address


def test_staff_without_rights_see_an_empty_administration(world):
    client = Client()
    client.force_login(cast.person(is_staff=True))
    assert client.get("/admin/").status_code == 200
    for name in ("accounts_user", "accounts_organization", "accounts_auditevent", "accounts_servicekey"):
        assert client.get(reverse(f"admin:{name}_changelist")).status_code == 403


# --- The gate --------------------------------------------------------------------------------------------------------


@pytest.fixture
def _gate_process(settings):
    settings.ROOT_URLCONF = "console.gateway_urls"
    settings.MIDDLEWARE = settings.GATE_MIDDLEWARE


def gate_addresses() -> list[str]:
    return sorted(
        f"/{re.sub(r'<[^>]+>', '1', route.pattern)}"
        for route in routes_of(gateway_urls.urlpatterns)
        if route.pattern.startswith("v1/")
    )


def test_the_gate_process_serves_no_pages():
    patterns = {route.pattern for route in routes_of(gateway_urls.urlpatterns)}
    assert {pattern for pattern in patterns if not pattern.startswith("v1/")} == {"healthz"}
    assert len(patterns) > 7


@pytest.mark.usefixtures("_gate_process")
@pytest.mark.parametrize("principal", ["anonymous", "admin", "staff"])
def test_the_gate_knows_keys_and_never_sessions(world, principal, settings):
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        *settings.GATE_MIDDLEWARE,
    ]
    client = world.client(principal)
    revoked = service_keys.issue(name="revoked", actor=None)
    service_keys.revoke(service_key=revoked.service_key, at=timezone.now(), actor=None)
    for address in gate_addresses():
        for method in ("get", "post"):
            for headers in ({}, {"Authorization": f"Bearer {revoked.key_text}"}):
                response = getattr(client, method)(address, headers=headers)
                # 405 for the other method; 404 for ninja's landing page, which has no view.
                assert response.status_code in (401, 404, 405), (address, method)
                assert response.status_code != 404 or address == "/v1/"


def test_a_service_key_opens_no_page(world):
    key_text = service_keys.issue(name="gateway", actor=None).key_text
    for name in MEMBER_ROUTES:
        response = Client().get(world.url(name), headers={"Authorization": f"Bearer {key_text}"})
        assert outcome(response) == "sign in first"
