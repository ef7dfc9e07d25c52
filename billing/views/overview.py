"""Settings > Billing: what there is, what it costs, what happens next. It also stands behind billing's dialogs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import queries as people
from accounts.access import MemberRequest, requires
from accounts.models import Organization
from accounts.permissions import Permission
from billing import countries
from billing.credits import queries
from billing.credits.queries import EndedLot
from billing.forms import id_from_text
from billing.models import PaymentMethod, Purchase, ReloadState
from billing.payments import auto_reload, billing_details, clawbacks, payment_methods, purchases
from billing.payments.clawbacks import PaidBack
from billing.purse import purse_for
from billing.views.charts import credit_line
from billing.views.outlook import LOOK_BACK, outlook

LOTS_ON_PAGE = 100
PURCHASES_ON_PAGE = 10
ENDED_LOTS_ON_PAGE = 10
CARD_EXPIRY_HINT = timedelta(days=60)
EXPIRED_RECENTLY = timedelta(days=30)
FIXERS_NAMED = 5

_BADGES = {
    Purchase.State.CREATED: ("info", "In progress"),
    Purchase.State.PROCESSING: ("info", "In progress"),
    Purchase.State.REQUIRES_ACTION: ("warn", "Confirm with your bank"),
    Purchase.State.NEEDS_CUSTOMER: ("warn", "Confirm with your bank"),
    Purchase.State.SUCCEEDED: ("ok", "Paid"),
    Purchase.State.FAILED: ("bad", "Declined"),
    Purchase.State.CANCELED: ("off", "Canceled"),
}

_RELOAD_BADGES = {
    ReloadState.OFF: "off",
    ReloadState.ARMED: "ok",
    ReloadState.CHARGING: "info",
    ReloadState.COOLING_DOWN: "info",
    ReloadState.NEEDS_YOU: "warn",
    ReloadState.PAUSED_DECLINED: "bad",
    ReloadState.PAUSED_BRAKE: "warn",
    ReloadState.PAUSED_DISPUTE: "bad",
    ReloadState.CAPPED: "warn",
    ReloadState.NO_CARD: "warn",
    ReloadState.NO_RECIPIENT: "bad",
    ReloadState.FROZEN: "bad",
}
# States that need somebody, or are worth knowing before the credit is used up.
_RELOAD_NOTICES = frozenset(
    {
        ReloadState.NEEDS_YOU,
        ReloadState.PAUSED_DECLINED,
        ReloadState.PAUSED_BRAKE,
        ReloadState.PAUSED_DISPUTE,
        ReloadState.CAPPED,
    }
)


@dataclass(frozen=True, slots=True)
class PurchaseRow:
    """A purchase as its buyer reads it."""

    purchase: Purchase
    badge_kind: str
    badge_text: str
    failure_text: str
    paid_back: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CardNote:
    """What to say about a card's expiry: ``kind`` as of badges."""

    kind: str
    text: str


@requires(Permission.BILLING_VIEW)
@require_safe
def overview(request: MemberRequest, organization: Organization) -> HttpResponse:
    """Balance, auto-reload, card, lots and purchases. The number of queries doesn't grow with any of them."""
    return render(request, "billing/overview.html", overview_context(request, organization))


def overview_context(request: MemberRequest, organization: Organization) -> dict[str, Any]:
    """Everything that the page shows, from one summary whose instant all other reads use."""
    summary = queries.summary(organization_id=organization.pk)
    at = summary.counted_at
    month_start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    lots_before = id_from_text(request.GET.get("lots_before", ""))
    purchases_before = id_from_text(request.GET.get("purchases_before", ""))
    lots = queries.live_lots(organization_id=organization.pk, at=at, limit=LOTS_ON_PAGE)
    ended = queries.ended_lots(
        organization_id=organization.pk, at=at, before_id=lots_before, limit=ENDED_LOTS_ON_PAGE + 1
    )
    bought = purchases.recent(organization=organization, before_id=purchases_before, limit=PURCHASES_ON_PAGE + 1)
    card = payment_methods.default_card(organization=organization)
    details = billing_details.details_of(organization=organization)
    reload_status = auto_reload.status(organization=organization, at=at)
    is_started = bool(lots or ended or lots_before or summary.debt_nano)
    is_stopped = is_started and summary.is_blocked
    return {
        "organization": organization,
        "purse": purse_for(request.membership, summary=summary),
        "summary": summary,
        "month": month_start.date(),
        "used_this_month_nano": queries.cost_nano(organization_id=organization.pk, start=month_start, end=at),
        "shown_available_nano": max(summary.available_nano, 0),
        "outlook": outlook(
            lots,
            used_nano=queries.recent_cost_nano(organization_id=organization.pk, at=at, days=LOOK_BACK.days),
            at=at,
        ),
        "purchase_minimum_cents": settings.PURCHASE_MINIMUM_CENTS,
        "purchase_maximum_cents": settings.PURCHASE_MAXIMUM_CENTS,
        "is_started": is_started,
        "is_stopped": is_stopped,
        "taken_back_lot": ended[0] if is_stopped and ended and ended[0].taken_back_nano else None,
        "expired_lot": _what_expired_last(ended, at) if is_stopped else None,
        "fixers": people.holders_of(organization=organization, permission=Permission.CREDITS_BUY)[:FIXERS_NAMED]
        if is_stopped
        else [],
        "lots": lots,
        "lots_on_page": LOTS_ON_PAGE,
        "credit_line": credit_line(lots, reload_below_nano=summary.reload_below_nano),
        "ended_lots": ended[:ENDED_LOTS_ON_PAGE],
        "ended_older_id": ended[ENDED_LOTS_ON_PAGE - 1].id if len(ended) > ENDED_LOTS_ON_PAGE else None,
        "lots_before": lots_before,
        "purchases": purchase_rows(bought[:PURCHASES_ON_PAGE]),
        "purchases_older_id": bought[PURCHASES_ON_PAGE - 1].pk if len(bought) > PURCHASES_ON_PAGE else None,
        "purchases_before": purchases_before,
        "card": card,
        "billing_details": details,
        "billing_country": countries.name_of(details.country) if details else "",
        "card_note": card_note(card, at=at) if card else None,
        "reload": reload_status,
        "reload_failure_text": purchases.failure_text(reload_status.last) if reload_status.last else "",
        "reload_badge": (_RELOAD_BADGES[reload_status.state], reload_status.state.label),
        "has_reload_notice": reload_status.state in _RELOAD_NOTICES,
    }


def purchase_rows(bought: Sequence[Purchase]) -> list[PurchaseRow]:
    """Purchases with their states in words; what went back of all of them is read at once."""
    back = clawbacks.paid_back(bought)
    return [_row(purchase, back[purchase.pk]) for purchase in bought]


def purchase_row(purchase: Purchase) -> PurchaseRow:
    """A purchase with its state in words."""
    return purchase_rows([purchase])[0]


def _row(purchase: Purchase, back: PaidBack) -> PurchaseRow:
    kind, text = _BADGES[Purchase.State(purchase.state)]
    if back.lost_cents:
        kind, text = "bad", "Dispute lost"
    elif back.disputed_cents:
        kind, text = "warn", "Disputed"
    elif back.refunded_cents >= purchase.amount_cents:
        kind, text = "off", "Refunded"
    elif back.refunded_cents:
        kind, text = "info", "Partly refunded"
    failure = purchases.failure_text(purchase) if purchase.state == Purchase.State.FAILED else ""
    if failure and not purchases.was_declined(purchase):
        text = "Not made"
    return PurchaseRow(purchase, kind, text, failure, tuple(clawbacks.words(back, purchase)))


def card_note(card: PaymentMethod, *, at: datetime) -> CardNote | None:
    """A hint when the card has expired or soon will; a card is good until the end of its month."""
    year, month = divmod(card.exp_year * 12 + card.exp_month, 12)
    ends_at = datetime(year, month + 1, 1, tzinfo=UTC)
    if ends_at <= at:
        return CardNote("bad", "Expired")
    if ends_at - at <= CARD_EXPIRY_HINT:
        return CardNote("warn", "Expires soon")
    return None


def _what_expired_last(ended: Sequence[EndedLot], at: datetime) -> EndedLot | None:
    """The lot whose end left the organization without credit, if that was lately."""
    lately = [lot for lot in ended if lot.expired_nano > 0 and at - EXPIRED_RECENTLY <= lot.expires_at <= at]
    return max(lately, key=lambda lot: lot.expires_at, default=None)


def anniversary_of(at: datetime) -> datetime:
    """When credits bought at ``at`` expire: the same instant of the next year in UTC, 28 February for the 29th."""
    utc = at.astimezone(UTC)
    try:
        return utc.replace(year=utc.year + 1)
    except ValueError:
        return utc.replace(year=utc.year + 1, day=28)
