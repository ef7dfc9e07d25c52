"""Build > API keys: the keys of an organization, what each has spent this month, and what stops it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.access import MemberRequest, requires
from accounts.models import ApiKey, Organization
from accounts.permissions import Permission
from billing.credits import key_limits, usage_blocks
from billing.money import nano_from_cents

KEYS_ON_PAGE = 50
REVOKED_SHOWN = 50
NEARLY_PERCENT = 80

_ID = re.compile(r"\A[0-9]{1,18}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as the list shows it."""

    key: ApiKey
    state: str
    spent_nano: int
    limit_cents: int | None
    replacement: ApiKey | None

    @property
    def percent(self) -> int:
        """How much of the limit is used, in whole percent, at most 100."""
        if self.limit_cents is None:
            return 0
        return min(100, self.spent_nano * 100 // nano_from_cents(self.limit_cents))

    @property
    def gauge(self) -> str:
        """The colour of the limit's bar."""
        if self.percent >= 100:
            return "bad"
        return "warn" if self.percent >= NEARLY_PERCENT else ""


@requires(Permission.KEYS_MANAGE)
@require_safe
def api_keys(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Keys that were not revoked, newest first, then the last ones that were. Queries don't grow with the keys."""
    at = timezone.now()
    before = _before(request)
    keys = ApiKey.objects.filter(organization=organization, revoked_at=None)
    page = list(
        (keys.filter(pk__lt=before) if before else keys)
        .select_related("created_by", "limit", "replacement")
        .order_by("-pk")[: KEYS_ON_PAGE + 1]
    )
    shown = page[:KEYS_ON_PAGE]
    revoked = ApiKey.objects.filter(organization=organization, revoked_at__isnull=False)
    spent = key_limits.spent_nano(organization_id=organization.pk, prefixes=[key.prefix for key in shown], at=at)
    context = {
        "organization": organization,
        "at": at,
        "rows": rows_of(shown, spent=spent, at=at),
        "before": before,
        "older": shown[-1].pk if len(page) > KEYS_ON_PAGE else None,
        "revoked": list(revoked.select_related("revoked_by").order_by("-pk")[:REVOKED_SHOWN]),
        "is_stopped": usage_blocks.is_stopped(organization_id=organization.pk),
    }
    return render(request, "billing/api_keys.html", context)


def rows_of(keys: Sequence[ApiKey], *, spent: Mapping[str, int], at: datetime) -> list[KeyRow]:
    """The keys with their month; load them with ``limit`` and ``replacement``."""
    return [
        KeyRow(
            key=key,
            state=key.state(at=at).value,
            spent_nano=spent.get(key.prefix, 0),
            limit_cents=key.limit.amount_cents if hasattr(key, "limit") else None,
            replacement=getattr(key, "replacement", None),
        )
        for key in keys
    ]


def _before(request: HttpRequest) -> int | None:
    asked = request.GET.get("before", "")
    if asked and not _ID.match(asked):
        raise Http404
    return int(asked) if asked else None
