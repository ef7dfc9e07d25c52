"""Settings > Organization: its name and time zone, and the ways to what else is set for all of it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import organizations
from accounts.access import MemberRequest, requires
from accounts.member_forms import OrganizationSettingsForm
from accounts.models import Organization
from accounts.permissions import Permission


@requires(Permission.ORGANIZATION_EDIT)
@require_http_methods(["GET", "HEAD", "POST"])
def organization_settings(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Show and change name and time zone."""
    if request.method != "POST":
        initial = {"name": organization.name, "time_zone": organization.time_zone}
        return _page(request, organization, OrganizationSettingsForm(initial=initial))
    form = OrganizationSettingsForm(request.POST)
    if not form.is_valid():
        return _page(request, organization, form, status=422)
    organizations.change_settings(
        organization=organization,
        name=form.cleaned_data["name"],
        time_zone=form.cleaned_data["time_zone"],
        actor=request.user,
        request=request,
    )
    messages.success(request, "The settings are saved.")
    return redirect("organization_settings", slug=organization.slug)


def _page(
    request: MemberRequest, organization: Organization, form: OrganizationSettingsForm, *, status: int = 200
) -> HttpResponse:
    context = {"organization": organization, "form": form}
    return render(request, "accounts/organization_settings.html", context, status=status)
