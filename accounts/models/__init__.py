from accounts.permissions import Role

from .api_keys import ApiKey
from .audit import AuditEvent, AuditOrigin
from .invitations import Invitation, InvitationMail
from .memberships import Membership
from .organizations import Organization
from .outbox import OutboxMessage
from .second_factors import UsedCode
from .service_keys import Scope, ServiceKey
from .sessions import BrowserSession
from .throttles import ThrottleCounter
from .users import User

__all__ = [
    "ApiKey",
    "AuditEvent",
    "AuditOrigin",
    "BrowserSession",
    "Invitation",
    "InvitationMail",
    "Membership",
    "Organization",
    "OutboxMessage",
    "Role",
    "Scope",
    "ServiceKey",
    "ThrottleCounter",
    "UsedCode",
    "User",
]
