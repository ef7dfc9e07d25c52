from .auto_reload import AutoReload, AutoReloadConsent
from .billing_accounts import BillingAccount
from .ledger import Charge, CreditAccount, CreditLot, Hold, LedgerEntry
from .payment_methods import CardSetup, PaymentMethod, StripeCustomer
from .prices import Price, PricedModel, PriceVersion, Surface, TokenClass
from .purchases import Purchase
from .stripe_events import StripeEvent

__all__ = [
    "AutoReload",
    "AutoReloadConsent",
    "BillingAccount",
    "CardSetup",
    "Charge",
    "CreditAccount",
    "CreditLot",
    "Hold",
    "LedgerEntry",
    "PaymentMethod",
    "Price",
    "PriceVersion",
    "PricedModel",
    "Purchase",
    "StripeCustomer",
    "StripeEvent",
    "Surface",
    "TokenClass",
]
