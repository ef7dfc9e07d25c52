"""The people of the demo and the one password that they share; no database here."""

from dataclasses import dataclass

PASSWORD = "demo-credits-2026"
# Staff sign in with a code beside it. It is as public as the password: an app takes it, and /demo/code/ shows the code.
STAFF_TOTP_SECRET = "CREDITCONSOLEDEMOSTAFFCODE234567"  # pragma: allowlist secret
BILLING_EMAIL = "billing@acme.example"


@dataclass(frozen=True)
class Person:
    """Somebody who can log in to the demo. Without a role: staff of the platform."""

    email: str
    name: str
    role: str


PEOPLE = (
    Person(email="admin@acme.example", name="Ada Admin", role="admin"),
    Person(email=BILLING_EMAIL, name="Bela Billing", role="billing"),
    Person(email="developer@acme.example", name="Dana Developer", role="developer"),
    Person(email="user@acme.example", name="Uma User", role="user"),
    Person(email="staff@example.test", name="Sam Staff", role=""),
)
