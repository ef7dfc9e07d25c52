"""The one table of roles and permissions.

Every decision about what a member may do is a look-up here. Nothing in this module touches the database, a request or a
session, so the whole policy can be read, and tested, on one screen.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from django.db.models import TextChoices


class Role(TextChoices):
    """The preset a member holds in one organization."""

    ADMIN = "admin", "Admin"
    BILLING = "billing", "Billing"
    DEVELOPER = "developer", "Developer"
    LIMITED_DEVELOPER = "limited_developer", "Limited Developer"
    CLAUDE_CODE_USER = "claude_code_user", "Claude Code User"
    USER = "user", "User"


ROLE_DESCRIPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Role.ADMIN: "Everything, members and roles included.",
        Role.BILLING: "Buys credits, keeps card, auto-reload and receipts, and sees what usage costs. Manages no keys.",
        Role.DEVELOPER: "Manages API keys, sees usage and cost, reads session traces and downloads files.",
        Role.LIMITED_DEVELOPER: "Manages API keys and sees usage and cost, without session traces and files.",
        Role.CLAUDE_CODE_USER: "Uses Claude Code and the Workbench.",
        Role.USER: "Uses the Workbench.",
    }
)


class Permission(StrEnum):
    """One thing that a member may or may not do; the value is what stands in audit events."""

    BILLING_VIEW = "billing.view"
    BALANCE_VIEW = "balance.view"
    CREDITS_BUY = "credits.buy"
    CARD_EDIT = "card.edit"
    AUTO_RELOAD_EDIT = "auto_reload.edit"
    BILLING_DETAILS_EDIT = "billing_details.edit"
    USAGE_VIEW = "usage.view"
    MEMBERS_MANAGE = "members.manage"
    KEYS_MANAGE = "keys.manage"
    USAGE_STOP = "usage.stop"
    ORGANIZATION_EDIT = "organization.edit"
    ORGANIZATION_CLOSE = "organization.close"
    AUDIT_LOG_VIEW = "audit_log.view"
    TRACES_VIEW = "traces.view"
    FILES_DOWNLOAD = "files.download"
    WORKBENCH_USE = "workbench.use"
    CLAUDE_CODE_USE = "claude_code.use"

    @property
    def label(self) -> str:
        """The permission as the end of "You may not ...", in lower case and without a full stop."""
        return PERMISSION_LABELS[self]


PERMISSION_LABELS: Final[Mapping[Permission, str]] = MappingProxyType(
    {
        Permission.BILLING_VIEW: "see billing details",
        Permission.BALANCE_VIEW: "see the credit balance",
        Permission.CREDITS_BUY: "buy credits",
        Permission.CARD_EDIT: "change the payment method",
        Permission.AUTO_RELOAD_EDIT: "change auto-reload",
        Permission.BILLING_DETAILS_EDIT: "change billing details",
        Permission.USAGE_VIEW: "see usage and cost",
        Permission.MEMBERS_MANAGE: "manage members and roles",
        Permission.KEYS_MANAGE: "manage API keys",
        Permission.USAGE_STOP: "stop all usage",
        Permission.ORGANIZATION_EDIT: "change the organization's settings",
        Permission.ORGANIZATION_CLOSE: "close the organization",
        Permission.AUDIT_LOG_VIEW: "read the audit log",
        Permission.TRACES_VIEW: "see session traces",
        Permission.FILES_DOWNLOAD: "download files",
        Permission.WORKBENCH_USE: "use the Workbench",
        Permission.CLAUDE_CODE_USE: "use Claude Code",
    }
)

_LIMITED_DEVELOPER: Final = frozenset(
    {
        Permission.WORKBENCH_USE,
        Permission.CLAUDE_CODE_USE,
        Permission.KEYS_MANAGE,
        Permission.USAGE_VIEW,
        Permission.BALANCE_VIEW,
    }
)

PERMISSIONS: Final[Mapping[str, frozenset[Permission]]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Permission),
        Role.BILLING: frozenset(
            {
                Permission.BILLING_VIEW,
                Permission.BALANCE_VIEW,
                Permission.CREDITS_BUY,
                Permission.CARD_EDIT,
                Permission.AUTO_RELOAD_EDIT,
                Permission.BILLING_DETAILS_EDIT,
                Permission.USAGE_VIEW,
                Permission.WORKBENCH_USE,
            }
        ),
        Role.DEVELOPER: _LIMITED_DEVELOPER | {Permission.TRACES_VIEW, Permission.FILES_DOWNLOAD},
        Role.LIMITED_DEVELOPER: _LIMITED_DEVELOPER,
        Role.CLAUDE_CODE_USER: frozenset({Permission.WORKBENCH_USE, Permission.CLAUDE_CODE_USE}),
        Role.USER: frozenset({Permission.WORKBENCH_USE}),
    }
)


def permissions_of(role: str) -> frozenset[Permission]:
    """What ``role`` may do. A value that is no role may do nothing."""
    return PERMISSIONS.get(role, frozenset())


def roles_with(permission: Permission) -> tuple[Role, ...]:
    """The roles that hold ``permission``, strongest first."""
    return tuple(role for role in Role if permission in PERMISSIONS[role])


def description_of(role: str) -> str:
    """What the role is for, as one sentence or two."""
    return ROLE_DESCRIPTIONS[role]
