"""Settings > Organization > Close: what closing means, and the name typed by hand to confirm it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts import closing
from accounts.access import MemberRequest, requires
from accounts.member_forms import CloseOrganizationForm
from accounts.models import Organization
from accounts.permissions import Permission


@requires(Permission.ORGANIZATION_CLOSE, is_recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def organization_close(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Say what closing means, and close. Refused while a payment is open, with the list of those."""
    if request.method != "POST":
        return _page(request, organization, CloseOrganizationForm(organization_name=organization.name))
    form = CloseOrganizationForm(request.POST, organization_name=organization.name)
    if not form.is_valid():
        return _page(request, organization, form, status=422)
    try:
        closing.close(organization=organization, actor=request.user, at=timezone.now(), request=request)
    except closing.NotPossible:
        form.add_error(None, "Nothing was closed: see what stands in the way.")
        return _page(request, organization, form, status=422)
    messages.success(request, f"{organization.name} is closed.")
    return redirect("organization", slug=organization.slug)


def _page(
    request: MemberRequest, organization: Organization, form: CloseOrganizationForm, *, status: int = 200
) -> HttpResponse:
    context = {
        "organization": organization,
        "form": form,
        "obstacles": closing.obstacles_of(organization),
        **closing.facts_of(organization),
    }
    return render(request, "accounts/organization_close.html", context, status=status)
