"""Auto-reload: buys credits without the customer when credit falls below the line that they set.

The line is a level, not a crossing. Whoever moves credit records in the same transaction that the account is low; here
one attempt is made of it: planned under the account's lock, so that the cap, the count and "one in flight" hold under
any concurrency, and charged after the commit. Nothing is charged that the last saved consent does not cover.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from accounts import audit
from accounts.models import Organization, User
from accounts.permissions import Permission
from billing.credits import ledger, queries
from billing.errors import Refused
from billing.models import AutoReload, AutoReloadConsent, CreditAccount, PaymentMethod, Purchase
from billing.money import cents_up_from_nano, dollars_text, nano_from_cents
from billing.payments import payment_methods, purchases, reload_line
from billing.terms import RELOAD_CONSENT, reload_sentence

RELOADS_PER_DAY_MAX = 5
DAY = timedelta(hours=24)
# What Stripe charges at least (https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).
CHARGE_MINIMUM_CENTS = 50
GAP_MINIMUM_CENTS = 500
MONTHLY_CAP_MAXIMUM_CENTS = 100_000_000

_COUNTED = (*Purchase.OPEN_STATES, Purchase.State.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """How auto-reload stands. ``state`` is one of ``off``, ``waiting``, ``charging``, ``needs_customer``,
    ``suspended``, ``capped`` and ``no_card``.

    ``next_attempt_at`` is set while a reload has to wait: after a decline, or for the limit of 24 hours.
    """

    state: str
    settings: AutoReload | None
    consent: AutoReloadConsent | None
    spent_this_month_cents: int
    reloads_this_month: int
    reloads_last_24_hours: int
    next_attempt_at: datetime | None
    in_flight: Purchase | None
    last: Purchase | None


def save(
    *,
    organization: Organization,
    actor: User,
    is_enabled: bool,
    minimum_cents: int,
    target_cents: int,
    monthly_cap_cents: int,
    at: datetime,
) -> AutoReload:
    """Save the settings with the consent as it was shown. Switching off takes effect at once, and always works:
    numbers that would be refused are then left as they were.

    A suspension is not ended by saving: that takes another card, or a purchase that succeeds.

    Raises:
        Refused: a number won't do (fields ``minimum``, ``target``, ``monthly_cap``), there is no card that can be
            charged (``is_enabled``, case 52), or the actor lost the permission.
    """
    with transaction.atomic(durable=True):
        ledger.lock(organization_id=organization.pk)
        payment_methods.require(organization=organization, actor=actor, permission=Permission.AUTO_RELOAD_EDIT)
        former = reload_line.settings_of(organization_id=organization.pk)
        numbers = {
            "minimum_cents": minimum_cents,
            "target_cents": target_cents,
            "monthly_cap_cents": monthly_cap_cents,
        }
        try:
            _check_numbers(**numbers)
        except Refused:
            if is_enabled or former is None:
                raise
            numbers = {name: getattr(former, name) for name in numbers}
        card = payment_methods.default_card(organization=organization)
        if is_enabled:
            _check_card(card, at=at)
        before = _as_audited(former)
        reload, _ = AutoReload.objects.update_or_create(
            organization=organization, defaults={**numbers, "is_enabled": is_enabled, "updated_at": at}
        )
        AutoReloadConsent.objects.create(
            organization=organization,
            actor=actor,
            is_enabled=is_enabled,
            consent_version=RELOAD_CONSENT.version,
            consent_text=reload_sentence(card=str(card) if card is not None else "the saved card", **numbers),
            consented_at=at,
            **numbers,
        )
        audit.record(
            organization=organization,
            actor=actor,
            action="auto_reload.saved",
            target=f"auto_reload:{reload.pk}",
            before=before,
            after=_as_audited(reload),
        )
        reload_line.review(organization_id=organization.pk)
        return reload


def status(*, organization: Organization, at: datetime) -> ReloadStatus:
    """How auto-reload stands at ``at``, for pages. Reads only."""
    reload = AutoReload.objects.filter(organization=organization).first()
    mine = _reloads(organization.pk)
    in_flight = mine.filter(state__in=Purchase.OPEN_STATES).first()
    this_month = mine.filter(state__in=_COUNTED, created_at__gte=_month_start(at))
    month = this_month.aggregate(cents=Coalesce(Sum("amount_cents"), 0), count=Count("id"))
    day = list(mine.filter(created_at__gt=at - DAY).order_by("created_at").values_list("created_at", flat=True))
    return ReloadStatus(
        state=_state(organization, reload, in_flight, spent_cents=month["cents"]),
        settings=reload,
        consent=AutoReloadConsent.objects.select_related("actor").filter(organization=organization).last(),
        spent_this_month_cents=month["cents"],
        reloads_this_month=month["count"],
        reloads_last_24_hours=len(day),
        next_attempt_at=_next_attempt_at(reload, day, at=at),
        in_flight=in_flight,
        last=mine.order_by("-id").first(),
    )


def due(*, at: datetime, limit: int = 100) -> list[int]:
    """Organizations that are low and for which an attempt would be made, the longest waiting first.

    What stands in the way of an attempt (in flight, suspended, backing off, five in 24 hours, no card, a cap that is
    used up, an account that isn't open) is left out here, so that waiting is no busy loop.
    """
    mine = Purchase.objects.filter(organization_id=OuterRef("pk"), kind=Purchase.Kind.AUTO_RELOAD)
    card = PaymentMethod.objects.filter(organization_id=OuterRef("pk"), is_default=True)
    accounts = (
        CreditAccount.objects.filter(low_at__isnull=False, reload_below_nano__isnull=False, state="open")
        .filter(organization__auto_reload__is_enabled=True, organization__auto_reload__suspension="")
        .filter(
            Q(organization__auto_reload__next_attempt_at__isnull=True)
            | Q(organization__auto_reload__next_attempt_at__lte=at)
        )
        .filter(Exists(card), ~Exists(mine.filter(state__in=Purchase.OPEN_STATES)))
        .annotate(
            in_24_hours=_sub(mine.filter(created_at__gt=at - DAY), Count("id")),
            spent_cents=_sub(mine.filter(state__in=_COUNTED, created_at__gte=_month_start(at)), Sum("amount_cents")),
        )
        .filter(in_24_hours__lt=RELOADS_PER_DAY_MAX)
        .filter(organization__auto_reload__monthly_cap_cents__gte=F("spent_cents") + CHARGE_MINIMUM_CENTS)
    )
    return list(accounts.order_by("low_at").values_list("pk", flat=True)[:limit])


def attempt(*, organization_id: int, at: datetime) -> Purchase | None:
    """Make one reload of an account that is low, if everything allows it. None where nothing was to be done.

    Any number of callers at once make at most one charge.
    """
    try:
        purchase_id = plan(organization_id=organization_id)
    except IntegrityError:
        # Somebody else's attempt is in flight.
        return None
    return purchases.send(purchase_id=purchase_id, at=at) if purchase_id is not None else None


def reload_cents(
    *, reload: AutoReload, level_nano: int, spent_cents: int, maximum_cents: int, is_refusal: bool = False
) -> int:
    """What to charge now, in cents; 0 where nothing is to be charged.

    The target less the level, rounded up to a cent, at most ``maximum_cents`` in one charge: another follows while
    credit is still below the line. The last reload of a month shrinks to what the cap has left, but only if that lifts
    credit back to the line: less would take the customer's money and leave auto-reload due at once with nothing left
    to charge.
    """
    line_nano, target_nano = nano_from_cents(reload.minimum_cents), nano_from_cents(reload.target_cents)
    if level_nano >= line_nano and not is_refusal:
        return 0
    wanted_cents = min(cents_up_from_nano(target_nano - level_nano), maximum_cents)
    left_cents = reload.monthly_cap_cents - spent_cents
    if wanted_cents > left_cents:
        if level_nano + nano_from_cents(left_cents) < line_nano:
            return 0
        wanted_cents = left_cents
    return wanted_cents if wanted_cents >= CHARGE_MINIMUM_CENTS else 0


def plan(*, organization_id: int) -> int | None:
    """Decide under the lock whether a reload is to be made, and write it down. Returns the purchase's id.

    Raises:
        IntegrityError: another attempt is in flight, and its row was not seen.
    """
    with transaction.atomic(durable=True):
        account = ledger.lock(organization_id=organization_id)
        at = account.locked_at
        reload = reload_line.settings_of(organization_id=organization_id)
        if account.low_at is None or reload is None or not _is_open(organization_id):
            return None
        if not reload_line.is_armed(reload):
            reload_line.review(organization_id=organization_id)
            return None
        if reload.next_attempt_at is not None and reload.next_attempt_at > at:
            return None
        mine = _reloads(organization_id)
        if mine.filter(state__in=Purchase.OPEN_STATES).exists():
            return None
        if mine.filter(created_at__gt=at - DAY).count() >= RELOADS_PER_DAY_MAX:
            return None
        card = PaymentMethod.objects.filter(organization_id=organization_id, is_default=True).first()
        consent = AutoReloadConsent.objects.filter(organization_id=organization_id, is_enabled=True).last()
        if card is None or consent is None:
            return None
        is_refusal = account.low_cause == "refusal"
        amount_cents = reload_cents(
            reload=reload,
            level_nano=account.level_nano,
            spent_cents=_spent_cents(organization_id, at=at),
            maximum_cents=settings.PURCHASE_MAXIMUM_CENTS,
            is_refusal=is_refusal,
        )
        if amount_cents == 0 and account.level_nano < nano_from_cents(reload.minimum_cents):
            # The cap stands in the way and nothing else. The mark stays: made anew it would be another event of the
            # ledger, and another attempt, without end.
            return None
        # What made the account low is answered: by this attempt, or by finding that it is low no more. A level that
        # is still below the line is marked again.
        reload_line.review(organization_id=organization_id)
        if amount_cents == 0:
            return None
        purchase = Purchase.objects.create(
            organization_id=organization_id,
            kind=Purchase.Kind.AUTO_RELOAD,
            amount_cents=amount_cents,
            credit_nano=nano_from_cents(amount_cents),
            attempt_key=uuid4(),
            payment_method=card,
            actor=None,
            terms_version=consent.consent_version,
            terms_accepted_at=consent.consented_at,
            created_at=at,
        )
        audit.record(
            organization=purchase.organization,
            actor=None,
            action="auto_reload.attempted",
            target=f"purchase:{purchase.pk}",
            after={
                "amount_cents": amount_cents,
                "level_nano": account.level_nano,
                "cause": account.low_cause,
                "consent_id": consent.pk,
            },
        )
        return purchase.pk


def _state(
    organization: Organization, reload: AutoReload | None, in_flight: Purchase | None, *, spent_cents: int
) -> str:
    if in_flight is not None:
        is_waiting = in_flight.state == Purchase.State.NEEDS_CUSTOMER
        return "needs_customer" if is_waiting else "charging"
    if reload is None or not reload.is_enabled:
        return "off"
    if payment_methods.default_card(organization=organization) is None:
        return "no_card"
    if reload.suspension:
        return "suspended"
    return "capped" if _is_capped(organization, reload, spent_cents=spent_cents) else "waiting"


def _is_capped(organization: Organization, reload: AutoReload, *, spent_cents: int) -> bool:
    """Whether the cap, and nothing else, keeps a reload that is due, or any further one, from happening."""
    if reload.monthly_cap_cents - spent_cents < CHARGE_MINIMUM_CENTS:
        return True
    summary = queries.summary(organization_id=organization.pk)
    level_nano = summary.available_nano + summary.held_nano
    if summary.low_at is None or level_nano >= nano_from_cents(reload.minimum_cents):
        return False
    amount_cents = reload_cents(
        reload=reload,
        level_nano=level_nano,
        spent_cents=spent_cents,
        maximum_cents=settings.PURCHASE_MAXIMUM_CENTS,
    )
    return amount_cents == 0


def _next_attempt_at(reload: AutoReload | None, day: list[datetime], *, at: datetime) -> datetime | None:
    if reload is None or not reload_line.is_armed(reload):
        return None
    waits = []
    if reload.next_attempt_at is not None and reload.next_attempt_at > at:
        waits.append(reload.next_attempt_at)
    if len(day) >= RELOADS_PER_DAY_MAX:
        waits.append(day[-RELOADS_PER_DAY_MAX] + DAY)
    return max(waits, default=None)


def _check_numbers(*, minimum_cents: int, target_cents: int, monthly_cap_cents: int) -> None:
    most = settings.PURCHASE_MAXIMUM_CENTS
    if not 0 <= minimum_cents <= most:
        raise Refused(f"Enter an amount from $0.00 to {dollars_text(most)}.", code="minimum", field="minimum")
    if target_cents < minimum_cents + GAP_MINIMUM_CENTS:
        least = dollars_text(minimum_cents + GAP_MINIMUM_CENTS)
        raise Refused(
            f"Reload to at least {least}: {dollars_text(GAP_MINIMUM_CENTS)} more than the minimum.",
            code="target",
            field="target",
        )
    if target_cents > minimum_cents + most:
        raise Refused(
            f"One reload charges at most {dollars_text(most)}: reload to at most {dollars_text(minimum_cents + most)}.",
            code="target",
            field="target",
        )
    if monthly_cap_cents < target_cents - minimum_cents:
        raise Refused(
            f"One reload needs {dollars_text(target_cents - minimum_cents)}: the monthly limit can't be lower.",
            code="monthly_cap",
            field="monthly_cap",
        )
    if monthly_cap_cents > MONTHLY_CAP_MAXIMUM_CENTS:
        raise Refused(
            f"The monthly limit can be at most {dollars_text(MONTHLY_CAP_MAXIMUM_CENTS)}.",
            code="monthly_cap",
            field="monthly_cap",
        )


def _check_card(card: PaymentMethod | None, *, at: datetime) -> None:
    if card is None:
        raise Refused("Add a card first: auto-reload has nothing to charge.", code="no_card", field="is_enabled")
    if payment_methods.has_expired(card, at=at):
        raise Refused(f"{card} has expired. Update the payment method first.", code="card_expired", field="is_enabled")


def _is_open(organization_id: int) -> bool:
    """Whether credit could be used at all: a frozen or closed account is charged nothing."""
    return CreditAccount.objects.filter(pk=organization_id, state=CreditAccount.State.OPEN).exists()


def _reloads(organization_id: int) -> QuerySet[Purchase]:
    return Purchase.objects.filter(organization_id=organization_id, kind=Purchase.Kind.AUTO_RELOAD)


def _spent_cents(organization_id: int, *, at: datetime) -> int:
    """What reloads of the calendar month (UTC) have charged or are about to."""
    counted = _reloads(organization_id).filter(state__in=_COUNTED, created_at__gte=_month_start(at))
    total: int = counted.aggregate(cents=Coalesce(Sum("amount_cents"), 0))["cents"]
    return total


def _month_start(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _sub(rows: QuerySet[Purchase], total: Count | Sum) -> Coalesce:
    """A total over an organization's rows, as a column."""
    grouped = rows.order_by().values("organization_id").annotate(total=total).values("total")
    return Coalesce(Subquery(grouped, output_field=IntegerField()), 0)


def _as_audited(reload: AutoReload | None) -> dict[str, object] | None:
    if reload is None:
        return None
    return {
        name: getattr(reload, name) for name in ("is_enabled", "minimum_cents", "target_cents", "monthly_cap_cents")
    }
