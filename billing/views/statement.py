"""Settings > Billing > Statement: what came in, what went out, and what the balance was at any moment.

By booking, in months of UTC. Usage is told as one line a day, or each entry by itself; a file has them all.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts import csv_files
from accounts.access import MemberRequest, requires
from accounts.csv_files import plain_text
from accounts.models import Organization
from accounts.moments import utc_text
from accounts.permissions import Permission
from billing.credits import statements
from billing.credits.statements import Line
from billing.forms import id_from_text, instant_from_text
from billing.models import LedgerEntry, Surface
from billing.money import exact_usd
from billing.views.months import Months, chosen_month

LINES_ON_PAGE = 50
CSV_HEADINGS: Final = (
    "entry", "booked_at_utc", "counts_from_utc", "what", "credit", "credit_ends_at_utc", "model", "surface", "key",
    "request_began_at_utc", "note", "amount_usd", "balance_after_usd",
)  # fmt: skip


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def statement(request: MemberRequest, organization: Organization) -> HttpResponse:
    """One month of entries, newest first. The number of queries doesn't grow with them."""
    now = timezone.now()
    months = _months(request, organization, at=now)
    month = statements.month(organization_id=organization.pk, start=months.start, end=months.end)
    is_every = request.GET.get("show") == "entries"
    before = id_from_text(request.GET.get("before", ""))
    lines, older_seq = (_entries if is_every else _sums)(organization, months, month, before)
    context = {
        "organization": organization,
        "at": now,
        "months": months,
        "month": month,
        "is_every": is_every,
        "lines": lines,
        "older_seq": older_seq,
        "is_newest": before is None,
        "surfaces": dict(Surface.choices),
        **_balance_of(request, organization, now=now),
    }
    return render(request, "billing/statement.html", context)


@requires(Permission.BILLING_VIEW, is_kept=True)
@require_safe
def statement_csv(request: MemberRequest, organization: Organization) -> StreamingHttpResponse:
    """The month's entries as a file, oldest first, to the last nano. Which they are is settled before it begins."""
    months = _months(request, organization, at=timezone.now())
    month = statements.month(organization_id=organization.pk, start=months.start, end=months.end)
    entries = statements.entries(organization_id=organization.pk, after_seq=month.after_seq, last_seq=month.last_seq)
    name = f"credits-{organization.slug}-{months.value}.csv"
    return StreamingHttpResponse(
        csv_lines(entries),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def csv_lines(entries: Iterator[Line]) -> Iterator[str]:
    """Lines of the file, one after the other as entries are read."""
    return csv_files.lines(headings=CSV_HEADINGS, rows=map(csv_row, entries))


def csv_row(entry: Line) -> list[str]:
    """An entry for a spreadsheet: amounts are exact decimals, and no text can be taken for a formula."""
    return [
        str(entry.seq),
        utc_text(entry.booked_at),
        utc_text(entry.value_at),
        entry.words,
        plain_text(entry.lot_name),
        utc_text(entry.lot_expires_at),
        plain_text(entry.model_name),
        plain_text(entry.surface),
        plain_text(entry.key_ref),
        utc_text(entry.started_at),
        plain_text(_note(entry) or entry.label),
        exact_usd(entry.amount_nano),
        exact_usd(entry.balance_after_nano),
    ]


def _note(entry: Line) -> str:
    if entry.kind == LedgerEntry.Kind.RETURN_EXPIRED:
        return f"Came back to credit that had ended on {utc_text(entry.lot_expires_at)}; it expired at once."
    return ""


def _months(request: HttpRequest, organization: Organization, *, at: datetime) -> Months:
    return chosen_month(request.GET.get("month", ""), first_at=organization.created_at, at=at)


def _sums(
    organization: Organization, months: Months, month: statements.Month, before: int | None
) -> tuple[Any, int | None]:
    page = statements.summed(
        organization_id=organization.pk, start=months.start, end=months.end, before_seq=before, limit=LINES_ON_PAGE
    )
    return page.lines, page.older_seq


def _entries(
    organization: Organization, months: Months, month: statements.Month, before: int | None
) -> tuple[Any, int | None]:
    top = month.last_seq + 1
    lines = statements.page(
        organization_id=organization.pk,
        after_seq=month.after_seq,
        before_seq=top if before is None else min(before, top),
        limit=LINES_ON_PAGE + 1,
    )
    has_older = len(lines) > LINES_ON_PAGE
    return lines[:LINES_ON_PAGE], lines[LINES_ON_PAGE - 1].seq if has_older else None


def _balance_of(request: HttpRequest, organization: Organization, *, now: datetime) -> dict[str, Any]:
    """The balance at the moment that was asked for, or why there is none."""
    text = request.GET.get("at", "").strip()
    if not text:
        return {"asked_text": "", "asked_at": None}
    asked_at = instant_from_text(text, zone=organization.zone)
    if asked_at is None:
        return {"asked_text": "", "asked_at": None, "asked_error": "Choose a date and a time."}
    if asked_at > now:
        return {"asked_text": text, "asked_at": None, "asked_error": "This moment is still to come."}
    nano = statements.balance_at(organization_id=organization.pk, at=asked_at)
    return {"asked_text": text, "asked_at": asked_at, "asked_nano": nano}
