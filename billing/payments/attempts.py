"""The last attempts with a card, in words: saved, charged, declined, and refused here before the bank was asked."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from accounts.models import Organization
from billing.models import CardSetup, Purchase, RefusedAttempt
from billing.money import dollars_text
from billing.payments import declines, purchases

SHOWN = 10
FORM_IS_LEFT_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. ``kind`` is that of a badge; ``reached_bank`` is None while nobody knows."""

    at: datetime
    what: str
    actor: str
    kind: str
    outcome: str
    words: str
    reached_bank: bool | None


def last(*, organization: Organization, at: datetime, limit: int = SHOWN) -> list[Attempt]:
    """The newest attempts first. Three queries, whatever there is."""
    bought = Purchase.objects.select_related("payment_method", "actor").filter(organization=organization)
    forms = CardSetup.objects.select_related("actor").filter(organization=organization)
    refused = RefusedAttempt.objects.select_related("payment_method", "actor").filter(organization=organization)
    attempts = [
        *(_purchase(purchase) for purchase in bought.order_by("-id")[:limit]),
        *(_form(form, at=at) for form in forms.order_by("-created_at")[:limit]),
        *(_refused(row) for row in refused.order_by("-attempted_at")[:limit]),
    ]
    return sorted(attempts, key=lambda attempt: attempt.at, reverse=True)[:limit]


def _purchase(purchase: Purchase) -> Attempt:
    verb = "Auto-reload of" if purchase.kind == Purchase.Kind.AUTO_RELOAD else "Purchase of"
    kind, outcome, words = _outcome(purchase)
    codes = {"decline_code": purchase.decline_code, "failure_code": purchase.failure_code}
    reached: bool | None = True
    if purchase.state in (Purchase.State.CREATED, Purchase.State.PROCESSING):
        reached = None
    elif purchase.sent_at is None or (
        purchase.state == Purchase.State.FAILED
        and not declines.is_the_cards(**codes)
        and not purchase.payment_intent_id
    ):
        reached = False
    return Attempt(
        at=purchase.created_at,
        what=f"{verb} {dollars_text(purchase.amount_cents)}, {purchase.payment_method}",
        actor=purchase.actor.get_full_name() if purchase.actor is not None else "",
        kind=kind,
        outcome=outcome,
        words=words,
        reached_bank=reached,
    )


def _outcome(purchase: Purchase) -> tuple[str, str, str]:
    state = Purchase.State(purchase.state)
    if state == Purchase.State.SUCCEEDED:
        return "ok", "Paid", ""
    if state == Purchase.State.FAILED:
        return "bad", "Declined" if purchases.was_declined(purchase) else "Not made", purchases.failure_text(purchase)
    if state == Purchase.State.CANCELED:
        return "off", "Canceled", purchases.failure_text(purchase)
    if state in (Purchase.State.REQUIRES_ACTION, Purchase.State.NEEDS_CUSTOMER):
        return "warn", "Waits for you", "Your bank wants you to confirm it. Nothing is charged before that."
    return "info", "In progress", "The payment processor has not said yet how it ended."


def _form(form: CardSetup, *, at: datetime) -> Attempt:
    kind, outcome, words, reached = "info", "Open", "The card form is open.", None
    if form.state == CardSetup.State.SUCCEEDED:
        others = (
            f"Before it, {form.failures} other card{'s were' if form.failures > 1 else ' was'} declined in this form."
        )
        kind, outcome, words, reached = "ok", "Saved", others if form.failures else "", True
    elif form.failure_code:
        words = declines.card_refused(decline_code=form.decline_code, failure_code=form.failure_code)
        if form.failures > 1:
            words += f" {form.failures} cards were tried in this form."
        kind, outcome, reached = "bad", "Declined", True
    elif form.created_at < at - FORM_IS_LEFT_AFTER:
        kind, outcome, words, reached = "off", "Not finished", "The card form was left. No card was saved.", False
    return Attempt(
        at=form.created_at,
        what="New card",
        actor=form.actor.get_full_name(),
        kind=kind,
        outcome=outcome,
        words=words,
        reached_bank=reached,
    )


def _refused(row: RefusedAttempt) -> Attempt:
    what = "New card"
    if row.kind == RefusedAttempt.Kind.PURCHASE:
        card = f", {row.payment_method}" if row.payment_method is not None else ""
        what = f"Purchase of {dollars_text(row.amount_cents or 0)}{card}"
    return Attempt(
        at=row.attempted_at,
        what=what,
        actor=row.actor.get_full_name(),
        kind="bad",
        outcome="Refused here",
        words=row.reason,
        reached_bank=False,
    )
