"""How often cards may be tried: forms without a limit are used to find out which stolen cards work.

Attempts are counted from rows, by person and by organization, under the caller's lock, so that neither a restart nor
requests at the same moment get past the limit. https://docs.stripe.com/disputes/prevention/card-testing
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Organization, User
from billing.errors import Refused
from billing.models import CardSetup, Purchase, RefusedAttempt

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# What a person who is over the limit goes on to try leaves no rows without end.
REFUSALS_KEPT_PER_DAY_MAX = 50


def refuse_more_cards(*, organization: Organization, actor: User, at: datetime) -> None:
    """Refuse another card form. Each counts once, and once more for each further card that was refused in it.

    The caller holds locks on the organization's customer and on the person (:func:`lock_person`).

    Raises:
        Refused: ``too_many_cards``, with the time from which another may be tried.
    """
    setups = CardSetup.objects.filter(created_at__gt=at - DAY)
    for own in (setups.filter(organization=organization), setups.filter(actor=actor)):
        times = [
            tried_at for tried_at, failures in own.values_list("created_at", "failures") for _ in range(failures or 1)
        ]
        free_at = _free_at(times, at=at)
        if free_at is not None:
            raise Refused(
                "Too many cards were tried. Your present card is kept. Another can be tried after "
                f"{_moment(free_at, organization)}.",
                code="too_many_cards",
            )


def refuse_more_charges(*, organization: Organization, actor: User, at: datetime) -> None:
    """Refuse another purchase after many that were declined, or whose outcome is open: no customer pays like that.

    The caller holds the account's lock and one on the person.

    Raises:
        Refused: ``too_many_declines``, with the time from which another may be made.
    """
    counted = Purchase.objects.filter(
        Q(state=Purchase.State.FAILED) | Q(state__in=Purchase.OPEN_STATES),
        kind=Purchase.Kind.MANUAL,
        created_at__gt=at - DAY,
    )
    for own in (counted.filter(organization=organization), counted.filter(actor=actor)):
        free_at = _free_at(own.values_list("created_at", flat=True), at=at)
        if free_at is not None:
            raise Refused(
                "Too many payments were declined, or are still open. Nothing was charged. You can buy again after "
                f"{_moment(free_at, organization)}.",
                code="too_many_declines",
            )


def lock_person(actor: User) -> None:
    """Let what a person tries in several organizations at once be counted one after the other. In a transaction."""
    list(User.objects.select_for_update(no_key=True).filter(pk=actor.pk).values_list("pk"))


def keep_refused(
    refusal: Refused,
    *,
    kind: RefusedAttempt.Kind,
    organization: Organization,
    actor: User,
    amount_cents: int | None = None,
) -> None:
    """Keep an attempt that never reached the bank, for the customer's list. After the refused transaction."""
    kept = RefusedAttempt.objects.filter(organization=organization, attempted_at__gt=Now() - DAY)
    if kept.count() < REFUSALS_KEPT_PER_DAY_MAX:
        RefusedAttempt.objects.create(
            organization=organization,
            kind=kind,
            actor=actor,
            payment_method=organization.payment_methods.filter(is_default=True).first(),
            amount_cents=amount_cents,
            code=refusal.code[:32],
            reason=str(refusal)[:300],
        )


def _free_at(times: Iterable[datetime], *, at: datetime) -> datetime | None:
    """From when another attempt is within the limits of an hour and of a day; None where it is now."""
    ordered = sorted(times)
    waits = []
    for span, most in ((HOUR, settings.CARD_ATTEMPTS_PER_HOUR), (DAY, settings.CARD_ATTEMPTS_PER_DAY)):
        recent = [tried_at for tried_at in ordered if tried_at > at - span]
        if len(recent) >= max(most, 1):
            waits.append(recent[-max(most, 1)] + span)
    return max(waits, default=None)


def _moment(at: datetime, organization: Organization) -> str:
    """The next whole minute, in the organization's time: "14:06 CET on 3 Nov"."""
    local = (at.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)).astimezone(organization.zone)
    return f"{local:%H:%M} {local.tzname()} on {local.day} {local:%b}"
