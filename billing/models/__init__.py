from .attempts import RefusedAttempt
from .auto_reload import AutoReload, AutoReloadConsent, ReloadState
from .billing_accounts import BillingAccount
from .billing_contacts import BillingContact
from .billing_details import BillingDetails
from .clawbacks import Clawback
from .corrections import DebitAdjustment, Reversal, TakeBack
from .credit_events import CreditEvent
from .disputes import Dispute, EarlyFraudWarning
from .ledger import Charge, CreditAccount, CreditLot, Hold, LedgerEntry
from .limits import KeyLimit
from .payment_methods import CardSetup, PaymentMethod, StripeCustomer
from .prices import Price, PricedModel, PriceVersion, Surface, TokenClass
from .problem_reports import ProblemReport
from .purchases import Purchase
from .receipts import CreditNote, DocumentCounter, Receipt
from .refunds import Refund
from .stripe_events import StripeEvent
from .usage import UnpricedUsage, UsageDay
from .usage_blocks import UsageBlock

__all__ = [
    "AutoReload",
    "AutoReloadConsent",
    "BillingAccount",
    "BillingContact",
    "BillingDetails",
    "CardSetup",
    "Charge",
    "Clawback",
    "CreditAccount",
    "CreditEvent",
    "CreditLot",
    "CreditNote",
    "DebitAdjustment",
    "Dispute",
    "DocumentCounter",
    "EarlyFraudWarning",
    "Hold",
    "KeyLimit",
    "LedgerEntry",
    "PaymentMethod",
    "Price",
    "PriceVersion",
    "PricedModel",
    "ProblemReport",
    "Purchase",
    "Receipt",
    "Refund",
    "RefusedAttempt",
    "ReloadState",
    "Reversal",
    "StripeCustomer",
    "StripeEvent",
    "Surface",
    "TakeBack",
    "TokenClass",
    "UnpricedUsage",
    "UsageBlock",
    "UsageDay",
]
