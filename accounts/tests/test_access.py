"""Who reaches a view: members with the right, and nobody learns more than that."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.test import RequestFactory
from django.urls import include, path

from accounts import access
from accounts.models import AuditEvent
from accounts.permissions import Permission, Role
from accounts.tests import cast


@access.requires(Permission.CREDITS_BUY)
def till(request, organization, number=0):
    return HttpResponse(f"{organization.slug} {request.membership.role} {number}")


@access.any_member
def lobby(request, organization):
    return HttpResponse(organization.slug)


def page_of(response: HttpResponseBase) -> str:
    assert isinstance(response, HttpResponse)
    return response.content.decode()


def request_of(user):
    request = RequestFactory().post("/o/acme-robotics/till/")
    request.user = user
    return request


@pytest.mark.django_db
@pytest.mark.parametrize("role", [Role.ADMIN, Role.BILLING])
def test_a_member_with_the_right_gets_in_and_the_view_gets_the_organization(role):
    member = cast.member(cast.organization(), role=role)
    response = till(request_of(member.user), slug="acme-robotics", number=7)
    assert page_of(response) == f"acme-robotics {role} 7"
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.LIMITED_DEVELOPER, Role.CLAUDE_CODE_USER, Role.USER])
def test_a_member_without_the_right_learns_what_is_missing_and_who_can_help(role):
    acme = cast.organization()
    cast.member(acme, role=Role.ADMIN, name="Ada Admin")
    cast.member(acme, role=Role.BILLING, name="Bela Billing")
    cast.member(acme, role=Role.DEVELOPER, name="Dana Developer")
    member = cast.member(acme, role=role, name="Me Myself")
    response = till(request_of(member.user), slug=acme.slug)
    page = page_of(response)
    assert response.status_code == 403
    assert "You may not buy credits" in page
    assert "credits.buy" in page
    assert "Ada Admin (Admin)" in page
    assert "Bela Billing (Billing)" in page
    assert "Dana" not in page
    event = AuditEvent.objects.get()
    assert (event.organization, event.actor, event.action) == (acme, member.user, "access.refused")
    assert event.after == {"permission": "credits.buy", "role": role, "method": "POST"}


@pytest.mark.django_db
@pytest.mark.parametrize("view", [till, lobby])
def test_a_stranger_cannot_tell_an_organization_from_none(view):
    cast.organization()
    stranger = cast.member(cast.organization("Other"), role=Role.ADMIN).user
    for user in (stranger, AnonymousUser()):
        for slug in ("acme-robotics", "nowhere"):
            with pytest.raises(Http404):
                view(request_of(user), slug=slug)


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["acme-robotics", "nowhere", "x" * 500])
def test_what_a_stranger_asked_for_is_kept_and_tells_no_case_from_the_other(slug, django_assert_num_queries):
    acme = cast.organization()
    stranger = cast.member(cast.organization("Other"), role=Role.ADMIN).user
    request = request_of(stranger)
    # The look-up, whether it was told before, a savepoint around two rows.
    with django_assert_num_queries(6), pytest.raises(Http404):
        lobby(request, slug=slug)
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.organization, event.role) == ("access.not_found", stranger, None, "")
    assert event.after == {"slug": slug[:80], "method": "POST"}
    assert not AuditEvent.objects.filter(organization=acme).exists()
    # Within the minute, more of it adds nothing, whatever is asked for.
    for other in ("acme-robotics", "nowhere"):
        with django_assert_num_queries(2), pytest.raises(Http404):
            lobby(request, slug=other)
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db
def test_a_refusal_that_is_repeated_is_kept_once_in_a_minute():
    member = cast.member(cast.organization())
    for _ in range(3):
        assert till(request_of(member.user), slug="acme-robotics").status_code == 403
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db
def test_staff_of_the_platform_are_strangers_to_organizations():
    cast.organization()
    with pytest.raises(Http404):
        lobby(request_of(cast.person(is_staff=True, is_superuser=True)), slug="acme-robotics")


@pytest.mark.django_db
@pytest.mark.parametrize("role", list(Role))
def test_any_member_means_every_role(role):
    member = cast.member(cast.organization(), role=role)
    assert lobby(request_of(member.user), slug="acme-robotics").status_code == 200


def test_a_declaration_can_be_read_from_the_view():
    declared = access.declared_access(till)
    assert declared == access.Access(audience=access.Audience.MEMBER, permission=Permission.CREDITS_BUY)
    assert access.declared_access(lambda request: HttpResponse()) is None

    @access.public("a test")
    def open_view(request):
        return HttpResponse()

    assert access.declared_access(open_view) == access.Access(audience=access.Audience.PUBLIC, reason="a test")
    assert getattr(open_view, "login_required", True) is False


def test_routes_are_found_through_includes_with_their_full_names():
    inner = ([path("till/", till, name="till"), path("x/", till)], "shop")
    routes = list(access.routes_of([path("a/", include(inner)), path("lobby/", lobby, name="lobby")]))
    assert [(route.pattern, route.name) for route in routes] == [
        ("a/till/", "shop:till"),
        ("a/x/", ""),
        ("lobby/", "lobby"),
    ]


@pytest.mark.parametrize(
    "template", ["400.html", "404.html", "413.html", "500.html", "503.html", "403_csrf.html", "403.html"]
)
def test_error_pages_need_nothing(template):
    page = render_to_string(template)
    assert "<h1" in page
    assert "{#" not in page


@pytest.mark.django_db
def test_the_refusal_names_ten_people_at_most():
    acme = cast.organization()
    for number in range(14):
        cast.member(acme, role=Role.ADMIN, name=f"Admin Number{number:02}")
    member = cast.member(acme, role=Role.USER)
    page = page_of(till(request_of(member.user), slug=acme.slug))
    assert page.count("(Admin)") == 10


@pytest.mark.django_db
def test_a_name_is_never_markup():
    acme = cast.organization("<b>Acme</b>")
    acme.slug = "acme"
    acme.save()
    cast.member(acme, role=Role.ADMIN, name="<script>alert(1)</script>")
    page = page_of(till(request_of(cast.member(acme).user), slug="acme"))
    assert "<script>alert" not in page
    assert "<b>Acme" not in page
