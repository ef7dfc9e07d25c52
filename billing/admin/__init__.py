"""What staff see of billing. Rows of history are read-only for everyone; what staff change goes through use cases."""

from .accounts import BillingAccountAdmin
from .ledger import ChargeAdmin, CreditLotAdmin, HoldAdmin, LedgerEntryAdmin
from .prices import PricedModelAdmin, PriceVersionAdmin
from .purchases import AutoReloadConsentAdmin, CardSetupAdmin, PurchaseAdmin, StripeEventAdmin

__all__ = [
    "AutoReloadConsentAdmin",
    "BillingAccountAdmin",
    "CardSetupAdmin",
    "ChargeAdmin",
    "CreditLotAdmin",
    "HoldAdmin",
    "LedgerEntryAdmin",
    "PriceVersionAdmin",
    "PricedModelAdmin",
    "PurchaseAdmin",
    "StripeEventAdmin",
]
