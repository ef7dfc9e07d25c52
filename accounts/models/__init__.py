from accounts.permissions import Role

from .audit import AuditEvent, AuditOrigin
from .memberships import Membership
from .organizations import Organization
from .outbox import OutboxMessage
from .service_keys import ServiceKey
from .users import User

__all__ = [
    "AuditEvent",
    "AuditOrigin",
    "Membership",
    "Organization",
    "OutboxMessage",
    "Role",
    "ServiceKey",
    "User",
]
