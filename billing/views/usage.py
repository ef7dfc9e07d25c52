"""Usage and cost of one month, by day, model and key, of all surfaces or of one.

Days and months are UTC's, as prices and expiry are. All figures come from the sums of whole days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing.credits import queries
from billing.credits.queries import KeyLine, UsageLine
from billing.models import Surface, TokenClass
from billing.views.charts import series_of, usage_chart
from billing.views.months import chosen_month

# Usage may be reported this long after it happened, so an organization may have some from before it was made.
REPORTED_LATE = timedelta(days=35)
KEYS_LISTED = 20

# In the order of their columns. Other classes come after them, under the names of the price list.
_CLASS_HEADINGS = {
    TokenClass.INPUT.value: "Input",
    TokenClass.CACHE_WRITE.value: "Cache written",
    TokenClass.CACHE_READ.value: "Cache read",
    TokenClass.OUTPUT.value: "Output",
}
_LABELS = dict(TokenClass.choices)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model's month. ``units`` has the same order as the columns; ``share_permille`` is of the month's cost."""

    name: str
    colour: str
    requests: int
    units: Sequence[int]
    share_permille: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key's month. Without a name it is what the gateway reported without a key."""

    name: str
    requests: int
    share_permille: int
    cost_nano: int


@requires(Permission.USAGE_VIEW)
@require_safe
def usage(request: MemberRequest, organization: Organization) -> HttpResponse:
    """What was used in the month of the query string, by default in this one."""
    now = timezone.now()
    month = chosen_month(request.GET.get("month", ""), first_at=organization.created_at - REPORTED_LATE, at=now)
    surface = request.GET.get("surface", "")
    if surface and surface not in Surface.values:
        raise Http404
    asked_for: dict[str, Any] = {
        "organization_id": organization.pk,
        "start": month.start,
        "end": month.end,
        "surface": surface or None,
    }
    lines = queries.usage_by_day_and_model(**asked_for)
    keys = queries.usage_by_key(**asked_for, limit=KEYS_LISTED)
    today = now.astimezone(UTC)
    context = {
        "organization": organization,
        "at": now,
        "month": month,
        "last_day": min(today, month.end - timedelta(days=1)).date(),
        "surface": surface,
        "surface_name": Surface(surface).label if surface else "",
        "surfaces": Surface.choices,
        "keys": _key_rows(keys, lines),
        **_figures(lines, start=month.start, end=month.end, today=today.date()),
    }
    return render(request, "billing/usage.html", context)


def _figures(lines: Sequence[UsageLine], *, start: datetime, end: datetime, today: date) -> dict[str, object]:
    """Totals, the chart and the rows of the table, all from the same lines, so that they agree to the last digit."""
    cost_nano = sum(line.cost_nano for line in lines)
    requests = sum(line.requests for line in lines)
    columns = _columns(lines)
    cost_by_model: dict[str, tuple[str, int]] = {}
    requests_by_day: dict[date, int] = {}
    units = dict.fromkeys(columns, 0)
    for line in lines:
        before = cost_by_model.get(line.model_slug, (line.model_name, 0))[1]
        cost_by_model[line.model_slug] = (line.model_name, before + line.cost_nano)
        requests_by_day[line.day] = requests_by_day.get(line.day, 0) + line.requests
        for token_class, count in line.quantities.items():
            units[token_class] += count
    series = series_of(cost_by_model)
    colours = {slug: one.colour for one in series for slug in one.model_slugs}
    days = [start.date() + timedelta(days=offset) for offset in range((end - start).days)]
    return {
        "cost_nano": cost_nano,
        "requests": requests,
        "columns": [_heading(column) for column in columns],
        "units": list(units.values()),
        "figures": [(_heading(column), count) for column, count in units.items()][:4],
        "rows": [
            _model_row(slug, name, cost, lines=lines, columns=columns, colours=colours, total_nano=cost_nano)
            for slug, (name, cost) in sorted(cost_by_model.items(), key=lambda item: (-item[1][1], item[0]))
        ],
        "chart": usage_chart(
            days=days,
            today=today,
            series=series,
            cost_by_day={(line.day, line.model_slug): line.cost_nano for line in lines},
            requests_by_day=requests_by_day,
        ),
    }


def _model_row(
    slug: str,
    name: str,
    cost_nano: int,
    *,
    lines: Sequence[UsageLine],
    columns: Sequence[str],
    colours: dict[str, str],
    total_nano: int,
) -> ModelRow:
    own = [line for line in lines if line.model_slug == slug]
    return ModelRow(
        name=name,
        colour=colours[slug],
        requests=sum(line.requests for line in own),
        units=[sum(line.quantities.get(column, 0) for line in own) for column in columns],
        share_permille=_permille(cost_nano, total_nano),
        cost_nano=cost_nano,
    )


def _key_rows(keys: Sequence[KeyLine], lines: Sequence[UsageLine]) -> list[KeyRow]:
    """The most expensive keys and, where there are more, all others in one row. Empty where no key was ever named."""
    if not any(key.key_ref for key in keys):
        return []
    total_nano = sum(line.cost_nano for line in lines)
    others = KeyRow(
        name="Other keys",
        requests=sum(line.requests for line in lines) - sum(key.requests for key in keys),
        share_permille=_permille(total_nano - sum(key.cost_nano for key in keys), total_nano),
        cost_nano=total_nano - sum(key.cost_nano for key in keys),
    )
    rows = [KeyRow(key.key_ref, key.requests, _permille(key.cost_nano, total_nano), key.cost_nano) for key in keys]
    return [*rows, others] if others.requests else rows


def _permille(part: int, whole: int) -> int:
    return part * 1_000 // whole if whole else 0


def _heading(token_class: str) -> str:
    return _CLASS_HEADINGS.get(token_class) or _LABELS.get(token_class) or token_class.replace("_", " ").capitalize()


def _columns(lines: Sequence[UsageLine]) -> list[str]:
    """The token classes that occur, the known ones in their order, then the others by name."""
    present = {token_class for line in lines for token_class in line.quantities}
    known = [token_class for token_class in _CLASS_HEADINGS if token_class in present]
    return known + sorted(present - set(known))
