"""Credit that staff give: always with a reason, always by somebody, once for each form. It never takes credit away."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import Organization, User
from billing.credits import ledger, reasons
from billing.errors import Refused
from billing.models import CreditLot
from billing.money import dollars_text, nano_from_cents

LASTS_AT_MOST: Final = timedelta(days=5 * 366)


def check(*, amount_cents: int, expires_at: datetime, label: str, reason: str, at: datetime) -> None:
    """Refuse what may not be given, so that a form can say so before anything is confirmed.

    ``label`` is what the customer reads, ``reason`` is for staff only.

    Raises:
        Refused: ``field`` is the argument that won't do.
    """
    most_cents = settings.PROMOTIONAL_CREDIT_MAXIMUM_CENTS
    if not 0 < amount_cents <= most_cents:
        raise Refused(f"Give from $0.01 to {dollars_text(most_cents)}.", code="amount", field="amount_cents")
    check_end(expires_at, at=at)
    reasons.check_label(label)
    reasons.check_reason(reason)


def check_end(expires_at: datetime, *, at: datetime) -> None:
    """Refuse an end that given credit may not have.

    Raises:
        Refused: with the field ``expires_at``.
    """
    if not at < expires_at <= at + LASTS_AT_MOST:
        raise Refused("It must end in the future, within five years.", code="expires_at", field="expires_at")


def give_promotional_credit(
    *,
    organization: Organization,
    amount_cents: int,
    expires_at: datetime,
    label: str,
    reason: str,
    actor: User,
    grant_key: UUID,
    request: HttpRequest | None = None,
) -> ledger.Granted:
    """Give promotional credit, spendable at once; debt is paid from it first. The same key gives once, whoever repeats.

    Raises:
        Refused: as :func:`check`, or the key has given something else before (``conflict``).
    """
    with transaction.atomic():
        account = ledger.lock(organization_id=organization.pk)
        check(amount_cents=amount_cents, expires_at=expires_at, label=label, reason=reason, at=account.locked_at)
        granted = ledger.grant(
            organization_id=organization.pk,
            kind=CreditLot.Kind.PROMOTIONAL,
            amount_nano=nano_from_cents(amount_cents),
            expires_at=expires_at,
            label=label,
            reason=reason,
            actor_id=actor.pk,
            grant_key=grant_key,
        )
        if not granted.is_replay:
            audit.record(
                organization=organization,
                actor=actor,
                action="promotional_credit.given",
                target=f"lot:{granted.lot_id}",
                after={"amount_cents": amount_cents, "expires_at": granted.expires_at.isoformat()},
                request=request,
            )
    return granted
