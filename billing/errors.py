"""What the domain refuses, as exceptions with a stable code. Never a message for a developer's eyes only."""


class BillingError(Exception):
    """Base of everything that billing refuses. ``code`` is stable, the text is for people."""

    code = "billing_error"


class OrganizationUnknown(BillingError):
    """There is no such organization."""

    code = "organization_unknown"


class InsideTransaction(BillingError):
    """A hot operation was called while a transaction was open, so its lock would outlive it."""

    code = "inside_transaction"


class InvalidUsage(BillingError):
    """Usage that can't be priced: unknown surface, bad quantities. ``field`` names what is wrong."""

    code = "invalid_usage"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class PaymentDeclined(BillingError):
    """The card was declined. The text says so in the customer's words; ``decline_code`` is for staff."""

    code = "payment_declined"

    def __init__(self, message: str, *, decline_code: str = "") -> None:
        super().__init__(message)
        self.decline_code = decline_code


class PaymentProcessorUnavailable(BillingError):
    """The payment processor did not answer, or its answer was lost: the outcome is unknown."""

    code = "payment_processor_unavailable"


class Refused(BillingError):
    """A use case refuses. ``field`` names the form field that caused it, or is empty."""

    code = "refused"

    def __init__(self, message: str, *, code: str = "refused", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field
