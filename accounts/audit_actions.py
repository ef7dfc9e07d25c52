"""Every action that history knows, in words. Whoever lets something new happen says here what it is called.

A sentence begins with who acted: "Ada Admin" or, of what nobody did in person, "The platform". ``{target}`` is the
event's target, other names in braces are values of the event. No database, no request: the whole list can be read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class UnknownAction(LookupError):
    """The action has no words here, so the audit log could not tell it to anybody."""


class Group(Enum):
    """What a reader of the audit log can choose; the value stands in addresses of pages."""

    REFUSED = "refused"
    MEMBERS = "members"
    SIGN_IN = "sign-in"
    KEYS = "keys"
    CARD = "card"
    CREDITS = "credits"
    AUTO_RELOAD = "auto-reload"
    SETTINGS = "settings"
    EXPORTS = "exports"
    PLATFORM = "platform"

    @property
    def label(self) -> str:
        """The group as a choice of a form."""
        return _LABELS[self]


_LABELS: Final[Mapping[Group, str]] = MappingProxyType(
    {
        Group.REFUSED: "Refused access",
        Group.MEMBERS: "Members and roles",
        Group.SIGN_IN: "Sign-in and second factor",
        Group.KEYS: "Keys and stops",
        Group.CARD: "Payment method",
        Group.CREDITS: "Purchases and credits",
        Group.AUTO_RELOAD: "Auto-reload",
        Group.SETTINGS: "Organization and billing details",
        Group.EXPORTS: "Downloads",
        Group.PLATFORM: "Platform",
    }
)


@dataclass(frozen=True, slots=True)
class Action:
    """What one action is called. ``words`` goes on where the name of who acted ends."""

    group: Group
    words: str


_WORDS: Final[Mapping[Group, Mapping[str, str]]] = MappingProxyType(
    {
        Group.REFUSED: {
            "access.refused": "was not allowed to {permission}",
            "access.not_found": "asked for an organization that is not theirs",
            "access.closed": "asked for a page of the closed organization",
            "access.staff_refused": "was not allowed to use a page of the administration",
            "service_key.refused": "refused {target} at the gate",
        },
        Group.MEMBERS: {
            "membership.added": "added {target}",
            "membership.role_changed": "changed the role of {target}",
            "membership.removed": "removed {target}",
            "invitation.sent": "sent {target}",
            "invitation.sent_again": "sent {target} again",
            "invitation.revoked": "withdrew {target}",
            "invitation.accepted": "accepted {target}",
        },
        Group.SIGN_IN: {
            "session.signed_in": "signed in",
            "session.signed_out": "signed out",
            "session.sign_in_failed": "saw a sign-in fail for {target}",
            "session.others_ended": "signed out everywhere else",
            "password.set": "set a password",
            "password.changed": "changed the password",
            "password.reset": "set a new password by a link from a mail",
            "email.confirmed": "confirmed the address of {target}",
            "email.changed": "changed the address of {target}",
            "email.added": "added an address for {target}",
            "email.removed": "removed an address of {target}",
            "user.signed_up": "signed up",
            "user.renamed": "changed the name of {target}",
            "second_factor.added": "added a second factor",
            "second_factor.removed": "removed a second factor",
            "second_factor.renamed": "renamed a passkey",
            "recovery_codes.generated": "got new recovery codes",
            "recovery_codes.removed": "gave up the recovery codes with the last second factor",
            "recovery_code.used": "used a recovery code",
            "second_factor.refused": "saw a second factor fail for {target}",
            "second_factor.removed_by_staff": "removed the second factors of {target}",
            "organization.second_factor_required": "required a second factor of Admins and Billing",
            "organization.second_factor_not_required": "no longer requires a second factor of Admins and Billing",
            "user.created": "created {target}",
            "user.changed": "changed the account of {target}",
            "user.rights_changed": "changed the rights as staff of {target}",
        },
        Group.KEYS: {
            "api_key.created": "created {target}",
            "api_key.changed": "changed {target}",
            "api_key.limit_changed": "changed the spend limit of {target}",
            "api_key.rotated": "replaced {target} by a new key",
            "api_key.stopped": "stopped {target}",
            "api_key.resumed": "let {target} work again",
            "api_key.revoked": "revoked {target}",
            "usage.stopped": "stopped all usage",
            "usage.resumed": "let usage go on",
            "service_key.issued": "issued {target}",
            "service_key.revoked": "revoked {target}",
        },
        Group.CARD: {
            "card.added": "added a payment method",
            "card.replaced": "replaced the payment method",
            "card.removed": "removed the payment method",
            "card.updated": "took over new details of the card from its bank",
            "card.detached": "removed a card that the payment processor had let go",
        },
        Group.CREDITS: {
            "purchase.created": "started {target}",
            "purchase.paid": "paid {target}",
            "purchase.requires_action": "let {target} wait for the bank's confirmation",
            "purchase.needs_customer": "let {target} wait for the bank's confirmation",
            "purchase.failed": "saw {target} declined",
            "purchase.cancel_requested": "asked to cancel {target}",
            "purchase.canceled": "saw {target} canceled",
            "purchase.mismatched": "held back {target}: the payment differs from what was asked for",
            "purchase.read_again": "read {target} again at the payment processor",
            "payment.warned_of": "noted a warning of fraud about {target}",
            "refund.created": "began {target}",
            "refund.pending": "sent {target}",
            "refund.succeeded": "completed {target}",
            "refund.failed": "saw {target} fail",
            "dispute.opened": "noted {target}",
            "dispute.changed": "noted news of {target}",
            "problem.reported": "reported a problem with a charge",
            "problem.answered": "answered {target}",
            "problem.closed": "closed {target}",
            "problem.open": "opened {target} again",
            "promotional_credit.given": "gave promotional credit",
            "correction_credit.given": "gave credit as a correction",
            "correction.reversed": "undid an entry of the ledger",
            "correction.debited": "took credit as a correction",
            "unpriced_usage.settled": "charged usage that had no price yet",
            "lot.taken_back": "took back {target}",
            "credit_account.opened": "let usage go on",
            "credit_account.frozen": "stopped all usage of the organization",
            "credit_account.closed": "closed the credit account",
        },
        Group.AUTO_RELOAD: {
            "auto_reload.saved": "saved the settings of auto-reload",
            "auto_reload.switched_off": "switched auto-reload off",
            "auto_reload.consent_renewed": "agreed anew to auto-reload",
            "auto_reload.usage_confirmed": "confirmed high usage, so auto-reload goes on",
            "auto_reload.attempted": "started {target} by auto-reload",
            "auto_reload.capped": "skipped a reload because of the monthly limit",
            "auto_reload.suspended": "paused auto-reload",
        },
        Group.SETTINGS: {
            "organization.created": "created the organization",
            "organization.changed": "changed the organization's settings",
            "billing_contact.added": "added {target}",
            "billing_contact.confirmed": "confirmed {target} by the link in a mail",
            "billing_contact.removed": "removed {target}",
            "billing_contact.left": "ended the mails to {target} by the link in a mail",
            "organization.suspended": "suspended the organization",
            "organization.suspension_lifted": "lifted the suspension of the organization",
            "organization.closed": "closed the organization",
            "billing_details.changed": "changed the billing details",
        },
        Group.EXPORTS: {
            "export.downloaded": "downloaded all data of the organization",
            "audit_log.downloaded": "downloaded the audit log",
        },
        Group.PLATFORM: {
            "prices.published": "published {target}",
            "priced_model.added": "added {target}",
            "priced_model.changed": "changed {target}",
            "stripe_event.worked_again": "worked {target} again",
            "outbox.tried_again": "had mails tried again that were given up",
            "staff_group.added": "added {target}",
            "staff_group.changed": "changed {target}",
            "staff_group.removed": "removed {target}",
        },
    }
)

ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {action: Action(group, words) for group, actions in _WORDS.items() for action, words in actions.items()}
)


def check(action: str) -> None:
    """Raise ``UnknownAction`` unless the action is told of here."""
    if action not in ACTIONS:
        raise UnknownAction(f"Say in accounts/audit_actions.py what {action!r} is called.")


def actions_in(group: Group) -> tuple[str, ...]:
    """The actions of one group."""
    return tuple(_WORDS[group])
