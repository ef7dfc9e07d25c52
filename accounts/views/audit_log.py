"""Settings > Audit log: who did what in the organization, when and from where; for Admins."""

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlencode

from django.http import HttpResponse
from django.http.response import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from accounts import audit, audit_log, csv_files
from accounts.access import MemberRequest, requires
from accounts.audit_log_form import AuditLogForm
from accounts.audit_words import Entry
from accounts.models import Organization
from accounts.moments import moment_text, utc_text
from accounts.permissions import Permission

EVENTS_ON_PAGE: Final = 50
FILE_NAME: Final = "audit-log.csv"
HEADINGS: Final = (
    "event", "at_utc", "at_local", "who", "role", "what", "target", "changes", "ip_address", "browser", "reference",
    "action",
)  # fmt: skip
_ID: Final = re.compile(r"[0-9]{1,18}", flags=re.ASCII)


@requires(Permission.AUDIT_LOG_VIEW, is_kept=True)
@require_safe
def audit_log_page(request: MemberRequest, organization: Organization) -> HttpResponse:
    """One page of events, filtered. The number of queries doesn't grow with them."""
    form = AuditLogForm(request.GET, organization=organization)
    if not form.is_valid():
        return _refused(request, organization, form)
    before = request.GET.get("before", "")
    before_id = int(before) if _ID.fullmatch(before) else None
    found = audit_log.page(organization=organization, filters=form.filters(), before_id=before_id, limit=EVENTS_ON_PAGE)
    chosen = form.chosen()
    context = {
        "organization": organization,
        "form": form,
        "chosen": chosen,
        "entries": found.entries,
        "is_newest": before_id is None,
        "newest_query": urlencode(chosen),
        "older_query": urlencode({**chosen, "before": found.older_id}) if found.older_id else "",
    }
    return render(request, "audit_log.html", context)


@requires(Permission.AUDIT_LOG_VIEW, is_kept=True)
@require_POST
def audit_log_csv(request: MemberRequest, organization: Organization) -> HttpResponseBase:
    """The same events as a file, all of them up to now. By POST, because that somebody took them is kept as well."""
    form = AuditLogForm(request.POST, organization=organization)
    if not form.is_valid():
        return _refused(request, organization, form)
    told = audit.record(
        organization=organization,
        actor=request.user,
        action="audit_log.downloaded",
        after=form.chosen() or None,
        request=request,
    )
    found = audit_log.entries(organization=organization, filters=form.filters(), before_id=told.pk)
    return StreamingHttpResponse(
        csv_files.lines(headings=HEADINGS, rows=_rows(found, organization)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{FILE_NAME}"'},
    )


def _refused(request: MemberRequest, organization: Organization, form: AuditLogForm) -> HttpResponse:
    """The page without events, since nobody knows which were meant."""
    context = {"organization": organization, "form": form, "chosen": {}, "entries": [], "is_newest": True}
    return render(request, "audit_log.html", context, status=422)


def _rows(entries: Iterable[Entry], organization: Organization) -> Iterator[list[str]]:
    for entry in entries:
        yield [
            str(entry.id),
            utc_text(entry.at),
            moment_text(entry.at, organization.zone),
            csv_files.plain_text(entry.who),
            entry.role,
            csv_files.plain_text(entry.sentence),
            csv_files.plain_text(entry.target),
            csv_files.plain_text("; ".join(change.text for change in entry.changes)),
            entry.ip_address,
            csv_files.plain_text(entry.browser),
            csv_files.plain_text(entry.request_id),
            entry.action,
        ]
