"""The mails about payments and credit: who gets them, what they say, and that each is sent once.

They go to the members who can do something about them, one mail each, through the outbox: written in the transaction
of what they tell, sent after it. Their texts are templates/emails/*.txt, whose first line is the subject.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import OuterRef, QuerySet
from django.urls import NoReverseMatch, reverse

from accounts import notices
from accounts.models import Membership, Organization, User
from accounts.moments import day_text, moment_text
from accounts.outbox import rendered, send_mail_later
from billing import contacts
from billing.credits import queries
from billing.models import (
    AutoReload,
    CreditEvent,
    CreditNote,
    Dispute,
    PaymentMethod,
    ProblemReport,
    Purchase,
    Receipt,
    Refund,
)
from billing.money import cents_up_from_nano, credit_text, dollars_text, exact_text

_PATHS = {
    "overview": "billing:overview",
    "buy": "billing:buy",
    "card": "billing:card",
    "auto_reload": "billing:auto_reload",
    "usage_confirmation": "billing:auto_reload_usage",
}


def purchase_paid(*, receipt: Receipt) -> None:
    """The receipt of a purchase that somebody made."""
    _send("purchase_paid", receipt.purchase, _receipt_context(receipt))


def reload_paid(*, receipt: Receipt, used_up_cap_cents: int | None = None, until: datetime) -> None:
    """The receipt of a reload. ``used_up_cap_cents`` is the monthly limit, where this one used it up ``until`` then."""
    context = {
        "is_last": used_up_cap_cents is not None,
        "monthly_cap": dollars_text(used_up_cap_cents or 0),
        "until": _moment(until, receipt.organization),
        **_receipt_context(receipt),
    }
    _send("reload_paid", receipt.purchase, context)


def credit_note_issued(*, note: CreditNote) -> None:
    """A refund or a lost dispute has taken back a receipt, wholly or in part; or that was undone."""
    organization = note.organization
    receipt = note.receipt
    context = {
        "number": note.number_text,
        "receipt_number": receipt.number_text,
        "amount": dollars_text(note.total_cents),
        "paid": dollars_text(receipt.total_cents),
        "card": f"{receipt.card_brand} ending in {receipt.card_last4}",
        "moment": _moment(note.issued_at, organization),
        "is_refund": note.cause_kind == CreditNote.Cause.REFUND,
        "canceled": note.cancels.number_text if note.cancels is not None else "",
        "reference": note.reference,
        "note_url": _url("billing:credit_note", slug=organization.slug, number=note.number),
        "pdf_url": _url("billing:credit_note_pdf", slug=organization.slug, number=note.number),
    }
    _send_to_all("credit_note_issued", organization, context, key=f"credit-note-{note.pk}")


def reload_declined(*, purchase: Purchase, reload: AutoReload, reason: str) -> None:
    """A reload was declined: why, what is left, and what happens next. The last one tells that reload has paused.

    ``reason`` is the end of a sentence, or empty where the bank gave none that may be told.
    """
    context = {
        "reason": reason,
        "is_paused": bool(reload.suspension),
        "is_disputed": reload.suspension == AutoReload.Suspension.DISPUTED,
        "is_customer_missing": purchase.state == Purchase.State.CANCELED,
        "declines": reload.declines,
        "next_attempt": _moment(reload.next_attempt_at, purchase.organization) if reload.next_attempt_at else "",
        "minimum": dollars_text(reload.minimum_cents),
        "target": dollars_text(reload.target_cents),
    }
    _send("reload_paused" if reload.suspension else "reload_declined", purchase, context)


def reload_needs_customer(*, purchase: Purchase) -> None:
    """The bank wants to ask the customer about a reload: a link to the page where that happens."""
    _send("reload_needs_customer", purchase, {})


def reload_braked(*, reload: AutoReload, times: str, at: datetime) -> None:
    """The brake has paused auto-reload: usage is ``times`` the usual day, and somebody has to confirm it."""
    context = {
        "times": times,
        "is_known": reload.brake_usual_is_known,
        "used": dollars_text(cents_up_from_nano(reload.brake_used_nano or 0)),
        "usual": dollars_text(cents_up_from_nano(reload.brake_usual_nano or 0)),
    }
    _send_about_reload("reload_braked", reload, context, at=at, key=f"{at:%Y%m%d%H%M%S%f}")


def reload_capped(*, reload: AutoReload, until: datetime, at: datetime) -> None:
    """A reload that was due was skipped because of the monthly limit. Once in a month, however often it is asked for.

    ``until`` is when the limit begins anew.
    """
    context = {"until": _moment(until, reload.organization), "month": f"{until - timedelta(days=1):%B}"}
    _send_about_reload("reload_capped", reload, context, at=at, key=f"{at.astimezone(UTC):%Y-%m}")


def reload_without_card(*, reload: AutoReload, card: PaymentMethod, at: datetime) -> None:
    """The card that auto-reload charged is gone, and nobody of the organization has removed it."""
    _send_about_reload("reload_without_card", reload, {"card": str(card)}, at=at, key=str(card.pk))


def reload_disputed(*, reload: AutoReload, at: datetime) -> None:
    """A disputed charge has paused auto-reload."""
    _send_about_reload("reload_disputed", reload, {}, at=at, key=f"{at:%Y%m%d%H%M%S%f}")


def refund_made(*, refund: Refund, purchase: Purchase, taken_nano: int) -> None:
    """Money of a purchase goes back to its card, and ``taken_nano`` of credit with it."""
    _send("refund_made", purchase, {**_about_refund(refund, purchase), **_taken(taken_nano)}, key=f"{refund.pk}")


def refund_failed(*, refund: Refund, purchase: Purchase) -> None:
    """A refund that was told of has failed after all: the credit is back, and the money is not."""
    _send("refund_failed", purchase, _about_refund(refund, purchase), key=f"{refund.pk}")


def dispute_opened(*, dispute: Dispute, purchase: Purchase, taken_nano: int, at: datetime) -> None:
    """The bank has taken back a payment for its card holder, and ``taken_nano`` of credit goes with it."""
    context = {**_about_dispute(dispute, purchase), **_taken(taken_nano), "moment": _moment(at, purchase.organization)}
    _send("dispute_opened", purchase, context, key=f"{dispute.pk}")


def dispute_closed(*, dispute: Dispute, purchase: Purchase, at: datetime) -> None:
    """A dispute was decided: credit is given back, or stays taken."""
    context = {**_about_dispute(dispute, purchase), "moment": _moment(at, purchase.organization)}
    _send("dispute_closed", purchase, context, key=f"{dispute.pk}-{dispute.status}-{at:%Y%m%d%H%M%S%f}")


def card_replaced(*, card: PaymentMethod, former: PaymentMethod | None) -> None:
    """There is another card. Also the mail that tells the others if it was not one of them who did it."""
    organization = card.organization
    context = {
        "card": str(card),
        "former": str(former) if former is not None else "",
        "actor": card.added_by.get_full_name(),
        "circumstances": notices.circumstances(organization=organization, actor=card.added_by),
    }
    _send_to_all("card_replaced", organization, context, key=f"card-replaced-{card.pk}")


def card_removed(*, card: PaymentMethod, actor: User, was_reload_on: bool) -> None:
    """There is no card any more. ``was_reload_on``: auto-reload was switched off with it."""
    organization = card.organization
    context = {
        "card": str(card),
        "actor": actor.get_full_name(),
        "was_reload_on": was_reload_on,
        "circumstances": notices.circumstances(organization=organization, actor=actor),
    }
    _send_to_all("card_removed", organization, context, key=f"card-removed-{card.pk}")


def reload_settings_changed(*, reload: AutoReload, actor: User, event_id: int) -> None:
    """To the other Admins and the billing contacts: somebody has changed what is charged without asking."""
    organization = reload.organization
    if reload.is_enabled:
        what = (
            f"Below {dollars_text(reload.minimum_cents)} it buys credits up to {dollars_text(reload.target_cents)}, "
            f"for {dollars_text(reload.monthly_cap_cents)} a month at most."
        )
    else:
        what = "It is off: when credit runs out, the API stops until somebody buys."
    notices.tell_people(
        organization=organization,
        actor=actor,
        kind="auto_reload",
        subject=f"Auto-reload of {organization} was changed",
        body=f"{actor.get_full_name()} changed the auto-reload of {organization}.\n{what}\n\n"
        f"The settings:\n{_url(_PATHS['auto_reload'], slug=organization.slug)}",
        key=f"{event_id}",
    )


def reload_usage_confirmed(*, reload: AutoReload, actor: User, until: datetime, event_id: int) -> None:
    """To the other Admins and the billing contacts: somebody wants the high usage that had paused auto-reload."""
    organization = reload.organization
    notices.tell_people(
        organization=organization,
        actor=actor,
        kind="auto_reload",
        subject=f"Auto-reload of {organization} goes on",
        body=f"Usage far above the usual had paused auto-reload. {actor.get_full_name()} confirmed that it is wanted.\n"
        f"Until {_moment(until, organization)} high usage doesn't pause it again; its monthly limit holds.\n\n"
        f"The settings:\n{_url(_PATHS['auto_reload'], slug=organization.slug)}",
        key=f"{event_id}",
    )


def card_expires(*, card: PaymentMethod, is_over: bool, key: str) -> None:
    """The card ends soon, or has ended. ``key`` names the occasion."""
    context = {"card": str(card), "is_over": is_over, "end": f"{card.exp_month:02d}/{card.exp_year}"}
    _send_to_all("card_expires", card.organization, context, key=f"card-expires-{card.pk}-{key}")


def problem_reported(*, report: ProblemReport) -> None:
    """To staff: somebody reports a problem with a charge. The queue in the admin has it too."""
    if not settings.STAFF_EMAIL:
        return
    purchase = report.purchase
    subject, body = rendered(
        "problem_reported",
        {
            "report": report,
            "organization": report.organization,
            "amount": dollars_text(purchase.amount_cents),
            "url": _url("admin:billing_problemreport_change", object_id=report.pk),
            "platform": settings.PLATFORM_NAME,
        },
    )
    send_mail_later(
        to=[settings.STAFF_EMAIL],
        subject=subject,
        body=body,
        key=f"problem-reported-{report.pk}",
    )


def problem_answered(*, report: ProblemReport) -> None:
    """To whoever reported a problem: the answer of staff."""
    organization = report.organization
    subject, body = rendered(
        "problem_answered",
        {
            "report": report,
            "amount": dollars_text(report.purchase.amount_cents),
            "purchase_url": _url("billing:purchase", slug=organization.slug, purchase_id=report.purchase_id),
            "organization": organization.name,
            "platform": settings.PLATFORM_NAME,
        },
    )
    send_mail_later(
        to=[report.actor.email],
        subject=subject,
        body=body,
        key=f"problem-answered-{report.pk}-{report.state}",
    )


def credit_exhausted(
    *, event: CreditEvent, organization: Organization, reload_state: str, next_attempt_at: datetime | None
) -> None:
    """Credit has run out: what has stopped, what to do, and what auto-reload does meanwhile.

    ``reload_state`` is a :class:`~billing.models.ReloadState`; ``next_attempt_at`` is when it goes on by itself.
    """
    summary = queries.summary(organization_id=organization.pk)
    context = {
        "moment": _moment(event.occurred_at, organization),
        "available": credit_text(max(summary.available_nano, 0)).main,
        "has_some": summary.available_nano > 0,
        "debt": credit_text(summary.debt_nano, is_owed=True).main if summary.debt_nano else "",
        "reload_state": reload_state,
        "next_attempt": _moment(next_attempt_at, organization) if next_attempt_at else "",
        **_spending(organization, at=summary.counted_at, available_nano=summary.available_nano),
    }
    _send_to_all("credit_exhausted", organization, context, key=f"credit-exhausted-{event.pk}")


def organization_suspended(*, organization: Organization, notice: str, key: str) -> None:
    """The platform has suspended the organization: why, what has stopped, what still works."""
    _send_to_all("organization_suspended", organization, {"notice": notice}, key=f"organization-suspended-{key}")


def suspension_lifted(*, organization: Organization, is_running: bool, key: str) -> None:
    """The suspension has ended. ``is_running``: nothing else keeps usage stopped."""
    _send_to_all("suspension_lifted", organization, {"is_running": is_running}, key=f"suspension-lifted-{key}")


def recipients_of(organization_id: int | OuterRef) -> QuerySet[Membership]:
    """The memberships that these mails go to, to ask whether there are any."""
    return Membership.objects.filter(organization_id=organization_id, role__in=contacts.ROLES, user__is_active=True)


def _receipt_context(receipt: Receipt) -> dict[str, Any]:
    """What a mail says of a receipt. The file is linked and not attached: an address book is not who may see it."""
    organization = receipt.organization
    return {
        "expires": _day(receipt.expires_at, organization),
        "receipt_number": receipt.number_text,
        "reference": receipt.reference,
        "tax": dollars_text(receipt.tax_cents) if receipt.tax_cents else "",
        "debt_paid": str(exact_text(receipt.debt_paid_nano)) if receipt.debt_paid_nano else "",
        "spendable": str(exact_text(receipt.spendable_nano)),
        "receipt_url": _url("billing:receipt", slug=organization.slug, number=receipt.number),
        "pdf_url": _url("billing:receipt_pdf", slug=organization.slug, number=receipt.number),
    }


def _send_about_reload(template: str, reload: AutoReload, more: Mapping[str, Any], *, at: datetime, key: str) -> None:
    """A mail about auto-reload that no purchase is behind."""
    organization = reload.organization
    summary = queries.summary(organization_id=organization.pk)
    context = {
        "moment": _moment(at, organization),
        "available": credit_text(max(summary.available_nano, 0)).main,
        "is_blocked": summary.is_blocked,
        "minimum": dollars_text(reload.minimum_cents),
        "target": dollars_text(reload.target_cents),
        "monthly_cap": dollars_text(reload.monthly_cap_cents),
        **_spending(organization, at=summary.counted_at, available_nano=summary.available_nano),
        **more,
    }
    _send_to_all(template, organization, context, key=f"{template.replace('_', '-')}-{organization.pk}-{key}")


def _about_refund(refund: Refund, purchase: Purchase) -> dict[str, Any]:
    return {
        "refunded": dollars_text(refund.amount_cents),
        "is_partial": refund.amount_cents < purchase.amount_cents,
        "bought": _day(purchase.created_at, purchase.organization),
    }


def _about_dispute(dispute: Dispute, purchase: Purchase) -> dict[str, Any]:
    return {
        "disputed": dollars_text(dispute.amount_cents),
        "is_lost": dispute.status == Dispute.Status.LOST,
        "bought": _day(purchase.created_at, purchase.organization),
    }


def _taken(taken_nano: int) -> dict[str, Any]:
    return {"taken": credit_text(taken_nano).main}


def _send(template: str, purchase: Purchase, more: Mapping[str, Any], *, key: str = "") -> None:
    organization = purchase.organization
    summary = queries.summary(organization_id=organization.pk)
    context = {
        "purchase_id": purchase.pk,
        "amount": dollars_text(purchase.amount_cents),
        "credits": credit_text(purchase.credit_nano).main,
        "card": str(purchase.payment_method),
        "actor": purchase.actor.get_full_name() if purchase.actor is not None else "",
        "moment": _moment(purchase.settled_at or purchase.sent_at or purchase.created_at, organization),
        "available": credit_text(summary.available_nano).main,
        "is_blocked": summary.is_blocked,
        "debt": credit_text(summary.debt_nano, is_owed=True).main if summary.debt_nano else "",
        "purchase_url": _url("billing:purchase", slug=organization.slug, purchase_id=purchase.pk),
        **_spending(organization, at=summary.counted_at, available_nano=summary.available_nano),
        **more,
    }
    _send_to_all(template, organization, context, key=f"{template.replace('_', '-')}-{key or purchase.pk}")


def _spending(organization: Organization, *, at: datetime, available_nano: int) -> dict[str, str]:
    """What a day of use costs, by the last seven, and how long the credit lasts at that. Empty without use."""
    week_nano = queries.recent_cost_nano(organization_id=organization.pk, at=at, days=7)
    if week_nano <= 0:
        return {"a_day": "", "lasts_until": ""}
    seconds = max(available_nano, 0) * 7 * 24 * 3600 // week_nano
    lasts_until = _day(at + timedelta(seconds=seconds), organization) if 0 < seconds < 400 * 24 * 3600 else ""
    return {"a_day": credit_text(week_nano // 7, is_owed=True).main, "lasts_until": lasts_until}


def _send_to_all(template: str, organization: Organization, context: Mapping[str, Any], *, key: str) -> None:
    recipients = contacts.recipients(organization=organization)
    for recipient in recipients:
        subject, body = rendered(
            template,
            {
                **context,
                **{f"{name}_url": _url(path, slug=organization.slug) for name, path in _PATHS.items()},
                "organization": organization.name,
                "platform": settings.PLATFORM_NAME,
                "recipient": recipient.email,
                "others": ", ".join(other.email for other in recipients if other != recipient),
            },
        )
        if recipient.contact_id is not None:
            body = _for_contact(body, recipient, organization)
        send_mail_later(
            to=[recipient.email],
            subject=subject,
            body=body,
            key=f"{key}-{recipient.key}",
        )


def _for_contact(body: str, recipient: contacts.Recipient, organization: Organization) -> str:
    """The mail as a contact gets it: it says why it comes, and how to end that."""
    is_member = f"{recipient.email} is an Admin or Billing member of {organization.name}."
    is_contact = f"{recipient.email} is a billing contact of {organization.name}."
    stop = contacts.stop_url(contact_id=recipient.contact_id or 0)
    return f"{body.replace(is_member, is_contact).rstrip()}\n\nNo more of these mails to this address: {stop}\n"


def _url(name: str, **kwargs: Any) -> str:
    """A link for a mail. A worker knows the same routes as the web; the gate, which sends no mail, doesn't."""
    try:
        return settings.SITE_URL + reverse(name, kwargs=kwargs)
    except NoReverseMatch:
        return settings.SITE_URL


def _day(at: datetime, organization: Organization) -> str:
    return day_text(at, organization.zone)


def _moment(at: datetime, organization: Organization) -> str:
    return moment_text(at, organization.zone)
