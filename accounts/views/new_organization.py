"""Creating an organization of one's own."""

from typing import cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import invitations, organizations
from accounts.access import signed_in
from accounts.member_forms import CreateOrganizationForm
from accounts.models import User


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def organization_create(request: HttpRequest) -> HttpResponse:
    """Ask for name, address and time zone, and make the person its Admin. Needs a confirmed e-mail address."""
    user = cast(User, request.user)
    if user.email not in invitations.confirmed_addresses(user=user):
        return _page(request, CreateOrganizationForm(), is_confirmed=False, status=200 if _is_look(request) else 422)
    if _is_look(request):
        return _page(request, CreateOrganizationForm())
    form = CreateOrganizationForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    try:
        made = organizations.create_own_organization(**form.cleaned_data, creator=user, request=request)
    except organizations.SlugTaken:
        form.add_error("slug", "This address is taken. Choose another one.")
        return _page(request, form, status=422)
    except organizations.TooManyOrganizations:
        form.add_error(
            None,
            f"You are Admin of {organizations.ADMIN_OF_MAXIMUM} organizations, which is the most one person can be who "
            "creates another. Write to us if you need more.",
        )
        return _page(request, form, status=422)
    messages.success(request, f"{made.name} is there, and you are its Admin.")
    return redirect("organization", slug=made.slug)


def _is_look(request: HttpRequest) -> bool:
    return request.method != "POST"


def _page(
    request: HttpRequest, form: CreateOrganizationForm, *, is_confirmed: bool = True, status: int = 200
) -> HttpResponse:
    context = {"form": form, "is_confirmed": is_confirmed}
    return render(request, "accounts/organization_create.html", context, status=status)
