"""What the side bar says about credit: how much there is, and whether the API runs."""

from dataclasses import dataclass

from django.urls import reverse

from accounts.models import Membership
from accounts.permissions import Permission
from billing.credits import queries
from billing.credits.queries import Summary
from billing.models import CreditAccount
from billing.money import credit_text


@dataclass(frozen=True, slots=True)
class Purse:
    """The organization's credit in one line, with the page that says more to this member."""

    available_text: str
    state_text: str
    is_blocked: bool
    is_frozen: bool
    url: str


def purse_for(membership: Membership, *, summary: Summary | None = None) -> Purse | None:
    """What ``membership`` may know about credit; None when the role may not see the balance.

    One query, none where the page has a ``summary`` already.
    """
    if not membership.may(Permission.BALANCE_VIEW):
        return None
    if summary is None:
        summary = queries.summary(organization_id=membership.organization_id)
    page = "billing:overview" if membership.may(Permission.BILLING_VIEW) else "billing:usage"
    is_blocked = summary.is_blocked or summary.state != CreditAccount.State.OPEN
    return Purse(
        available_text=credit_text(max(summary.available_nano, 0)).main,
        state_text="API stopped" if is_blocked else "API running",
        is_blocked=is_blocked,
        is_frozen=summary.state == CreditAccount.State.FROZEN,
        url=reverse(page, args=[membership.organization.slug]),
    )
