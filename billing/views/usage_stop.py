"""Stop all usage now, and let it go on. Stopping asks for no new proof of who somebody is; going on does."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.credits import usage_blocks, usage_stops

FORM = ["GET", "HEAD", "POST"]


@requires(Permission.USAGE_STOP)
@require_http_methods(FORM)
def usage_stop(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Ask, then refuse all requests of the organization from the next one on."""
    if request.method != "POST":
        context = {"organization": organization, "is_stopped": usage_blocks.is_stopped(organization_id=organization.pk)}
        return render(request, "billing/usage_stop.html", context)
    if usage_stops.stop(organization=organization, actor=request.user, request=request):
        messages.success(request, "All usage is stopped. New requests are refused from now on.")
    else:
        messages.info(request, "All usage was stopped before.")
    return redirect("billing:api_keys", slug=organization.slug)


@requires(Permission.USAGE_STOP, is_recent=True)
@require_http_methods(FORM)
def usage_resume(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Ask, then let requests go on."""
    if request.method != "POST":
        context = {"organization": organization, "is_stopped": usage_blocks.is_stopped(organization_id=organization.pk)}
        return render(request, "billing/usage_resume.html", context)
    if usage_stops.resume(organization=organization, actor=request.user, request=request):
        messages.success(request, "Usage goes on. Keys that were stopped one by one stay stopped.")
    else:
        messages.info(request, "Usage was not stopped.")
    return redirect("billing:api_keys", slug=organization.slug)
