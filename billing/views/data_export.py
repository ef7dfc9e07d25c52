"""All data of the organization as one file, for its Admins, also when it is closed."""

from datetime import UTC, timedelta
from typing import Final

from django.contrib import messages
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts import audit, throttles
from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing import data_export as use_case

DOWNLOADS_AN_HOUR: Final = 5


@requires(Permission.ORGANIZATION_EDIT, is_recent=True, is_kept=True)
@require_POST
def data_export(request: MemberRequest, organization: Organization) -> HttpResponseBase:
    """The ZIP, made while it is sent. By POST, because that somebody took it is kept."""
    at = timezone.now()
    hour = timedelta(hours=1)
    if not throttles.allow(action="data export", key=str(organization.pk), limit=DOWNLOADS_AN_HOUR, window=hour, at=at):
        messages.error(request, f"At most {DOWNLOADS_AN_HOUR} downloads an hour. Please try again later.")
        return redirect("organization" if organization.is_closed else "organization_settings", slug=organization.slug)
    audit.record(
        organization=organization,
        actor=request.user,
        action="export.downloaded",
        target=f"organization:{organization.pk}",
        request=request,
    )
    name = f"{organization.slug}-{at.astimezone(UTC):%Y-%m-%d}.zip"
    return StreamingHttpResponse(
        use_case.parts(organization=organization, at=at),
        content_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
