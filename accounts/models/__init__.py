from accounts.permissions import Role

from .audit import AuditEvent, AuditOrigin
from .invitations import Invitation, InvitationMail
from .memberships import Membership
from .organizations import Organization
from .outbox import OutboxMessage
from .second_factors import UsedCode
from .service_keys import ServiceKey
from .sessions import BrowserSession
from .throttles import ThrottleCounter
from .users import User

__all__ = [
    "AuditEvent",
    "AuditOrigin",
    "BrowserSession",
    "Invitation",
    "InvitationMail",
    "Membership",
    "Organization",
    "OutboxMessage",
    "Role",
    "ServiceKey",
    "ThrottleCounter",
    "UsedCode",
    "User",
]
