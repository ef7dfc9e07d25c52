"""Purchases that are paid and have their receipt, without any payment processor, for tests of documents."""

from typing import Any
from uuid import uuid4

from django.db import transaction

from accounts.models import Organization, User
from billing.credits import ledger
from billing.models import CreditLot, CreditNote, PaymentMethod, Purchase, Receipt
from billing.money import nano_from_cents
from billing.payments import receipts
from billing.terms import CREDIT_TERMS


def card_of(organization: Organization, *, by: User) -> PaymentMethod:
    """The organization's card; a new one where it has none."""
    return PaymentMethod.objects.filter(organization=organization).first() or PaymentMethod.objects.create(
        organization=organization,
        stripe_payment_method_id=f"pm_{uuid4().hex}",
        brand="visa",
        last4="4242",
        exp_month=12,
        exp_year=2099,
        fingerprint="fingerprint",
        is_default=True,
        added_by=by,
    )


def paid(organization: Organization, *, by: User, **more: Any) -> Receipt:
    """A purchase that was paid, granted and receipted in one transaction, as `settle` does it."""
    with transaction.atomic():
        purchase = granted(organization, by=by, **more)
        return receipts.issue(purchase=purchase, at=purchase.settled_at)


def credited(
    receipt: Receipt, cents: int = 1_000, cause_id: int = 1, *, kind: receipts.CauseKind = "refund"
) -> CreditNote:
    """A credit note for a part of the receipt, or the one that the cause has."""
    with transaction.atomic():
        account = ledger.lock(organization_id=receipt.organization_id)
        note = receipts.issue_credit_note(
            purchase=receipt.purchase,
            amount_cents=cents,
            cause_kind=kind,
            cause_id=receipt.pk * 1_000 + cause_id,
            at=account.locked_at,
        )
    assert note is not None
    return note


def uncredited(receipt: Receipt, cause_id: int = 1, *, kind: receipts.CauseKind = "refund") -> CreditNote:
    """What undoes the credit note of the cause."""
    with transaction.atomic():
        account = ledger.lock(organization_id=receipt.organization_id)
        note = receipts.cancel_credit_note(
            cause_kind=kind, cause_id=receipt.pk * 1_000 + cause_id, at=account.locked_at
        )
    assert note is not None
    return note


def granted(
    organization: Organization,
    *,
    by: User,
    amount_cents: int = 2_500,
    credit_cents: int | None = None,
    kind: Purchase.Kind = Purchase.Kind.MANUAL,
    reference: str = "",
) -> Purchase:
    """A purchase that was paid and granted, and has no receipt."""
    with transaction.atomic():
        account = ledger.lock(organization_id=organization.pk)
        purchase = Purchase.objects.create(
            organization=organization,
            kind=kind,
            state=Purchase.State.SUCCEEDED,
            amount_cents=amount_cents,
            credit_nano=nano_from_cents(amount_cents if credit_cents is None else credit_cents),
            attempt_key=uuid4(),
            payment_method=card_of(organization, by=by),
            actor=by,
            terms_version=CREDIT_TERMS.version,
            terms_accepted_at=account.locked_at,
            payment_intent_id=f"pi_{uuid4().hex}",
            sent_at=account.locked_at,
            settled_at=account.locked_at,
            reference=reference,
        )
        lot = ledger.grant(
            organization_id=organization.pk,
            kind=CreditLot.Kind.PURCHASE if kind == Purchase.Kind.MANUAL else CreditLot.Kind.AUTO_RELOAD,
            amount_nano=purchase.credit_nano,
            purchase_id=purchase.pk,
            label="Credit purchase",
            actor_id=by.pk,
        )
        purchase.settled_at = lot.effective_at
        purchase.save(update_fields=["settled_at"])
        return purchase
