"""Auto-reload: buys credits without the customer when credit falls below the line that they set.

The line is a level, not a crossing. Whoever moves credit records in the same transaction that the account is low; here
one attempt is made of it: planned under the account's lock, so that cap, count, gap, brake and "one in flight" hold
under any concurrency, and charged after the commit. Nothing is charged that the last saved consent does not cover.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from accounts import audit
from accounts.models import Membership, Organization, User
from accounts.permissions import Permission
from billing import emails
from billing.credits import ledger, queries, statements
from billing.errors import Refused
from billing.models import AutoReload, AutoReloadConsent, CreditAccount, PaymentMethod, Purchase, ReloadState
from billing.money import dollars_text, nano_from_cents
from billing.payments import payment_methods, purchases, reload_line, reload_rules
from billing.payments.reload_rules import CHARGE_MINIMUM_CENTS, DAY, RELOADS_PER_DAY_MAX, month_start
from billing.terms import RELOAD_CONSENT, reload_off_sentence, reload_sentence, usage_confirmation

TARGET_GAP_MINIMUM_CENTS = 500
MONTHLY_CAP_MAXIMUM_CENTS = 100_000_000
# How long an account that the cap keeps low is left alone between two looks: a little credit may have come in.
CAPPED_LOOK_AGAIN = timedelta(hours=1)
# A customer who is asked by the bank usually answers within minutes, or not at all.
ANSWER_MAY_TAKE = timedelta(minutes=15)
# How long a confirmation of high usage holds.
BRAKE_ALLOWANCES = (timedelta(days=1), timedelta(days=7))

_LANDING = (Purchase.State.CREATED, Purchase.State.PROCESSING)
_AGREEMENTS = (AutoReloadConsent.Kind.SAVED, AutoReloadConsent.Kind.RENEWED)


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """How auto-reload stands, for pages, mails and staff.

    ``until`` is when the state ends by itself, where that is known. ``consent`` is the agreement in force, the last
    that was saved or renewed; ``needs_consent`` is whether who gave it could not give it any more. ``is_due`` is
    whether credit is low, ``awaits_purchase`` whether a purchase that is being paid will do instead.
    """

    state: ReloadState
    until: datetime | None
    settings: AutoReload | None
    consent: AutoReloadConsent | None
    needs_consent: bool
    spent_this_month_cents: int
    reloads_this_month: int
    reloads_last_24_hours: int
    is_due: bool
    awaits_purchase: bool
    in_flight: Purchase | None
    last: Purchase | None

    @property
    def brake_times(self) -> str:
        """How many times the usual day 24 hours were when the brake paused it: "6.2"; empty where it didn't."""
        row = self.settings
        if row is None or row.brake_used_nano is None or row.brake_usual_nano is None:
            return ""
        return reload_rules.times_text(used_nano=row.brake_used_nano, usual_nano=row.brake_usual_nano)


def save(
    *,
    organization: Organization,
    actor: User,
    is_enabled: bool,
    minimum_cents: int,
    target_cents: int,
    monthly_cap_cents: int,
    at: datetime,
    request: HttpRequest | None = None,
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
            check_numbers(**numbers)
        except Refused:
            if is_enabled or former is None:
                raise
            numbers = {name: getattr(former, name) for name in numbers}
        card = payment_methods.default_card(organization=organization)
        if is_enabled:
            _check_card(card, at=at)
        before = _as_audited(former)
        reload, _ = AutoReload.objects.update_or_create(
            organization=organization,
            defaults={**numbers, "is_enabled": is_enabled, "updated_at": at, "capped_at": None},
        )
        text = _sentence(reload, card) if is_enabled else reload_off_sentence(**_numbers(reload))
        _keep_consent(reload, actor, AutoReloadConsent.Kind.SAVED, text=text, at=at)
        event = audit.record(
            organization=organization,
            actor=actor,
            action="auto_reload.saved",
            target=f"auto_reload:{reload.pk}",
            before=before,
            after=_as_audited(reload),
            request=request,
        )
        if before != _as_audited(reload):
            emails.reload_settings_changed(reload=reload, actor=actor, event_id=event.pk)
        reload_line.review(organization_id=organization.pk)
        return reload


def switch_off(*, organization: Organization, actor: User, at: datetime, request: HttpRequest | None = None) -> bool:
    """Switch auto-reload off as part of something else, such as the removal of its card. Returns whether it was on.

    Inside the caller's transaction, after ``ledger.lock``. The history keeps who did it and when, as for a saved form.
    """
    reload = reload_line.settings_of(organization_id=organization.pk)
    if reload is None or not reload.is_enabled:
        return False
    before = _as_audited(reload)
    reload.is_enabled, reload.updated_at, reload.capped_at = False, at, None
    reload.save(update_fields=["is_enabled", "updated_at", "capped_at"])
    text = reload_off_sentence(**_numbers(reload))
    _keep_consent(reload, actor, AutoReloadConsent.Kind.SAVED, text=text, at=at)
    audit.record(
        organization=organization,
        actor=actor,
        action="auto_reload.switched_off",
        target=f"auto_reload:{reload.pk}",
        before=before,
        after=_as_audited(reload),
        request=request,
    )
    reload_line.review(organization_id=organization.pk)
    return True


def renew_consent(
    *, organization: Organization, actor: User, shown_text: str, at: datetime, request: HttpRequest | None = None
) -> AutoReloadConsent:
    """Agree anew to the settings as they stand. ``shown_text`` is the sentence that was on the page.

    Raises:
        Refused: auto-reload is off (``off``), the sentence would be another one by now (``changed``), or the actor lost
            the permission.
    """
    with transaction.atomic(durable=True):
        ledger.lock(organization_id=organization.pk)
        payment_methods.require(organization=organization, actor=actor, permission=Permission.AUTO_RELOAD_EDIT)
        reload = reload_line.settings_of(organization_id=organization.pk)
        if reload is None or not reload.is_enabled:
            raise Refused("Auto-reload is off, so there is nothing to agree to.", code="off")
        text = _sentence(reload, payment_methods.default_card(organization=organization))
        if text != shown_text:
            raise Refused("The settings have changed meanwhile. Please read the sentence once more.", code="changed")
        consent = _keep_consent(reload, actor, AutoReloadConsent.Kind.RENEWED, text=text, at=at)
        audit.record(
            organization=organization,
            actor=actor,
            action="auto_reload.consent_renewed",
            target=f"auto_reload_consent:{consent.pk}",
            after=_as_audited(reload),
            request=request,
        )
        return consent


def confirm_usage(
    *,
    organization: Organization,
    actor: User,
    allowance: timedelta,
    shown_text: str,
    at: datetime,
    request: HttpRequest | None = None,
) -> AutoReload:
    """Say that usage far above the usual is wanted: auto-reload goes on, and the brake lets it for ``allowance``.

    ``allowance`` is one of BRAKE_ALLOWANCES, ``shown_text`` the sentence that was on the page. The settings, their
    monthly limit and five in 24 hours hold as before.

    Raises:
        Refused: the brake has not paused it (any more) (``not_braked``), the sentence would be another one by now
            (``changed``), or the actor lost the permission.
    """
    with transaction.atomic(durable=True):
        account = ledger.lock(organization_id=organization.pk)
        payment_methods.require(organization=organization, actor=actor, permission=Permission.AUTO_RELOAD_EDIT)
        reload = reload_line.settings_of(organization_id=organization.pk)
        if reload is None or reload.suspension != AutoReload.Suspension.BRAKE or allowance not in BRAKE_ALLOWANCES:
            raise Refused("Auto-reload does not wait for this any more.", code="not_braked")
        text = usage_sentence(reload, allowance=allowance)
        if text != shown_text:
            raise Refused("The settings have changed meanwhile. Please read the sentence once more.", code="changed")
        allowed_until = account.locked_at + allowance
        consent = _keep_consent(reload, actor, AutoReloadConsent.Kind.USAGE_CONFIRMED, text=text, at=at)
        event = audit.record(
            organization=organization,
            actor=actor,
            action="auto_reload.usage_confirmed",
            target=f"auto_reload_consent:{consent.pk}",
            before={"used_nano": reload.brake_used_nano, "usual_nano": reload.brake_usual_nano},
            after={"allowed_until": allowed_until.isoformat()},
            request=request,
        )
        emails.reload_usage_confirmed(reload=reload, actor=actor, until=allowed_until, event_id=event.pk)
        reload_line.release_brake(reload=reload, allowed_until=allowed_until)
        reload_line.review(organization_id=organization.pk)
        return reload


def usage_sentence(reload: AutoReload, *, allowance: timedelta) -> str:
    """What confirming high usage means, in one paragraph. Stored with the confirmation as shown."""
    used_nano, usual_nano = reload.brake_used_nano or 0, reload.brake_usual_nano or 0
    return usage_confirmation(
        used_nano=used_nano,
        usual_nano=usual_nano,
        times=reload_rules.times_text(used_nano=used_nano, usual_nano=usual_nano),
        is_known=reload.brake_usual_is_known,
        hours=allowance // timedelta(hours=1),
        **_numbers(reload),
    )


def consent_sentence(*, organization: Organization) -> str:
    """The sentence to agree to with the settings and the card as they stand; empty while auto-reload is off."""
    reload = AutoReload.objects.filter(organization=organization, is_enabled=True).first()
    return _sentence(reload, payment_methods.default_card(organization=organization)) if reload is not None else ""


def history(*, organization: Organization, before_id: int | None = None, limit: int = 20) -> list[AutoReloadConsent]:
    """Everything that was agreed to, newest first; the next page begins before the id of the last."""
    consents = AutoReloadConsent.objects.select_related("actor").filter(organization=organization)
    if before_id is not None:
        consents = consents.filter(pk__lt=before_id)
    return list(consents.order_by("-id")[:limit])


def status(*, organization: Organization, at: datetime) -> ReloadStatus:
    """How auto-reload stands at ``at``, for pages. Reads only."""
    account = CreditAccount.objects.filter(organization=organization).first()
    summary = queries.summary(organization_id=organization.pk, at=at)
    facts = _facts(
        organization.pk,
        AutoReload.objects.filter(organization=organization).first(),
        at=at,
        state=account.state if account is not None else CreditAccount.State.OPEN,
        level_nano=summary.available_nano + summary.held_nano,
        low_cause=account.low_cause if account is not None else "",
    )
    stands = reload_rules.standing(facts)
    mine = _reloads(organization.pk)
    consent = (
        AutoReloadConsent.objects.select_related("actor")
        .filter(organization=organization, kind__in=_AGREEMENTS)
        .order_by("-id")
        .first()
    )
    return ReloadStatus(
        state=stands.state,
        until=stands.until,
        settings=facts.settings,
        consent=consent,
        needs_consent=consent is not None and consent.is_enabled and not _may_still_agree(consent),
        spent_this_month_cents=facts.spent_this_month_cents,
        reloads_this_month=mine.filter(state__in=reload_line.COUNTED_STATES, created_at__gte=month_start(at)).count(),
        reloads_last_24_hours=len(facts.attempts),
        is_due=bool(facts.low_cause),
        awaits_purchase=bool(facts.low_cause and facts.landing_nano) and not reload_rules.due_cents(facts),
        in_flight=facts.in_flight,
        last=mine.order_by("-id").first(),
    )


def due(*, at: datetime, limit: int = 100) -> list[int]:
    """Organizations that are low and for which an attempt would be made, the longest waiting first.

    What stands in the way of an attempt (in flight, paused, backing off, the gap, five in 24 hours, no card, nobody to
    tell, a cap that is used up, an account that isn't open) is left out here, so that waiting is no busy loop. An
    account that the cap has kept low once is looked at again each hour.
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
        .filter(Exists(emails.recipients_of(OuterRef("pk"))))
        .filter(~Exists(mine.filter(state=Purchase.State.SUCCEEDED, settled_at__gt=at - _gap())))
        .filter(
            Q(organization__auto_reload__capped_at__isnull=True)
            | Q(organization__auto_reload__capped_at__lt=month_start(at))
            | Q(organization__auto_reload__capped_at__lt=F("low_at"))
            | Q(organization__auto_reload__capped_at__lte=at - CAPPED_LOOK_AGAIN)
        )
        .annotate(
            in_24_hours=_sub(mine.filter(created_at__gt=at - DAY), Count("id")),
            spent_cents=_sub(
                mine.filter(state__in=reload_line.COUNTED_STATES, created_at__gte=month_start(at)), Sum("amount_cents")
            ),
        )
        .filter(in_24_hours__lt=RELOADS_PER_DAY_MAX)
        .filter(
            # A cap that is used up is said once a month, by the attempt that it keeps from happening.
            Q(organization__auto_reload__capped_at__isnull=True)
            | Q(organization__auto_reload__capped_at__lt=month_start(at))
            | Q(organization__auto_reload__monthly_cap_cents__gte=F("spent_cents") + CHARGE_MINIMUM_CENTS)
        )
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


def plan(*, organization_id: int) -> int | None:
    """Decide under the lock whether a reload is to be made, and write it down. Returns the purchase's id.

    Raises:
        IntegrityError: another attempt is in flight, and its row was not seen.
    """
    with transaction.atomic(durable=True):
        account = ledger.lock(organization_id=organization_id)
        reload = reload_line.settings_of(organization_id=organization_id)
        if account.low_at is None or reload is None:
            return None
        if not reload_line.is_armed(reload):
            reload_line.review(organization_id=organization_id)
            return None
        facts = _facts(
            organization_id,
            reload,
            at=account.locked_at,
            state=CreditAccount.objects.values_list("state", flat=True).get(pk=organization_id),
            level_nano=account.level_nano,
            low_cause=account.low_cause,
        )
        stands = reload_rules.standing(facts)
        if stands.state == ReloadState.CAPPED:
            # The mark stays: made anew it would be another event of the ledger, and another attempt, without end.
            _skip_for_cap(reload, at=facts.at)
        if stands.state != ReloadState.ARMED:
            return None
        amount_cents = reload_rules.due_cents(facts)
        if amount_cents == 0 and facts.landing_nano and account.level_nano < nano_from_cents(reload.minimum_cents):
            # A purchase that is being paid will do. The mark stays until it is known whether it did.
            return None
        if amount_cents and _brakes(reload, at=facts.at):
            return None
        # What made the account low is answered: by this attempt, or by finding that it is low no more. A level that
        # is still below the line is marked again.
        reload_line.review(organization_id=organization_id)
        return _begin(reload, facts, amount_cents=amount_cents).pk if amount_cents else None


def _begin(reload: AutoReload, facts: reload_rules.Facts, *, amount_cents: int) -> Purchase:
    """Write the attempt down, with the consent that it rests on."""
    consent = AutoReloadConsent.objects.filter(
        organization_id=reload.organization_id, is_enabled=True, kind__in=_AGREEMENTS
    ).latest("id")
    purchase = Purchase.objects.create(
        organization_id=reload.organization_id,
        kind=Purchase.Kind.AUTO_RELOAD,
        amount_cents=amount_cents,
        credit_nano=nano_from_cents(amount_cents),
        attempt_key=uuid4(),
        payment_method=PaymentMethod.objects.get(organization_id=reload.organization_id, is_default=True),
        actor=None,
        terms_version=consent.consent_version,
        terms_accepted_at=consent.consented_at,
        created_at=facts.at,
    )
    audit.record(
        organization=purchase.organization,
        actor=None,
        action="auto_reload.attempted",
        target=f"purchase:{purchase.pk}",
        after={
            "amount_cents": amount_cents,
            "level_nano": facts.level_nano,
            "landing_nano": facts.landing_nano,
            "cause": facts.low_cause,
            "consent_id": consent.pk,
        },
    )
    return purchase


def _brakes(reload: AutoReload, *, at: datetime) -> bool:
    """Pause where usage is far above the usual and nobody has confirmed it. Returns whether it is paused now."""
    if settings.AUTO_RELOAD_BRAKE_FACTOR == 0 or (
        reload.brake_allowed_until is not None and at < reload.brake_allowed_until
    ):
        return False
    usage = usage_now(reload=reload, at=at)
    if not reload_rules.is_braked(
        usage, factor=settings.AUTO_RELOAD_BRAKE_FACTOR, floor_cents=settings.AUTO_RELOAD_BRAKE_FLOOR_CENTS
    ):
        return False
    reload_line.note_braked(reload=reload, usage=usage, at=at)
    reload_line.review(organization_id=reload.organization_id)
    emails.reload_braked(reload=reload, times=usage.times, at=at)
    return True


def usage_now(*, reload: AutoReload, at: datetime) -> reload_rules.Usage:
    """What the brake looks at: usage booked in the 24 hours up to ``at``, and the days of use before that."""
    day = statements.month(organization_id=reload.organization_id, start=at - DAY, end=at + timedelta(microseconds=1))
    days = queries.cost_by_day(
        organization_id=reload.organization_id, start=at - timedelta(days=reload_rules.USUAL_DAYS), end=at
    )
    return reload_rules.usage_of(used_nano=-day.used_nano, days_nano=days, reload=reload)


def _skip_for_cap(reload: AutoReload, *, at: datetime) -> None:
    """Keep in mind that the cap stood in the way of a reload that was due, and say so once in a month."""
    if reload_line.note_capped(reload=reload, at=at):
        audit.record(
            organization=reload.organization,
            actor=None,
            action="auto_reload.capped",
            target=f"auto_reload:{reload.pk}",
            after={"monthly_cap_cents": reload.monthly_cap_cents},
        )
        emails.reload_capped(reload=reload, until=reload_rules.month_end(at), at=at)


def _facts(
    organization_id: int, reload: AutoReload | None, *, at: datetime, state: str, level_nano: int, low_cause: str
) -> reload_rules.Facts:
    """What the rules look at. The number of queries is fixed."""
    mine = _reloads(organization_id)
    paid_at = mine.filter(state=Purchase.State.SUCCEEDED, settled_at__gt=at - _gap()).order_by("-settled_at")
    return reload_rules.Facts(
        at=at,
        settings=reload,
        is_open=state == CreditAccount.State.OPEN,
        has_card=PaymentMethod.objects.filter(organization_id=organization_id, is_default=True).exists(),
        has_recipient=emails.recipients_of(organization_id).exists(),
        in_flight=mine.filter(state__in=Purchase.OPEN_STATES).first(),
        spent_this_month_cents=reload_line.spent_cents(organization_id=organization_id, at=at),
        attempts=list(mine.filter(created_at__gt=at - DAY).order_by("created_at").values_list("created_at", flat=True)),
        last_paid_at=paid_at.values_list("settled_at", flat=True).first(),
        level_nano=level_nano,
        landing_nano=_landing_nano(organization_id, at=at),
        low_cause=low_cause,
        charge_maximum_cents=settings.PURCHASE_MAXIMUM_CENTS,
        gap=_gap(),
    )


def _landing_nano(organization_id: int, *, at: datetime) -> int:
    """Credit of purchases by hand that are being paid: it must not be bought twice.

    One whose outcome is unknown counts until it is known, because its money may have been taken. One that the bank asks
    about counts for as long as people take to answer.
    """
    is_answered_soon = Q(state=Purchase.State.REQUIRES_ACTION, created_at__gt=at - ANSWER_MAY_TAKE)
    landing = Purchase.objects.filter(Q(state__in=_LANDING) | is_answered_soon, organization_id=organization_id)
    by_hand = landing.filter(kind=Purchase.Kind.MANUAL).order_by()
    total: int = by_hand.aggregate(nano=Coalesce(Sum("credit_nano"), 0))["nano"]
    return total


def _gap() -> timedelta:
    return timedelta(seconds=settings.AUTO_RELOAD_GAP_SECONDS)


def _may_still_agree(consent: AutoReloadConsent) -> bool:
    """Whether who agreed is still a member who may."""
    membership = Membership.objects.filter(
        organization_id=consent.organization_id, user_id=consent.actor_id, user__is_active=True
    ).first()
    return membership is not None and membership.may(Permission.AUTO_RELOAD_EDIT)


def _keep_consent(
    reload: AutoReload, actor: User, kind: AutoReloadConsent.Kind, *, text: str, at: datetime
) -> AutoReloadConsent:
    return AutoReloadConsent.objects.create(
        organization_id=reload.organization_id,
        actor=actor,
        kind=kind,
        is_enabled=reload.is_enabled,
        consent_version=RELOAD_CONSENT.version,
        consent_text=text,
        consented_at=at,
        **_numbers(reload),
    )


def _sentence(reload: AutoReload, card: PaymentMethod | None) -> str:
    return reload_sentence(card=str(card) if card is not None else "the saved card", **_numbers(reload))


def _numbers(reload: AutoReload) -> dict[str, int]:
    return {name: getattr(reload, name) for name in ("minimum_cents", "target_cents", "monthly_cap_cents")}


def check_numbers(*, minimum_cents: int, target_cents: int, monthly_cap_cents: int) -> None:
    """Whether auto-reload could work with these numbers.

    Raises:
        Refused: one won't do (fields ``minimum``, ``target``, ``monthly_cap``).
    """
    most = settings.PURCHASE_MAXIMUM_CENTS
    if not 0 <= minimum_cents <= most:
        raise Refused(f"Enter an amount from $0.00 to {dollars_text(most)}.", code="minimum", field="minimum")
    if target_cents < minimum_cents + TARGET_GAP_MINIMUM_CENTS:
        least = dollars_text(minimum_cents + TARGET_GAP_MINIMUM_CENTS)
        raise Refused(
            f"Reload to at least {least}: {dollars_text(TARGET_GAP_MINIMUM_CENTS)} more than the minimum.",
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


def _reloads(organization_id: int) -> QuerySet[Purchase]:
    return Purchase.objects.filter(organization_id=organization_id, kind=Purchase.Kind.AUTO_RELOAD)


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
