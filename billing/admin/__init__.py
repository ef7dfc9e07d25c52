"""What staff see of billing. Rows of history are read-only for everyone; what staff change goes through use cases."""

from .accounts import BillingAccountAdmin
from .ledger import (
    ChargeAdmin,
    CreditEventAdmin,
    CreditLotAdmin,
    DebitAdjustmentAdmin,
    HoldAdmin,
    LedgerEntryAdmin,
    ReversalAdmin,
    TakeBackAdmin,
    UnpricedUsageAdmin,
    UsageDayAdmin,
)
from .prices import PricedModelAdmin, PriceVersionAdmin
from .problem_reports import ProblemReportAdmin, RefusedAttemptAdmin
from .purchases import AutoReloadConsentAdmin, CardSetupAdmin, PurchaseAdmin, StripeEventAdmin
from .receipts import CreditNoteAdmin, ReceiptAdmin
from .refunds import DisputeAdmin, EarlyFraudWarningAdmin, RefundAdmin

__all__ = [
    "AutoReloadConsentAdmin",
    "BillingAccountAdmin",
    "CardSetupAdmin",
    "ChargeAdmin",
    "CreditEventAdmin",
    "CreditLotAdmin",
    "CreditNoteAdmin",
    "DebitAdjustmentAdmin",
    "DisputeAdmin",
    "EarlyFraudWarningAdmin",
    "HoldAdmin",
    "LedgerEntryAdmin",
    "PriceVersionAdmin",
    "PricedModelAdmin",
    "ProblemReportAdmin",
    "PurchaseAdmin",
    "ReceiptAdmin",
    "RefundAdmin",
    "RefusedAttemptAdmin",
    "ReversalAdmin",
    "StripeEventAdmin",
    "TakeBackAdmin",
    "UnpricedUsageAdmin",
    "UsageDayAdmin",
]
